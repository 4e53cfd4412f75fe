// The histogram of AIMET's TF-Enhanced, to the number: 1536 bins, frozen at the first batch that is not all zero. Odd:
// every batch weighs the same whatever its size, and values outside the frozen window are dropped. We count those.
#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <mutex>

#include "calib/clones.hpp"
#include "calib/encoding.hpp"
#include "calib/share.hpp"

namespace tare {
namespace {

constexpr std::size_t bin_count = 1536;
constexpr std::size_t outside = bin_count;  ///< where values are counted that fall into no bin
constexpr std::size_t chunk = 1024;
constexpr std::size_t least_part = 16 * chunk;  ///< of a thread
constexpr std::uint32_t columns = 4;            ///< counters of a bin: equal neighbours do not wait for each other
constexpr std::size_t longest_run = columns * (0x10000 - chunk);  ///< elements before one of 16 bits could wrap
/// Where a window ends at the latest: what lies beyond (masks of -FLT_MAX) falls out of it.
constexpr float window_limit = 0.99f * FLT_MAX;

/// Three times the range of the batch, with zero on a bin edge. False when the batch is all zero.
bool create(TfEnhancedHistogram& histogram, std::span<const float> batch) {
  const TensorStatistics extremes = observe_values(batch, ObserverKind::min_max);
  float low = extremes.min;
  float high = extremes.max;
  const float infinity = std::numeric_limits<float>::infinity();
  if (extremes.negative_infinity_count > 0) low = -infinity;
  if (extremes.positive_infinity_count > 0) high = infinity;
  low = calib::limited(low);
  high = calib::limited(high);
  if (low > high || (low == 0 && high == 0)) return false;
  if (low == high) high = low + std::max(calib::tf_enhanced_smallest_range, std::abs(low) * FLT_EPSILON);
  // Overflows where low and high are both huge; a NaN then opens the window on its side.
  const float centre = (high + low) / 2;
  const float unlimited_left = centre - 3 * (centre - low);
  const float unlimited_right = centre + 3 * (high - centre);
  const float left = unlimited_left > -window_limit ? unlimited_left : -window_limit;
  const float right = unlimited_right < window_limit ? unlimited_right : window_limit;
  histogram.step = (static_cast<double>(right) - static_cast<double>(left)) / static_cast<double>(bin_count);
  histogram.first_bin = static_cast<std::int64_t>(std::floor(static_cast<double>(left) / histogram.step));
  histogram.density.assign(bin_count, 0.0);
  return true;
}

/// Float suffices up to there: a difference that is rounded is far outside the window.
constexpr std::int64_t most_first_bin = std::int64_t{1} << 23;

/// That of a counter: bin * columns + column.
using Place = std::uint16_t;
static_assert((bin_count + 1) * columns <= 0x10000);

TARE_CLONES void places_near(const float* values, std::uint32_t n, float inverse, float first, Place* places) {
  constexpr auto end = static_cast<float>(bin_count);
  for (std::uint32_t i = 0; i < n; ++i) {
    const float bin = std::floor(values[i] * inverse) - first;
    const float place = (bin >= 0) & (bin < end) ? bin : end;
    places[i] =
        static_cast<Place>(static_cast<std::uint32_t>(static_cast<std::int32_t>(place)) * columns + i % columns);
  }
}

void places_far(const float* values, std::uint32_t n, float inverse, double first, Place* places) {
  for (std::uint32_t i = 0; i < n; ++i) {
    const double bin = static_cast<double>(std::floor(values[i] * inverse)) - first;
    const bool inside = bin >= 0 && bin < static_cast<double>(bin_count);
    places[i] = static_cast<Place>(static_cast<std::uint32_t>(inside ? bin : outside) * columns + i % columns);
  }
}

/// Calls count(places, n) for chunks of the values.
template <class Count>
void for_places(const TfEnhancedHistogram& histogram, std::span<const float> values, Count count) {
  const float inverse = static_cast<float>(1.0 / histogram.step);
  std::array<Place, chunk> places;
  for (; !values.empty(); values = values.subspan(std::min(chunk, values.size()))) {
    const auto n = static_cast<std::uint32_t>(std::min(chunk, values.size()));
    if (std::abs(histogram.first_bin) <= most_first_bin)
      places_near(values.data(), n, inverse, static_cast<float>(histogram.first_bin), places.data());
    else
      places_far(values.data(), n, inverse, static_cast<double>(histogram.first_bin), places.data());
    count(places.data(), n);
  }
}

TARE_CLONES void add_columns(const std::uint16_t* counters, double* counts) {
  for (std::size_t i = 0; i <= bin_count; ++i) {
    const std::uint16_t* of_bin = counters + i * columns;
    std::uint32_t sum = 0;
    for (std::uint32_t column = 0; column < columns; ++column) sum += of_bin[column];
    counts[i] += static_cast<double>(sum);
  }
}

TARE_CLONES void add_to_mean(const double* counts, double elements, double before, double* density) {
  for (std::size_t i = 0; i < bin_count; ++i) density[i] = (density[i] * before + counts[i] / elements) / (before + 1);
}

std::vector<double> count_part(const TfEnhancedHistogram& histogram, std::span<const float> values) {
  std::vector<double> counts(bin_count + 1);
  std::vector<std::uint16_t> counters(counts.size() * columns);
  while (!values.empty()) {
    const std::size_t run = std::min(longest_run, values.size());
    for_places(histogram, values.first(run), [&](const Place* places, std::uint32_t n) {
      std::uint16_t* const table = counters.data();
#pragma GCC unroll 8
      for (std::uint32_t i = 0; i < n; ++i) ++table[places[i]];
    });
    add_columns(counters.data(), counts.data());
    std::fill(counters.begin(), counters.end(), std::uint16_t{0});
    values = values.subspan(run);
  }
  return counts;
}

}  // namespace

void update(TfEnhancedHistogram& histogram, std::span<const float> batch) {
  if (batch.empty()) return;
  if (histogram.step == 0 && !create(histogram, batch)) return;
  std::vector<double> counts(bin_count + 1);  // whole numbers
  if (batch.size() <= chunk) {
    for_places(histogram, batch, [&](const Place* places, std::uint32_t n) {
      for (std::uint32_t i = 0; i < n; ++i) counts[places[i] / columns] += 1;
    });
  } else {
    const std::size_t parts =
        std::clamp<std::size_t>(batch.size() / least_part, 1, static_cast<std::size_t>(omp_get_num_threads()));
    std::mutex adding;
    calib::share(parts, 1, [&](std::size_t p) {
      const std::size_t begin = batch.size() * p / parts;
      const std::vector<double> of_part =
          count_part(histogram, batch.subspan(begin, batch.size() * (p + 1) / parts - begin));
      const std::lock_guard lock(adding);
      for (std::size_t i = 0; i <= bin_count; ++i) counts[i] += of_part[i];
    });
  }
  add_to_mean(counts.data(), static_cast<double>(batch.size()), static_cast<double>(histogram.batches),
              histogram.density.data());
  histogram.lost += static_cast<std::uint64_t>(counts[outside]);
  ++histogram.batches;
}

}  // namespace tare
