// Statistics of values in memory, and their sum. Zeros are stored as +0, so that the bytes do not depend on which came
// first.
#include "tare/statistics.hpp"

#include <algorithm>
#include <cmath>

#include "calib/encoding.hpp"
#include "tare/error.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

/// Two ascending lists of keys with counts as one.
template <class Key>
std::vector<std::pair<Key, std::uint64_t>> sum_of(const std::vector<std::pair<Key, std::uint64_t>>& left,
                                                  const std::vector<std::pair<Key, std::uint64_t>>& right) {
  std::vector<std::pair<Key, std::uint64_t>> sum;
  sum.reserve(left.size() + right.size());
  auto a = left.begin();
  auto b = right.begin();
  while (a != left.end() || b != right.end()) {
    if (b == right.end() || (a != left.end() && a->first < b->first)) {
      sum.push_back(*a++);
    } else if (a == left.end() || b->first < a->first) {
      sum.push_back(*b++);
    } else {
      sum.emplace_back(a->first, a->second + b->second);
      ++a;
      ++b;
    }
  }
  return sum;
}

bool has_values(const TensorStatistics& statistics) {  // zeros need no bin
  return statistics.min <= statistics.max && (statistics.min < 0 || statistics.max > 0);
}

}  // namespace

bool calib::lacks_histogram(const TensorStatistics& statistics) {
  return has_values(statistics) && statistics.bins.empty();
}

void TensorStatistics::merge(const TensorStatistics& other) {
  if (tf_enhanced || other.tf_enhanced)
    throw Error(ErrorKind::usage,
                "statistics for tf_enhanced depend on the order of the batches: they cannot be merged");
  if (has_values(*this) && has_values(other) && bins.empty() != other.bins.empty())
    throw Error(ErrorKind::usage,
                "statistics with and without a histogram cannot be merged: observe both the same way");
  count += other.count;
  nan_count += other.nan_count;
  positive_infinity_count += other.positive_infinity_count;
  negative_infinity_count += other.negative_infinity_count;
  zero_count += other.zero_count;
  if (other.min < min) {
    min = other.min;
    min_count = other.min_count;
  } else if (other.min == min) {
    min_count += other.min_count;
  }
  if (other.max > max) {
    max = other.max;
    max_count = other.max_count;
  } else if (other.max == max) {
    max_count += other.max_count;
  }
  if (min == 0) min = 0.0f;
  if (max == 0) max = 0.0f;

  bins = sum_of(bins, other.bins);
  points = sum_of(points, other.points);
}

TensorStatistics merge_tied(std::span<const TensorStatistics* const> tied) {
  TensorStatistics merged;
  for (const TensorStatistics* statistics : tied) merged.merge(*statistics);
  return merged;
}

}  // namespace tare
