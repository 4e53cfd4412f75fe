#include "plan/derived_values.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>

namespace tare {
namespace {

template <std::size_t n>
bool among(const std::array<std::string_view, n>& names, const Node& node) {
  return node.domain.empty() && std::find(names.begin(), names.end(), node.op_type) != names.end();
}

constexpr std::array<std::string_view, 7> movements = {"Flatten",   "Identity",  "Reshape",     "Squeeze",
                                                       "Transpose", "Unsqueeze", "DepthToSpace"};
constexpr std::array<std::string_view, 4> arithmetic = {"Add", "Sub", "Mul", "Div"};
/// Functions of one operand that grow everywhere, to the last bit: nothing that an approximation computes.
constexpr std::array<std::string_view, 3> growing = {"Relu", "Clip", "HardSigmoid"};
constexpr std::array<std::string_view, 14> smooth = {"Relu",    "Clip", "HardSigmoid", "HardSwish", "LeakyRelu",
                                                     "Sigmoid", "Tanh", "Erf",         "Gelu",      "Elu",
                                                     "Neg",     "Abs",  "Softplus",    "Softsign"};
/// What gives sums of many terms: no value is common there.
constexpr std::array<std::string_view, 7> sums = {
    "Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "InstanceNormalization", "LayerNormalization"};
/// What gives selections and means of its operands.
constexpr std::array<std::string_view, 4> pools = {"Concat", "MaxPool", "AveragePool", "GlobalAveragePool"};

/// A value as a function of an observed one.
struct Function {
  ValueId root = absent;
  std::vector<std::int32_t> path;
  bool turns = false;
  ValueId hinge = absent;  ///< as in DerivedValue
  std::vector<std::int32_t> hinge_path;
};

class Finder {
 public:
  Finder(const Graph& graph, const std::vector<bool>& observed, Derivation derivation)
      : graph_(graph),
        observed_(observed),
        derivation_(derivation),
        functions_(graph.values.size()),
        spread_(graph.values.size()) {}

  std::vector<DerivedValue> run() {
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      if (node.outputs.size() == 1 && !node.inputs.empty() && node.outputs[0] != absent) visit(n, node);
    }
    return std::move(result_);
  }

 private:
  static std::size_t index(ValueId value) { return static_cast<std::size_t>(value); }
  bool is_observed(ValueId value) const { return value != absent && observed_[index(value)]; }
  bool is_float(ValueId value) const { return graph_.value(value).type == DataType::float32; }

  void visit(std::size_t n, const Node& node) {
    const ValueId value = node.outputs[0];
    std::optional<Function> function = function_of(n, node);
    spread_[index(value)] = is_spread(node);
    if (function) functions_[index(value)] = *function;
    if (!is_observed(value)) return;
    std::optional<DerivedValue> derived = exact(node);
    if (function) {
      // Cutting a function's histogram would smooth twice.
      if (!derived || function->path.size() > 1)
        derived = DerivedValue{value, {function->root}, std::nullopt, {}, false, absent, {}};
      derived->path = std::move(function->path);
      derived->turns = function->turns;
      derived->hinge = function->hinge;
      derived->hinge_path = std::move(function->hinge_path);
    }
    if (derived) result_.push_back(std::move(*derived));
  }

  bool is_spread(const Node& node) const {
    if (among(sums, node)) return true;
    const auto is = [&](ValueId input) { return input != absent && spread_[index(input)]; };
    if (among(movements, node)) return is(node.inputs[0]);
    if (among(pools, node)) return std::all_of(node.inputs.begin(), node.inputs.end(), is);
    return (among(smooth, node) || among(arithmetic, node)) && std::any_of(node.inputs.begin(), node.inputs.end(), is);
  }

  std::optional<DerivedValue> exact(const Node& node) const {
    if (!node.domain.empty()) return std::nullopt;
    DerivedValue derived{node.outputs[0], {node.inputs[0]}, std::nullopt, {}, false, absent, {}};
    if (node.op_type == "Concat") {
      derived.sources = node.inputs;
    } else if (!among(movements, node)) {
      derived.range = clip_range(graph_, node);
      if (!derived.range || !is_float(derived.value)) return std::nullopt;
    }
    return std::all_of(derived.sources.begin(), derived.sources.end(), [&](ValueId v) { return is_observed(v); })
               ? std::optional(derived)
               : std::nullopt;
  }

  /// An operand that is a number: it does not change the number of elements.
  bool is_number(ValueId value) const {
    const Tensor* constant = value == absent ? nullptr : graph_.constant(value);
    return constant != nullptr && constant->elements() == 1;
  }

  /// A value that others may be functions of: one that is a function itself, or that is observed.
  std::optional<Function> operand(ValueId value) const {
    if (value == absent || graph_.constant(value) != nullptr || !is_float(value)) return std::nullopt;
    if (functions_[index(value)].root != absent) return functions_[index(value)];
    const bool serves = derivation_ == Derivation::extremes || spread_[index(value)];
    return is_observed(value) && serves ? std::optional(Function{value, {}, false, absent, {}}) : std::nullopt;
  }

  std::optional<Function> function_of(std::size_t n, const Node& node) const {
    if (derivation_ == Derivation::nothing || !is_float(node.outputs[0])) return std::nullopt;
    const bool binary = among(arithmetic, node) && node.inputs.size() == 2;
    if (!binary && !among(smooth, node)) return std::nullopt;
    std::optional<Function> function;
    int operands = 0;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == absent || is_number(node.inputs[i])) continue;
      const std::optional<Function> input = operand(node.inputs[i]);
      if (!input || (function && function->root != input->root)) return std::nullopt;
      if (!function) function = Function{input->root, {}, false, absent, {}};
      function->path.insert(function->path.end(), input->path.begin(), input->path.end());
      function->turns |= input->turns;
      ++operands;
    }
    if (!function) return std::nullopt;
    if (node.op_type == "Div" && !is_number(node.inputs[1])) return std::nullopt;  // a pole
    function->turns |= operands > 1 || !(binary || among(growing, node));
    if (function->turns && derivation_ == Derivation::extremes) return std::nullopt;
    function->path.push_back(static_cast<std::int32_t>(n));
    if (binary && operands == 1 && function->turns) find_hinge(node, *function);
    std::sort(function->path.begin(), function->path.end());
    function->path.erase(std::unique(function->path.begin(), function->path.end()), function->path.end());
    return function;
  }

