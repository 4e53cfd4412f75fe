// What names mean at one place of a model file while its graph is built. A scope is one GraphProto or one call of a
// function; a body's scope looks outwards and captures what it finds, a function's scope looks nowhere else.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "model/source.hpp"
#include "tare/graph.hpp"

namespace tare {

struct Scope;

/// An attribute handed to a function, and the scope in which a body inside of it was written.
struct AttributeBinding {
  const onnx::AttributeProto* proto = nullptr;
  Scope* scope = nullptr;
};

/// A Graph while it is filled: names given so far, so that inlined ones stay unique.
struct GraphUnderConstruction {
  Graph graph;
  std::unordered_set<std::string> node_names;
  std::unordered_set<std::string> value_names;

  std::string unique_node_name(const std::string& wanted) { return unique(node_names, wanted); }
  std::string unique_value_name(const std::string& wanted) { return unique(value_names, wanted); }

 private:
  static std::string unique(std::unordered_set<std::string>& taken, const std::string& wanted) {
    std::string name = wanted;
    for (std::size_t i = taken.size(); !taken.insert(name).second; ++i) name = wanted + "_" + std::to_string(i);
    return name;
  }
};

struct Scope {
  Scope* outer = nullptr;  ///< the scope around a body; null for the main graph and for functions
  GraphUnderConstruction* target = nullptr;
  std::string prefix;  ///< "call/" inside of a function
  std::unordered_map<std::string, ValueId> names;
  std::vector<ValueId> outer_captures;  ///< ids in the outer scope's graph, beside target->graph.captures
  const std::map<std::string, std::int64_t>* opsets = nullptr;
  std::map<std::string, AttributeBinding> attributes;
  bool inlined = false;  ///< inside of a function, or of a body in one
  int depth = 0;         ///< calls and bodies around this scope
};

}  // namespace tare
