// Values whose statistics follow from those of others and need not be read by an observer: what is only moved, cut to a
// range or put side by side, to the same integers; and element-wise functions of one observed value (x + 3, x / 6,
// x min(max(x + 3, 0), 6)), whose histogram is that of x with every bin moved to where the function takes it.
#pragma once

#include <span>
#include <vector>

#include "plan/clip_range.hpp"
#include "tare/graph.hpp"

namespace tare {

struct DerivedValue {
  ValueId value;
  std::vector<ValueId> sources;    ///< its elements are those of all of them, or functions of those of the only one
  std::optional<ClipRange> range;  ///< cut to it (one source, float32)
  std::vector<std::int32_t> path;  ///< of a function: the nodes that compute it from its only source, ascending
  bool turns = false;              ///< of a function: it may rise and fall
  /// Of a function that turns: an observed value with the same root from which `hinge_path`, sums and products with
  /// numbers, leads here, so that its extremes give those of this one; absent when there is none.
  ValueId hinge = absent;
  std::vector<std::int32_t> hinge_path{};
};

/// What may be derived beyond values that are moved, cut to a range or joined.
enum class Derivation {
  nothing,
  extremes,   ///< functions that never turn around: their extremes are exact
  histograms  ///< smooth functions of what sums (convolutions, products, normalisations) give: no atoms to be smeared
};

/// Those among the observed values whose sources are observed as well, sources first. `observed`: by value; constants
/// do not count.
std::vector<DerivedValue> derived_values(const Graph& graph, const std::vector<bool>& observed, Derivation derivation);
/// Computes `value` from `source`, a tensor of any shape, by the nodes of `path`; nothing else is in it.
Graph function_graph(const Graph& graph, ValueId source, std::span<const std::int32_t> path, ValueId value);

}  // namespace tare
