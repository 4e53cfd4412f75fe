// Reverse mode over the nodes between xs and y: they are computed again from what the Gradient node is fed, which need
// not be the values that xs name, and their derivatives are added up from y backwards.
// Odd: a broadcast operand's derivative has the shape of the result; SumTo, an operator of our own, sums it back.
#include "model/gradient.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "model/graph_builder.hpp"

namespace tare {
namespace {

constexpr std::string_view training = "ai.onnx.preview.training";

class Expansion {
 public:
  Expansion(Graph& graph, const Node& gradient, std::int64_t opset)
      : graph_(graph), gradient_(gradient), opset_(opset) {}

  /// The nodes that compute the outputs of the Gradient node.
  std::vector<Node> nodes() {
    const std::vector<std::string> xs = gradient_.texts("xs");
    const std::vector<std::string> zs = gradient_.texts("zs");
    if (xs.empty() || gradient_.inputs.size() != xs.size() + zs.size() || gradient_.outputs.size() > xs.size())
      fail("its inputs must be those of xs and zs, its outputs one for each of xs");
    const ValueId y = value_of(gradient_.text("y"));
    for (std::size_t i = 0; i < gradient_.inputs.size(); ++i) {
      if (gradient_.inputs[i] == absent) fail(fmt::format("input {} is missing", i));
      fed_[value_of(i < xs.size() ? xs[i] : zs[i - xs.size()])] = gradient_.inputs[i];
    }
    const std::vector<const Node*> path = repeat_forward(y);
    const ValueId last = now(y);
    derivative_[last] = emit("CastLike", {emit("ConstantOfShape", {emit("Shape", {last})}, one()), last});
    for (auto node = path.rbegin(); node != path.rend(); ++node) derive(**node);
    for (std::size_t i = 0; i < gradient_.outputs.size(); ++i) {
      if (gradient_.outputs[i] == absent) continue;
      const ValueId x = gradient_.inputs[i];
      // What y does not depend on has a derivative of zero.
      const ValueId result = derivative_.contains(x) ? derivative_.at(x) : emit("Sub", {x, x});
      emit("Identity", {result}, {}, gradient_.outputs[i]);
    }
    return std::move(made_);
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw Error(ErrorKind::unsupported, fmt::format("{}: {}", gradient_.label(), why));
  }

  ValueId value_of(const std::string& name) const {
    const ValueId id = graph_.find(name);
    if (id == absent) fail(fmt::format("no value of this graph is called '{}'", name));
    return id;
  }

  static std::map<std::string, Attribute, std::less<>> one() {
    return {{"value", Tensor::of<float>({1}, std::array{1.0f})}};
  }

  /// Adds a node; its output is `output`, or a new value.
  ValueId emit(std::string op, std::vector<ValueId> inputs,
               std::map<std::string, Attribute, std::less<>> attributes = {}, ValueId output = absent,
               std::string domain = {}) {
    const std::string name = fmt::format("{}/{}_{}", gradient_.name, op, made_.size());
    if (output == absent) output = graph_.add_value({name, DataType::undefined, std::nullopt});
    made_.push_back(
        {name, std::move(domain), std::move(op), opset_, std::move(inputs), {output}, std::move(attributes)});
    return output;
  }

  ValueId now(ValueId value) const {
    const auto it = fed_.find(value);
    return it == fed_.end() ? value : it->second;
  }

  /// Copies the nodes through which y depends on the fed values, and returns the originals in order.
  std::vector<const Node*> repeat_forward(ValueId y) {
    std::set<ValueId> needed{y};
    std::vector<const Node*> path;
    for (auto node = graph_.nodes.rbegin(); node != graph_.nodes.rend(); ++node) {
      if (std::none_of(node->outputs.begin(), node->outputs.end(), [&](ValueId v) { return needed.contains(v); }))
        continue;
      path.push_back(&*node);
      for (const ValueId input : node->inputs)
        if (input != absent && !fed_.contains(input)) needed.insert(input);
    }
    std::reverse(path.begin(), path.end());
    std::vector<const Node*> dependent;
    for (const Node* node : path) {
      if (std::none_of(node->inputs.begin(), node->inputs.end(), [&](ValueId v) { return fed_.contains(v); })) continue;
      repeat(*node);
      dependent.push_back(node);
    }
    return dependent;
  }

  void repeat(const Node& node) {
    if (node.outputs.size() != 1 || node.outputs[0] == absent) fail(node.label() + " has not one output");
    std::vector<ValueId> inputs;
    for (const ValueId input : node.inputs) inputs.push_back(now(input));
    fed_.emplace(node.outputs[0], emit(node.op_type, inputs, node.attributes, absent, node.domain));
  }

  /// Adds to the derivative of `value`, in its shape.
  void add(ValueId value, ValueId derivative) {
    derivative = emit("SumTo", {derivative, value}, {}, absent, "tare");
    const auto [it, first] = derivative_.emplace(value, derivative);
    if (!first) it->second = emit("Add", {it->second, derivative});
  }

  void derive(const Node& node) {
    const ValueId out = now(node.outputs[0]);
    const auto known = derivative_.find(out);
    if (known == derivative_.end()) return;
    const ValueId g = known->second;
    const std::string& op = node.op_type;
    const auto in = [&](std::size_t i) {
      if (i >= node.inputs.size() || node.inputs[i] == absent)
        fail(fmt::format("{}: input {} is missing", node.label(), i));
      return now(node.inputs[i]);
    };
    if (!node.domain.empty()) fail("the derivative of " + node.label() + " is not known");
    if (op == "Add") {
      add(in(0), g);
      add(in(1), g);
    } else if (op == "Sub") {
      add(in(0), g);
      add(in(1), emit("Neg", {g}));
    } else if (op == "Mul") {
      add(in(0), emit("Mul", {g, in(1)}));
      add(in(1), emit("Mul", {g, in(0)}));
    } else if (op == "Div") {
      add(in(0), emit("Div", {g, in(1)}));
      add(in(1), emit("Neg", {emit("Div", {emit("Mul", {g, out}), in(1)})}));
    } else if (op == "Neg") {
      add(in(0), emit("Neg", {g}));
    } else if (op == "Identity") {
      add(in(0), g);
    } else if (op == "Exp") {
      add(in(0), emit("Mul", {g, out}));
    } else if (op == "Log") {
      add(in(0), emit("Div", {g, in(0)}));
    } else {
      fail("the derivative of " + node.label() + " is not known");
    }
  }

  Graph& graph_;
  const Node& gradient_;
  std::int64_t opset_;
  std::map<ValueId, ValueId> fed_;         ///< a value of the graph → what stands for it here
  std::map<ValueId, ValueId> derivative_;  ///< by what stands for it
  std::vector<Node> made_;
};

}  // namespace

void expand_gradients(Graph& graph) {
  const auto is_gradient = [](const Node& node) { return node.domain == training && node.op_type == "Gradient"; };
  std::int64_t opset = 1;
  for (const Node& node : graph.nodes)
    if (node.domain.empty()) opset = std::max(opset, node.opset);
  for (;;) {
    const auto found = std::find_if(graph.nodes.begin(), graph.nodes.end(), is_gradient);
    if (found == graph.nodes.end()) return;
    const Node gradient = std::move(*found);
    graph.nodes.erase(found);
    std::vector<Node> made = Expansion(graph, gradient, opset).nodes();
    graph.nodes.insert(graph.nodes.end(), std::make_move_iterator(made.begin()), std::make_move_iterator(made.end()));
    sort_topologically(graph);
  }
}

}  // namespace tare
