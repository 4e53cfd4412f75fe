// The order in which ONNX Runtime runs AIMET's graph: depth first from the last result backwards. Only `tf_enhanced`
// cares: AIMET's tied tensors update one histogram in the order of execution, and the first one freezes its window.
#pragma once

#include <vector>

#include "tare/graph.hpp"

namespace tare {

/// Puts the nodes into that order; values and results stay the same. `sources`: inputs and constants of the graph that
/// AIMET has a quantizer node for. Each gets an Identity where that node would run; nobody reads what it gives, which
/// is returned, one value a source.
std::vector<ValueId> order_depth_first(Graph& graph, const std::vector<ValueId>& sources = {});

}  // namespace tare
