// Attention that a model spells out: a product with transposed keys, a softmax, a product with values.
#pragma once

#include <vector>

#include "tare/backend.hpp"
#include "tare/graph.hpp"

namespace tare {

/// Where nobody looks inside (`visible` as in fuse()) it becomes one tare::Attention (cpu/attention.hpp), with constant
/// factors, a mask that is added to the scores, zeros for a NaN of the softmax, and transposes that swap heads and
/// positions, so that no scores lie in memory. Sums have another order then. Only what `backend` can run is made. Value
/// ids stay the same.
Graph join_attention(Graph graph, const std::vector<bool>& visible, const Backend& backend);

}  // namespace tare
