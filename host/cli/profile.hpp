// Where the time of a run goes, node by node.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tare/session.hpp"

namespace tare::cli {

struct NodeTime {
  std::string op_type;
  std::string label;
  std::string shape;      ///< of the first result
  double run_ms = 0;      ///< fastest repetition
  double observe_ms = 0;  ///< of its results, fastest repetition
};

/// Plain inference, or the run that a calibration makes with its observers, on one batch. The device is waited for
/// after every node: the sum is more than a run takes.
std::vector<NodeTime> profile(const Graph& graph, Backend& backend, std::span<const Tensor> inputs,
                              const CalibrationOptions& calibration, bool observing, int repetitions);

/// By operator, then the nodes that take longest.
std::string profile_text(std::vector<NodeTime> nodes);

}  // namespace tare::cli
