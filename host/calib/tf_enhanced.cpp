// The search of AIMET's TF-Enhanced, to the number: float where AIMET uses float, and sums in its order, because the
// last bits decide which of two close candidates wins. Candidates lie side by side in vectors, each with its own sum;
// empty bins would add nothing and are left out.
#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <limits>
#include <tuple>

#include "calib/clones.hpp"
#include "calib/encoding.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

constexpr double gamma = 3;
constexpr std::size_t lanes = 16;  ///< candidates at a time
/// Beyond it a bin's error may overflow, and then an empty bin makes the cost NaN.
constexpr double largest_edge = 1e30;

struct Candidate {
  float scale;
  float offset;
};

struct Bin {
  double number;
  double middle;
  double density;
};

/// Candidates side by side: which bins they reach, and the sums of their errors.
struct Lanes {
  std::array<float, lanes> scale;
  std::array<float, lanes> offset;
  std::array<double, lanes> low;   ///< first bin inside
  std::array<double, lanes> high;  ///< first bin beyond
  std::array<double, lanes> lowest;
  std::array<double, lanes> highest;
  std::array<double, lanes> saturation{};
  std::array<double, lanes> rounding{};
};

/// std::round, in a form that becomes vectors.
TARE_HD float round_away(float x) {
  const float whole = std::trunc(x);
  return whole + (std::abs(x - whole) >= 0.5f ? std::copysign(1.0f, x) : 0.0f);
}

TARE_CLONES void add_errors(const Bin* bins, std::size_t count, Lanes& all) {
  double saturation[lanes] = {};
  double rounding[lanes] = {};
  for (std::size_t b = 0; b < count; ++b) {
    const Bin bin = bins[b];
    const float value = static_cast<float>(bin.middle);
    float error[lanes];
    for (std::size_t i = 0; i < lanes; ++i) {
      const float offset = all.offset[i];
      error[i] = value - all.scale[i] * (round_away(value / all.scale[i] - offset) + offset);
    }
    for (std::size_t i = 0; i < lanes; ++i) {
      const double wide = static_cast<double>(error[i]);
      const double beyond = bin.middle - (bin.number < all.low[i] ? all.lowest[i] : all.highest[i]);
      const double saturated = bin.density * beyond * beyond;
      const double rounded = bin.density * wide * wide;
      const double rounded_below_high = bin.number < all.high[i] ? rounded : 0.0;
      const double saturated_above_high = bin.number < all.high[i] ? 0.0 : saturated;
      rounding[i] += bin.number < all.low[i] ? 0.0 : rounded_below_high;
      saturation[i] += bin.number < all.low[i] ? saturated : saturated_above_high;
    }
  }
  for (std::size_t i = 0; i < lanes; ++i) {
    all.saturation[i] = saturation[i];
    all.rounding[i] = rounding[i];
  }
}

class TfEnhancedSearch {
 public:
  TfEnhancedSearch(const TfEnhancedHistogram& histogram, const QuantizerSpec& spec)
      : first_(static_cast<double>(histogram.first_bin) * histogram.step),
        width_(histogram.step),
        bin_count_(histogram.density.size()),
        all_steps_(static_cast<float>((std::int64_t{1} << spec.bitwidth) - 1)),
        steps_(static_cast<float>(spec.steps())) {
    std::tie(low_, high_) = calib::filled_range(histogram);
    const bool may_overflow = std::abs(first_) > largest_edge || std::abs(middle(bin_count_)) > largest_edge;
    bins_.reserve(bin_count_);
    for (std::size_t i = 0; i < bin_count_; ++i)
      if (histogram.density[i] > 0 || may_overflow)
        bins_.push_back({static_cast<double>(i), middle(i), histogram.density[i]});
  }

  Candidate run(const QuantizerSpec& spec) {
    if (spec.symmetric) {
      symmetric(spec.unsigned_symmetric);
    } else {
      asymmetric();
    }
    Candidate best{1, 0};
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t begin = 0; begin < candidates_.size(); begin += lanes) {
      const auto group = std::span(candidates_).subspan(begin, std::min(lanes, candidates_.size() - begin));
      const std::array<double, lanes> costs = costs_of(group);
      for (std::size_t i = 0; i < group.size(); ++i) {
        if (!(costs[i] < least)) continue;
        least = costs[i];
        best = group[i];
      }
    }
    return best;
  }

  double cost(const Candidate& grid) const { return costs_of(std::span(&grid, 1))[0]; }

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

  /// Of up to `lanes` candidates.
  std::array<double, lanes> costs_of(std::span<const Candidate> grids) const {
    Lanes all;
    for (std::size_t i = 0; i < lanes; ++i) {
      const Candidate& grid = grids[std::min(i, grids.size() - 1)];
      const std::size_t low = bin_of(grid.scale * grid.offset);
      const std::size_t high = bin_of(grid.scale * (grid.offset + all_steps_));
      all.scale[i] = grid.scale;
      all.offset[i] = grid.offset;
      all.low[i] = static_cast<double>(low);
      all.high[i] = static_cast<double>(high);
      all.lowest[i] = middle(low);
      all.highest[i] = middle(high);
    }
    add_errors(bins_.data(), bins_.size(), all);
    std::array<double, lanes> costs;
    for (std::size_t i = 0; i < lanes; ++i) costs[i] = gamma * all.saturation[i] + all.rounding[i];
    return costs;
  }

  std::size_t bin_of(float value) const {
    const double bin = std::floor((static_cast<double>(value) - first_) / width_);
    if (std::isnan(bin)) return 0;
    return static_cast<std::size_t>(std::min(std::max(bin, 0.0), static_cast<double>(bin_count_ - 1)));
  }

  double middle(std::size_t bin) const { return first_ + static_cast<double>(bin) * width_ + width_ / 2; }

  void consider(const Candidate& grid) { candidates_.push_back(grid); }

  std::vector<Bin> bins_;
  std::vector<Candidate> candidates_;
  double first_;
  double width_;
  std::size_t bin_count_;
  float all_steps_;  ///< the cost never takes strict grids into account
  float steps_;
  float low_ = 0;
  float high_ = 0;
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
  return {low, std::max(high, low + tf_enhanced_smallest_range)};
}

double calib::tf_enhanced_cost(const TfEnhancedHistogram& histogram, const QuantizerSpec& spec,
                               const Encoding& encoding) {
  return TfEnhancedSearch(histogram, spec)
      .cost({static_cast<float>(encoding.scale), static_cast<float>(encoding.offset)});
}

Encoding tf_enhanced_encoding(const TfEnhancedHistogram& histogram, const QuantizerSpec& spec) {
  const double steps = static_cast<double>(spec.steps());
  Encoding encoding;
  if (histogram.step == 0) return calib::encoding_of_zeros((std::int64_t{1} << spec.bitwidth) - 1);  // strict or not
  const Candidate grid = TfEnhancedSearch(histogram, spec).run(spec);
  encoding.scale = static_cast<double>(grid.scale);
  encoding.offset = static_cast<double>(grid.offset);
  encoding.min = static_cast<double>(calib::limited(grid.scale * grid.offset));
  encoding.max = static_cast<double>(calib::limited(grid.scale * (grid.offset + static_cast<float>(steps))));
  return encoding;
}

}  // namespace tare
