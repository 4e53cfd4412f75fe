// Topological order. Among nodes that are ready the one that stands first in the file goes first, so a sorted file
// stays as it is.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <queue>

#include "model/graph_builder.hpp"

namespace tare {
namespace {

/// Nodes that wait for each other, found by walking from one of them to a producer that has not run either.
std::string describe_cycle(const Graph& graph, const std::vector<std::int32_t>& producer,
                           const std::vector<int>& waiting) {
  const auto blocker = [&](std::size_t n) {
    const auto waits_for = [&](ValueId value) {
      const std::int32_t p = value == absent ? -1 : producer[static_cast<std::size_t>(value)];
      return p >= 0 && waiting[static_cast<std::size_t>(p)] > 0 ? p : -1;
    };
    for (const ValueId input : graph.nodes[n].inputs)
      if (const std::int32_t p = waits_for(input); p >= 0) return static_cast<std::size_t>(p);
    for (const auto& [key, attribute] : graph.nodes[n].attributes)
      if (const Subgraph* body = std::get_if<Subgraph>(&attribute))
        for (const ValueId capture : body->captures)
          if (const std::int32_t p = waits_for(capture); p >= 0) return static_cast<std::size_t>(p);
    return n;
  };
  auto at = static_cast<std::size_t>(std::find_if(waiting.begin(), waiting.end(), [](int w) { return w > 0; }) -
                                     waiting.begin());
  for (std::size_t step = 0; step < graph.nodes.size(); ++step) at = blocker(at);
  std::vector<std::string> names;
  for (std::size_t n = at; names.size() < 8; n = blocker(n)) {
    names.push_back(graph.nodes[n].label());
    if (blocker(n) == at) break;
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

void sort_topologically(Graph& graph) {
  const std::vector<std::int32_t> producer = producers(graph);
  const std::vector<std::vector<std::int32_t>> readers = consumers(graph);
  const std::size_t n = graph.nodes.size();
  std::vector<int> waiting(n, 0);
  for (std::size_t value = 0; value < readers.size(); ++value)
    if (producer[value] >= 0)
      for (const std::int32_t reader : readers[value]) ++waiting[static_cast<std::size_t>(reader)];

  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready;
  for (std::size_t i = 0; i < n; ++i)
    if (waiting[i] == 0) ready.push(i);
  std::vector<std::size_t> order;
  order.reserve(n);
  while (!ready.empty()) {
    const std::size_t node = ready.top();
    ready.pop();
    order.push_back(node);
    for (const ValueId output : graph.nodes[node].outputs)
      if (output != absent)
        for (const std::int32_t reader : readers[static_cast<std::size_t>(output)])
          if (--waiting[static_cast<std::size_t>(reader)] == 0) ready.push(static_cast<std::size_t>(reader));
  }
  if (order.size() != n)
    throw Error(ErrorKind::model,
                fmt::format("the graph has a cycle: {} wait for each other", describe_cycle(graph, producer, waiting)));
  if (std::is_sorted(order.begin(), order.end())) return;
  std::vector<Node> sorted;
  sorted.reserve(n);
  for (const std::size_t i : order) sorted.push_back(std::move(graph.nodes[i]));
  graph.nodes = std::move(sorted);
}

}  // namespace tare
