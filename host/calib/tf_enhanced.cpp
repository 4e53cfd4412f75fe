// AIMET's TF-Enhanced, to the number: its histogram of 1536 bins frozen at the first batch that is not all zero, and
// its search. float where AIMET uses float: the last bits decide which of two close candidates wins. Odd: every batch
// weighs the same whatever its size, and values outside the frozen window are dropped. We count those.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <tuple>

#include "calib/encoding.hpp"

namespace tare {
namespace {

constexpr std::size_t bin_count = 1536;
constexpr float smallest_range = 0.01f;
constexpr double gamma = 3;
/// Where a window ends at the latest: what lies beyond (masks of -FLT_MAX) falls out of it.
constexpr float window_limit = 0.99f * FLT_MAX;

float limited(float value) { return std::min(std::max(value, -FLT_MAX), FLT_MAX); }

/// Three times the range of the batch, with zero on a bin edge. False when the batch is all zero.
bool create(TfEnhancedHistogram& histogram, std::span<const float> batch) {
  float low = std::numeric_limits<float>::infinity();
  float high = -std::numeric_limits<float>::infinity();
  for (const float value : batch) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  low = limited(low);
  high = limited(high);
  if (low > high || (low == 0 && high == 0)) return false;
  if (low == high) high = low + std::max(smallest_range, std::abs(low) * FLT_EPSILON);
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

struct Grid {
  float scale;
  float offset;
};

class TfEnhancedSearch {
 public:
  TfEnhancedSearch(const TfEnhancedHistogram& histogram, const QuantizerSpec& spec)
      : density_(histogram.density),
        first_(static_cast<double>(histogram.first_bin) * histogram.step),
        width_(histogram.step),
        all_steps_(static_cast<float>((std::int64_t{1} << spec.bitwidth) - 1)),
        steps_(static_cast<float>(spec.steps())) {
    std::tie(low_, high_) = calib::filled_range(histogram);
  }

  Grid run(const QuantizerSpec& spec) {
    if (spec.symmetric) {
      symmetric(spec.unsigned_symmetric);
    } else {
      asymmetric();
    }
    return best_;
  }

  double cost(const Grid& grid) const {
    const std::size_t low = bin_of(grid.scale * grid.offset);
    const std::size_t high = bin_of(grid.scale * (grid.offset + all_steps_));
    const double lowest = middle(low);
    const double highest = middle(high);
    double saturation = 0;
    for (std::size_t i = 0; i < low; ++i) saturation += density_[i] * (middle(i) - lowest) * (middle(i) - lowest);
    for (std::size_t i = high; i < density_.size(); ++i)
      saturation += density_[i] * (middle(i) - highest) * (middle(i) - highest);
    double rounding = 0;
    for (std::size_t i = low; i < high; ++i) {
      const float value = static_cast<float>(middle(i));
      const float restored = grid.scale * (std::round(value / grid.scale - grid.offset) + grid.offset);
      const float error = value - restored;
      rounding += density_[i] * static_cast<double>(error) * static_cast<double>(error);
    }
    return gamma * saturation + rounding;
  }

 private:
  void symmetric(bool unsigned_symmetric) {
    float largest = std::max(std::abs(high_), std::abs(low_)) / (steps_ / 2.0f);
    float offset = std::floor(-steps_ / 2);
    if (low_ == 0 && unsigned_symmetric) {
      largest = high_ / steps_;
      offset = 0;
    }
    constexpr float step = 0.01f;
    for (float factor = step; factor <= 1.0f + step; factor += step) consider({factor * largest, offset});
  }

  void asymmetric() {
    const float observed =
        static_cast<float>((static_cast<double>(high_) - static_cast<double>(low_)) / static_cast<double>(steps_));
    const float observed_offset = std::round(low_ / observed);
    const float lowest = observed * observed_offset;
    const float highest = observed * (observed_offset + steps_);
    for (int f = 1; f <= 17; ++f) {
      for (int i = 0; i <= 20; ++i) {
        float scale = static_cast<float>(f) / 16.0f * observed;
        float offset = std::trunc(-steps_ + steps_ / 20.0f * static_cast<float>(i));
        float low = scale * offset;
        float high = scale * (offset + steps_);
        if (low < lowest && high > highest) continue;
        low = std::max(lowest, low);
        high = std::min(highest, high);
        if (low == high) continue;
        scale = (high - low) / steps_;
        offset = std::round(low / scale);
        consider({scale, offset});
      }
    }
    consider({observed, observed_offset});
  }

  std::size_t bin_of(float value) const {
    const double bin = std::floor((static_cast<double>(value) - first_) / width_);
    if (std::isnan(bin)) return 0;
    return static_cast<std::size_t>(std::min(std::max(bin, 0.0), static_cast<double>(density_.size() - 1)));
  }

  double middle(std::size_t bin) const { return first_ + static_cast<double>(bin) * width_ + width_ / 2; }

  void consider(const Grid& grid) {
    const double found = cost(grid);
    if (found < best_cost_) {
      best_cost_ = found;
      best_ = grid;
    }
  }

  const std::vector<double>& density_;
  double first_;
  double width_;
  float all_steps_;  ///< the cost never takes strict grids into account
  float steps_;
  float low_ = 0;
  float high_ = 0;
  Grid best_{1, 0};
  double best_cost_ = std::numeric_limits<double>::infinity();
};

}  // namespace

std::pair<float, float> calib::filled_range(const TfEnhancedHistogram& histogram) {
  const std::vector<double>& density = histogram.density;
  const auto filled = [](double share) { return share > 0; };
  const auto first = std::find_if(density.begin(), density.end(), filled);
  const auto last = std::find_if(density.rbegin(), density.rend(), filled);
  const auto left_edge = [&](std::int64_t bin) {
    return static_cast<float>(static_cast<double>(histogram.first_bin + bin) * histogram.step);
  };
  const std::int64_t end = std::ssize(density);
  // Nothing inside the window: the whole of it.
  const float low = std::min(0.0f, left_edge(first == density.end() ? 0 : first - density.begin()));
  const float high = std::max(0.0f, left_edge(last == density.rend() ? end - 1 : density.rend() - last - 1));
  return {low, std::max(high, low + smallest_range)};
}

void update(TfEnhancedHistogram& histogram, std::span<const float> batch) {
  if (batch.empty()) return;
  if (histogram.step == 0 && !create(histogram, batch)) return;
  std::vector<std::uint64_t> counts(bin_count, 0);
  const float inverse = static_cast<float>(1.0 / histogram.step);
  const double first = static_cast<double>(histogram.first_bin);
  for (const float value : batch) {
    const double bin = static_cast<double>(std::floor(value * inverse)) - first;
    if (bin >= 0 && bin < static_cast<double>(bin_count)) {
      ++counts[static_cast<std::size_t>(bin)];
    } else {
      ++histogram.lost;
    }
  }
  const double before = static_cast<double>(histogram.batches);
  const double elements = static_cast<double>(batch.size());
  for (std::size_t i = 0; i < bin_count; ++i)
    histogram.density[i] = (histogram.density[i] * before + static_cast<double>(counts[i]) / elements) / (before + 1);
  ++histogram.batches;
}

double tf_enhanced_cost(const TfEnhancedHistogram& histogram, const QuantizerSpec& spec, const Encoding& encoding) {
  return TfEnhancedSearch(histogram, spec)
      .cost({static_cast<float>(encoding.scale), static_cast<float>(encoding.offset)});
}

Encoding tf_enhanced_encoding(const TfEnhancedHistogram& histogram, const QuantizerSpec& spec) {
  const double steps = static_cast<double>(spec.steps());
  Encoding encoding;
  if (histogram.step == 0) return calib::encoding_of_zeros((std::int64_t{1} << spec.bitwidth) - 1);  // strict or not
  const Grid grid = TfEnhancedSearch(histogram, spec).run(spec);
  encoding.scale = static_cast<double>(grid.scale);
  encoding.offset = static_cast<double>(grid.offset);
  encoding.min = static_cast<double>(limited(grid.scale * grid.offset));
  encoding.max = static_cast<double>(limited(grid.scale * (grid.offset + static_cast<float>(steps))));
  return encoding;
}

}  // namespace tare
