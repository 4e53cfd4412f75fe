// What the plan does to a graph before it runs: never to the model that is exported.
#pragma once

#include <vector>

#include "tare/backend.hpp"
#include "tare/graph.hpp"

namespace tare {

/// Drops Identity and inference Dropout, folds nodes whose inputs are all constant, removes what no output needs.
/// A value with `visible[value]` (observed or quantized in this run) and graph outputs keep their producer, so that
/// nobody loses a tensor they asked for. Value ids stay the same. A node that fails while it is folded is left to fail
/// (or not) at run time: it may sit behind a condition.
Graph simplify(Graph graph, const std::vector<bool>& visible, Backend& backend);

/// Whether it gives other values every time.
bool is_random(const Node& node);

/// Removes nodes that no output needs and that could not run here: what nobody asked for must not stop a model. Other
/// dead nodes stay, as their values may carry quantizers.
void drop_dead_that_cannot_run(Graph& graph, const Backend& backend);

/// Throws one Error(unsupported) that lists every operator the backend cannot run, with all its node names; bodies
/// included. Only nodes that an output needs count, here and in check_sound.
void check_supported(const Graph& graph, const Backend& backend);
/// Throws one Error(model) that lists every node that cannot be right (plan/misfits); bodies included.
void check_sound(const Graph& graph);
/// The message for nodes that cannot run, each with the reason.
std::string list_of_broken_nodes(const std::vector<std::string>& nodes);

/// One line an operator that the backend has run elsewhere, with where and its nodes; bodies included.
std::vector<std::string> list_fallbacks(const Graph& graph, const Backend& backend);

}  // namespace tare
