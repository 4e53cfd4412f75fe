#include "calib/derived.hpp"

#include <cmath>
#include <utility>

#include "tare/numerics.hpp"

namespace tare {
namespace {

/// `limit` > 0 is the lowest value of its bin.
bool begins_bin(float limit) {
  return static_cast<double>(limit) == histogram_bin_lower(histogram_bin(bits_of(limit)));
}

}  // namespace

bool clips_exactly(float low, float high) {
  const auto separates = [](float limit) { return limit == 0 || std::isinf(limit) || begins_bin(limit); };
  return low <= 0 && high >= 0 && separates(-low) && separates(high);
}

TensorStatistics clipped(const TensorStatistics& statistics, float low, float high) {
  TensorStatistics result = statistics;
  result.bins.clear();
  std::uint64_t at_low = 0;  // values that end on a limit
  std::uint64_t at_high = 0;
  if (!std::isinf(low)) at_low += std::exchange(result.negative_infinity_count, 0);
  if (!std::isinf(high)) at_high += std::exchange(result.positive_infinity_count, 0);
  const std::uint32_t first = std::isinf(low) ? 0 : low == 0 ? histogram_side_count : histogram_bin(bits_of(low)) + 1;
  const std::uint32_t end = std::isinf(high) ? histogram_bin_count
                            : high == 0      ? histogram_side_count
                                             : histogram_bin(bits_of(high));
  for (const auto& [bin, count] : statistics.bins) {
    if (bin < first)
      at_low += count;
    else if (bin >= end)
      at_high += count;
    else
      result.bins.emplace_back(bin, count);
  }
  const auto settle = [&](float limit, std::uint64_t count) {
    if (count == 0) return;
    if (limit == 0)
      result.zero_count += count;
    else if (limit < 0)
      result.bins.insert(result.bins.begin(), {histogram_bin(bits_of(limit)), count});
    else
      result.bins.emplace_back(histogram_bin(bits_of(limit)), count);
  };
  settle(low, at_low);
  settle(high, at_high);
  // The extremes: those of the values left where they were, or a limit.
  if (at_low > 0) {
    result.min = low == 0 ? 0.0f : low;
    result.min_count = at_low;
  }
  if (at_high > 0) {
    result.max = high == 0 ? 0.0f : high;
    result.max_count = at_high;
  }
  if (at_low > 0 && result.max <= low) {
    result.max = result.min;
    result.max_count = at_low;
  }
  if (at_high > 0 && result.min >= high) {
    result.min = result.max;
    result.min_count = at_high;
  }
  if (result.min == 0) result.min_count = result.zero_count;
  if (result.max == 0) result.max_count = result.zero_count;
  return result;
}

}  // namespace tare
