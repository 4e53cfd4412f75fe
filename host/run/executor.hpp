// Runs a graph on a backend, one batch at a time, shapes free to vary from batch to batch. Every value lives from its
// producer to its last reader; a reader that is the last one gets the only view and may work in place.
// Quantizers are hooks: the executor hands each value that has a site to the hook as soon as it exists, and everybody
// downstream reads what the hook returns. Float, observing and simulated runs differ in the hook alone.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "tare/backend.hpp"
#include "tare/graph.hpp"

namespace tare {

/// Sees (and may replace) the values that have a site.
class ValueHook {
 public:
  virtual ~ValueHook() = default;
  virtual Tensor on_value(std::size_t site, Tensor value) = 0;
  /// Where a value only has to be observed: on_value is not called for it when a kernel does that. The same during a
  /// run.
  virtual Tap tap(std::size_t /*site*/) { return {}; }
  /// Not null: what the hook does with a run's values is work of the device alone, the same with every run, and may be
  /// done again without calling the hook (Repeater). The address is that of what it works with, which lives as long as
  /// the executor: hooks of another address do other work.
  virtual const void* repeats() const { return nullptr; }
  /// Hands what waits in the hook to the device: before such a run, and at its end.
  virtual void flush() {}
};

class Executor {
 public:
  /// `site_of_value[v]`: index handed to the hook, or -1. Empty: no sites. Constants never reach the hook: whoever made
  /// the graph has quantized them once. `graph` is used as it is: simplify it first. The backend must outlive the
  /// executor, and so must `stop`: once it is true, runs end before their next node with Error(interrupted).
  Executor(Graph graph, Backend& backend, std::vector<std::int32_t> site_of_value = {},
           const std::atomic<bool>* stop = nullptr);
  ~Executor();
  Executor(Executor&&) noexcept;
  Executor& operator=(Executor&&) noexcept;

  const Graph& graph() const;

  /// inputs: host tensors in the order of graph.inputs. Returns host tensors in plain layout, in the order of
  /// graph.outputs. Throws Error(data) naming node and shapes when an input does not fit.
  std::vector<Tensor> run(std::span<const Tensor> inputs, ValueHook* hook = nullptr);

  /// The same for what the hook sees: brings no outputs back and waits for nothing.
  void run_for(std::span<const Tensor> inputs, ValueHook& hook);

  /// Called after every node with the node's index and the tensors it made: profiling and the search for the first bad
  /// value.
  using Watcher = std::function<void(std::size_t node, std::span<const Tensor> outputs)>;
  void watch(Watcher watcher);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace tare
