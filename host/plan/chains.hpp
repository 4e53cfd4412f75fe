// Joins element-wise nodes that follow one another into one internal node tare::Chain, which takes a piece of its
// tensors through all of them before it goes on to the next: one pass over memory instead of one an operator. The node
// holds the nodes it stands for in its attribute "steps", a body whose inputs and outputs are its own (see
// host/cpu/chain.cpp).
#pragma once

#include <vector>

#include "tare/backend.hpp"
#include "tare/graph.hpp"

namespace tare {

/// A chain ends at a visible value: a hook may replace it, and an observer finds it in the cache while nothing else has
/// been written. Value ids stay the same. A graph is returned as it is when `backend` has no kernel for chains.
Graph join_chains(Graph graph, const std::vector<bool>& visible, const Backend& backend);

}  // namespace tare
