// Every value inside a group has its readers in the group and is no model output: hiding it changes nothing outside.
#include "plan/patterns.hpp"

#include <algorithm>
#include <optional>

#include "model/real_element.hpp"

namespace tare {
namespace {

class Patterns {
 public:
  explicit Patterns(const Graph& graph)
      : graph_(graph), producers_(producers(graph)), consumers_(consumers(graph)), taken_(graph.nodes.size(), false) {}

  void run(const std::string& pass) {
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      std::optional<Op> found;
      if (is_root(n) && (pass == "LayerNormalization" || pass == "RMSNormalization")) found = normalization(n, pass);
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
  std::optional<float> number(ValueId value) const {
    const Tensor* c = constant(value);
    if (c == nullptr || c->elements() != 1 || !is_quantizable(c->type())) return std::nullopt;
    return real_element(*c, 0);
  }
  bool is_number(ValueId value, float wanted) const { return number(value) == wanted; }

  /// The only axis that a reduction goes over; nothing where there are several, or it does not stay.
  std::optional<std::int64_t> axis_of(std::size_t n) const {
    if (node(n).input(0) == absent || node(n).integer("keepdims", 1) == 0) return std::nullopt;
    const std::vector<std::int64_t> axes = reduced_axes(graph_, node(n));
    return axes.size() == 1 ? std::optional(axes[0]) : std::nullopt;
  }
  bool is_mean_over_an_axis(std::size_t n) const { return is(n, "ReduceMean") && axis_of(n).has_value(); }
  /// Of two reductions of values of one shape: one may count from the front, where a rank is known.
  bool have_same_axis(std::size_t a, std::size_t b) const {
    const std::int64_t between = *axis_of(a) - *axis_of(b);
    if (between == 0) return true;
    for (const std::size_t n : {a, b})
      if (const std::optional<Shape>& shape = graph_.value(node(n).inputs[0]).shape; shape && shape->rank() > 0)
        return between % static_cast<std::int64_t>(shape->rank()) == 0;
    return false;
  }

  /// The node that squares `value`: Pow by 2, or a product with itself.
  bool is_square(std::size_t n) const {
    return (is(n, "Pow") && is_number(node(n).input(1), 2.0f)) ||
           (is(n, "Mul") && node(n).input(0) == node(n).input(1));
  }

  bool is_inverse_root(std::size_t n) const { return is(n, "Pow") && is_number(node(n).input(1), -0.5f); }
  bool is_root(std::size_t n) const { return is(n, "Sqrt") || is_inverse_root(n); }

  /// From the root of the mean square to the value divided by it: one Div, or a product with the reciprocal.
  std::optional<std::vector<std::size_t>> division(std::size_t root, ValueId value) const {
    std::vector<std::size_t> nodes;
    std::size_t inverse = root;
    if (!is_inverse_root(root)) {
      const ValueId deviation = node(root).output(0);
      inverse = only_reader(root);
      nodes.push_back(inverse);
      const bool divides = is(inverse, "Div") && node(inverse).input(1) == deviation;
      if (divides && node(inverse).input(0) == value) return nodes;
      if (!is(inverse, "Reciprocal") && !(divides && is_number(node(inverse).input(0), 1.0f))) return std::nullopt;
    }
    const std::size_t product = only_reader(inverse);
    if (!is(product, "Mul") || other_operand(product, node(inverse).output(0)) != value) return std::nullopt;
    nodes.push_back(product);
    return nodes;
  }

  /// x -> [x - mean(x)] -> y / sqrt(mean(y^2) + epsilon) [* weight [+ bias]]
  std::optional<Op> normalization(std::size_t root, const std::string& pass) const {
    const std::size_t sum = producer(node(root).input(0));
    if (!is(sum, "Add") || only_reader(sum) != root) return std::nullopt;
    const bool epsilon_last = constant(node(sum).input(1)) != nullptr;
    const std::size_t mean = producer(node(sum).input(epsilon_last ? 0 : 1));
    if (constant(node(sum).input(epsilon_last ? 1 : 0)) == nullptr) return std::nullopt;
    if (!is_mean_over_an_axis(mean) || only_reader(mean) != sum) return std::nullopt;
    const std::size_t square = producer(node(mean).input(0));
    if (!is_square(square) || only_reader(square) != mean) return std::nullopt;
    const ValueId value = node(square).input(0);
    const std::optional<std::vector<std::size_t>> divided = division(root, value);
    if (!divided) return std::nullopt;

    Op op{pass, {}, {value}, node(divided->back()).outputs, {}};
    for (const std::size_t n : {square, mean, sum, root}) op.nodes.push_back(static_cast<std::int32_t>(n));
    for (const std::size_t n : *divided) op.nodes.push_back(static_cast<std::int32_t>(n));
    const std::size_t scaled = add_parameter(op, divided->back(), "Mul", "weight");
    if (pass == "RMSNormalization") return op;
    // Without a weight AIMET has no layer norm: what is behind the subtraction is an RMS norm.
    if (scaled == none || !add_centring(op, value, square, divided->back(), mean)) return std::nullopt;
    add_parameter(op, scaled, "Add", "bias");
    return op;
  }
  /// The product with a weight, or the sum with a bias, that alone reads the output of `n`; none where there is none.
  std::size_t add_parameter(Op& op, std::size_t n, std::string_view operation, const char* type) const {
    const std::size_t next = only_reader(n);
    if (!is(next, operation)) return none;
    const ValueId stored = behind_identities(graph_, producers_, other_operand(next, node(n).output(0)));
    const Tensor* values = constant(stored);
    if (values == nullptr) return none;
    op.parameters.push_back({stored, type, values->rank() == 1 ? std::optional<int>(0) : std::nullopt, std::nullopt});
    op.outputs = node(next).outputs;
    op.nodes.push_back(static_cast<std::int32_t>(next));
    return next;
  }

  /// The subtraction of the mean in front, which only the group reads.
  bool add_centring(Op& op, ValueId value, std::size_t square, std::size_t divided, std::size_t variance) const {
    const std::size_t centred = producer(value);
    if (!is(centred, "Sub") || is_output(value)) return false;
    for (const std::int32_t reader : readers(value)) {
      const auto r = static_cast<std::size_t>(reader);
      if (r != square && r != divided) return false;
    }
    const ValueId input = node(centred).input(0);
    const std::size_t mean = producer(node(centred).input(1));
    if (!is_mean_over_an_axis(mean) || !have_same_axis(mean, variance)) return false;
    if (node(mean).input(0) != input || only_reader(mean) != centred) return false;
    op.inputs = {input};
    op.nodes.push_back(static_cast<std::int32_t>(centred));
    op.nodes.push_back(static_cast<std::int32_t>(mean));
    return true;
  }

  /// Where(keep, scores, fill) -> Softmax: no quantizer should stretch to the fill, a constant or far below the scores.
  std::optional<Op> masked_softmax(std::size_t softmax) const {
    const std::size_t where = producer(node(softmax).input(0));
    if (!is(where, "Where") || only_reader(where) != softmax) return std::nullopt;
    Op op{"MaskedSoftmax",
          {static_cast<std::int32_t>(where), static_cast<std::int32_t>(softmax)},
          {node(where).inputs[0], node(where).inputs[1]},
          node(softmax).outputs,
          {}};
    if (constant(node(where).input(2)) == nullptr && !add_fill(op, where, node(softmax).integer("axis", -1)))
      return std::nullopt;
    return op;
  }
  /// ReduceMin(scores) + number: AIMET's form, with its limits.
  bool add_fill(Op& op, std::size_t where, std::int64_t softmax_axis) const {
    constexpr float highest_number = -20;
    constexpr std::size_t rank = 4;
    const auto is_last = [](std::int64_t axis) { return axis == -1 || axis == static_cast<std::int64_t>(rank) - 1; };
    const ValueId scores = node(where).input(1);
    const std::size_t sum = producer(node(where).input(2));
    if (scores == absent || !is(sum, "Add") || only_reader(sum) != where) return false;
    const std::size_t lowest = producer(node(sum).input(0));
    if (!is(lowest, "ReduceMin") || node(lowest).input(0) != scores || only_reader(lowest) != sum) return false;
    const std::optional<Shape>& shape = graph_.value(scores).shape;
    if (!shape || shape->rank() != rank || !is_last(softmax_axis) || !is_last(axis_of(lowest).value_or(0)))
      return false;
    if (!(number(node(sum).input(1)).value_or(0) <= highest_number)) return false;
    op.nodes.push_back(static_cast<std::int32_t>(sum));
    op.nodes.push_back(static_cast<std::int32_t>(lowest));
    return true;
  }

  const Graph& graph_;
  std::vector<std::int32_t> producers_;
  std::vector<std::vector<std::int32_t>> consumers_;
  std::vector<bool> taken_;
  std::vector<Op> groups_;
};

}  // namespace

std::vector<std::int64_t> reduced_axes(const Graph& graph, const Node& node) {
  const Tensor* given = node.input(1) == absent ? nullptr : graph.constant(node.input(1));
  if (given == nullptr || given->type() != DataType::int64) return node.integers("axes");
  return {given->data<std::int64_t>(), given->data<std::int64_t>() + given->elements()};
}

std::vector<Op> find_patterns(const Graph& graph, const std::vector<std::string>& passes) {
  // A layer norm holds an RMS norm: in whatever order they are listed, the larger is looked for first.
  std::vector<std::string> larger_first = passes;
  std::stable_partition(larger_first.begin(), larger_first.end(),
                        [](const std::string& pass) { return pass == "LayerNormalization"; });
  Patterns patterns(graph);
  for (const std::string& pass : larger_first) patterns.run(pass);
  return std::move(patterns).groups();
}

}  // namespace tare
