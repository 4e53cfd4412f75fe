// What in a node cannot be right whatever data comes: found before any data is read, for all nodes at once, where a
// kernel would find it at its first run and alone.
// Odd: declared shapes of values inside of the graph are not believed. Models are edited, and nothing runs by them.
#pragma once

#include <string>
#include <vector>

#include "tare/graph.hpp"

namespace tare {

/// By node: a text attribute that its operator does not know, constant weights that do not fit the channels they are
/// applied to, an attribute of the wrong kind. Empty where nothing is wrong. Bodies are graphs of their own; what these
/// declare of their inputs is not believed either, as nothing compares it with what they are fed.
std::vector<std::string> find_misfits(const Graph& graph, bool is_body = false);

}  // namespace tare
