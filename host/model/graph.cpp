// Typed attribute access and the two indices over a graph.
#include "tare/graph.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace tare {
namespace {

template <class T>
const T& typed(const Node& node, std::string_view key, const Attribute& attribute, std::string_view kind) {
  if (const T* value = std::get_if<T>(&attribute)) return *value;
  throw Error(ErrorKind::model, fmt::format("{}: attribute '{}' must be {}", node.label(), key, kind));
}

const Attribute& required(const Node& node, std::string_view key) {
  const auto it = node.attributes.find(key);
  if (it == node.attributes.end())
    throw Error(ErrorKind::model, fmt::format("{}: attribute '{}' is missing", node.label(), key));
  return it->second;
}

template <class T>
T list(const Node& node, std::string_view key, std::string_view kind) {
  const auto it = node.attributes.find(key);
  return it == node.attributes.end() ? T{} : typed<T>(node, key, it->second, kind);
}

}  // namespace

std::string Node::label() const {
  return domain.empty() ? fmt::format("{} '{}'", op_type, name) : fmt::format("{}::{} '{}'", domain, op_type, name);
}

std::int64_t Node::integer(std::string_view key) const {
  return typed<std::int64_t>(*this, key, required(*this, key), "an integer");
}
std::int64_t Node::integer(std::string_view key, std::int64_t otherwise) const {
  return has(key) ? integer(key) : otherwise;
}
float Node::real(std::string_view key) const { return typed<float>(*this, key, required(*this, key), "a float"); }
float Node::real(std::string_view key, float otherwise) const { return has(key) ? real(key) : otherwise; }
std::string Node::text(std::string_view key) const {
  return typed<std::string>(*this, key, required(*this, key), "a string");
}
std::string Node::text(std::string_view key, std::string_view otherwise) const {
  return has(key) ? text(key) : std::string(otherwise);
}
std::vector<std::int64_t> Node::integers(std::string_view key) const {
  return list<std::vector<std::int64_t>>(*this, key, "a list of integers");
}
std::vector<float> Node::reals(std::string_view key) const {
  return list<std::vector<float>>(*this, key, "a list of floats");
}
std::vector<std::string> Node::texts(std::string_view key) const {
  return list<std::vector<std::string>>(*this, key, "a list of strings");
}
const Tensor& Node::tensor(std::string_view key) const {
  return typed<Tensor>(*this, key, required(*this, key), "a tensor");
}
const Subgraph& Node::subgraph(std::string_view key) const {
  return typed<Subgraph>(*this, key, required(*this, key), "a graph");
}

ValueId Graph::find(std::string_view value_name) const {
  const auto it = std::find_if(values.begin(), values.end(), [&](const Value& v) { return v.name == value_name; });
  return it == values.end() ? absent : static_cast<ValueId>(it - values.begin());
}

std::vector<std::int32_t> producers(const Graph& graph) {
  std::vector<std::int32_t> producer(graph.values.size(), -1);
  for (std::size_t n = 0; n < graph.nodes.size(); ++n)
    for (const ValueId output : graph.nodes[n].outputs)
      if (output != absent) producer[static_cast<std::size_t>(output)] = static_cast<std::int32_t>(n);
  return producer;
}

std::vector<std::vector<std::int32_t>> consumers(const Graph& graph) {
  std::vector<std::vector<std::int32_t>> result(graph.values.size());
  const auto add = [&](ValueId value, std::size_t n) {
    if (value == absent) return;
    auto& nodes = result[static_cast<std::size_t>(value)];
    if (nodes.empty() || nodes.back() != static_cast<std::int32_t>(n)) nodes.push_back(static_cast<std::int32_t>(n));
  };
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    for (const ValueId input : graph.nodes[n].inputs) add(input, n);
    for (const auto& [key, attribute] : graph.nodes[n].attributes)
      if (const Subgraph* body = std::get_if<Subgraph>(&attribute))
        for (const ValueId capture : body->captures) add(capture, n);
  }
  return result;
}

}  // namespace tare
