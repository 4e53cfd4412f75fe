// The Gradient operator of ai.onnx.preview.training as ordinary nodes.
#pragma once

#include "tare/graph.hpp"

namespace tare {

/// Replaces every Gradient node by the nodes that compute it, in reverse mode. Throws Error(unsupported) naming the
/// operator whose derivative is not known here.
void expand_gradients(Graph& graph);

}  // namespace tare
