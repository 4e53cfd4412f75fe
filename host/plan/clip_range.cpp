#include "plan/clip_range.hpp"

#include <limits>

namespace tare {

std::optional<ClipRange> clip_range(const Graph& graph, const Node& node) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  if (!node.domain.empty()) return std::nullopt;
  if (node.op_type == "Relu") return ClipRange{0.0f, infinity};
  if (node.op_type != "Clip") return std::nullopt;
  ClipRange range{-infinity, infinity};
  if (node.opset < 11) {
    range = {node.real("min", -infinity), node.real("max", infinity)};
  } else {
    for (std::size_t i = 1; i < 3 && i < node.inputs.size(); ++i) {
      if (node.inputs[i] == absent) continue;
      const Tensor* limit = graph.constant(node.inputs[i]);
      if (limit == nullptr || limit->type() != DataType::float32 || limit->elements() != 1) return std::nullopt;
      (i == 1 ? range.low : range.high) = *limit->data<float>();
    }
  }
  return range.low <= range.high ? std::optional(range) : std::nullopt;
}

}  // namespace tare
