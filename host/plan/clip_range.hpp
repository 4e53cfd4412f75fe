// What a Relu or Clip node does, in any opset's spelling.
#pragma once

#include <optional>

#include "tare/graph.hpp"

namespace tare {

struct ClipRange {
  float low;
  float high;
};

/// The range that a float32 node cuts its first input to, infinite where it has no limit; nothing for other operators,
/// limits that are not known before the run, NaN or crossed.
std::optional<ClipRange> clip_range(const Graph& graph, const Node& node);

}  // namespace tare
