// What is compared of one run: each check gives one cell of the table. A new comparison is a new function here and a
// line in `checks`.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "parity/difference_table.hpp"
#include "parity/reference.hpp"
#include "parity/sums.hpp"
#include "tare/session.hpp"

namespace tare::parity {

/// What is known to differ (tests/data/golden).
struct Tables {
  DifferenceTable encodings{test::data_folder() / "golden/explained.tsv", 5};
  DifferenceTable simulation{test::data_folder() / "golden/diverging.tsv", 5};
};

/// One run of one model: what AIMET found, and what we did on the same data.
struct Subject {
  const test::GoldenModel& model;
  const GoldenRun& run;
  const Reference& reference;
  Sums sums;
  Session& session;
  const std::vector<Batch>& batches;
  const CalibrationResult& found;
  Tables& tables;

  const Graph& graph() const { return session.graph(); }
};

/// A cell below its bar, or with something over cost, has the run made again with sums in float64.
struct Cell {
  std::string text;
  std::vector<std::string> notes;      ///< differences within the bar or explained, by name
  std::vector<std::string> below_bar;  ///< too few tensors agree, though every difference is explained
  std::vector<std::string> over_cost;  ///< costs too much, but explained: waived where float64 sums do not help
  std::vector<std::string> failures;

  bool reaches_bar() const { return below_bar.empty() && over_cost.empty(); }
};

/// Which tensors have a quantizer, and of which kind.
Cell compare_quantizers(const Subject& subject);
/// Scales within 1e-4 and offsets equal: for 99.5 % of the tensors with min_max, the others explained; 97 % with
/// tf_enhanced, where none may cost more than 0.1 % above AIMET's choice by AIMET's own function.
Cell compare_encodings(const Subject& subject);
/// With AIMET's own encodings: every output 10 dB nearer to AIMET's simulated one than that is to the float one. A miss
/// stands in diverging.tsv with the first tensor that differs when sums run in another order.
Cell compare_simulation(const Subject& subject);

struct Check {
  const char* heading;
  int width;
  Cell (*compare)(const Subject& subject);
};
inline constexpr std::array checks = {
    Check{"quantizers", 12, compare_quantizers},
    Check{"encodings", 29, compare_encodings},
    Check{"simulation", 10, compare_simulation},
};

}  // namespace tare::parity
