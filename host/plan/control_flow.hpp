// Which nodes are run by the executor itself, because they run other graphs.
#pragma once

#include "tare/graph.hpp"

namespace tare {

inline bool is_control_flow(const Node& node) {
  return node.domain.empty() &&
         (node.op_type == "If" || node.op_type == "Loop" || node.op_type == "Scan" || node.op_type == "SequenceMap");
}

}  // namespace tare
