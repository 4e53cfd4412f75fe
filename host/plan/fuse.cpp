#include "plan/fuse.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "plan/attention.hpp"
#include "plan/biases.hpp"
#include "plan/clip_range.hpp"
#include "plan/normalizations.hpp"
#include "plan/ops.hpp"
#include "plan/simplify.hpp"

namespace tare {
namespace {

bool is(const Node& node, std::string_view type) { return node.domain.empty() && node.op_type == type; }
bool is_product(const Node& node) {
  return (node.domain.empty() || node.domain == "tare") &&
         (node.op_type == "Conv" || node.op_type == "Gemm" || node.op_type == "MatMul");
}

class Fuser {
 public:
  Fuser(Graph graph, const std::vector<bool>& visible, const Backend& backend)
      : graph_(std::move(graph)),
        backend_(backend),
        readers_(consumers(graph_)),
        producers_(producers(graph_)),
        kept_(visible),
        removed_(graph_.nodes.size(), false) {
    for (const ValueId output : graph_.outputs) kept_[static_cast<std::size_t>(output)] = true;
  }

  Graph run() {
    for (Node& node : graph_.nodes) name_sum(node);
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (!removed_[n]) join_hard_swish(n);
      if (!removed_[n]) join_channel_shuffle(n);
    }
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (removed_[n]) continue;
      while (fold_affine(n)) {
      }
      while (absorb_activation(n)) {
      }
    }
    std::size_t n = 0;
    std::erase_if(graph_.nodes, [&](const Node&) { return removed_[n++]; });
    return backend_.chains_broadcast() ? spell_out_biases(std::move(graph_)) : std::move(graph_);
  }

 private:
  /// The one reader of a node's only output, when that output may disappear.
  std::optional<std::size_t> only_reader(const Node& node) const {
    for (std::size_t i = 1; i < node.outputs.size(); ++i)
      if (node.outputs[i] != absent) return std::nullopt;
    if (node.output(0) == absent) return std::nullopt;
    const auto output = static_cast<std::size_t>(node.outputs[0]);
    if (kept_[output] || readers_[output].size() != 1) return std::nullopt;
    return static_cast<std::size_t>(readers_[output][0]);
  }

  const Tensor* float_constant(const Node& node, std::size_t i, std::int64_t elements) const {
    const Tensor* constant =
        i < node.inputs.size() && node.inputs[i] != absent ? graph_.constant(node.inputs[i]) : nullptr;
    const bool fits = constant != nullptr && constant->type() == DataType::float32 && constant->elements() == elements;
    return fits ? constant : nullptr;
  }

  ValueId add_constant(const std::string& name, Tensor tensor) {
    const ValueId id = graph_.add_value({name, tensor.type(), tensor.shape()});
    graph_.constants.emplace(id, std::move(tensor));
    readers_.emplace_back();
    kept_.push_back(false);
    return id;
  }

  /// (x - center) * factor + shift, a channel each.
  struct Affine {
    std::vector<double> center, factor, shift;
  };

  /// What a node does to the output of a convolution of so many channels and dimensions, when it is known.
  std::optional<Affine> affine_of(const Node& node, ValueId x, std::int64_t channels, std::size_t rank) const {
    const auto n = static_cast<std::size_t>(channels);
    Affine result{std::vector<double>(n, 0.0), std::vector<double>(n, 1.0), std::vector<double>(n, 0.0)};
    if (is(node, "BatchNormalization")) {
      const bool trains =
          takes_moments_of_batch(node) || (node.opset != 0 && node.opset < 7 && node.integer("is_test", 0) == 0);
      if (node.inputs[0] != x || trains) return std::nullopt;
      const Tensor* scale = float_constant(node, 1, channels);
      const Tensor* shift = float_constant(node, 2, channels);
      const Tensor* mean = float_constant(node, 3, channels);
      const Tensor* variance = float_constant(node, 4, channels);
      if (scale == nullptr || shift == nullptr || mean == nullptr || variance == nullptr) return std::nullopt;
      const double epsilon = static_cast<double>(node.real("epsilon", 1e-5f));
      for (std::size_t c = 0; c < n; ++c) {
        const auto at = [c](const Tensor* t) { return static_cast<double>(t->data<float>()[c]); };
        result.center[c] = at(mean);
        result.factor[c] = at(scale) / std::sqrt(at(variance) + epsilon);
        result.shift[c] = at(shift);
      }
      return result;
    }
    const bool is_sum = is(node, "Add");
    if ((!is_sum && !is(node, "Mul")) || node.inputs.size() != 2 || node.inputs[0] == node.inputs[1])
      return std::nullopt;
    const std::size_t i = node.inputs[0] == x ? 1 : 0;
    const Tensor* operand = float_constant(node, i, channels);
    if (operand == nullptr) operand = float_constant(node, i, 1);
    if (operand == nullptr || operand->rank() > rank) return std::nullopt;
    // Aligned at the last dimension, the elements must lie along the channels.
    const std::size_t before = rank - operand->rank();
    if (operand->elements() > 1 && (before > 1 || operand->shape()[1 - before] != channels)) return std::nullopt;
    for (std::size_t c = 0; c < n; ++c)
      (is_sum ? result.shift : result.factor)[c] =
          static_cast<double>(operand->data<float>()[operand->elements() > 1 ? c : 0]);
    return result;
  }

