// If, Loop, Scan and SequenceMap. Each body is an executor of its own, built once. Loop-carried values are passed on
// without a copy; scan outputs are collected and stacked at the end, when their number is known.
#include "run/control_flow.hpp"

#include <fmt/format.h>

#include <cstring>
#include <optional>

#include "plan/simplify.hpp"
#include "run/executor.hpp"

namespace tare {
namespace {

/// A body made ready: its captures are inputs behind its own inputs.
class Body {
 public:
  Body(const Subgraph& subgraph, Backend& backend, const std::atomic<bool>* stop) {
    Graph graph = *subgraph.graph;
    own_inputs_ = graph.inputs.size();
    graph.inputs.insert(graph.inputs.end(), graph.captures.begin(), graph.captures.end());
    for (const ValueId input : graph.inputs) graph.value(input).shape.reset();  // checked by its producer already
    const std::vector<bool> nothing_visible(graph.values.size(), false);
    executor_.emplace(simplify(std::move(graph), nothing_visible, backend), backend, std::vector<std::int32_t>(), stop);
  }
  std::size_t own_inputs() const { return own_inputs_; }
  std::size_t outputs() const { return executor_->graph().outputs.size(); }
  std::vector<Tensor> run(std::vector<Tensor> inputs, const std::vector<Tensor>& captures) {
    inputs.insert(inputs.end(), captures.begin(), captures.end());
    return executor_->run(inputs);
  }

 private:
  std::size_t own_inputs_ = 0;
  std::optional<Executor> executor_;
};

[[noreturn]] void fail(const Node& node, const std::string& message) {
  throw Error(ErrorKind::data, fmt::format("{}: {}", node.label(), message));
}

bool truth(const Node& node, const Tensor& tensor) {
  if (tensor.type() != DataType::boolean || tensor.elements() != 1) fail(node, "the condition must be one boolean");
  return *tensor.data<bool>();
}

/// Slices [i] along `axis` of a plain host tensor, without that dimension.
Tensor slice(const Tensor& tensor, std::size_t axis, std::int64_t i) {
  if (holds_objects(tensor.type())) throw Error(ErrorKind::data, "only tensors of numbers can be scan inputs");
  Shape shape = tensor.shape();
  const std::size_t outer = static_cast<std::size_t>(shape.elements(0, axis));
  const std::size_t run = static_cast<std::size_t>(shape.elements(axis + 1, shape.rank())) * size_of(tensor.type());
  const std::size_t count = static_cast<std::size_t>(shape[axis]);
  shape.erase(axis);
  Tensor result = Tensor::host(tensor.type(), shape);
  for (std::size_t o = 0; o < outer; ++o)
    std::memcpy(result.mutable_data() + o * run, tensor.data() + (o * count + static_cast<std::size_t>(i)) * run, run);
  return result;
}

/// Stacks equally shaped tensors along a new `axis`, last first when `reversed`.
Tensor stack(const Node& node, const std::vector<Tensor>& parts, std::size_t axis, bool reversed) {
  if (holds_objects(parts.front().type())) fail(node, "only tensors of numbers can be scan outputs");
  Shape shape = parts.front().shape();
  if (axis > shape.rank()) fail(node, fmt::format("scan output axis {} is out of range", axis));
  const std::size_t outer = static_cast<std::size_t>(shape.elements(0, axis));
  const std::size_t run = static_cast<std::size_t>(shape.elements(axis, shape.rank())) * size_of(parts.front().type());
  shape.insert(axis, static_cast<std::int64_t>(parts.size()));
  Tensor result = Tensor::host(parts.front().type(), shape);
  for (std::size_t p = 0; p < parts.size(); ++p) {
    if (parts[p].shape() != parts.front().shape() || parts[p].type() != parts.front().type())
      fail(node, "a scan output changes its shape from one iteration to the next");
    const std::size_t at = reversed ? parts.size() - 1 - p : p;
    for (std::size_t o = 0; o < outer; ++o)
      std::memcpy(result.mutable_data() + (o * parts.size() + at) * run, parts[p].data() + o * run, run);
  }
  return result;
}

Tensor stack_or_empty(const Node& node, const std::vector<Tensor>& parts, std::size_t axis, bool reversed,
                      const Value& declared) {
  if (!parts.empty()) return stack(node, parts, axis, reversed);
  if (declared.type == DataType::undefined)
    fail(node, "no iteration ran and the type of a scan output is not declared");
  Shape shape = declared.shape.value_or(Shape());
  for (std::int64_t& dim : shape) dim = std::max<std::int64_t>(dim, 0);
  shape.insert(std::min(axis, shape.rank()), 0);
  return Tensor::host(declared.type, shape);
}

class If final : public ControlFlow {
 public:
  If(const Node& node, Backend& backend, const std::atomic<bool>* stop)
      : node_(node),
        else_(node.subgraph("else_branch"), backend, stop),
        then_(node.subgraph("then_branch"), backend, stop) {}

