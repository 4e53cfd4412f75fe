#include "plan/depth_first.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace tare {
namespace {

/// Where AIMET's list of nodes has the quantizers of sources: those of inputs first, then those of initializers as they
/// are read, and those of Constant nodes behind these nodes. Loading takes Constant nodes out, but numbers values in
/// the order of the list.
class SourcePlaces {
 public:
  struct Place {
    std::size_t nodes_before;
    std::size_t first_reading;  ///< of all readings, those of inputs at the front
    ValueId value;
    bool operator<(const Place& other) const {
      return std::tie(nodes_before, first_reading, value) <
             std::tie(other.nodes_before, other.first_reading, other.value);
    }
  };

  explicit SourcePlaces(const Graph& graph) : graph_(graph), first_reading_(graph.values.size()) {
    std::size_t reading = 0;
    const auto read = [&](ValueId value) {
      if (value == absent) return;
      std::size_t& first = first_reading_[static_cast<std::size_t>(value)];
      if (++reading; first == 0) first = reading;
    };
    std::for_each(graph.inputs.begin(), graph.inputs.end(), read);
    for (const Node& node : graph.nodes) std::for_each(node.inputs.begin(), node.inputs.end(), read);
  }

  Place of(ValueId source) const {
    const auto stands_before = [&](const Node& node) { return node.output(0) != absent && node.output(0) < source; };
    const auto before = std::count_if(graph_.nodes.begin(), graph_.nodes.end(), stands_before);
    return {static_cast<std::size_t>(before), first_reading_[static_cast<std::size_t>(source)], source};
  }

 private:
  const Graph& graph_;
  std::vector<std::size_t> first_reading_;
};

void replace_readings(Graph& graph, const std::vector<ValueId>& of, const std::vector<ValueId>& by) {
  std::vector<ValueId> target(graph.values.size());
  for (std::size_t v = 0; v < target.size(); ++v) target[v] = static_cast<ValueId>(v);
  for (std::size_t i = 0; i < of.size(); ++i) target[static_cast<std::size_t>(of[i])] = by[i];
  for (Node& node : graph.nodes)
    for (ValueId& input : node.inputs)
      if (input != absent) input = target[static_cast<std::size_t>(input)];
}

/// Nodes that read the sources, at their places; what they give.
std::vector<ValueId> add_readers(Graph& graph, const std::vector<ValueId>& sources) {
  if (sources.empty()) return {};
  const SourcePlaces places(graph);
  std::vector<std::pair<SourcePlaces::Place, Node>> readers;
  std::vector<ValueId> given;
  for (const ValueId source : sources) {
    const Value same = graph.value(source);
    given.push_back(graph.add_value(same));
    Node reader;
    reader.name = same.name;
    reader.op_type = "Identity";
    reader.opset = 1;
    reader.outputs = {given.back()};
    readers.emplace_back(places.of(source), std::move(reader));
  }
  replace_readings(graph, sources, given);
  for (std::size_t i = 0; i < sources.size(); ++i) readers[i].second.inputs = {sources[i]};
  // From the last place on, so that the ones before keep their numbers.
  std::sort(readers.begin(), readers.end(), [](const auto& a, const auto& b) { return b.first < a.first; });
  for (auto& [place, reader] : readers)
    graph.nodes.insert(graph.nodes.begin() + static_cast<std::ptrdiff_t>(place.nodes_before), std::move(reader));
  return given;
}

}  // namespace

std::vector<ValueId> order_depth_first(Graph& graph, const std::vector<ValueId>& sources) {
  std::vector<ValueId> given = add_readers(graph, sources);
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
  replace_readings(graph, given, sources);  // so that kernels find constants where they had them
  return given;
}

}  // namespace tare
