// Every value inside a group has its readers in the group and is no model output: hiding it changes nothing outside.
#include "plan/patterns.hpp"

#include <algorithm>
#include <optional>

namespace tare {
namespace {

class Patterns {
 public:
  explicit Patterns(const Graph& graph)
      : graph_(graph), producers_(producers(graph)), consumers_(consumers(graph)), taken_(graph.nodes.size(), false) {}

  void run(const std::string& pass) {
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      std::optional<Op> found;
      if (is(n, "Sqrt") && (pass == "LayerNormalization" || pass == "RMSNormalization")) found = normalization(n, pass);
      if (is(n, "Softmax") && pass == "MaskedSoftmax") found = masked_softmax(n);
      if (!found) continue;
      std::sort(found->nodes.begin(), found->nodes.end());
      if (std::any_of(found->nodes.begin(), found->nodes.end(), [&](std::int32_t m) { return taken(m); })) continue;
      for (const std::int32_t m : found->nodes) taken_[static_cast<std::size_t>(m)] = true;
      groups_.push_back(std::move(*found));
    }
  }
  std::vector<Op> groups() && { return std::move(groups_); }

 private:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  const Node& node(std::size_t n) const { return graph_.nodes[n]; }
  bool taken(std::int32_t n) const { return taken_[static_cast<std::size_t>(n)]; }
  bool is(std::size_t n, std::string_view type) const {
    return n != none && node(n).domain.empty() && node(n).op_type == type;
  }
  const Tensor* constant(ValueId value) const { return value == absent ? nullptr : graph_.constant(value); }
  bool is_output(ValueId value) const {
    return std::find(graph_.outputs.begin(), graph_.outputs.end(), value) != graph_.outputs.end();
  }
  std::size_t producer(ValueId value) const {
    const std::int32_t n = value == absent ? -1 : producers_[static_cast<std::size_t>(value)];
    return n < 0 ? none : static_cast<std::size_t>(n);
  }
  const std::vector<std::int32_t>& readers(ValueId value) const { return consumers_[static_cast<std::size_t>(value)]; }
  /// The node that alone reads the output of `n`, or none.
  std::size_t only_reader(std::size_t n) const {
    const ValueId output = node(n).output(0);
    return output != absent && readers(output).size() == 1 && !is_output(output)
               ? static_cast<std::size_t>(readers(output)[0])
               : none;
  }
  /// The operand of a commutative node that is not `value`.
  ValueId other_operand(std::size_t n, ValueId value) const {
    const std::vector<ValueId>& in = node(n).inputs;
    return in.size() != 2 ? absent : in[0] == value ? in[1] : in[0];
  }
  bool is_number(ValueId value, float number) const {
    const Tensor* c = constant(value);
    return c != nullptr && c->elements() == 1 && c->type() == DataType::float32 && c->data<float>()[0] == number;
  }

  /// Over the last axis alone, as far as the rank is known.
  bool is_mean_over_last_axis(std::size_t n) const {
    if (!is(n, "ReduceMean") || node(n).integer("keepdims", 1) == 0) return false;
    std::vector<std::int64_t> axes = node(n).integers("axes");
    if (node(n).inputs.size() > 1)
      if (const Tensor* given = constant(node(n).input(1)); given != nullptr && given->type() == DataType::int64)
        axes.assign(given->data<std::int64_t>(), given->data<std::int64_t>() + given->elements());
    if (axes.size() != 1) return false;
    if (node(n).input(0) == absent) return false;
    const std::optional<Shape>& shape = graph_.value(node(n).input(0)).shape;
    return axes[0] == -1 || (axes[0] > 0 && (!shape || axes[0] == static_cast<std::int64_t>(shape->rank()) - 1));
  }

  /// The node that squares `value`: Pow by 2, or a product with itself.
  bool is_square(std::size_t n) const {
    return (is(n, "Pow") && is_number(node(n).input(1), 2.0f)) ||
           (is(n, "Mul") && node(n).input(0) == node(n).input(1));
  }

  /// From the root of the mean square to the value divided by it: one Div, or a product with the reciprocal.
  std::optional<std::vector<std::size_t>> division(std::size_t root, ValueId value) const {
    const std::size_t first = only_reader(root);
    const ValueId deviation = node(root).output(0);
    if (is(first, "Div") && node(first).input(0) == value && node(first).input(1) == deviation) return {{first}};
    const bool inverts = is(first, "Reciprocal") || (is(first, "Div") && is_number(node(first).input(0), 1.0f) &&
                                                     node(first).input(1) == deviation);
    if (!inverts) return std::nullopt;
    const std::size_t product = only_reader(first);
    if (!is(product, "Mul") || other_operand(product, node(first).output(0)) != value) return std::nullopt;
    return {{first, product}};
  }

