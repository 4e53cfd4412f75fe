// What is compared of one run: each check gives one cell of the table. A new comparison is a new function here and a
// line in `checks`.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "parity/reference.hpp"
#include "tare/session.hpp"

namespace tare::parity {

/// One run of one model: what AIMET found, and what we did on the same data.
struct Subject {
  const test::GoldenModel& model;
  const Run& run;
  const Reference& reference;
  const Graph& graph;
  const CalibrationResult& found;
};

struct Cell {
  std::string text;
  std::vector<std::string> failures;
  std::vector<std::string> notes;       ///< differences within the bar or explained, by name
  std::vector<std::string> shortfalls;  ///< below the bar, but every difference is explained
};

/// Which tensors have a quantizer, and of which kind.
Cell compare_quantizers(const Subject& subject);
/// Scales within 1e-4 and offsets equal: for 99.5 % of the tensors with min_max, 97 % with tf_enhanced. The others
/// stand in explained.tsv, or cost no more than 0.1 % above AIMET's choice by AIMET's own function.
Cell compare_encodings(const Subject& subject);

struct Check {
  const char* heading;
  Cell (*compare)(const Subject& subject);
};
inline constexpr std::array checks = {
    Check{"quantizers", compare_quantizers},
    Check{"encodings", compare_encodings},
};

}  // namespace tare::parity
