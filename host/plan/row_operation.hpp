// Operators that compute with whole rows of a tensor's last dimension: normalizations and softmax.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "tare/graph.hpp"

namespace tare {

inline bool is_row_operation(const Node& node) {
  constexpr std::array<std::string_view, 4> names = {"LayerNormalization", "LogSoftmax", "RMSNormalization", "Softmax"};
  return node.domain.empty() && std::find(names.begin(), names.end(), node.op_type) != names.end();
}

/// Where its rows begin. Before opset 13 a softmax takes everything from there on as one row.
inline std::int64_t row_axis(const Node& node) {
  const bool flattens =
      (node.op_type == "Softmax" || node.op_type == "LogSoftmax") && node.opset != 0 && node.opset < 13;
  return node.integer("axis", flattens ? 1 : -1);
}

/// Whether `axis` is known to be the last one of a value of this shape.
inline bool is_last_axis(std::int64_t axis, const std::optional<Shape>& shape) {
  return axis == -1 || (shape && axis == static_cast<std::int64_t>(shape->rank()) - 1);
}

}  // namespace tare
