#include "plan/chains.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>

#include "plan/clip_range.hpp"
#include "plan/ops.hpp"
#include "plan/row_operation.hpp"

namespace tare {
namespace {

constexpr std::array<std::string_view, 4> arithmetic = {"Add", "Sub", "Mul", "Div"};
constexpr std::array<std::string_view, 12> functions = {
    "Relu", "LeakyRelu", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh", "Erf", "Exp", "Sqrt", "Neg", "Abs", "Softplus"};

template <std::size_t n>
bool among(const std::array<std::string_view, n>& names, const Node& node) {
  return node.domain.empty() && std::find(names.begin(), names.end(), node.op_type) != names.end();
}

class Joiner {
 public:
  Joiner(Graph graph, const std::vector<bool>& visible, const Backend& backend, Visible what)
      : graph_(std::move(graph)),
        backend_(backend),
        looked_at_(what == Visible::observed),
        taps_(looked_at_ && backend.chains_take_taps()),
        rows_(!looked_at_ && backend.chains_take_rows()),
        readers_(consumers(graph_)),
        producers_(producers(graph_)),
        visible_(visible),
        is_output_(graph_.values.size()),
        pooled_(graph_.values.size()),
        taken_(graph_.nodes.size()) {
    visible_.resize(graph_.values.size());
    for (const ValueId output : graph_.outputs) is_output_[index(output)] = true;
    for (const Node& node : graph_.nodes) find_pooled(node);
  }

  Graph run() {
    std::vector<Node> nodes;
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (taken_[n]) continue;
      const std::vector<std::size_t> members = chain_from(n);
      nodes.push_back(members.size() > 1 || is_tapped(members) ? join(members) : graph_.nodes[n]);
    }
    graph_.nodes = std::move(nodes);
    return std::move(graph_);
  }

 private:
  static std::size_t index(ValueId value) { return static_cast<std::size_t>(value); }

  /// Values with one element a channel, as far as operators tell: they do not go into one chain with whole tensors.
  void find_pooled(const Node& node) {
    if (!node.domain.empty() && node.domain != "tare") return;
    bool pooled =
        node.op_type == "GlobalAveragePool" || node.op_type == "GlobalMaxPool" || node.op_type == "ReduceMean";
    const bool is_sum = among(arithmetic, node);
    if (!pooled && (node.op_type == "Conv" || is_sum || is_link(node))) {
      pooled = true;
      for (const ValueId input : node.inputs) {
        const Tensor* constant = input == absent ? nullptr : graph_.constant(input);
        const bool of_channels = !is_sum || constant == nullptr || constant->rank() < 3 ||
                                 constant->shape().elements(2, constant->rank()) == 1;
        pooled = pooled && of_channels && (input == absent || constant != nullptr || pooled_[index(input)]);
      }
    }
    for (const ValueId output : node.outputs)
      if (output != absent) pooled_[index(output)] = pooled;
  }

  bool is_number(ValueId value) const {
    const Tensor* constant = value == absent ? nullptr : graph_.constant(value);
    return constant != nullptr && constant->elements() == 1 && backend_.joins(constant->type());
  }
  bool is_tensor(ValueId value) const { return value != absent && graph_.constant(value) == nullptr; }
  /// A constant that a chain reads as one of its inputs.
  bool is_vector(ValueId value) const {
    const Tensor* constant = value == absent ? nullptr : graph_.constant(value);
    if (constant == nullptr || constant->elements() < 2 || !backend_.joins(constant->type())) return false;
    const auto& readers = readers_[index(value)];
    return backend_.chains_broadcast() && std::all_of(readers.begin(), readers.end(), [&](std::int32_t reader) {
             return among(arithmetic, graph_.nodes[static_cast<std::size_t>(reader)]);
           });
  }

  bool is_link(const Node& node) const {
    if (node.input(0) == absent || node.output(0) == absent || !backend_.joins(graph_.value(node.outputs[0]).type))
      return false;
    for (std::size_t i = 1; i < node.outputs.size(); ++i)
      if (node.outputs[i] != absent) return false;
    if (among(arithmetic, node))
      return node.inputs.size() == 2 && (is_tensor(node.inputs[0]) || is_tensor(node.inputs[1])) &&
             std::all_of(node.inputs.begin(), node.inputs.end(),
                         [&](ValueId input) { return is_tensor(input) || is_number(input) || is_vector(input); });
    if (!is_tensor(node.inputs[0])) return false;
    if (among(functions, node) || is_row_link(node)) return true;
    if (node.domain == "tare") return node.op_type == "QuantizeDequantize";
    if (node.domain.empty() && node.op_type == "Clip") return clip_range(graph_, node).has_value();
    if (!node.domain.empty() || node.op_type != "BatchNormalization" || node.inputs.size() != 5 || node.opset < 9)
      return false;
    return !takes_moments_of_batch(node) && std::all_of(node.inputs.begin() + 1, node.inputs.end(), [&](ValueId input) {
      return input != absent && graph_.constant(input) != nullptr;
    });
  }

  /// An operation on rows of the last dimension, with constant parameters.
  bool is_row_link(const Node& node) const {
    if (!rows_ || !is_row_operation(node)) return false;
    if (!is_last_axis(row_axis(node), graph_.value(node.inputs[0]).shape)) return false;
    return std::all_of(node.inputs.begin() + 1, node.inputs.end(), [&](ValueId input) {
      const Tensor* constant = input == absent ? nullptr : graph_.constant(input);
      return input == absent || (constant != nullptr && is_quantizable(constant->type()));
    });
  }

  /// Whether one node reads or makes what is observed.
  bool is_tapped(const std::vector<std::size_t>& members) const {
    if (!taps_ || members.empty()) return false;
    const Node& node = graph_.nodes[members.front()];
    return visible_[index(node.outputs[0])] || std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId input) {
             return is_tensor(input) && visible_[index(input)];
           });
  }

