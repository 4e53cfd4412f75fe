#include "plan/normalizations.hpp"

#include <algorithm>
#include <optional>

#include "model/real_element.hpp"
#include "plan/patterns.hpp"
#include "plan/row_operation.hpp"

namespace tare {
namespace {

/// Whether a parameter is a vector that a node of the group reads itself: what passes it on may have a quantizer.
bool is_vector(const Graph& graph, const Op& op, ValueId value) {
  const Tensor* constant = graph.constant(value);
  return constant != nullptr && constant->rank() == 1 && constant->type() == DataType::float32 &&
         std::any_of(op.nodes.begin(), op.nodes.end(), [&](std::int32_t n) {
           const std::vector<ValueId>& inputs = graph.nodes[static_cast<std::size_t>(n)].inputs;
           return std::find(inputs.begin(), inputs.end(), value) != inputs.end();
         });
}

/// The last dimension of a value, where that follows from what made it; longer than 1, so that it stays what it is
/// beside what broadcasts.
std::optional<std::int64_t> last_dimension(const Graph& graph, const std::vector<std::int32_t>& producers,
                                           ValueId value, int depth = 0) {
  constexpr int deepest = 8;  // sums of sums of the same values would be walked twice as often at every step
  if (value == absent || depth > deepest) return std::nullopt;
  const Tensor* constant = graph.constant(value);
  const std::optional<Shape> shape = constant != nullptr ? std::optional(constant->shape()) : graph.value(value).shape;
  if (shape) return !shape->empty() && shape->back() > 1 ? std::optional(shape->back()) : std::nullopt;
  const std::int32_t n = producers[static_cast<std::size_t>(value)];
  if (n < 0) return std::nullopt;
  const Node& node = graph.nodes[static_cast<std::size_t>(n)];
  const auto of_input = [&](std::size_t i) { return last_dimension(graph, producers, node.input(i), depth + 1); };
  if (!node.domain.empty()) return std::nullopt;
  if (node.op_type == "MatMul") {
    const Tensor* weight = node.input(1) == absent ? nullptr : graph.constant(node.inputs[1]);
    return weight != nullptr && weight->rank() >= 2 ? of_input(1) : std::nullopt;
  }
  if (node.op_type == "Gather" && node.integer("axis", 0) == 0) {
    const Tensor* table = node.input(0) == absent ? nullptr : graph.constant(node.inputs[0]);
    return table != nullptr && table->rank() == 2 ? of_input(0) : std::nullopt;
  }
  if (node.op_type == "LayerNormalization" || node.op_type == "Relu" || node.op_type == "Gelu") return of_input(0);
  if (node.op_type != "Add" && node.op_type != "Sub" && node.op_type != "Mul" && node.op_type != "Div")
    return std::nullopt;
  const auto first = of_input(0);
  return first ? first : of_input(1);
}

/// Whether the numbers of a group beside its parameters add no dimension.
bool numbers_add_no_dimension(const Graph& graph, const Op& op) {
  return std::all_of(op.nodes.begin(), op.nodes.end(), [&](std::int32_t n) {
    const std::vector<ValueId>& inputs = graph.nodes[static_cast<std::size_t>(n)].inputs;
    return std::all_of(inputs.begin(), inputs.end(), [&](ValueId input) {
      const Tensor* number = input == absent ? nullptr : graph.constant(input);
      return number == nullptr || number->rank() <= 1;
    });
  });
}

/// What is added to the mean square: the number beside the parameters.
std::optional<float> epsilon_of(const Graph& graph, const Op& op) {
  for (const std::int32_t n : op.nodes) {
    const Node& node = graph.nodes[static_cast<std::size_t>(n)];
    if (node.op_type != "Add") continue;
    for (const ValueId input : node.inputs) {
      const Tensor* number = graph.constant(input);
      const bool is_parameter = std::any_of(op.parameters.begin(), op.parameters.end(),
                                            [&](const Parameter& parameter) { return parameter.value == input; });
      if (number != nullptr && !is_parameter && number->elements() == 1 && is_quantizable(number->type()))
        return real_element(*number, 0);
    }
  }
  return std::nullopt;
}

/// The node that stands for a group; none where it is no LayerNormalization of ONNX.
std::optional<Node> node_of(const Graph& graph, const std::vector<std::int32_t>& producers, const Op& op) {
  if (op.parameters.empty() || op.parameters.size() > 2) return std::nullopt;
  const std::optional<std::int64_t> length = last_dimension(graph, producers, op.inputs.at(0));
  if (!length || !numbers_add_no_dimension(graph, op)) return std::nullopt;
  for (const Parameter& parameter : op.parameters)
    if (!is_vector(graph, op, parameter.value) || graph.constant(parameter.value)->elements() != *length)
      return std::nullopt;
  for (const std::int32_t n : op.nodes) {
    const Node& member = graph.nodes[static_cast<std::size_t>(n)];
    if (member.op_type == "ReduceMean" &&
        !is_last_axis(reduced_axes(graph, member).at(0), graph.value(member.inputs[0]).shape))
      return std::nullopt;
  }
  const std::optional<float> epsilon = epsilon_of(graph, op);
  if (!epsilon) return std::nullopt;
  Node node;
  node.name = graph.nodes[static_cast<std::size_t>(op.nodes.back())].name;
  node.op_type = "LayerNormalization";
  node.opset = 17;
  node.attributes.emplace("epsilon", *epsilon);
  node.inputs = {op.inputs.at(0)};
  for (const Parameter& parameter : op.parameters) node.inputs.push_back(parameter.value);
  node.outputs = {op.outputs.at(0)};
  return node;
}

}  // namespace

Graph join_normalizations(Graph graph, const std::vector<bool>& visible, const Backend& backend) {
  std::vector<bool> removed(graph.nodes.size());
  const std::vector<std::int32_t> made_by = producers(graph);
  for (const Op& op : find_patterns(graph, {"LayerNormalization"})) {
    const auto is_seen = [&](std::int32_t n) {
      const ValueId made = graph.nodes[static_cast<std::size_t>(n)].outputs[0];
      return made != op.outputs[0] && static_cast<std::size_t>(made) < visible.size() &&
             visible[static_cast<std::size_t>(made)];
    };
    if (std::any_of(op.nodes.begin(), op.nodes.end(), is_seen)) continue;
    std::optional<Node> node = node_of(graph, made_by, op);
    if (!node || !backend.unsupported(graph, *node).empty() || !backend.fallback(graph, *node).empty()) continue;
    for (const std::int32_t n : op.nodes) removed[static_cast<std::size_t>(n)] = true;
    const auto last = static_cast<std::size_t>(op.nodes.back());
    graph.nodes[last] = std::move(*node);
    removed[last] = false;
  }
  std::size_t n = 0;
  std::erase_if(graph.nodes, [&](const Node&) { return removed[n++]; });
  return graph;
}

}  // namespace tare
