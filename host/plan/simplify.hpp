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

/// Throws one Error(unsupported) that lists every operator the backend cannot run, with its node names; bodies
/// included.
void check_supported(const Graph& graph, const Backend& backend);

/// One line an operator that the backend has run elsewhere, with where and its nodes; bodies included.
std::vector<std::string> list_fallbacks(const Graph& graph, const Backend& backend);

}  // namespace tare
