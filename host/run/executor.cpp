#include "run/executor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "plan/control_flow.hpp"
#include "plan/simplify.hpp"
#include "run/control_flow.hpp"

namespace tare {
namespace {

/// For every value the index of the last node that reads it; graph outputs are never let go.
std::vector<std::int32_t> last_uses(const Graph& graph) {
  constexpr std::int32_t never = -1;
  std::vector<std::int32_t> last(graph.values.size(), never);
  const auto readers = consumers(graph);
  for (std::size_t v = 0; v < last.size(); ++v)
    if (!readers[v].empty()) last[v] = *std::max_element(readers[v].begin(), readers[v].end());
  for (const ValueId output : graph.outputs) last[static_cast<std::size_t>(output)] = never;
  return last;
}

using Kernels = std::vector<std::unique_ptr<Kernel>>;

/// For every value with a site the node whose kernel can observe it, -1: none. The one that makes it, or the first that
/// reads it.
std::vector<std::int32_t> observing_nodes(const Graph& graph, const Kernels& kernels,
                                          const std::vector<std::int32_t>& site_of_value) {
  const auto takes_taps = [&](std::int32_t node) {
    return node >= 0 && kernels[static_cast<std::size_t>(node)] &&
           kernels[static_cast<std::size_t>(node)]->takes_taps();
  };
  std::vector<std::int32_t> observing(graph.values.size(), -1);
  const std::vector<std::int32_t> makers = producers(graph);
  const auto readers = consumers(graph);
  for (std::size_t v = 0; v < observing.size(); ++v) {
    if (site_of_value[v] < 0 || graph.constant(static_cast<ValueId>(v)) != nullptr) continue;
    if (takes_taps(makers[v])) {
      observing[v] = makers[v];
    } else if (!readers[v].empty()) {
      const std::int32_t first = *std::min_element(readers[v].begin(), readers[v].end());
      if (takes_taps(first)) observing[v] = first;
    }
  }
  return observing;
}

}  // namespace

struct Executor::Implementation {
  Graph graph;
  Backend& backend;
  std::vector<std::int32_t> site_of_value;
  const std::atomic<bool>* stop;
  std::vector<std::int32_t> last_use;
  std::vector<bool> is_read;                               ///< by a node or as an output of the graph, by value
  Kernels kernels;                                         ///< null for control flow
  std::vector<std::unique_ptr<ControlFlow>> control_flow;  ///< null for all others
  std::vector<Tensor> constants;                           ///< by value; absent where not constant
  std::vector<Tensor> values;                              ///< by value; the working set of the current batch
  std::vector<Tensor> inputs;
  std::vector<Tensor> outputs;
  std::vector<std::int32_t> observing;  ///< by value: the node that can observe it, or -1
  std::vector<Tap> input_taps;          ///< of the node that runs
  std::vector<Tap> output_taps;
  Watcher watcher;
  std::unique_ptr<Repeater> repeater;  ///< null where no run is like another

  Implementation(Graph g, Backend& b, std::vector<std::int32_t> sites, const std::atomic<bool>* s)
      : graph(std::move(g)), backend(b), site_of_value(std::move(sites)), stop(s), last_use(last_uses(graph)) {
    site_of_value.resize(graph.values.size(), -1);
    for (const std::int32_t use : last_use) is_read.push_back(use >= 0);
    for (const ValueId output : graph.outputs) is_read[index(output)] = true;
    values.resize(graph.values.size());
    constants.resize(graph.values.size());
    for (const auto& [value, tensor] : graph.constants) constants[index(value)] = backend.upload(tensor);
    kernels.resize(graph.nodes.size());
    control_flow.resize(graph.nodes.size());
    std::vector<std::string> broken;
    for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
      const Node& node = graph.nodes[n];
      if (is_control_flow(node)) {
        try {
          control_flow[n] = make_control_flow(node, backend, stop);
        } catch (const Error& error) {
          if (error.kind() == ErrorKind::internal) throw;
          broken.push_back(naming_node(node, error.what()));
        }
        continue;
      }
      std::vector<const Tensor*> known;
      for (const ValueId input : node.inputs)
        known.push_back(input != absent && constants[index(input)].present() ? &constants[index(input)] : nullptr);
      try {
        kernels[n] = backend.compile(graph, node, known);
      } catch (const Error& error) {
        if (error.kind() == ErrorKind::internal) throw;
        broken.push_back(naming_node(node, error.what()));
      }
    }
    if (!broken.empty()) throw Error(ErrorKind::model, list_of_broken_nodes(broken));
    observing = observing_nodes(graph, kernels, site_of_value);
    const bool varies = std::any_of(graph.nodes.begin(), graph.nodes.end(),
                                    [](const Node& node) { return is_control_flow(node) || is_random(node); });
    if (!varies) repeater = backend.make_repeater();
  }

