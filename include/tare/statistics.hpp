// What one pass over the data leaves of a tensor: exact extremes, exact special counts, and integer counts in bins that
// are a fixed function of the float32 bit pattern (numerics.hpp: histogram_bin). Merging is addition, so order,
// chunking, threads and shards cannot change a byte.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tare {

/// AIMET's own histogram, frozen at the first batch that is not all zero: only for `tf_enhanced`.
struct TfEnhancedHistogram {
  double step = 0;              ///< bin width; 0: no non-zero batch seen yet
  std::int64_t first_bin = 0;   ///< left edge of bin i is (first_bin + i) * step
  std::vector<double> density;  ///< running mean over batches of count / elements
  std::uint64_t batches = 0;    ///< batches in that mean
  std::uint64_t lost = 0;       ///< values outside the frozen window: AIMET drops them
  friend bool operator==(const TfEnhancedHistogram&, const TfEnhancedHistogram&) = default;
};

struct TensorStatistics {
  std::uint64_t count = 0;  ///< elements seen, NaN and infinities included
  std::uint64_t nan_count = 0;
  std::uint64_t positive_infinity_count = 0;
  std::uint64_t negative_infinity_count = 0;
  std::uint64_t zero_count = 0;  ///< +0 and -0
  std::uint64_t min_count = 0;   ///< how often the exact minimum occurs
  std::uint64_t max_count = 0;
  float min = std::numeric_limits<float>::infinity();  ///< over finite values; +inf when there are none
  float max = -std::numeric_limits<float>::infinity();
  /// Non-empty bins of finite non-zero values, ascending by bin: (histogram_bin(x), count). Empty when only extremes
  /// were asked for.
  std::vector<std::pair<std::uint32_t, std::uint64_t>> bins;
  /// Where the values of some bins lie in them, ascending, with how often each occurs; the bins count them, too. Only
  /// of derived statistics (host/calib/derived.hpp), which are not saved.
  std::vector<std::pair<float, std::uint64_t>> points;
  std::optional<TfEnhancedHistogram> tf_enhanced;

  std::uint64_t nonfinite_count() const { return nan_count + positive_infinity_count + negative_infinity_count; }
  /// Adds what another pass saw. Throws Error(usage) when either holds a tf_enhanced histogram: it depends on the
  /// order.
  void merge(const TensorStatistics& other);
  friend bool operator==(const TensorStatistics&, const TensorStatistics&) = default;
};

/// What an observer keeps.
enum class ObserverKind : std::uint8_t { min_max, histogram, tf_enhanced };

}  // namespace tare
