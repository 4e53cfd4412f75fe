// Values whose statistics follow exactly from those of others: what is only moved, cut to a range or put side by side
// need not be read again by an observer.
#pragma once

#include <vector>

#include "plan/clip_range.hpp"
#include "tare/graph.hpp"

namespace tare {

struct DerivedValue {
  ValueId value;
  std::vector<ValueId> sources;    ///< its elements are those of all of them
  std::optional<ClipRange> range;  ///< cut to it (one source, float32)
};

/// Those among the observed values whose sources are observed as well, sources first. `observed`: by value; constants
/// do not count.
std::vector<DerivedValue> derived_values(const Graph& graph, const std::vector<bool>& observed);

}  // namespace tare
