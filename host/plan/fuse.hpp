// Joins operators whose intermediate tensor nobody asked for: a batch normalization, or a sum or product with a
// constant a channel, into the weights of the convolution before it, the four operators of a spelled-out hard-swish
// and the three of a channel shuffle into one, an activation into the product or convolution before it (as "post_ops"
// of an internal tare::Conv, see host/cpu/fused.cpp). Where chains read what broadcasts, a bias that is constant
// becomes an Add behind its product instead: it is part of the chain that follows.
#pragma once

#include <vector>

#include "plan/chains.hpp"
#include "tare/backend.hpp"
#include "tare/graph.hpp"

namespace tare {

/// `visible[value]`: observed or quantized in this run, so it must keep existing as it is. Value ids stay the same.
/// Only what `backend` can run is made.
Graph fuse(Graph graph, const std::vector<bool>& visible, const Backend& backend);

/// What an executor takes: simplified (simplify.hpp), normalizations joined (normalizations.hpp), then fused, then in
/// chains (chains.hpp).
Graph make_runnable(Graph graph, const std::vector<bool>& visible, Backend& backend, Visible what = Visible::replaced);

}  // namespace tare
