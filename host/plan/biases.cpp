#include "plan/biases.hpp"

#include <algorithm>
#include <optional>

namespace tare {
namespace {

bool is(const Node& node, std::string_view type) { return node.domain.empty() && node.op_type == type; }

/// The columns of a product's result, where its second operand is known.
std::optional<std::int64_t> columns_of(const Graph& graph, const Node& node) {
  const Tensor* weight = node.inputs.size() < 2 || node.inputs[1] == absent ? nullptr : graph.constant(node.inputs[1]);
  if (weight == nullptr || weight->rank() < 2 || (is(node, "Gemm") && weight->rank() != 2)) return std::nullopt;
  const bool transposed = is(node, "Gemm") && node.integer("transB", 0) != 0;
  return weight->shape()[weight->rank() - (transposed ? 2 : 1)];
}

/// What a node adds to every row or channel of its result, as the operand of an Add behind it; none where that is not
/// known, or where the sum would be rounded twice instead of once.
std::optional<Tensor> bias_of(const Graph& graph, const Node& node) {
  if (node.inputs.size() != 3 || node.inputs[1] == absent || node.inputs[2] == absent) return std::nullopt;
  const Tensor* weight = graph.constant(node.inputs[1]);
  const Tensor* bias = graph.constant(node.inputs[2]);
  if (weight == nullptr || bias == nullptr || bias->rank() != 1 || !is_quantizable(bias->type())) return std::nullopt;
  if (is(node, "Gemm")) {
    const bool fits = bias->type() == DataType::float32 && node.real("beta", 1.0f) == 1.0f &&
                      columns_of(graph, node) == bias->elements();
    return fits ? std::optional(*bias) : std::nullopt;
  }
  if ((!is(node, "Conv") && !is(node, "ConvTranspose")) || weight->rank() < 3) return std::nullopt;
  const std::int64_t channels = is(node, "Conv") ? weight->shape()[0] : weight->shape()[1] * node.integer("group", 1);
  if (bias->elements() != channels) return std::nullopt;
  Shape shape(weight->rank() - 1, 1);
  shape[0] = channels;
  return bias->reshaped(shape);
}

/// The operand of an Add that is a constant vector of so many float32 elements; the other one is `product`.
ValueId added_vector(const Graph& graph, const Node& node, ValueId product, std::int64_t elements) {
  if (!is(node, "Add") || node.inputs.size() != 2 || node.has("axis")) return absent;  // `axis`: until opset 6
  const ValueId other = node.inputs[0] == product ? node.inputs[1] : node.inputs[0];
  const Tensor* vector = other == absent ? nullptr : graph.constant(other);
  const bool fits =
      vector != nullptr && vector->type() == DataType::float32 && vector->rank() == 1 && vector->elements() == elements;
  return fits ? other : absent;
}

}  // namespace

Graph spell_out_biases(Graph graph) {
  std::vector<Node> nodes;
  for (Node& node : graph.nodes) {
    const std::optional<Tensor> bias = bias_of(graph, node);
    if (!bias) {
      nodes.push_back(std::move(node));
      continue;
    }
    const ValueId sum = node.outputs[0];
    Node add;
    add.name = node.name + "/bias";
    add.op_type = "Add";
    add.opset = 14;
    node.outputs[0] = graph.add_value({graph.value(sum).name + "/without_bias", bias->type(), {}});
    node.inputs.pop_back();
    add.inputs = {node.outputs[0], graph.add_value({add.name, bias->type(), bias->shape()})};
    graph.constants.emplace(add.inputs[1], *bias);
    add.outputs = {sum};
    nodes.push_back(std::move(node));
    nodes.push_back(std::move(add));
  }
  graph.nodes = std::move(nodes);
  return graph;
}

Graph absorb_biases(Graph graph, const std::vector<bool>& visible, const Backend& backend) {
  const auto readers = consumers(graph);
  std::vector<bool> kept = visible;
  kept.resize(graph.values.size());
  for (const ValueId output : graph.outputs) kept[static_cast<std::size_t>(output)] = true;
  std::vector<bool> removed(graph.nodes.size());
  for (Node& node : graph.nodes) {
    if ((!is(node, "MatMul") && !is(node, "Gemm")) || node.inputs.size() != 2) continue;
    const auto product = static_cast<std::size_t>(node.outputs[0]);
    const std::optional<std::int64_t> columns = columns_of(graph, node);
    if (!columns || kept[product] || readers[product].size() != 1) continue;
    const auto reader = static_cast<std::size_t>(readers[product][0]);
    const ValueId bias = added_vector(graph, graph.nodes[reader], node.outputs[0], *columns);
    if (bias == absent) continue;
    Node joined = node;
    if (is(node, "MatMul")) joined.domain = "tare";
    joined.attributes.erase("beta");  // of a bias that was not there
    joined.inputs.push_back(bias);
    joined.outputs = {graph.nodes[reader].outputs[0]};
    if (!backend.unsupported(graph, joined).empty() || !backend.fallback(graph, joined).empty()) continue;
    node = std::move(joined);
    removed[reader] = true;
  }
  std::size_t n = 0;
  std::erase_if(graph.nodes, [&](const Node&) { return removed[n++]; });
  return graph;
}

}  // namespace tare
