// Percentile ranges, as AIMET and ONNX Runtime define them: the share outside each limit is (100 - percentile) %, on
// each side by itself. Odd: inside a bin the values count as evenly spread, so the answer is within one bin (1.6 %) of
// the data's.
#include <algorithm>

#include "calib/encoding.hpp"
#include "tare/numerics.hpp"

namespace tare::calib {
namespace {

/// The value below which `rank` of the finite values lie.
double value_at(const TensorStatistics& statistics, double rank) {
  double below = 0;
  bool zero_passed = statistics.zero_count == 0;
  const auto zero_reached = [&] {
    zero_passed = true;
    below += static_cast<double>(statistics.zero_count);
    return below >= rank;
  };
  for (const auto& [bin, count] : statistics.bins) {
    if (!zero_passed && bin >= histogram_side_count && zero_reached()) return 0;
    const double inside = static_cast<double>(count);
    if (below + inside >= rank) {
      const double lower = std::max(histogram_bin_lower(bin), static_cast<double>(statistics.min));
      const double upper = std::min(histogram_bin_upper(bin), static_cast<double>(statistics.max));
      return lower + (upper - lower) * std::max(0.0, (rank - below) / inside);
    }
    below += inside;
  }
  if (!zero_passed && zero_reached()) return 0;
  return static_cast<double>(statistics.max);
}

}  // namespace

Range percentile_range(const TensorStatistics& statistics, double percentile) {
  const Range whole = observed_range(statistics, false);
  double total = static_cast<double>(statistics.zero_count);
  for (const auto& [bin, count] : statistics.bins) total += static_cast<double>(count);
  if (percentile >= 100 || total == 0) return whole;
  const double outside = total * (100 - percentile) / 100;
  return {std::min(0.0, value_at(statistics, outside)), std::max(0.0, value_at(statistics, total - outside))};
}

}  // namespace tare::calib
