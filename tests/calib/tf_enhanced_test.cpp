// AIMET's histogram and cost, computed in vectors and on several threads, against one value at a time.
#include <gtest/gtest.h>
#include <omp.h>

#include <cfloat>
#include <cmath>
#include <random>

#include "calib/encoding.hpp"

namespace tare {
namespace {

constexpr int bins = 1536;

/// What one more batch makes of a histogram whose window is open.
TfEnhancedHistogram counted(TfEnhancedHistogram histogram, const std::vector<float>& batch) {
  std::vector<double> counts(bins);
  const auto inverse = static_cast<float>(1.0 / histogram.step);
  for (const float value : batch) {
    const double bin = static_cast<double>(std::floor(value * inverse)) - static_cast<double>(histogram.first_bin);
    if (bin >= 0 && bin < bins)
      counts[static_cast<std::size_t>(bin)] += 1;
    else
      ++histogram.lost;
  }
  const auto before = static_cast<double>(histogram.batches++);
  for (std::size_t i = 0; i < bins; ++i)
    histogram.density[i] =
        (histogram.density[i] * before + counts[i] / static_cast<double>(batch.size())) / (before + 1);
  return histogram;
}

double cost(const TfEnhancedHistogram& histogram, const QuantizerSpec& spec, float scale, float offset) {
  const double first = static_cast<double>(histogram.first_bin) * histogram.step;
  const auto middle = [&](int bin) { return first + bin * histogram.step + histogram.step / 2; };
  const auto bin_of = [&](float value) {
    return static_cast<int>(
        std::clamp(std::floor((static_cast<double>(value) - first) / histogram.step), 0.0, bins - 1.0));
  };
  const int low = bin_of(scale * offset);
  const int high = bin_of(scale * (offset + std::ldexp(1.0f, spec.bitwidth) - 1));
  double saturation = 0;
  double rounding = 0;
  for (int i = 0; i < bins; ++i) {
    const double density = histogram.density[static_cast<std::size_t>(i)];
    const auto value = static_cast<float>(middle(i));
    const float error = value - scale * (std::round(value / scale - offset) + offset);
    const double beyond = middle(i) - middle(i < low ? low : high);
    if (i >= low && i < high)
      rounding += density * static_cast<double>(error) * static_cast<double>(error);
    else
      saturation += density * beyond * beyond;
  }
  return 3 * saturation + rounding;
}

std::vector<float> normal_values(std::size_t count, float mean, float deviation) {
  std::mt19937 random(static_cast<unsigned>(count));
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(TfEnhanced, HistogramIsACountOneByOne) {
  // 1000 +- 0.001: bin numbers beyond 2^23, where floats no longer tell neighbours apart.
  for (const auto& [mean, deviation] : {std::pair{0.0f, 1.0f}, std::pair{5.0f, 2.0f}, std::pair{1000.0f, 0.001f}})
    for (const std::size_t size : {1, 7, 1024, 1025, 40000, 100001}) {
      TfEnhancedHistogram histogram;
      update(histogram, normal_values(size, mean, deviation));
      ASSERT_GT(histogram.step, 0);
      TfEnhancedHistogram open = histogram;
      open.density.assign(bins, 0.0);
      open.batches = open.lost = 0;
      EXPECT_EQ(histogram, counted(open, normal_values(size, mean, deviation))) << size << " around " << mean;
      std::vector<float> more = normal_values(size, mean + deviation, 3 * deviation);
      for (const float special : {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 0.0f, -0.0f, 1e-42f})
        more.push_back(special);
      const TfEnhancedHistogram want = counted(histogram, more);
      TfEnhancedHistogram alone = histogram;
      update(alone, more);
      EXPECT_EQ(alone, want) << size << " around " << mean;
#pragma omp parallel num_threads(3)
#pragma omp single
      update(histogram, more);
      EXPECT_EQ(histogram, want) << size << " around " << mean << ", three threads";
    }
}

TEST(TfEnhanced, CostIsASumBinByBin) {
  for (const int bitwidth : {2, 4, 8, 16})
    for (const auto& [mean, deviation] : {std::pair{0.0f, 1.0f}, std::pair{5.0f, 2.0f}}) {
      QuantizerSpec spec;
      spec.bitwidth = bitwidth;
      TfEnhancedHistogram histogram;
      for (const std::size_t size : {3000, 5000}) update(histogram, normal_values(size, mean, deviation));
      for (const double share : {0.01, 0.3, 0.77, 1.0, 4.0}) {
        const Encoding whole = min_max_encoding(mean - 4.0 * deviation, mean + 4.0 * deviation, spec);
        Encoding encoding = whole;
        encoding.scale = whole.scale * share;
        const double found = calib::tf_enhanced_cost(histogram, spec, encoding);
        EXPECT_EQ(found, cost(histogram, spec, static_cast<float>(encoding.scale), static_cast<float>(encoding.offset)))
            << bitwidth << " bits, scale " << encoding.scale;
      }
    }
}

}  // namespace
}  // namespace tare