  void find_hinge(const Node& node, Function& function) const {
    const ValueId input = is_number(node.inputs[0]) ? node.inputs[1] : node.inputs[0];
    const Function& before = functions_[index(input)];
    if (is_observed(input)) {
      function.hinge = input;
    } else {
      function.hinge = before.hinge;
      function.hinge_path = before.hinge_path;
    }
    function.hinge_path.push_back(function.path.back());
  }

  const Graph& graph_;
  const std::vector<bool>& observed_;
  Derivation derivation_;
  std::vector<Function> functions_;  ///< by value; no root: not a function of an observed value
  std::vector<bool> spread_;         ///< by value: made of sums, no value is common but zero
  std::vector<DerivedValue> result_;
};

}  // namespace

std::vector<DerivedValue> derived_values(const Graph& graph, const std::vector<bool>& observed, Derivation derivation) {
  return Finder(graph, observed, derivation).run();
}

Graph function_graph(const Graph& graph, ValueId source, std::span<const std::int32_t> path, ValueId value) {
  Graph result;
  std::unordered_map<ValueId, ValueId> ids;
  const auto id_of = [&](ValueId old_id) {
    if (old_id == absent) return absent;
    const auto [entry, fresh] = ids.try_emplace(old_id, static_cast<ValueId>(result.values.size()));
    if (!fresh) return entry->second;
    const Value& old = graph.value(old_id);
    const Tensor* constant = graph.constant(old_id);
    // The shape of a number stays; the others follow the probe's.
    const ValueId id = result.add_value({old.name, old.type, constant != nullptr ? old.shape : std::nullopt});
    if (constant != nullptr) result.constants.emplace(id, *constant);
    return id;
  };
  result.inputs = {id_of(source)};
  for (const std::int32_t n : path) {
    Node node = graph.nodes[static_cast<std::size_t>(n)];
    for (ValueId& input : node.inputs) input = id_of(input);
    for (ValueId& output : node.outputs) output = id_of(output);
    result.nodes.push_back(std::move(node));
  }
  result.outputs = {id_of(value)};
  return result;
}

}  // namespace tare