  /// The message with the node before it, unless it says its name itself.
  static std::string naming_node(const Node& node, std::string_view message) {
    const std::string label = node.label();
    return message.find(label) != std::string_view::npos ? std::string(message) : fmt::format("{}: {}", label, message);
  }

  static std::size_t index(ValueId value) { return static_cast<std::size_t>(value); }

  void check_inputs(std::span<const Tensor> given) const {
    if (given.size() != graph.inputs.size())
      throw Error(ErrorKind::data,
                  fmt::format("the model takes {} inputs, {} were given", graph.inputs.size(), given.size()));
    for (std::size_t i = 0; i < given.size(); ++i) {
      const Value& value = graph.value(graph.inputs[i]);
      // A value that may be missing is given as itself.
      const bool any = value.type == DataType::undefined || value.type == DataType::optional;
      if (!any && given[i].type() != value.type)
        throw Error(ErrorKind::data, fmt::format("input '{}' must be {}, not {}", value.name, name_of(value.type),
                                                 name_of(given[i].type())));
      if (!value.shape) continue;
      bool fits = given[i].rank() == value.shape->rank();
      for (std::size_t d = 0; fits && d < value.shape->rank(); ++d)
        fits = (*value.shape)[d] < 0 || (*value.shape)[d] == given[i].shape()[d];
      if (!fits)
        throw Error(ErrorKind::data, fmt::format("input '{}' must have the shape {} (-1: any), not {}", value.name,
                                                 value.shape->text(), given[i].shape().text()));
    }
  }

  void produce(ValueId value, Tensor tensor, ValueHook* hook) {
    const std::int32_t site = site_of_value[index(value)];
    if (hook != nullptr && site >= 0 && tap_of(value, *hook).observer == nullptr)
      tensor = hook->on_value(static_cast<std::size_t>(site), std::move(tensor));
    values[index(value)] = std::move(tensor);
  }

  /// What the node that can observe a value is given for it.
  Tap tap_of(ValueId value, ValueHook& hook) const {
    if (observing[index(value)] < 0) return {};
    return hook.tap(static_cast<std::size_t>(site_of_value[index(value)]));
  }

  /// The taps of node n.
  void find_taps(const Node& node, std::size_t n, ValueHook& hook) {
    const auto find = [&](std::span<const ValueId> of_node, std::vector<Tap>& taps) {
      taps.assign(of_node.size(), Tap());
      for (std::size_t i = 0; i < of_node.size(); ++i)
        if (of_node[i] != absent && observing[index(of_node[i])] == static_cast<std::int32_t>(n))
          taps[i] = tap_of(of_node[i], hook);
    };
    find(node.inputs, input_taps);
    find(node.outputs, output_taps);
    for (std::size_t i = 0; i < output_taps.size(); ++i)
      output_taps[i].only = output_taps[i].observer != nullptr && !is_read[index(node.outputs[i])];
  }

  /// The value for node n: the only view when n is its last reader.
  Tensor fetch(ValueId value, std::size_t n) {
    Tensor& slot = values[index(value)];
    if (!slot.present()) return constants[index(value)];
    return last_use[index(value)] == static_cast<std::int32_t>(n) ? std::exchange(slot, Tensor()) : slot;
  }

