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
  std::string shape;   ///< of the first result
  double run_ms = 0;   ///< fastest repetition
  double site_ms = 0;  ///< of observers or quantizers of its results that are not part of a node, fastest repetition
};

enum class Profiled { plain, observe, simulate };

/// Plain inference; inference with an observer at every activation quantizer, each reading its tensor, where a
/// calibration derives what it can and counts inside of chains; or the simulated model with the encodings of a
/// calibration on this batch alone. The device is waited for after every node: the sum is more than a run takes.
std::vector<NodeTime> profile(Session& session, const Batch& batch, const CalibrationOptions& calibration,
                              Profiled what, Rounding rounding, int repetitions);

/// By operator, then the nodes that take longest.
std::string profile_text(std::vector<NodeTime> nodes, Profiled what);

}  // namespace tare::cli
