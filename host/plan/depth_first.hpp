// The order in which ONNX Runtime runs a graph: depth first from the last result backwards. Only `tf_enhanced` cares:
// AIMET's tied tensors update one histogram in the order of execution, and the first one freezes its window.
#pragma once

#include "tare/graph.hpp"

namespace tare {

/// Puts the nodes into that order; values and results stay the same.
void order_depth_first(Graph& graph);

}  // namespace tare