  void gather_inputs(const Node& node, std::size_t n) {
    inputs.clear();
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId value = node.inputs[i];
      if (value == absent) {
        inputs.emplace_back();
        continue;
      }
      // A value read twice by its last reader is moved on the first reading: share that view.
      const auto earlier = std::find(node.inputs.begin(), node.inputs.begin() + static_cast<std::ptrdiff_t>(i), value);
      const auto at = static_cast<std::size_t>(earlier - node.inputs.begin());
      inputs.push_back(at < i ? inputs[at] : fetch(value, n));
      if (!inputs.back().present())
        throw Error(ErrorKind::internal,
                    fmt::format("{}: input '{}' has no value", node.label(), graph.value(value).name));
    }
  }

  void run_node(std::size_t n, ValueHook* hook) {
    const Node& node = graph.nodes[n];
    outputs.assign(node.outputs.size(), Tensor());
    bool tapped = false;
    if (control_flow[n] != nullptr) {
      run_control_flow(n);
    } else {
      gather_inputs(node, n);
      if (!kernels[n]->accepts_channels_last())
        for (Tensor& input : inputs)
          if (input.layout() != Layout::plain) input = backend.to_plain(input);
      tapped = hook != nullptr && kernels[n]->takes_taps();
      if (tapped) {
        find_taps(node, n, *hook);
        kernels[n]->run_tapped(inputs, outputs, input_taps, output_taps);
      } else {
        kernels[n]->run(inputs, outputs);
      }
      inputs.clear();
    }
    if (watcher) watcher(n, outputs);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const ValueId value = node.outputs[i];
      if (value == absent || (tapped && output_taps[i].only)) continue;
      if (!outputs[i].present())
        throw Error(ErrorKind::model, fmt::format("{}: the operator gives no output {} ('{}') here; leave it out",
                                                  node.label(), i, graph.value(value).name));
      // An output that nobody reads still has to pass its hook, then goes at once.
      produce(value, std::move(outputs[i]), hook);
    }
  }

  void run_control_flow(std::size_t n) {
    // A body runs other executors: inputs and outputs are members, so they are taken off before and put back after.
    const Node& node = graph.nodes[n];
    gather_inputs(node, n);
    std::vector<Tensor> in = std::move(inputs);
    for (Tensor& tensor : in)
      if (tensor.present()) tensor = backend.download(tensor);
    std::vector<std::vector<Tensor>> captures;
    for (const Subgraph* body : bodies(node)) {
      std::vector<Tensor> captured;
      for (const ValueId value : body->captures) {
        const Tensor& slot = values[index(value)];
        const Tensor& tensor = slot.present() ? slot : constants[index(value)];
        if (tensor.present()) {
          captured.push_back(backend.download(tensor));
        } else {  // moved into `in`: it is an input of this node as well
          const auto at = std::find(node.inputs.begin(), node.inputs.end(), value) - node.inputs.begin();
          captured.push_back(in.at(static_cast<std::size_t>(at)));
        }
      }
      captures.push_back(std::move(captured));
    }
    std::vector<Tensor> result = control_flow[n]->run(in, captures);
    outputs.assign(node.outputs.size(), Tensor());
    for (std::size_t i = 0; i < result.size() && i < outputs.size(); ++i) outputs[i] = backend.upload(result[i]);
    inputs.clear();
  }

  void release_dead(std::size_t n) {
    const Node& node = graph.nodes[n];
    const auto let_go = [&](ValueId value) {
      if (value != absent && last_use[index(value)] == static_cast<std::int32_t>(n)) values[index(value)] = Tensor();
    };
    for (const Subgraph* body : bodies(node))
      for (const ValueId value : body->captures) let_go(value);
    for (const ValueId value : node.inputs) let_go(value);
  }

  /// Lets go of what a run holds when it ends, in an error, too: lack of memory may be why.
  struct Ending {
    Implementation& run;
    ~Ending() {
      std::fill(run.values.begin(), run.values.end(), Tensor());
      run.inputs.clear();
      run.outputs.clear();
    }
  };

  void end_if_stopped() const {
    if (stop != nullptr && stop->load(std::memory_order_relaxed))
      throw Error(ErrorKind::interrupted, "interrupted: nothing was written");
  }

  /// Node by node, from inputs that are uploaded to outputs wherever they are.
  std::vector<Tensor> run_nodes(std::vector<Tensor> uploaded, ValueHook* hook) {
    const Ending ending{*this};
    for (std::size_t i = 0; i < uploaded.size(); ++i) produce(graph.inputs[i], std::move(uploaded[i]), hook);
    for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
      end_if_stopped();
      try {
        run_node(n, hook);
      } catch (const Error& error) {
        if (error.kind() == ErrorKind::interrupted) throw;  // in a body: no node is to blame
        throw Error(error.kind(), naming_node(graph.nodes[n], error.what()));
      } catch (const std::bad_alloc&) {
        throw Error(ErrorKind::data, fmt::format("{}: out of memory; lower --batch-size", graph.nodes[n].label()));
      } catch (const std::length_error&) {  // more than any memory can hold
        throw Error(ErrorKind::data, fmt::format("{}: out of memory", graph.nodes[n].label()));
      } catch (const std::exception& error) {
        throw Error(ErrorKind::internal, fmt::format("{}: {}", graph.nodes[n].label(), error.what()));
      }
      release_dead(n);
    }
    std::vector<Tensor> result;
    for (const ValueId output : graph.outputs) {
      const Tensor& slot = values[index(output)];
      result.push_back(slot.present() ? slot : constants[index(output)]);
    }
    return result;
  }

  /// The same as one run that may be done again: nothing waits in the hook before it or behind it.
  std::vector<Tensor> run_flushed(std::vector<Tensor> uploaded, ValueHook* hook) {
    if (hook == nullptr) return run_nodes(std::move(uploaded), hook);
    try {
      std::vector<Tensor> result = run_nodes(std::move(uploaded), hook);
      hook->flush();
      return result;
    } catch (...) {
      try {
        hook->flush();          // what waits belongs to the run that failed
      } catch (const Error&) {  // so does this failure
      }
      throw;
    }
  }

  /// The outputs wherever they are.
  std::vector<Tensor> run_on_device(std::span<const Tensor> given, ValueHook* hook) {
    check_inputs(given);
    end_if_stopped();  // a body may have no node
    const void* mark = hook != nullptr ? hook->repeats() : nullptr;
    if (repeater == nullptr || watcher || (hook != nullptr && mark == nullptr)) {
      std::vector<Tensor> uploaded;
      for (const Tensor& tensor : given) uploaded.push_back(backend.upload(tensor));
      return run_nodes(std::move(uploaded), hook);
    }
    if (hook != nullptr) hook->flush();
    return repeater->run(given, mark, [&](std::vector<Tensor> in) { return run_flushed(std::move(in), hook); });
  }

  std::vector<Tensor> run(std::span<const Tensor> given, ValueHook* hook) {
    std::vector<Tensor> result = run_on_device(given, hook);
    for (Tensor& output : result) output = backend.download(output);
    backend.synchronize();
    return result;
  }
};

Executor::Executor(Graph graph, Backend& backend, std::vector<std::int32_t> site_of_value,
                   const std::atomic<bool>* stop)
    : implementation_(std::make_unique<Implementation>(std::move(graph), backend, std::move(site_of_value), stop)) {}
Executor::~Executor() = default;
Executor::Executor(Executor&&) noexcept = default;
Executor& Executor::operator=(Executor&&) noexcept = default;

const Graph& Executor::graph() const { return implementation_->graph; }
std::vector<Tensor> Executor::run(std::span<const Tensor> inputs, ValueHook* hook) {
  return implementation_->run(inputs, hook);
}
void Executor::run_for(std::span<const Tensor> inputs, ValueHook& hook) {
  static_cast<void>(implementation_->run_on_device(inputs, &hook));
}
void Executor::watch(Watcher watcher) { implementation_->watcher = std::move(watcher); }

}  // namespace tare
