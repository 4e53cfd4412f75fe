// Raising the opset of a model without changing what it computes.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "model/source.hpp"
#include "tare/graph.hpp"

namespace tare {

/// Names taken in a model, bodies included; hands out new ones.
class Names {
 public:
  explicit Names(const onnx::GraphProto& graph) { collect(graph); }
  std::string make(const std::string& wanted);
  /// Does a node read it, or is it an output of a graph?
  bool is_read(const std::string& name) const { return !name.empty() && read_.contains(name); }

 private:
  void collect(const onnx::GraphProto& graph);
  std::unordered_set<std::string> taken_, read_;
};

using KnownValues = std::unordered_map<std::string, const Value*>;

/// Rewrites the nodes of `model` whose meaning differs between its opset and `target`, and sets the opset. `values`
/// gives types and shapes where they are known. Throws Error(unsupported) naming a node that cannot be rewritten.
void raise_opset(onnx::ModelProto& model, std::int64_t target, const KnownValues& values, Names& names);

}  // namespace tare
