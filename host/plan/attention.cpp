#include "plan/attention.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string_view>

#include "model/real_element.hpp"

namespace tare {
namespace {

constexpr std::size_t rank = 4;
constexpr std::size_t none = static_cast<std::size_t>(-1);
const std::vector<std::int64_t> swaps_heads_and_positions = {0, 2, 1, 3};

/// An operand as its product reads it, or before factors and transposes.
struct Operand {
  ValueId value = absent;
  float factor = 1;
  bool positions_first = false;
};

class Joiner {
 public:
  Joiner(Graph graph, const std::vector<bool>& visible, const Backend& backend)
      : graph_(std::move(graph)),
        backend_(backend),
        readers_(consumers(graph_)),
        producers_(producers(graph_)),
        seen_(visible),
        removed_(graph_.nodes.size()) {
    seen_.resize(graph_.values.size());
    for (const ValueId output : graph_.outputs) seen_[static_cast<std::size_t>(output)] = true;
  }

  Graph run() && {
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n)
      if (is(n, "Softmax")) join(n);
    std::size_t n = 0;
    std::erase_if(graph_.nodes, [&](const Node&) { return removed_[n++]; });
    return std::move(graph_);
  }

 private:
  const Node& node(std::size_t n) const { return graph_.nodes[n]; }
  bool is(std::size_t n, std::string_view type) const {
    return n != none && node(n).domain.empty() && node(n).op_type == type;
  }
  std::size_t producer(ValueId value) const {
    const std::int32_t n = value == absent ? -1 : producers_[static_cast<std::size_t>(value)];
    return n < 0 ? none : static_cast<std::size_t>(n);
  }
  /// The node that makes a value which nobody but one reader sees, and that once.
  std::size_t inner_producer(ValueId value) const {
    const std::size_t n = producer(value);
    if (n == none || seen_[static_cast<std::size_t>(value)] || node(n).outputs.size() != 1) return none;
    const std::vector<std::int32_t>& readers = readers_[static_cast<std::size_t>(value)];
    if (readers.size() != 1) return none;
    const std::vector<ValueId>& read = node(static_cast<std::size_t>(readers[0])).inputs;
    return std::count(read.begin(), read.end(), value) == 1 ? n : none;
  }

  /// The other operand of a Mul or Div, where it is one number that adds no dimension.
  std::optional<float> factor_of(std::size_t n, ValueId& value) const {
    if ((!is(n, "Mul") && !is(n, "Div")) || node(n).inputs.size() != 2) return std::nullopt;
    for (const std::size_t i : {1u, 0u}) {
      const Tensor* number = node(n).inputs[i] == absent ? nullptr : graph_.constant(node(n).inputs[i]);
      if (number == nullptr || number->elements() != 1 || number->rank() > 1 || number->type() != DataType::float32)
        continue;
      if (i == 0 && is(n, "Div")) continue;
      value = node(n).inputs[1 - i];
      const float x = real_element(*number, 0);
      return is(n, "Div") ? 1.0f / x : x;
    }
    return std::nullopt;
  }
  std::vector<std::int64_t> order_of(std::size_t n) const {
    return is(n, "Transpose") ? node(n).integers("perm") : std::vector<std::int64_t>();
  }

  /// Through factors, where `scales`, and a transpose; `nodes` takes those that are passed.
  Operand look_through(ValueId value, bool scales, std::vector<std::size_t>& nodes, Operand operand = {}) const {
    operand.value = value;
    while (true) {
      const std::size_t n = inner_producer(operand.value);
      ValueId from = absent;
      const std::optional<float> factor = scales ? factor_of(n, from) : std::nullopt;
      if (factor) {
        operand.factor *= *factor;
        operand.value = from;
      } else if (!operand.positions_first && order_of(n) == swaps_heads_and_positions) {
        operand.positions_first = true;
        operand.value = node(n).inputs[0];
      } else {
        return operand;
      }
      nodes.push_back(n);
    }
  }
  /// Keys, whose transpose the product reads.
  std::optional<Operand> look_through_keys(ValueId value, std::vector<std::size_t>& nodes) const {
    Operand operand{value};
    while (true) {
      const std::size_t n = inner_producer(operand.value);
      ValueId from = absent;
      if (const std::optional<float> factor = factor_of(n, from)) {
        operand.factor *= *factor;
        operand.value = from;
        nodes.push_back(n);
        continue;
      }
      const std::vector<std::int64_t> order = order_of(n);
      const bool in_place = order == std::vector<std::int64_t>{0, 1, 3, 2};
      operand.positions_first = order == std::vector<std::int64_t>{0, 2, 3, 1};
      if (!in_place && !operand.positions_first) return std::nullopt;
      nodes.push_back(n);
      return look_through(node(n).inputs[0], true, nodes, operand);
    }
  }

