#include "plan/ops.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "plan/patterns.hpp"

namespace tare {
namespace {

bool contains(std::span<const std::string_view> list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

const std::vector<std::string_view>* parameter_positions(const std::string& op_type) {
  static const std::map<std::string, std::vector<std::string_view>, std::less<>> positions = [] {
    std::map<std::string, std::vector<std::string_view>, std::less<>> p;
    for (const char* type :
         {"Conv", "ConvTranspose", "Gemm", "InstanceNormalization", "LayerNormalization", "GroupNormalization"})
      p[type] = {"", "weight", "bias"};
    p["RMSNormalization"] = {"", "weight"};
    p["BatchNormalization"] = {"", "weight", "bias", "running_mean", "running_var"};
    for (const char* type : {"RNN", "LSTM", "GRU"}) p[type] = {"", "weight", "weight_r", "bias"};
    return p;
  }();
  const auto it = positions.find(op_type);
  return it == positions.end() ? nullptr : &it->second;
}

struct Axes {
  std::optional<int> channel, block;
};

Axes axes_of(const Node& node, std::size_t rank) {
  if (rank == 1) return {0, std::nullopt};
  if (node.op_type == "Conv") return {0, 1};
  if (node.op_type == "ConvTranspose") return {1, 0};
  if (node.op_type == "Gemm") return node.integer("transB", 0) != 0 ? Axes{0, 1} : Axes{1, 0};
  return {};
}

class Collector {
 public:
  Collector(const Graph& graph, const std::vector<std::string>& passes)
      : graph_(graph),
        producers_(producers(graph)),
        consumers_(consumers(graph)),
        patterns_(find_patterns(graph, passes)),
        fuse_matmul_add_(std::find(passes.begin(), passes.end(), "MatmulAdd") != passes.end()) {}

  std::vector<Op> collect() {
    std::vector<Op> ops;
    std::vector<bool> taken(graph_.nodes.size(), false);
    std::map<std::size_t, Op*> pattern_ending_at;
    for (Op& pattern : patterns_) {
      for (const std::int32_t n : pattern.nodes) taken[static_cast<std::size_t>(n)] = true;
      pattern_ending_at[static_cast<std::size_t>(pattern.nodes.back())] = &pattern;
    }
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (const auto it = pattern_ending_at.find(n); it != pattern_ending_at.end())
        ops.push_back(std::move(*it->second));
      if (taken[n]) continue;
      const Node& node = graph_.nodes[n];
      Op op{node.op_type, {static_cast<std::int32_t>(n)}, {}, node.outputs, {}};
      for (std::size_t i = 0; i < node.inputs.size(); ++i) add_input(op, node, i);
      if (fuse_matmul_add_) fuse_add(op, node, taken);
      ops.push_back(std::move(op));
    }
    return ops;
  }

 private:
  bool is_output(ValueId value) const {
    return std::find(graph_.outputs.begin(), graph_.outputs.end(), value) != graph_.outputs.end();
  }

  void add_input(Op& op, const Node& node, std::size_t i) const {
    const ValueId value = node.inputs[i];
    if (value == absent) return;
    if (node.domain.empty()) {
      if (const auto* positions = parameter_positions(node.op_type);
          positions != nullptr && i < positions->size() && !(*positions)[i].empty()) {
        // An exporter hands weights that it shares through Identities: the quantizer belongs to the stored tensor.
        const ValueId stored = behind_identities(graph_, producers_, value);
        if (const Tensor* constant = graph_.constant(stored)) {
          const Axes axes = axes_of(node, constant->rank());
          op.parameters.push_back({stored, std::string((*positions)[i]), axes.channel, axes.block});
          return;
        }
      }
      if (node.op_type == "MatMul" && i == 1)
        if (const std::optional<Parameter> weight = matmul_weight(value)) {
          op.parameters.push_back(*weight);
          return;
        }
    }
    op.inputs.push_back(value);
  }

  /// A constant second operand of a MatMul, directly or through a Transpose of a constant. A first one is no weight:
  /// its channels would lie along the axis that is summed over. Axes count from the front.
  std::optional<Parameter> matmul_weight(ValueId value) const {
    if (const Tensor* constant = graph_.constant(value)) return matrix_parameter(value, *constant, false);
    const std::int32_t producer = producers_[static_cast<std::size_t>(value)];
    if (producer < 0) return std::nullopt;
    const Node& transpose = graph_.nodes[static_cast<std::size_t>(producer)];
    if (transpose.op_type != "Transpose" || !transpose.domain.empty()) return std::nullopt;
    const Tensor* constant = graph_.constant(transpose.input(0));
    if (constant == nullptr) return std::nullopt;
    return matrix_parameter(transpose.inputs[0], *constant, true);
  }
  static Parameter matrix_parameter(ValueId value, const Tensor& constant, bool transposed) {
    const int rank = static_cast<int>(constant.rank());
    if (rank < 2) return {value, "weight", rank == 1 ? std::optional<int>(0) : std::nullopt, std::nullopt};
    return transposed ? Parameter{value, "weight", rank - 2, rank - 1} : Parameter{value, "weight", rank - 1, rank - 2};
  }

  /// MatMul by a constant, read only by an Add of a constant vector, is a Gemm with a bias.
  void fuse_add(Op& op, const Node& node, std::vector<bool>& taken) const {
    if (op.type != "MatMul" || !node.domain.empty() || op.parameters.size() != 1) return;
    const ValueId product = node.output(0);
    if (product == absent) return;
    const auto& readers = consumers_[static_cast<std::size_t>(product)];
    if (readers.size() != 1 || is_output(product)) return;
    const auto reader = static_cast<std::size_t>(readers[0]);
    const Node& add = graph_.nodes[reader];
    if (add.op_type != "Add" || !add.domain.empty() || add.inputs.size() != 2) return;
    const ValueId other = add.inputs[0] == product ? add.inputs[1] : add.inputs[0];
    const Tensor* bias = graph_.constant(other);
    if (bias == nullptr || bias->rank() != 1) return;
    op.type = "Gemm";
    op.nodes.push_back(static_cast<std::int32_t>(reader));
    op.outputs = add.outputs;
    op.parameters.push_back({other, "bias", 0, std::nullopt});
    taken[reader] = true;
  }

  const Graph& graph_;
  std::vector<std::int32_t> producers_;
  std::vector<std::vector<std::int32_t>> consumers_;
  std::vector<Op> patterns_;
  bool fuse_matmul_add_;
};

}  // namespace

ValueId behind_identities(const Graph& graph, const std::vector<std::int32_t>& producers, ValueId value) {
  while (value != absent) {
    const std::int32_t producer = producers[static_cast<std::size_t>(value)];
    if (producer < 0) break;
    const Node& node = graph.nodes[static_cast<std::size_t>(producer)];
    if (node.op_type != "Identity" || !node.domain.empty() || node.input(0) == absent) break;
    value = node.inputs[0];
  }
  return value;
}

std::vector<Op> collect_ops(const Graph& graph, const std::vector<std::string>& passes) {
  return Collector(graph, passes).collect();
}

std::vector<Op> collect_ops_of_all_passes(const Graph& graph) {
  return collect_ops(graph, {known_passes.begin(), known_passes.end()});
}

bool takes_moments_of_batch(const Node& node) {
  if (node.opset >= 14 || node.opset < 7) return node.integer("training_mode", 0) != 0;
  return std::any_of(node.outputs.begin() + std::min<std::ptrdiff_t>(1, std::ssize(node.outputs)), node.outputs.end(),
                     [](ValueId output) { return output != absent; });
}

bool is_grid_preserving(const std::string& op_type) {
  static constexpr std::array<std::string_view, 28> list = {
      "Col2Im",         "Compress",  "DepthToSpace", "Dropout",   "Expand",       "Flatten",      "Gather",
      "GatherElements", "GatherND",  "Identity",     "MaxPool",   "MaxRoiPool",   "NonZero",      "Pad",
      "ReduceMax",      "ReduceMin", "Reshape",      "Slice",     "SpaceToDepth", "Split",        "SplitToSequence",
      "Squeeze",        "Tile",      "TopK",         "Transpose", "Unsqueeze",    "BatchToSpace", "SpaceToBatch"};
  return contains(list, op_type);
}

bool has_no_output_quantizer(const std::string& op_type) {
  static constexpr std::array<std::string_view, 12> list = {"branch",   "Flatten",   "Gather",    "Reshape",
                                                            "Shape",    "Unsqueeze", "Squeeze",   "Split",
                                                            "Compress", "Tile",      "Transpose", "Identity"};
  return contains(list, op_type);
}

bool is_unfusable_convolution(const Graph& graph, const std::vector<std::int32_t>& producers, const Node& node) {
  if (node.op_type != "Conv" && node.op_type != "ConvTranspose") return false;
  if (node.input(1) == absent) return false;
  const ValueId stored = behind_identities(graph, producers, node.inputs[1]);
  const Tensor* weight = graph.constant(stored);
  const Value& declared = graph.value(stored);
  const Shape shape = weight != nullptr ? weight->shape() : declared.shape.value_or(Shape());
  if (shape.rank() == 5) return true;
  const std::int64_t group = node.integer("group", 1);
  if (group <= 1 || shape.rank() < 2 || group > shape[0]) return false;
  // Weights are [out, in / group, …] for Conv and [in, out / group, …] for ConvTranspose.
  const std::int64_t in_channels = node.op_type == "Conv" ? shape[1] * group : shape[0];
  return group == in_channels;
}

}  // namespace tare
