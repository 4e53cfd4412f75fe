// What is wrong with an encodings file for a model, before another tool meets it: found from the graph, the placed
// quantizers and, where there are some, statistics of the data. No data is run.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tare/calibration.hpp"
#include "tare/export.hpp"
#include "tare/placement.hpp"
#include "tare/quantizer.hpp"

namespace tare {

enum class FindingKind : std::uint8_t {
  missing,   ///< a quantizer is placed, or a tensor follows from others in 2.0.0, and the file has no encoding
  unknown,   ///< the model has no such tensor
  mismatch,  ///< of another kind (bits, symmetry, channels) than the placed quantizer
  unplaced,  ///< no quantizer is placed, and the encoding follows from no other: ignored
  derived,   ///< no quantizer is placed, and another grid follows from the neighbours: derived again
  dead,      ///< a tensor at the smallest scale, or channels or blocks of zeros
  clipped,   ///< more than `clipped_share` of the data lies outside of the range
};
std::string_view name_of(FindingKind kind);

inline constexpr double clipped_share = 0.01;

struct Finding {
  FindingKind kind;
  std::string tensor;
  std::string detail;  ///< what is there, and what to do
};

struct LintReport {
  std::vector<Finding> findings;      ///< by kind, then in the order of sites or of the file
  std::vector<std::string> repeated;  ///< tensors that only say what follows from others: harmless
  std::size_t ranges = 0;             ///< integer encodings of placed activations …
  std::size_t checked = 0;            ///< … and those among them that `statistics` know
};

/// `sites`: as place() gives them for this graph. `version`: of the file; 2.0.0 lists every tensor, also those that
/// follow from others, and no float16. A value up to one step beyond a limit does not count as clipped, nor does a
/// sentinel (find_sentinels). Throws Error(model) where the file's channels do not fit a parameter.
LintReport lint_encodings(const Graph& graph, const std::vector<QuantSite>& sites, const EncodingSet& encodings,
                          std::span<const NamedStatistics> statistics = {},
                          EncodingVersion version = EncodingVersion::v1_0_0);

}  // namespace tare
