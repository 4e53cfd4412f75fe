// GraphProto → Graph: names become ids, functions are inlined, bodies become graphs with captures.
#pragma once

#include <memory>

#include "model/source.hpp"
#include "tare/graph.hpp"

namespace tare {

/// The graph of source->proto, nodes in topological order, types not inferred. Throws Error without naming the file.
Graph build_graph(const std::shared_ptr<ModelSource>& source);

/// Puts the nodes into topological order, keeping the file's order where it is one. Throws Error(model) naming the
/// nodes of a cycle.
void sort_topologically(Graph& graph);

}  // namespace tare
