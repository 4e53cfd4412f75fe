// A model as plain data: values, nodes in topological order, constants. Nothing here runs and nothing points back.
// Quantizers are not part of it: they live in a side table keyed by ValueId (see quantizer.hpp), so one Graph serves
// float, observing and simulated runs.
// Odd: a body of If/Loop/Scan is a Graph of its own; what it reads from outside is listed in `captures`, never looked
// up.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "tare/tensor.hpp"

namespace tare {

/// Index into Graph::values; `absent` stands for an omitted optional input or output.
using ValueId = std::int32_t;
inline constexpr ValueId absent = -1;

struct Graph;

/// A body and the outer values it reads: `captures[i]` of the outer graph feeds `graph->captures[i]` of the body.
struct Subgraph {
  std::shared_ptr<const Graph> graph;
  std::vector<ValueId> captures;
};

using Attribute = std::variant<std::int64_t, float, std::string, Tensor, Subgraph, std::vector<std::int64_t>,
                               std::vector<float>, std::vector<std::string>>;

/// What the model file says of a value. A dimension that is not fixed is -1.
struct Value {
  std::string name;
  DataType type = DataType::undefined;  ///< undefined: not known (yet)
  std::optional<Shape> shape;           ///< declared shape; none when the rank is unknown
};

struct Node {
  std::string name;    ///< never empty: the loader numbers nameless nodes ("Conv_12")
  std::string domain;  ///< "" is ai.onnx
  std::string op_type;
  std::int64_t opset = 0;  ///< opset version of `domain` that this node's model (or function) imports
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  std::map<std::string, Attribute, std::less<>> attributes;

  /// `absent` for what is left out, be it at the end: models name fewer than their operators need.
  ValueId input(std::size_t i) const { return i < inputs.size() ? inputs[i] : absent; }
  ValueId output(std::size_t i) const { return i < outputs.size() ? outputs[i] : absent; }

  bool has(std::string_view key) const { return attributes.find(key) != attributes.end(); }
  /// Typed attribute access. The default is used when the attribute is absent; a wrong type throws Error(model) naming
  /// the node and the attribute. The forms without default throw when it is absent.
  std::int64_t integer(std::string_view key) const;
  std::int64_t integer(std::string_view key, std::int64_t otherwise) const;
  float real(std::string_view key) const;
  float real(std::string_view key, float otherwise) const;
  std::string text(std::string_view key) const;
  std::string text(std::string_view key, std::string_view otherwise) const;
  std::vector<std::int64_t> integers(std::string_view key) const;  ///< empty when absent
  std::vector<float> reals(std::string_view key) const;            ///< empty when absent
  std::vector<std::string> texts(std::string_view key) const;      ///< empty when absent
  const Tensor& tensor(std::string_view key) const;
  const Subgraph& subgraph(std::string_view key) const;

  /// "Conv 'backbone/conv1'" for messages.
  std::string label() const;
};

struct Graph {
  std::string name;
  std::vector<Value> values;
  std::vector<Node> nodes;      ///< topological order
  std::vector<ValueId> inputs;  ///< those that must be fed: initializers listed as inputs are not among them
  std::vector<ValueId> outputs;
  std::vector<ValueId> captures;  ///< values fed from the enclosing graph (bodies only)
  std::unordered_map<ValueId, Tensor>
      constants;  ///< initializers and Constant nodes' values (host tensors, plain layout)

  ValueId add_value(Value value) {
    values.push_back(std::move(value));
    return static_cast<ValueId>(values.size() - 1);
  }
  const Value& value(ValueId id) const { return values[static_cast<std::size_t>(id)]; }
  Value& value(ValueId id) { return values[static_cast<std::size_t>(id)]; }
  const Tensor* constant(ValueId id) const {
    const auto it = constants.find(id);
    return it == constants.end() ? nullptr : &it->second;
  }
  /// Id of the value with this name, or `absent`. Linear in the number of values: for set-up, not for the run.
  ValueId find(std::string_view value_name) const;
};

/// For every value the node that produces it, or -1 (inputs, constants, captures).
std::vector<std::int32_t> producers(const Graph& graph);
/// For every value the nodes that read it (a node that reads it twice, or captures it for a body, stands once).
std::vector<std::vector<std::int32_t>> consumers(const Graph& graph);

}  // namespace tare