  /// x -> [x - mean(x)] -> y / sqrt(mean(y^2) + epsilon) * weight [+ bias]
  std::optional<Op> normalization(std::size_t root, const std::string& pass) const {
    const std::size_t sum = producer(node(root).input(0));
    if (!is(sum, "Add") || only_reader(sum) != root) return std::nullopt;
    const bool epsilon_last = constant(node(sum).input(1)) != nullptr;
    const std::size_t mean = producer(node(sum).input(epsilon_last ? 0 : 1));
    if (constant(node(sum).input(epsilon_last ? 1 : 0)) == nullptr) return std::nullopt;
    if (!is_mean_over_last_axis(mean) || only_reader(mean) != sum) return std::nullopt;
    const std::size_t square = producer(node(mean).input(0));
    if (!is_square(square) || only_reader(square) != mean) return std::nullopt;
    const ValueId value = node(square).input(0);
    const std::optional<std::vector<std::size_t>> divided = division(root, value);
    if (!divided) return std::nullopt;
    const std::size_t scaled = only_reader(divided->back());
    if (!is(scaled, "Mul")) return std::nullopt;
    const ValueId weight = other_operand(scaled, node(divided->back()).output(0));
    if (constant(weight) == nullptr) return std::nullopt;

    Op op{pass, {}, {value}, node(scaled).outputs, {parameter(weight, "weight")}};
    for (const std::size_t n : {square, mean, sum, root, scaled}) op.nodes.push_back(static_cast<std::int32_t>(n));
    for (const std::size_t n : *divided) op.nodes.push_back(static_cast<std::int32_t>(n));
    if (pass == "LayerNormalization" && !(add_centring(op, value, square, divided->back()) && add_bias(op, scaled)))
      return std::nullopt;
    return op;
  }
  Parameter parameter(ValueId value, const char* type) const {
    return {value, type, constant(value)->rank() == 1 ? std::optional<int>(0) : std::nullopt, std::nullopt};
  }

  /// The subtraction of the mean in front, which only the group reads.
  bool add_centring(Op& op, ValueId value, std::size_t square, std::size_t divided) const {
    const std::size_t centred = producer(value);
    if (!is(centred, "Sub") || is_output(value)) return false;
    for (const std::int32_t reader : readers(value)) {
      const auto r = static_cast<std::size_t>(reader);
      if (r != square && r != divided) return false;
    }
    const ValueId input = node(centred).input(0);
    const std::size_t mean = producer(node(centred).input(1));
    if (!is_mean_over_last_axis(mean) || node(mean).input(0) != input || only_reader(mean) != centred) return false;
    op.inputs = {input};
    op.nodes.push_back(static_cast<std::int32_t>(centred));
    op.nodes.push_back(static_cast<std::int32_t>(mean));
    return true;
  }
  bool add_bias(Op& op, std::size_t scaled) const {
    const std::size_t shifted = only_reader(scaled);
    if (!is(shifted, "Add")) return false;
    const ValueId bias = other_operand(shifted, node(scaled).output(0));
    if (constant(bias) == nullptr) return false;
    op.parameters.push_back(parameter(bias, "bias"));
    op.outputs = node(shifted).outputs;
    op.nodes.push_back(static_cast<std::int32_t>(shifted));
    return true;
  }

  /// Where(keep, scores, fill) -> Softmax: the fill is a constant that no quantizer should stretch to.
  std::optional<Op> masked_softmax(std::size_t softmax) const {
    const std::size_t where = producer(node(softmax).input(0));
    if (!is(where, "Where") || only_reader(where) != softmax || constant(node(where).input(2)) == nullptr)
      return std::nullopt;
    return Op{"MaskedSoftmax",
              {static_cast<std::int32_t>(where), static_cast<std::int32_t>(softmax)},
              {node(where).inputs[0], node(where).inputs[1]},
              node(softmax).outputs,
              {}};
  }

  const Graph& graph_;
  std::vector<std::int32_t> producers_;
  std::vector<std::vector<std::int32_t>> consumers_;
  std::vector<bool> taken_;
  std::vector<Op> groups_;
};

}  // namespace

std::vector<Op> find_patterns(const Graph& graph, const std::vector<std::string>& passes) {
  Patterns patterns(graph);
  for (const std::string& pass : passes) patterns.run(pass);
  return std::move(patterns).groups();
}

}  // namespace tare
