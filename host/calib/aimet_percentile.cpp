// AIMET's percentile, to the number: on its histogram of 1536 bins frozen at the first batch (tf_enhanced.cpp). Beside
// our own scheme of that name (percentile.cpp), which is better and therefore another one. Odd: the two sides are not
// alike: the lower limit is the left edge of the bin that reaches its share, the upper one the right edge of the last
// bin that does not; at 100 % both are left edges, and the data's range is at least 0.01.
#include <fmt/format.h>

#include "calib/encoding.hpp"
#include "tare/error.hpp"

namespace tare {
namespace {

std::pair<double, double> limits(const TfEnhancedHistogram& histogram, double percentile) {
  const auto [lowest, highest] = calib::filled_range(histogram);
  if (percentile == 100) return {lowest, highest};
  const auto edge = [&](std::int64_t bin) { return static_cast<double>(histogram.first_bin + bin) * histogram.step; };
  const float below = 1 - static_cast<float>(percentile) / 100;
  const float above = static_cast<float>(percentile) / 100;
  double low = edge(0);
  double high = edge(std::ssize(histogram.density));
  bool reached = false;
  double sum = 0;
  for (std::int64_t bin = 0; bin < std::ssize(histogram.density); ++bin) {
    sum += histogram.density[static_cast<std::size_t>(bin)];
    if (!reached && sum >= static_cast<double>(below)) {
      low = edge(bin);
      reached = true;
    }
    if (sum < static_cast<double>(above) && edge(bin) < static_cast<double>(highest)) high = edge(bin) + histogram.step;
  }
  if (low == high) high += histogram.step;
  return {low, high};
}

}  // namespace

Encoding aimet_percentile_encoding(const TfEnhancedHistogram& histogram, const QuantizerSpec& spec, double percentile) {
  if (!(percentile > 50 && percentile <= 100))
    throw Error(ErrorKind::usage, fmt::format("percentile {} is not in (50, 100]", percentile));
  if (histogram.step == 0) return calib::encoding_of_zeros(spec.steps());
  const auto [low, high] = limits(histogram, percentile);
  return min_max_encoding(low, high, spec);
}

}  // namespace tare
