#include "plan/depth_first.hpp"

#include <algorithm>
#include <utility>

namespace tare {

void order_depth_first(Graph& graph) {
  const std::size_t count = graph.nodes.size();
  const std::vector<std::int32_t> producer = producers(graph);
  const std::vector<std::vector<std::int32_t>> readers = consumers(graph);
  std::vector<std::vector<std::size_t>> before(count);  // the nodes whose results a node reads
  std::vector<bool> read(count, false);
  for (std::size_t v = 0; v < producer.size(); ++v) {
    if (producer[v] < 0) continue;
    const auto p = static_cast<std::size_t>(producer[v]);
    for (const std::int32_t reader : readers[v]) before[static_cast<std::size_t>(reader)].push_back(p);
    if (!readers[v].empty()) read[p] = true;
  }
  struct Step {
    std::size_t node;
    bool done;  ///< all nodes before it stand in the order already
  };
  std::vector<Step> stack;
  for (std::size_t n = 0; n < count; ++n)
    if (!read[n]) stack.push_back({n, false});
  std::vector<bool> visited(count, false);
  std::vector<Node> ordered;
  ordered.reserve(count);
  while (!stack.empty()) {
    const Step step = stack.back();
    stack.pop_back();
    if (step.done) {
      ordered.push_back(std::move(graph.nodes[step.node]));
      continue;
    }
    if (visited[step.node]) continue;
    visited[step.node] = true;
    stack.push_back({step.node, true});
    std::sort(before[step.node].begin(), before[step.node].end());
    for (const std::size_t earlier : before[step.node])
      if (!visited[earlier]) stack.push_back({earlier, false});
  }
  graph.nodes = std::move(ordered);
}

}  // namespace tare
