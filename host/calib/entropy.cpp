// The entropy (KL) threshold as TensorRT made it known: of the magnitudes in 2048 even bins, keep the first i, move the
// rest into the last kept one, merge them into as many levels as the grid has, spread each level over its non-empty
// bins, and take the i whose two distributions diverge least. Odd: the even bins are filled from the logarithmic ones.
// Sums per level come from prefix sums, so a threshold costs one logarithm a level, not one a bin.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "calib/encoding.hpp"
#include "tare/numerics.hpp"

namespace tare::calib {
namespace {

constexpr std::size_t even_bins = 2048;
constexpr double empty_probability = 1e-4;  // of an empty last bin, as AIMET and MXNet smooth it

/// Counts of magnitudes in even bins over [0, largest], fractions where a bin straddles an edge.
std::vector<double> magnitudes(const TensorStatistics& statistics, double largest) {
  std::vector<double> counts(even_bins, 0.0);
  const double width = largest / static_cast<double>(even_bins);
  for (const auto& [bin, count] : statistics.bins) {
    const double low = std::max(histogram_bin_lower(bin), static_cast<double>(statistics.min));
    const double high = std::min(histogram_bin_upper(bin), static_cast<double>(statistics.max));
    const double from = std::min(std::abs(low), std::abs(high)) / width;
    const double to = std::max(std::abs(low), std::abs(high)) / width;
    const std::size_t first = std::min(static_cast<std::size_t>(from), even_bins - 1);
    const std::size_t last = std::min(static_cast<std::size_t>(to), even_bins - 1);
    const double total = static_cast<double>(count);
    if (first == last || !(to > from)) {
      counts[first] += total;
      continue;
    }
    for (std::size_t i = first; i <= last; ++i) {
      const double begin = std::max(from, static_cast<double>(i));
      const double end = i == last ? to : std::min(to, static_cast<double>(i + 1));
      counts[i] += total * (end - begin) / (to - from);
    }
  }
  counts[0] = counts[1];  // zeros and what rounds to them say nothing about the threshold
  return counts;
}

}  // namespace

Range entropy_range(const TensorStatistics& statistics, const QuantizerSpec& spec) {
  const Range whole = observed_range(statistics, false);
  const double largest = std::max(-whole.low, whole.high);
  const bool one_sided = !spec.symmetric || spec.unsigned_symmetric ? whole.low >= 0 || whole.high <= 0 : false;
  const std::size_t levels = std::size_t{1} << (one_sided ? spec.bitwidth : spec.bitwidth - 1);
  if (largest == 0 || levels >= even_bins) return whole;

  const std::vector<double> counts = magnitudes(statistics, largest);
  std::vector<double> sums(even_bins + 1, 0.0);      // of counts
  std::vector<double> logs(even_bins + 1, 0.0);      // of count * log(count)
  std::vector<double> occupied(even_bins + 1, 0.0);  // non-empty bins
  for (std::size_t i = 0; i < even_bins; ++i) {
    sums[i + 1] = sums[i] + counts[i];
    logs[i + 1] = logs[i] + (counts[i] > 0 ? counts[i] * std::log(counts[i]) : 0.0);
    occupied[i + 1] = occupied[i] + (counts[i] > 0 ? 1.0 : 0.0);
  }
  const double total = sums[even_bins];
  double best = std::numeric_limits<double>::infinity();
  std::size_t best_bins = even_bins;
  for (std::size_t bins = levels; bins <= even_bins; ++bins) {
    const double last = counts[bins - 1];
    const double moved = last + total - sums[bins];  // the last kept bin with everything beyond
    if (sums[bins] <= 0) continue;
    // Σ p log p, then − Σ p log q level by level, both before normalisation.
    double divergence = logs[bins - 1] + (moved > 0 ? moved * std::log(moved) : 0.0);
    for (std::size_t level = 0; level < levels; ++level) {
      const std::size_t begin = level * bins / levels;
      const std::size_t end = (level + 1) * bins / levels;
      const double kept = sums[end] - sums[begin];
      const double bins_used = occupied[end] - occupied[begin];
      if (kept <= 0 || bins_used <= 0) continue;
      const double reference = kept + (end == bins && last > 0 ? moved - last : 0.0);
      divergence -= reference * std::log(kept / bins_used);
    }
    if (last <= 0 && moved > 0) divergence -= moved * std::log(empty_probability * sums[bins]);
    divergence = divergence / total + std::log(sums[bins] / total);
    if (divergence < best) {
      best = divergence;
      best_bins = bins;
    }
  }
  const double threshold = largest * static_cast<double>(best_bins) / static_cast<double>(even_bins);
  return {std::max(whole.low, -threshold), std::min(whole.high, threshold)};
}

}  // namespace tare::calib
