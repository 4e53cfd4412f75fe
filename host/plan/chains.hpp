// Joins element-wise nodes that follow one another into one internal node tare::Chain, which takes a piece of its
// tensors through all of them before it goes on to the next: one pass over memory instead of one an operator. The node
// holds the nodes it stands for in its attribute "steps", a body whose inputs and outputs are its own (see
// host/cpu/chain.cpp).
#pragma once

#include <cstdint>
#include <vector>

#include "tare/backend.hpp"
#include "tare/graph.hpp"

namespace tare {

/// What happens to the visible values of a run.
enum class Visible : std::uint8_t {
  replaced,  ///< a hook sees them and may put others in their place: a chain ends there
  observed   ///< they are looked at: chains go on behind them, and on backends whose chains take taps look themselves
};

/// On backends whose chains take rows, a chain that nobody observes goes on through one softmax or normalization of the
/// last dimension. Value ids stay the same. A graph is returned as it is when `backend` has no kernel for chains. Where
/// visible values are only observed by chains that take taps, a single node that reads or makes one becomes a chain,
/// too.
Graph join_chains(Graph graph, const std::vector<bool>& visible, const Backend& backend,
                  Visible what = Visible::replaced);

}  // namespace tare