  /// Nodes that run where the first of them, `start`, stood: what they read from outside has been computed by then.
  /// Behind an operation on rows nothing reads what was made before it.
  std::vector<std::size_t> chain_from(std::size_t start) const {
    std::vector<std::size_t> members;
    bool has_row = false;
    std::vector<bool> inside(graph_.values.size());
    std::set<std::size_t> candidates = {start};
    while (!candidates.empty()) {
      const std::size_t n = *candidates.begin();
      candidates.erase(candidates.begin());
      const Node& node = graph_.nodes[n];
      if (taken_[n] || !is_link(node)) continue;
      const bool fits = n == start || std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId input) {
                          if (!is_tensor(input)) return true;
                          if (inside[index(input)]) return looked_at_ || !visible_[index(input)];
                          return producers_[index(input)] < static_cast<std::int32_t>(start) &&
                                 pooled_[index(input)] == pooled_[index(graph_.nodes[start].outputs[0])];
                        });
      if (!fits) continue;
      if (is_row_operation(node)) {
        if (has_row) continue;
        has_row = true;
        inside.assign(inside.size(), false);
        candidates.clear();
      }
      members.push_back(n);
      inside[index(node.outputs[0])] = true;
      for (const std::int32_t reader : readers_[index(node.outputs[0])])
        candidates.insert(static_cast<std::size_t>(reader));
    }
    return members;
  }

  Node join(const std::vector<std::size_t>& members) {
    auto steps = std::make_shared<Graph>();
    std::unordered_map<ValueId, ValueId> ids;
    Node chain;
    chain.name = graph_.nodes[members.front()].name + "…" + graph_.nodes[members.back()].name;
    chain.domain = "tare";
    chain.op_type = "Chain";
    const auto id_of = [&](ValueId value) {
      if (value == absent) return absent;
      const auto [entry, fresh] = ids.try_emplace(value, static_cast<ValueId>(steps->values.size()));
      if (!fresh) return entry->second;
      const ValueId id = steps->add_value(graph_.value(value));
      if (const Tensor* constant = graph_.constant(value); constant != nullptr && !is_vector(value)) {
        steps->constants.emplace(id, *constant);
      } else if (const std::int32_t producer = producers_[index(value)];
                 producer < 0 ||
                 !std::binary_search(members.begin(), members.end(), static_cast<std::size_t>(producer))) {
        steps->inputs.push_back(id);
        chain.inputs.push_back(value);
      }
      return id;
    };
    for (const std::size_t n : members) {
      taken_[n] = true;
      Node step = graph_.nodes[n];
      for (ValueId& input : step.inputs) input = id_of(input);
      const ValueId value = step.outputs[0];
      step.outputs = {id_of(value)};
      const auto& readers = readers_[index(value)];
      const bool leaves = std::any_of(readers.begin(), readers.end(), [&](std::int32_t reader) {
        return !std::binary_search(members.begin(), members.end(), static_cast<std::size_t>(reader));
      });
      if (leaves || visible_[index(value)] || is_output_[index(value)]) {
        steps->outputs.push_back(step.outputs[0]);
        chain.outputs.push_back(value);
      }
      steps->nodes.push_back(std::move(step));
    }
    chain.attributes.emplace("steps", Subgraph{std::move(steps), {}});
    return chain;
  }

  Graph graph_;
  const Backend& backend_;
  bool looked_at_;  ///< chains go through visible values, which are outputs of theirs, too
  bool taps_;       ///< and observe them themselves
  bool rows_;       ///< chains go through operations on rows
  std::vector<std::vector<std::int32_t>> readers_;
  std::vector<std::int32_t> producers_;
  std::vector<bool> visible_;
  std::vector<bool> is_output_;
  std::vector<bool> pooled_;
  std::vector<bool> taken_;  ///< by node: member of a chain
};

}  // namespace

Graph join_chains(Graph graph, const std::vector<bool>& visible, const Backend& backend, Visible what) {
  Node chain;
  chain.domain = "tare";
  chain.op_type = "Chain";
  if (!backend.unsupported(graph, chain).empty() || !backend.fallback(graph, chain).empty()) return graph;
  return Joiner(std::move(graph), visible, backend, what).run();
}

}  // namespace tare