  /// How many dimensions a value has, where that follows from what made it.
  std::optional<std::size_t> rank_of(ValueId value, int depth = 0) const {
    constexpr int deepest = 8;  // what reads a value twice walks it twice
    if (value == absent || depth > deepest) return std::nullopt;
    if (const Tensor* constant = graph_.constant(value)) return constant->rank();
    if (const std::optional<Shape>& shape = graph_.value(value).shape) return shape->rank();
    const std::size_t n = producer(value);
    if (n == none || !node(n).domain.empty() || node(n).inputs.empty()) return std::nullopt;
    const std::string& type = node(n).op_type;
    if (type == "Transpose" && node(n).has("perm")) return order_of(n).size();
    if (type == "Reshape") {
      const Tensor* shape = graph_.constant(node(n).input(1));
      return shape == nullptr ? std::nullopt : std::optional(static_cast<std::size_t>(shape->elements()));
    }
    if (type == "Unsqueeze" || type == "Squeeze") {
      const Tensor* given = graph_.constant(node(n).input(1));
      const auto inside = rank_of(node(n).inputs[0], depth + 1);
      const std::size_t axes =
          given == nullptr ? node(n).integers("axes").size() : static_cast<std::size_t>(given->elements());
      if (!inside || axes == 0 || (type == "Squeeze" && axes > *inside)) return std::nullopt;
      return type == "Squeeze" ? *inside - axes : *inside + axes;
    }
    static constexpr std::string_view keep_it[] = {"Cast", "Not", "IsNaN", "Split", "Slice", "Concat", "Neg"};
    if (std::find(std::begin(keep_it), std::end(keep_it), type) != std::end(keep_it))
      return rank_of(node(n).inputs[0], depth + 1);
    if (type == "Gather") {
      const auto inside = rank_of(node(n).inputs[0], depth + 1);
      const auto indices = rank_of(node(n).input(1), depth + 1);
      return inside && indices && *inside > 0 ? std::optional(*inside + *indices - 1) : std::nullopt;
    }
    std::size_t most = 0;
    if (type == "Expand") {
      const Tensor* shape = graph_.constant(node(n).input(1));
      const auto inside = rank_of(node(n).inputs[0], depth + 1);
      if (shape == nullptr || !inside) return std::nullopt;
      return std::max(*inside, static_cast<std::size_t>(shape->elements()));
    }
    static constexpr std::string_view broadcast[] = {"Add",         "Sub",     "Mul",           "Div",   "Where",
                                                     "And",         "Or",      "Xor",           "Equal", "Less",
                                                     "LessOrEqual", "Greater", "GreaterOrEqual"};
    if (std::find(std::begin(broadcast), std::end(broadcast), type) == std::end(broadcast)) return std::nullopt;
    for (const ValueId input : node(n).inputs) {
      const auto one = rank_of(input, depth + 1);
      if (!one) return std::nullopt;
      most = std::max(most, *one);
    }
    return most;
  }
  bool has_rank(const Operand& operand) const { return operand.positions_first || rank_of(operand.value) == rank; }

  /// From the softmax back to the first product: the mask, if any, and a factor.
  struct Scores {
    std::size_t product = none;
    ValueId mask = absent;
    float factor = 1;
  };
  std::optional<Scores> scores_of(ValueId value, std::vector<std::size_t>& nodes) const {
    Scores scores;
    std::size_t n = inner_producer(value);
    if (is(n, "Add") && node(n).inputs.size() == 2) {
      // The side of the product is the one that leads to it.
      for (const std::size_t i : {0u, 1u}) {
        std::vector<std::size_t> passed;
        const auto side = scores_of(node(n).inputs[i], passed);
        const auto mask_rank = rank_of(node(n).inputs[1 - i]);
        if (!side || side->mask != absent || !mask_rank || *mask_rank > rank) continue;
        scores = *side;
        scores.mask = node(n).inputs[1 - i];
        nodes.push_back(n);
        nodes.insert(nodes.end(), passed.begin(), passed.end());
        return scores;
      }
      return std::nullopt;
    }
    for (ValueId from = absent; const auto factor = factor_of(n, from); n = inner_producer(from)) {
      scores.factor *= *factor;
      nodes.push_back(n);
    }
    if (!is(n, "MatMul")) return std::nullopt;
    nodes.push_back(n);
    scores.product = n;
    return scores;
  }