  std::vector<Tensor> run(std::span<const Tensor> inputs, std::span<const std::vector<Tensor>> captures) override {
    if (inputs.size() != 1) fail(node_, "takes one input");
    return truth(node_, inputs[0]) ? then_.run({}, captures[1]) : else_.run({}, captures[0]);
  }

 private:
  const Node& node_;
  Body else_;
  Body then_;
};

class Loop final : public ControlFlow {
 public:
  Loop(const Node& node, Backend& backend, const std::atomic<bool>* stop)
      : node_(node), declared_(node.subgraph("body").graph), body_(node.subgraph("body"), backend, stop) {}

  std::vector<Tensor> run(std::span<const Tensor> inputs, std::span<const std::vector<Tensor>> captures) override {
    if (inputs.size() < 2 || body_.own_inputs() != inputs.size() || body_.outputs() + 1 < inputs.size())
      fail(node_, "the body's inputs or outputs do not fit the loop's");
    const std::size_t carried_count = inputs.size() - 2;
    std::int64_t trips = std::numeric_limits<std::int64_t>::max();
    if (inputs[0].present()) {
      const Shape count = inputs[0].to_shape("the trip count of a Loop");
      if (count.rank() != 1) fail(node_, "the trip count must be one integer");
      trips = count[0];
    }
    bool keep_on = !inputs[1].present() || truth(node_, inputs[1]);
    std::vector<Tensor> carried(inputs.begin() + 2, inputs.end());
    std::vector<std::vector<Tensor>> scans(body_.outputs() - 1 - carried_count);
    for (std::int64_t i = 0; i < trips && keep_on; ++i) {
      std::vector<Tensor> in{Tensor::of<std::int64_t>({}, {{i}}), Tensor::of<bool>({}, {{keep_on}})};
      in.insert(in.end(), carried.begin(), carried.end());
      std::vector<Tensor> out = body_.run(std::move(in), captures[0]);
      keep_on = truth(node_, out[0]);
      for (std::size_t c = 0; c < carried_count; ++c) carried[c] = std::move(out[1 + c]);
      for (std::size_t s = 0; s < scans.size(); ++s) scans[s].push_back(std::move(out[1 + carried_count + s]));
    }
    std::vector<Tensor> result = std::move(carried);
    for (std::size_t s = 0; s < scans.size(); ++s)
      result.push_back(
          stack_or_empty(node_, scans[s], 0, false, declared_->value(declared_->outputs[1 + carried_count + s])));
    return result;
  }

 private:
  const Node& node_;
  std::shared_ptr<const Graph> declared_;
  Body body_;
};

/// Opset 9 and later. Opset 8 (a leading sequence_lens input and a batch axis) runs each batch element through the same
/// code.
class Scan final : public ControlFlow {
 public:
  Scan(const Node& node, Backend& backend, const std::atomic<bool>* stop)
      : node_(node), declared_(node.subgraph("body").graph), body_(node.subgraph("body"), backend, stop) {
    const std::int64_t scanned = node.integer("num_scan_inputs");
    if (scanned < 1 || static_cast<std::size_t>(scanned) > body_.own_inputs())
      fail(node, "num_scan_inputs does not fit the body");
    scan_inputs_ = static_cast<std::size_t>(scanned);
    states_ = body_.own_inputs() - scan_inputs_;
    if (body_.outputs() < states_) fail(node, "the body has fewer outputs than states");
    scan_outputs_ = body_.outputs() - states_;
  }

  std::vector<Tensor> run(std::span<const Tensor> inputs, std::span<const std::vector<Tensor>> captures) override {
    if (node_.opset >= 9) return run_one(inputs, captures[0]);
    if (!inputs.empty() && inputs[0].present())
      fail(node_, "sequence_lens is not supported; convert the model to opset 9 or later");
    if (inputs.size() > 1) inputs = inputs.subspan(1);
    if (inputs.empty() || inputs[0].rank() == 0) fail(node_, "inputs need a batch axis in opset 8");
    std::vector<std::vector<Tensor>> results;
    for (std::int64_t b = 0; b < inputs[0].shape()[0]; ++b) {
      std::vector<Tensor> one;
      for (const Tensor& input : inputs) {
        if (input.rank() == 0 || input.shape()[0] != inputs[0].shape()[0])
          fail(node_, "inputs differ in their batch axis");
        one.push_back(slice(input, 0, b));
      }
      const std::vector<Tensor> out = run_one(one, captures[0]);
      results.resize(out.size());
      for (std::size_t i = 0; i < out.size(); ++i) results[i].push_back(out[i]);
    }
    std::vector<Tensor> stacked;
    stacked.reserve(results.size());
    for (const auto& parts : results) stacked.push_back(stack(node_, parts, 0, false));
    return stacked;
  }

 private:
  std::int64_t flag(const std::string& key, std::size_t i) const {
    const std::vector<std::int64_t> list = node_.integers(key);
    return i < list.size() ? list[i] : 0;
  }

