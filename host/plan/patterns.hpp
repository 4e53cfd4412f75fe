// Operators that a model spells out in smaller ones, found again: a config's supergroup_pass_list names those that
// count as one.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "plan/ops.hpp"

namespace tare {

/// What a supergroup_pass_list may hold.
inline constexpr std::array<std::string_view, 4> known_passes = {"LayerNormalization", "RMSNormalization", "MatmulAdd",
                                                                 "MaskedSoftmax"};

/// The groups of the passes in the list, earlier passes first; no node is in two. MatmulAdd is not among them:
/// collect_ops knows which operand of a product is a weight.
std::vector<Op> find_patterns(const Graph& graph, const std::vector<std::string>& passes);

/// What a reduction goes over, by its attribute or, where that is constant, by its input.
std::vector<std::int64_t> reduced_axes(const Graph& graph, const Node& node);

}  // namespace tare