  /// (conv(x, w) + b - center) * factor + shift is again a convolution.
  bool fold_affine(std::size_t n) {
    if (!is(graph_.nodes[n], "Conv")) return false;
    const auto reader = only_reader(graph_.nodes[n]);
    if (!reader) return false;
    Node& conv = graph_.nodes[n];
    const Node& next = graph_.nodes[*reader];
    for (std::size_t i = 1; i < next.outputs.size(); ++i)
      if (next.outputs[i] != absent) return false;
    const Tensor* weight = conv.inputs.size() < 2 ? nullptr : graph_.constant(conv.inputs[1]);
    if (weight == nullptr || weight->type() != DataType::float32 || weight->rank() < 3) return false;
    const std::int64_t channels = weight->shape()[0];
    const bool has_bias = conv.inputs.size() > 2 && conv.inputs[2] != absent;
    const Tensor* bias = has_bias ? float_constant(conv, 2, channels) : nullptr;
    if (has_bias && bias == nullptr) return false;
    const std::optional<Affine> affine = affine_of(next, conv.outputs[0], channels, weight->rank());
    if (!affine) return false;

    Tensor new_weight = Tensor::host(DataType::float32, weight->shape());
    Tensor new_bias = Tensor::host(DataType::float32, {channels});
    const std::int64_t row = channels == 0 ? 0 : weight->elements() / channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      const auto at = static_cast<std::size_t>(c);
      for (std::int64_t i = c * row; i < (c + 1) * row; ++i)
        new_weight.mutable_data<float>()[i] =
            static_cast<float>(static_cast<double>(weight->data<float>()[i]) * affine->factor[at]);
      const double before = bias != nullptr ? static_cast<double>(bias->data<float>()[c]) : 0.0;
      new_bias.mutable_data<float>()[c] =
          static_cast<float>((before - affine->center[at]) * affine->factor[at] + affine->shift[at]);
    }
    const std::string stem = conv.name;
    const ValueId output = next.outputs[0];
    removed_[*reader] = true;
    const ValueId weight_id = add_constant(stem + "/folded_weight", std::move(new_weight));
    const ValueId bias_id = add_constant(stem + "/folded_bias", std::move(new_bias));
    conv.inputs.resize(3, absent);
    conv.inputs[1] = weight_id;
    conv.inputs[2] = bias_id;
    conv.outputs[0] = output;
    return true;
  }

  std::optional<float> scalar(const Node& node, std::size_t i) const {
    const Tensor* constant = float_constant(node, i, 1);
    return constant != nullptr ? std::optional(*constant->data<float>()) : std::nullopt;
  }

  /// The post-op that an activation node is, or nothing.
  std::optional<std::string> post_op(const Node& node) const {
    if (!node.domain.empty()) return std::nullopt;
    if (node.op_type == "Relu") return "relu";
    if (node.op_type == "Sigmoid") return "sigmoid";
    if (node.op_type == "Tanh") return "tanh";
    if (node.op_type == "HardSwish") return "hard_swish";
    if (node.op_type == "HardSigmoid")
      return fmt::format("hard_sigmoid:{}:{}", node.real("alpha", 0.2f), node.real("beta", 0.5f));
    if (node.op_type == "LeakyRelu" && node.real("alpha", 0.01f) > 0)
      return fmt::format("leaky_relu:{}", node.real("alpha", 0.01f));
    if (const auto range = clip_range(graph_, node)) return fmt::format("clip:{}:{}", range->low, range->high);
    return std::nullopt;
  }

  /// Whether a value surely has `rank` dimensions, so that a constant of one element and that rank leaves its shape
  /// alone.
  bool has_rank(ValueId value, std::size_t rank) const {
    if (rank == 0) return true;
    const std::optional<Shape>& shape = graph_.value(value).shape;
    if (shape) return shape->rank() >= rank;
    const std::int32_t producer = producers_[static_cast<std::size_t>(value)];
    if (producer < 0 || rank > 2) return false;
    const Node& node = graph_.nodes[static_cast<std::size_t>(producer)];
    return is(node, "Conv") || is(node, "ConvTranspose") || is(node, "BatchNormalization");
  }

  /// Input i of a node of two inputs is the constant `number`, of one element, which changes nothing about x's shape.
  bool is_number(const Node& node, std::size_t i, float number, ValueId x) const {
    if (node.inputs.size() != 2 || node.inputs[1 - i] == absent) return false;
    const auto found = scalar(node, i);
    return found && *found == number && has_rank(x, graph_.constant(node.inputs[i])->rank());
  }

  /// x min(max(x + 3, 0), 6) / 6, as models spell it that are older than HardSwish; the division first or last.
  void join_hard_swish(std::size_t n) {
    const Node& shift = graph_.nodes[n];
    if (!is(shift, "Add") || shift.inputs.size() != 2) return;
    const std::size_t constant = scalar(shift, 1) ? 1 : 0;
    const ValueId x = shift.inputs[1 - constant];
    if (!is_number(shift, constant, 3.0f, x)) return;
    const auto clip = only_reader(graph_.nodes[n]);
    if (!clip || graph_.nodes[*clip].inputs[0] != graph_.nodes[n].outputs[0]) return;
    const auto word = post_op(graph_.nodes[*clip]);
    if (!word || *word != fmt::format("clip:{}:{}", 0.0f, 6.0f)) return;
    const auto third = only_reader(graph_.nodes[*clip]);
    const auto last = third ? only_reader(graph_.nodes[*third]) : std::nullopt;
    if (!last) return;
    const auto is_product_with_x = [&](std::size_t node, std::size_t before) {
      const Node& product = graph_.nodes[node];
      const ValueId other = graph_.nodes[before].outputs[0];
      return is(product, "Mul") && product.inputs.size() == 2 &&
             ((product.inputs[0] == x && product.inputs[1] == other) ||
              (product.inputs[0] == other && product.inputs[1] == x));
    };
    const auto is_sixth_of = [&](std::size_t node, std::size_t before) {
      const Node& division = graph_.nodes[node];
      return is(division, "Div") && division.inputs[0] == graph_.nodes[before].outputs[0] &&
             is_number(division, 1, 6.0f, x);
    };
    const bool division_last = is_product_with_x(*third, *clip) && is_sixth_of(*last, *third);
    const bool division_first = is_sixth_of(*third, *clip) && is_product_with_x(*last, *third);
    if (!division_last && !division_first) return;
    Node joined;
    joined.name = graph_.nodes[*last].name;
    joined.op_type = "HardSwish";
    joined.opset = 14;
    joined.inputs = {x};
    joined.outputs = {graph_.nodes[*last].outputs[0]};
    if (!backend_.unsupported(graph_, joined).empty()) return;
    graph_.nodes[*last] = std::move(joined);
    auto& readers = readers_[static_cast<std::size_t>(x)];
    const auto gone = static_cast<std::int32_t>(division_last ? *third : *last);
    std::erase_if(readers,
                  [&](std::int32_t reader) { return reader == static_cast<std::int32_t>(n) || reader == gone; });
    readers.push_back(static_cast<std::int32_t>(*last));
    removed_[n] = removed_[*clip] = removed_[*third] = true;
  }

  /// A Sum of two is an Add, which chains know.
  void name_sum(Node& node) const {
    if (!is(node, "Sum") || node.inputs.size() != 2) return;
    Node add = node;
    add.op_type = "Add";
    add.opset = 14;
    if (backend_.unsupported(graph_, add).empty()) node = std::move(add);
  }

  /// The target of a Reshape that is known and has so many dimensions.
  std::optional<std::vector<std::int64_t>> target(const Node& node, std::size_t rank) const {
    if (!is(node, "Reshape") || node.input(0) == absent || node.integer("allowzero", 0) != 0) return std::nullopt;
    const Tensor* shape = graph_.constant(node.input(1));
    if (shape == nullptr || shape->type() != DataType::int64 || shape->elements() != static_cast<std::int64_t>(rank))
      return std::nullopt;
    return std::vector<std::int64_t>(shape->data<std::int64_t>(), shape->data<std::int64_t>() + rank);
  }

  /// Channels as groups, groups and their members exchanged, channels again: three movements become one.
  void join_channel_shuffle(std::size_t n) {
    const Node& first = graph_.nodes[n];
    const auto split = target(first, 5);
    const auto second = split ? only_reader(first) : std::nullopt;
    if (!second) return;
    const Node& transpose = graph_.nodes[*second];
    if (!is(transpose, "Transpose") || transpose.integers("perm") != std::vector<std::int64_t>{0, 2, 1, 3, 4}) return;
    const auto third = only_reader(transpose);
    if (!third || graph_.nodes[*third].inputs[0] != transpose.outputs[0]) return;
    const auto joined = target(graph_.nodes[*third], 4);
    if (!joined) return;
    Node shuffle;
    shuffle.name = transpose.name;
    shuffle.domain = "tare";
    shuffle.op_type = "ChannelShuffle";
    shuffle.opset = 1;
    shuffle.attributes = {{"split", *split}, {"joined", *joined}};
    shuffle.inputs = {first.inputs[0]};
    shuffle.outputs = {graph_.nodes[*third].outputs[0]};
    if (!backend_.unsupported(graph_, shuffle).empty()) return;
    auto& readers = readers_[static_cast<std::size_t>(first.inputs[0])];
    std::replace(readers.begin(), readers.end(), static_cast<std::int32_t>(n), static_cast<std::int32_t>(*third));
    graph_.nodes[*third] = std::move(shuffle);
    removed_[n] = removed_[*second] = true;
  }

  /// Whether the library would give one of these operations the other's numbers: it keeps those of one clip and one
  /// ReLU a product; a hard sigmoid ends in a clip.
  static bool share_numbers(std::string_view a, std::string_view b) {
    const auto is_relu = [](std::string_view word) {
      return word.starts_with("relu") || word.starts_with("leaky_relu");
    };
    const auto is_clip = [](std::string_view word) {
      return word.starts_with("clip") || word.starts_with("hard_sigmoid");
    };
    return (is_relu(a) && is_relu(b)) || (is_clip(a) && is_clip(b));
  }

  bool absorb_activation(std::size_t n) {
    if (!is_product(graph_.nodes[n])) return false;
    const auto reader = only_reader(graph_.nodes[n]);
    if (!reader || graph_.nodes[*reader].inputs[0] != graph_.nodes[n].outputs[0]) return false;
    const auto word = post_op(graph_.nodes[*reader]);
    if (!word) return false;
    Node fused = graph_.nodes[n];
    fused.domain = "tare";
    std::vector<std::string> words = fused.texts("post_ops");
    if (std::any_of(words.begin(), words.end(), [&](const auto& other) { return share_numbers(other, *word); }))
      return false;
    words.push_back(*word);
    fused.attributes.insert_or_assign("post_ops", words);
    fused.outputs = {graph_.nodes[*reader].outputs[0]};
    if (!backend_.unsupported(graph_, fused).empty() || !backend_.fallback(graph_, fused).empty()) return false;
    graph_.nodes[n] = std::move(fused);
    removed_[*reader] = true;
    return true;
  }

  Graph graph_;
  const Backend& backend_;
  std::vector<std::vector<std::int32_t>> readers_;
  std::vector<std::int32_t> producers_;
  std::vector<bool> kept_;
  std::vector<bool> removed_;
};

}  // namespace

Graph fuse(Graph graph, const std::vector<bool>& visible, const Backend& backend) {
  return Fuser(std::move(graph), visible, backend).run();
}

Graph make_runnable(Graph graph, const std::vector<bool>& visible, Backend& backend, Visible what) {
  const bool chains_first = backend.chains_broadcast();
  graph = join_normalizations(simplify(std::move(graph), visible, backend), visible, backend);
  graph = join_attention(std::move(graph), visible, backend);
  if (!chains_first) graph = absorb_biases(std::move(graph), visible, backend);
  graph = join_chains(fuse(std::move(graph), visible, backend), visible, backend, what);
  return chains_first ? absorb_biases(std::move(graph), visible, backend) : graph;
}

}  // namespace tare
