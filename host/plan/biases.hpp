// What a convolution or a product adds to every channel or row. Where chains read what broadcasts, it is an Add of its
// own and a part of the chain that follows; elsewhere, and where no chain follows, a product adds it itself.
#pragma once

#include <vector>

#include "tare/backend.hpp"
#include "tare/graph.hpp"

namespace tare {

/// Constant biases become nodes behind their convolutions and products.
Graph spell_out_biases(Graph graph);

/// Constant vectors that nodes add to a product of matrices become the product's: the third input of Gemm, or of a
/// tare::MatMul that is MatMul otherwise. In float32: halves would be rounded once instead of twice. `visible` as in
/// fuse().
Graph absorb_biases(Graph graph, const std::vector<bool>& visible, const Backend& backend);

}  // namespace tare
