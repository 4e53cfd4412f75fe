// Layer norms that a model spells out in means, squares and roots, as exporters did before opset 17, become one node.
#pragma once

#include <vector>

#include "tare/backend.hpp"
#include "tare/graph.hpp"

namespace tare {

/// Those over the last dimension with a constant vector as weight and, if any, as bias, inside which nothing is
/// `visible`. Moments are float64 then, as LayerNormalization's are, instead of float32. Only what `backend` can run is
/// made. Value ids stay the same.
Graph join_normalizations(Graph graph, const std::vector<bool>& visible, const Backend& backend);

}  // namespace tare
