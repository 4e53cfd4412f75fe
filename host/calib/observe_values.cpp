// Statistics of values in memory: chunks that stay in the first-level cache are looked at in vectors, as integer keys
// that ascend with the value; a chunk with NaN or infinities is walked one value at a time.
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "calib/clones.hpp"
#include "tare/calibration.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

constexpr std::size_t chunk = 1024;
constexpr std::uint32_t group = 64;  // bins that are looked at together: most are empty
constexpr std::uint32_t table_size = (histogram_bin_count + group - 1) / group * group + group;
constexpr std::uint32_t zero_place = table_size - 1;  // where nobody looks

struct Look {
  std::int32_t low;
  std::int32_t high;
  std::uint32_t zeros;
  bool is_finite() const { return low > negative_infinity_key && high < positive_infinity_key; }
};

TARE_CLONES Look look_at(const float* values, std::size_t n) {
  std::int32_t low = positive_infinity_key;
  std::int32_t high = negative_infinity_key;
  std::uint32_t zeros = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t bits = bits_of(values[i]);
    const std::int32_t key = ascending_key(bits);
    low = key < low ? key : low;
    high = key > high ? key : high;
    zeros += (bits & 0x7fffffffu) == 0 ? 1u : 0u;
  }
  return {low, high, zeros};
}

TARE_CLONES void places_of(const float* values, std::size_t n, std::uint32_t* places) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t bits = bits_of(values[i]);
    const std::uint32_t bin = histogram_bin(bits);
    places[i] = (bits & 0x7fffffffu) == 0 ? zero_place : bin;
  }
}

TARE_CLONES std::uint64_t count_equal(const float* values, std::size_t n, float wanted) {
  std::uint64_t equal = 0;
  for (std::size_t i = 0; i < n; ++i) equal += values[i] == wanted ? 1u : 0u;
  return equal;
}

/// Counts by bin, of finite values only.
class Table {
 public:
  void add(const float* values, std::size_t n) {
    places_of(values, n, places_.data());
    for (std::size_t i = 0; i < n; ++i) ++counts_[places_[i]];
  }
  void append_to(std::vector<std::pair<std::uint32_t, std::uint64_t>>& bins) const {
    for (std::uint32_t first = 0; first < histogram_bin_count; first += group) {
      std::uint32_t any = 0;
      for (std::uint32_t i = 0; i < group; ++i) any |= counts_[first + i];
      if (any == 0) continue;
      for (std::uint32_t bin = first; bin < std::min(first + group, histogram_bin_count); ++bin)
        if (counts_[bin] > 0) bins.emplace_back(bin, counts_[bin]);
    }
  }

 private:
  std::vector<std::uint32_t> counts_ = std::vector<std::uint32_t>(table_size);
  std::array<std::uint32_t, chunk> places_;
};

/// Counts those that are not finite; returns the others.
std::vector<float> finite_ones(std::span<const float> values, TensorStatistics& statistics) {
  std::vector<float> finite;
  for (const float value : values) {
    if (std::isnan(value))
      ++statistics.nan_count;
    else if (std::isinf(value))
      ++(value > 0 ? statistics.positive_infinity_count : statistics.negative_infinity_count);
    else
      finite.push_back(value);
  }
  return finite;
}

}  // namespace

TensorStatistics observe_values(std::span<const float> values, ObserverKind kind) {
  constexpr std::size_t most = std::size_t{1} << 31;  // counts are 32-bit
  if (values.size() > most) {
    TensorStatistics statistics = observe_values(values.first(most), kind);
    statistics.merge(observe_values(values.subspan(most), kind));
    return statistics;
  }
  TensorStatistics statistics;
  statistics.count = values.size();
  std::optional<Table> table;
  if (kind == ObserverKind::histogram) table.emplace();
  std::vector<float> finite;
  for (std::size_t begin = 0; begin < values.size(); begin += chunk) {
    std::span<const float> part = values.subspan(begin, std::min(chunk, values.size() - begin));
    Look look = look_at(part.data(), part.size());
    if (!look.is_finite()) {
      finite = finite_ones(part, statistics);
      if (finite.empty()) continue;
      part = finite;
      look = look_at(part.data(), part.size());
    }
    statistics.zero_count += look.zeros;
    statistics.min = std::min(statistics.min, value_of_key(look.low));
    statistics.max = std::max(statistics.max, value_of_key(look.high));
    if (table) table->add(part.data(), part.size());
  }
  if (statistics.min == 0) statistics.min = 0.0f;
  if (statistics.max == 0) statistics.max = 0.0f;
  if (statistics.min <= statistics.max) {
    statistics.min_count = count_equal(values.data(), values.size(), statistics.min);
    statistics.max_count = count_equal(values.data(), values.size(), statistics.max);
  }
  if (table) table->append_to(statistics.bins);
  return statistics;
}

}  // namespace tare