  std::vector<Tensor> run_one(std::span<const Tensor> inputs, const std::vector<Tensor>& captures) {
    if (inputs.size() != body_.own_inputs()) fail(node_, "the body's inputs do not fit");
    std::vector<Tensor> states(inputs.begin(), inputs.begin() + static_cast<std::ptrdiff_t>(states_));
    const std::span<const Tensor> scanned = inputs.subspan(states_);
    std::vector<std::size_t> axes;
    std::int64_t length = -1;
    for (std::size_t i = 0; i < scan_inputs_; ++i) {
      const auto rank = static_cast<std::int64_t>(scanned[i].rank());
      std::int64_t axis = flag("scan_input_axes", i);
      if (axis < 0) axis += rank;
      if (axis < 0 || axis >= rank) fail(node_, "a scan input axis is out of range");
      axes.push_back(static_cast<std::size_t>(axis));
      const std::int64_t dim = scanned[i].shape()[axes.back()];
      if (length >= 0 && dim != length) fail(node_, "scan inputs differ in length");
      length = dim;
    }
    std::vector<std::vector<Tensor>> scans(scan_outputs_);
    for (std::int64_t t = 0; t < length; ++t) {
      std::vector<Tensor> in = states;
      for (std::size_t i = 0; i < scan_inputs_; ++i)
        in.push_back(slice(scanned[i], axes[i], flag(direction("input"), i) != 0 ? length - 1 - t : t));
      std::vector<Tensor> out = body_.run(std::move(in), captures);
      for (std::size_t s = 0; s < states_; ++s) states[s] = std::move(out[s]);
      for (std::size_t s = 0; s < scan_outputs_; ++s) scans[s].push_back(std::move(out[states_ + s]));
    }
    std::vector<Tensor> result = std::move(states);
    for (std::size_t s = 0; s < scan_outputs_; ++s) {
      const Value& declared = declared_->value(declared_->outputs[states_ + s]);
      std::int64_t axis = flag("scan_output_axes", s);
      const std::size_t rank = scans[s].empty() ? declared.shape.value_or(Shape()).rank() : scans[s].front().rank();
      if (axis < 0) axis += static_cast<std::int64_t>(rank) + 1;
      if (axis < 0) fail(node_, "a scan output axis is out of range");
      result.push_back(
          stack_or_empty(node_, scans[s], static_cast<std::size_t>(axis), flag(direction("output"), s) != 0, declared));
    }
    return result;
  }
  /// Opset 8 has one attribute for inputs and none for outputs.
  std::string direction(std::string_view side) const {
    return node_.opset >= 9 ? fmt::format("scan_{}_directions", side) : side == "input" ? "directions" : "";
  }

  const Node& node_;
  std::shared_ptr<const Graph> declared_;
  Body body_;
  std::size_t scan_inputs_ = 0;
  std::size_t states_ = 0;
  std::size_t scan_outputs_ = 0;
};

/// The body for every item of the first sequence; other sequences give their item of that number, tensors themselves.
class SequenceMap final : public ControlFlow {
 public:
  SequenceMap(const Node& node, Backend& backend, const std::atomic<bool>* stop)
      : node_(node), body_(node.subgraph("body"), backend, stop) {}

  std::vector<Tensor> run(std::span<const Tensor> inputs, std::span<const std::vector<Tensor>> captures) override {
    if (inputs.empty() || inputs.size() != body_.own_inputs()) fail(node_, "the body's inputs do not fit");
    const std::size_t length = inputs[0].items().size();
    std::vector<std::vector<Tensor>> results(body_.outputs());
    for (std::size_t i = 0; i < length; ++i) {
      std::vector<Tensor> in;
      for (const Tensor& input : inputs) {
        if (input.type() == DataType::sequence && input.items().size() != length)
          fail(node_, "sequences differ in length");
        in.push_back(input.type() == DataType::sequence ? input.items()[i] : input);
      }
      std::vector<Tensor> out = body_.run(std::move(in), captures[0]);
      for (std::size_t r = 0; r < results.size(); ++r) results[r].push_back(std::move(out[r]));
    }
    std::vector<Tensor> sequences;
    sequences.reserve(results.size());
    for (std::vector<Tensor>& items : results) sequences.push_back(Tensor::sequence(std::move(items)));
    return sequences;
  }

 private:
  const Node& node_;
  Body body_;
};

}  // namespace

std::unique_ptr<ControlFlow> make_control_flow(const Node& node, Backend& backend, const std::atomic<bool>* stop) {
  if (node.op_type == "If") return std::make_unique<If>(node, backend, stop);
  if (node.op_type == "Loop") return std::make_unique<Loop>(node, backend, stop);
  if (node.op_type == "SequenceMap") return std::make_unique<SequenceMap>(node, backend, stop);
  return std::make_unique<Scan>(node, backend, stop);
}

std::vector<const Subgraph*> bodies(const Node& node) {
  std::vector<const Subgraph*> result;
  for (const auto& [key, attribute] : node.attributes)
    if (const Subgraph* body = std::get_if<Subgraph>(&attribute)) result.push_back(body);
  return result;
}

}  // namespace tare
