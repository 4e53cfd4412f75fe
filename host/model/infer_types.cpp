// Element types by operator. Most outputs have the type of the first input; the table holds the others. Own rules
// instead of libonnx's shape inference: that one trusts its input, and only element types are needed before a run.
#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "tare/model.hpp"

namespace tare {
namespace {

/// Where the type of an output comes from.
struct Rule {
  enum class Source : std::uint8_t { fixed, input, attribute, unknown } source = Source::input;
  DataType type = DataType::undefined;  ///< fixed; or what an attribute defaults to
  std::size_t input = 0;
  std::string_view attribute = {};
};

constexpr Rule fixed(DataType type) { return {Rule::Source::fixed, type, 0, {}}; }
constexpr Rule like(std::size_t input) { return {Rule::Source::input, DataType::undefined, input, {}}; }
constexpr Rule to(std::string_view attribute, DataType otherwise = DataType::undefined) {
  return {Rule::Source::attribute, otherwise, 0, attribute};
}
constexpr Rule unknown() { return {Rule::Source::unknown, DataType::undefined, 0, {}}; }

/// Rules of the first outputs; the last one holds for all that follow.
struct Rules {
  std::array<Rule, 4> outputs;
  std::size_t count;
  const Rule& at(std::size_t output) const { return outputs[std::min(output, count - 1)]; }
};

template <class... R>
constexpr Rules rules(R... outputs) {
  return {{outputs...}, sizeof...(R)};
}

const std::unordered_map<std::string_view, Rules>& standard_rules() {
  constexpr DataType int64 = DataType::int64;
  constexpr DataType int32 = DataType::int32;
  constexpr DataType float32 = DataType::float32;
  constexpr DataType boolean = DataType::boolean;
  constexpr DataType uint8 = DataType::uint8;
  static const std::unordered_map<std::string_view, Rules> table = {
      {"Shape", rules(fixed(int64))},
      {"Size", rules(fixed(int64))},
      {"NonZero", rules(fixed(int64))},
      {"ArgMax", rules(fixed(int64))},
      {"ArgMin", rules(fixed(int64))},
      {"NonMaxSuppression", rules(fixed(int64))},
      {"StringSplit", rules(fixed(DataType::string), fixed(int64))},
      {"TopK", rules(like(0), fixed(int64))},
      {"Unique", rules(like(0), fixed(int64))},
      {"MaxPool", rules(like(0), fixed(int64))},
      {"Dropout", rules(like(0), fixed(boolean))},
      {"And", rules(fixed(boolean))},
      {"Or", rules(fixed(boolean))},
      {"Xor", rules(fixed(boolean))},
      {"Not", rules(fixed(boolean))},
      {"Equal", rules(fixed(boolean))},
      {"Less", rules(fixed(boolean))},
      {"LessOrEqual", rules(fixed(boolean))},
      {"Greater", rules(fixed(boolean))},
      {"GreaterOrEqual", rules(fixed(boolean))},
      {"IsNaN", rules(fixed(boolean))},
      {"IsInf", rules(fixed(boolean))},
      {"OptionalHasElement", rules(fixed(boolean))},
      {"RegexFullMatch", rules(fixed(boolean))},
      {"Cast", rules(to("to"))},
      {"CastLike", rules(like(1))},
      {"BitCast", rules(to("to"))},
      {"Where", rules(like(1))},
      {"OneHot", rules(like(2))},
      {"EyeLike", rules(to("dtype"))},
      {"RandomNormal", rules(to("dtype", float32))},
      {"RandomUniform", rules(to("dtype", float32))},
      {"RandomNormalLike", rules(to("dtype"))},
      {"RandomUniformLike", rules(to("dtype"))},
      {"Bernoulli", rules(to("dtype"))},
      {"Multinomial", rules(to("dtype", int32))},
      {"HannWindow", rules(to("output_datatype", float32))},
      {"HammingWindow", rules(to("output_datatype", float32))},
      {"BlackmanWindow", rules(to("output_datatype", float32))},
      {"MelWeightMatrix", rules(to("output_datatype", float32))},
      {"QuantizeLinear", rules(like(2))},
      {"DequantizeLinear", rules(like(1))},
      {"DynamicQuantizeLinear", rules(fixed(uint8), fixed(float32), fixed(uint8))},
      {"QLinearConv", rules(like(7))},
      {"QLinearMatMul", rules(like(7))},
      {"ConvInteger", rules(fixed(int32))},
      {"MatMulInteger", rules(fixed(int32))},
      {"BatchNormalization", rules(like(0), like(3), like(4), like(3))},
      {"LayerNormalization", rules(like(0), to("stash_type", float32))},
      {"TfIdfVectorizer", rules(fixed(float32))},
      {"ImageDecoder", rules(fixed(uint8))},
      {"Compress", rules(like(0))},
      {"SequenceEmpty", rules(fixed(DataType::sequence))},
      {"SequenceConstruct", rules(fixed(DataType::sequence))},
      {"SequenceInsert", rules(fixed(DataType::sequence))},
      {"SequenceErase", rules(fixed(DataType::sequence))},
      {"SequenceAt", rules(unknown())},
      {"SequenceMap", rules(fixed(DataType::sequence))},
      {"SequenceLength", rules(fixed(int64))},
      {"SplitToSequence", rules(fixed(DataType::sequence))},
      {"ConcatFromSequence", rules(unknown())},
      {"Optional", rules(fixed(DataType::optional))},
      {"OptionalGetElement", rules(unknown())},
      {"StringConcat", rules(fixed(DataType::string))},
      {"StringNormalizer", rules(fixed(DataType::string))},
  };
  return table;
}

DataType type_at(const Graph& graph, const std::vector<ValueId>& values, std::size_t i) {
  return i < values.size() && values[i] != absent ? graph.value(values[i]).type : DataType::undefined;
}

DataType attribute_type(const Node& node, std::string_view key) {
  const auto it = node.attributes.find(key);
  const std::int64_t* number = it == node.attributes.end() ? nullptr : std::get_if<std::int64_t>(&it->second);
  return number == nullptr ? DataType::undefined : onnx_type(*number);
}

DataType apply(const Rule& rule, const Graph& graph, const Node& node) {
  switch (rule.source) {
    case Rule::Source::fixed: return rule.type;
    case Rule::Source::input: return type_at(graph, node.inputs, rule.input);
    case Rule::Source::unknown: return DataType::undefined;
    case Rule::Source::attribute: break;
  }
  if (const DataType type = attribute_type(node, rule.attribute); type != DataType::undefined) return type;
  return rule.type != DataType::undefined ? rule.type : type_at(graph, node.inputs, 0);
}

DataType output_type(const Graph& graph, const Node& node, std::size_t output) {
  const std::string_view op = node.op_type;
  if (op == "ConstantOfShape") {
    const auto it = node.attributes.find("value");
    const Tensor* value = it == node.attributes.end() ? nullptr : std::get_if<Tensor>(&it->second);
    return value == nullptr ? DataType::float32 : value->type();
  }
  if (op == "QuantizeLinear") {
    if (const DataType zero_point = type_at(graph, node.inputs, 2); zero_point != DataType::undefined)
      return zero_point;
    const DataType wanted = attribute_type(node, "output_dtype");
    return wanted == DataType::undefined ? DataType::uint8 : wanted;
  }
  if (op == "DequantizeLinear")
    if (const DataType wanted = attribute_type(node, "output_dtype"); wanted != DataType::undefined) return wanted;
  const auto it = standard_rules().find(op);
  if (it != standard_rules().end()) return apply(it->second.at(output), graph, node);
  // An operator without a rule takes the type of its first given input.
  for (std::size_t i = 0; i < node.inputs.size(); ++i)
    if (node.inputs[i] != absent) return type_at(graph, node.inputs, i);
  return DataType::undefined;
}

void fill(Value& value, DataType type) {
  if (value.type == DataType::undefined) value.type = type;
}

/// Hands the types of the outer values to a body, infers inside, and keeps the body it made.
const Graph& infer_body(const Graph& graph, Subgraph& body, const std::vector<ValueId>& operands,
                        std::size_t first_input) {
  auto typed = std::make_shared<Graph>(*body.graph);
  for (std::size_t i = 0; i < typed->captures.size() && i < body.captures.size(); ++i)
    fill(typed->value(typed->captures[i]), graph.value(body.captures[i]).type);
  for (std::size_t i = first_input; i < typed->inputs.size() && i - first_input < operands.size(); ++i)
    fill(typed->value(typed->inputs[i]), type_at(graph, operands, i - first_input));
  infer_types(*typed);
  body.graph = typed;
  return *typed;
}

Subgraph* body_of(Node& node, std::string_view key) {
  const auto it = node.attributes.find(key);
  return it == node.attributes.end() ? nullptr : std::get_if<Subgraph>(&it->second);
}

/// The outputs of a node take the types of its body's outputs from `first` on.
void take_types(Graph& graph, const Node& node, const Graph& body, std::size_t first) {
  for (std::size_t i = 0; i < node.outputs.size() && first + i < body.outputs.size(); ++i)
    if (node.outputs[i] != absent) fill(graph.value(node.outputs[i]), body.value(body.outputs[first + i]).type);
}

void infer_if(Graph& graph, Node& node) {
  for (const std::string_view key : {"then_branch", "else_branch"})
    if (Subgraph* body = body_of(node, key)) take_types(graph, node, infer_body(graph, *body, {}, 0), 0);
}

void infer_loop(Graph& graph, Node& node) {
  Subgraph* body = body_of(node, "body");
  if (body == nullptr) return;
  // Body inputs: iteration, condition, carried values; body outputs: condition, carried values, scan outputs.
  Graph typed = *body->graph;
  if (!typed.inputs.empty()) fill(typed.value(typed.inputs[0]), DataType::int64);
  if (typed.inputs.size() > 1) fill(typed.value(typed.inputs[1]), DataType::boolean);
  body->graph = std::make_shared<const Graph>(std::move(typed));
  const std::vector<ValueId> carried(node.inputs.begin() + std::min<std::ptrdiff_t>(2, std::ssize(node.inputs)),
                                     node.inputs.end());
  take_types(graph, node, infer_body(graph, *body, carried, 2), 1);
}

void infer_scan(Graph& graph, Node& node) {
  Subgraph* body = body_of(node, "body");
  if (body == nullptr) return;
  // Opset 8 has the sequence lengths before the operands.
  const std::ptrdiff_t first = node.opset < 9 ? std::min<std::ptrdiff_t>(1, std::ssize(node.inputs)) : 0;
  const std::vector<ValueId> operands(node.inputs.begin() + first, node.inputs.end());
  take_types(graph, node, infer_body(graph, *body, operands, 0), 0);
}

}  // namespace

void infer_types(Graph& graph) {
  for (Node& node : graph.nodes) {
    const bool standard = node.domain.empty();
    if (standard && node.op_type == "If") {
      infer_if(graph, node);
    } else if (standard && node.op_type == "Loop") {
      infer_loop(graph, node);
    } else if (standard && node.op_type == "Scan") {
      infer_scan(graph, node);
    } else {
      for (auto& [key, attribute] : node.attributes)
        if (Subgraph* body = std::get_if<Subgraph>(&attribute)) infer_body(graph, *body, {}, 0);
      if (!standard && node.domain != "com.microsoft") continue;
      for (std::size_t i = 0; i < node.outputs.size(); ++i)
        if (node.outputs[i] != absent) fill(graph.value(node.outputs[i]), output_type(graph, node, i));
    }
  }
}

}  // namespace tare
