#include "plan/derived_values.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace tare {
namespace {

constexpr std::array<std::string_view, 7> movements = {"Flatten",   "Identity",  "Reshape",     "Squeeze",
                                                       "Transpose", "Unsqueeze", "DepthToSpace"};

std::optional<DerivedValue> derived_value(const Graph& graph, const Node& node) {
  if (!node.domain.empty() || node.outputs.size() != 1 || node.inputs.empty()) return std::nullopt;
  DerivedValue result{node.outputs[0], {node.inputs[0]}, std::nullopt};
  if (node.op_type == "Concat") {
    result.sources = node.inputs;
    return result;
  }
  if (std::find(movements.begin(), movements.end(), node.op_type) != movements.end()) return result;
  result.range = clip_range(graph, node);
  if (!result.range || graph.value(result.value).type != DataType::float32) return std::nullopt;
  return result;
}

}  // namespace

std::vector<DerivedValue> derived_values(const Graph& graph, const std::vector<bool>& observed) {
  const auto is_observed = [&](ValueId value) { return value != absent && observed[static_cast<std::size_t>(value)]; };
  std::vector<DerivedValue> result;
  for (const Node& node : graph.nodes) {
    std::optional<DerivedValue> derived = derived_value(graph, node);
    if (!derived || !is_observed(derived->value)) continue;
    if (std::all_of(derived->sources.begin(), derived->sources.end(), is_observed)) result.push_back(*derived);
  }
  return result;
}

}  // namespace tare
