// If, Loop, Scan and SequenceMap: nodes that run other graphs. They work on host tensors, whatever the backend.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "tare/backend.hpp"
#include "tare/graph.hpp"

namespace tare {

class ControlFlow {
 public:
  virtual ~ControlFlow() = default;
  /// inputs: host tensors of node.inputs; captures[b][i]: the value of bodies(node)[b]->captures[i].
  virtual std::vector<Tensor> run(std::span<const Tensor> inputs, std::span<const std::vector<Tensor>> captures) = 0;
};

/// `stop`: as the Executor's.
std::unique_ptr<ControlFlow> make_control_flow(const Node& node, Backend& backend, const std::atomic<bool>* stop);

/// The bodies of a node in a fixed order (by attribute name).
std::vector<const Subgraph*> bodies(const Node& node);

}  // namespace tare