  /// The Where of Softmax → IsNaN → Where(it, 0, softmax), by which exporters give zeros where no key counts.
  std::optional<std::size_t> guard_of(std::size_t softmax) const {
    const ValueId weights = node(softmax).outputs[0];
    const auto& readers = readers_[static_cast<std::size_t>(weights)];
    if (seen_[static_cast<std::size_t>(weights)] || readers.size() != 2) return std::nullopt;
    const auto test = static_cast<std::size_t>(readers[0]);
    const auto where = static_cast<std::size_t>(readers[1]);
    if (!is(test, "IsNaN") || !is(where, "Where") || node(where).inputs.size() != 3) return std::nullopt;
    const std::vector<ValueId>& inputs = node(where).inputs;
    if (inner_producer(inputs[0]) != test || inputs[2] != weights || inputs[1] == weights) return std::nullopt;
    const Tensor* zero = graph_.constant(inputs[1]);
    const bool is_zero = zero != nullptr && zero->type() == DataType::float32 && zero->elements() == 1 &&
                         zero->rank() <= rank && real_element(*zero, 0) == 0;
    return is_zero ? std::optional(where) : std::nullopt;
  }

  void join(std::size_t softmax) {
    const std::int64_t axis = node(softmax).integer("axis", node(softmax).opset < 13 ? 1 : -1);
    if (axis != -1 && axis != static_cast<std::int64_t>(rank) - 1) return;
    const std::optional<std::size_t> guard = guard_of(softmax);
    const std::size_t maker = guard.value_or(softmax);
    const ValueId weights = node(maker).outputs[0];
    if (inner_producer(weights) != maker) return;
    const auto second = static_cast<std::size_t>(readers_[static_cast<std::size_t>(weights)][0]);
    if (!is(second, "MatMul") || node(second).inputs[0] != weights || node(second).inputs[1] == weights) return;
    std::vector<std::size_t> nodes = {softmax};
    if (guard) nodes.insert(nodes.end(), {producer(node(*guard).inputs[0]), *guard});
    const auto scores = scores_of(node(softmax).inputs[0], nodes);
    if (!scores) return;
    const Operand query = look_through(node(scores->product).inputs[0], true, nodes);
    const auto key = look_through_keys(node(scores->product).inputs[1], nodes);
    const Operand value = look_through(node(second).inputs[1], false, nodes);
    if (!key || !has_rank(query) || !has_rank(value) || is_half(query.value)) return;
    Node joined;
    joined.name = node(second).name;
    joined.domain = "tare";
    joined.op_type = "Attention";
    joined.inputs = {query.value, key->value, value.value};
    if (scores->mask != absent) joined.inputs.push_back(scores->mask);
    joined.outputs = node(second).outputs;
    std::size_t last = second;
    const ValueId result = node(second).outputs[0];
    const auto& readers = readers_[static_cast<std::size_t>(result)];
    const bool turns =
        inner_producer(result) == second && order_of(static_cast<std::size_t>(readers[0])) == swaps_heads_and_positions;
    if (turns) {
      nodes.push_back(second);
      last = static_cast<std::size_t>(readers[0]);
      joined.outputs = node(last).outputs;
    }
    joined.attributes.emplace("scale", scores->factor * query.factor * key->factor);
    if (guard) joined.attributes.emplace("fills", std::int64_t{1});
    joined.attributes.emplace("positions_first", std::vector<std::int64_t>{query.positions_first, key->positions_first,
                                                                           value.positions_first, turns});
    if (!backend_.unsupported(graph_, joined).empty() || !backend_.fallback(graph_, joined).empty()) return;
    for (const std::size_t n : nodes) removed_[n] = true;
    graph_.nodes[last] = std::move(joined);
  }

  /// Halves would be rounded once instead of at every step.
  bool is_half(ValueId value) const {
    const DataType type = graph_.value(value).type;
    return type == DataType::float16 || type == DataType::bfloat16;
  }

  Graph graph_;
  const Backend& backend_;
  std::vector<std::vector<std::int32_t>> readers_;
  std::vector<std::int32_t> producers_;
  std::vector<bool> seen_;
  std::vector<bool> removed_;
};

}  // namespace

Graph join_attention(Graph graph, const std::vector<bool>& visible, const Backend& backend) {
  return Joiner(std::move(graph), visible, backend).run();
}

}  // namespace tare
