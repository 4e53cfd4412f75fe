// Quality and properties of the search. The reference is a dense search that measures the true error on the data with
// its own arithmetic: scales in steps of 1/256 octave around its best coarse one, zero points one by one.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "calib/draws.hpp"
#include "calib/searches.hpp"
#include "tare/calibration.hpp"
#include "tare/error.hpp"

namespace tare {
namespace {

using test::draw;
using test::options_of;
using test::spec_of;
using test::true_error;

double dense_error(const std::vector<float>& values, const QuantizerSpec& spec) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const double mn = std::min(0.0, static_cast<double>(*low));
  const double mx = std::max(0.0, static_cast<double>(*high));
  const double steps = static_cast<double>(spec.steps());
  const double half = std::ceil(steps / 2);
  const double largest = spec.symmetric ? std::max(mx / (steps - half), -mn / half) : (mx - mn) / steps;
  double best = true_error(values, min_max_encoding(mn, mx, spec), spec);
  const auto window = [&](double scale) {
    const double last = std::min(steps, std::ceil(-mn / scale));
    return std::pair(std::min(last, std::max(0.0, steps - std::ceil(mx / scale))), last);
  };
  double coarse = std::numeric_limits<double>::infinity();
  double best_scale = largest;
  double best_fraction = 0.5;
  for (int n = 0; n < 96; ++n) {
    const double scale = largest * std::exp2(-n / 16.0);
    const auto [first, last] = window(scale);
    for (int i = 0; i <= (spec.symmetric ? 0 : 12); ++i) {
      const double below = spec.symmetric ? half : std::round(first + (last - first) * i / 12.0);
      const double error = true_error(values, scale, -below, steps - below, 8);
      if (error >= coarse) continue;
      coarse = error;
      best_scale = scale;
      best_fraction = i / 12.0;
      if (first == last) break;
    }
  }
  for (int n = -16; n <= 16; ++n) {
    const double scale = best_scale * std::exp2(n / 256.0);
    const auto [first, last] = window(scale);
    const double centre = std::round(first + (last - first) * best_fraction);
    for (int shift = -3; shift <= 3; ++shift) {
      const double below = spec.symmetric ? half : std::min(steps, std::max(0.0, centre + shift));
      best = std::min(best, true_error(values, scale, -below, steps - below));
      if (spec.symmetric) break;
    }
  }
  return best;
}

Encoding refined(const std::vector<float>& values, const QuantizerSpec& spec) {
  RefineAccumulator refine(observe_values(values), spec, options_of(Scheme::mse));
  refine.add(values);
  return refine.best();
}

class SearchQuality : public testing::TestWithParam<std::string> {};

TEST_P(SearchQuality, MseIsWithinAThousandthsOfADenseSearchOnTheData) {
  double worst = 0;
  double worst_refined = 0;
  for (unsigned seed = 1; seed <= 5; ++seed) {
    const std::vector<float> values = draw(GetParam(), seed);
    const TensorStatistics statistics = observe_values(values);
    for (const int bitwidth : {8, 4})
      for (const bool symmetric : {true, false}) {
        const QuantizerSpec spec = spec_of(bitwidth, symmetric);
        const double dense = dense_error(values, spec);
        const double found = true_error(values, find_encoding(statistics, spec, options_of(Scheme::mse)), spec);
        const double measured = true_error(values, refined(values, spec), spec);
        worst = std::max(worst, found / dense - 1);
        worst_refined = std::max(worst_refined, measured / dense - 1);
        EXPECT_LE(found, dense * 1.003) << "seed " << seed << ", " << bitwidth << " bits, symmetric " << symmetric;
        EXPECT_LE(measured, dense * 1.001)
            << "refined, seed " << seed << ", " << bitwidth << " bits, symmetric " << symmetric;
      }
  }
  RecordProperty("worst_percent", std::to_string(100 * worst));
  RecordProperty("worst_refined_percent", std::to_string(100 * worst_refined));
}

INSTANTIATE_TEST_SUITE_P(Distributions, SearchQuality,
                         testing::Values("normal", "laplace", "student3", "relu", "gelu", "outlier", "lognormal",
                                         "shifted", "leaky", "gamma", "one_sided"),
                         [](const auto& distribution) { return distribution.param; });

TEST(Search, SparseAndEmptyData) {
  for (const Scheme scheme : {Scheme::min_max, Scheme::sqnr, Scheme::mse, Scheme::percentile, Scheme::entropy}) {
    for (const std::vector<float>& values :
         {std::vector<float>{}, {0.0f}, {4.0f}, {-5.0f, -5.0f}, {1e-42f}, {3e38f, -3e38f}, {0.0f, 1.0f}}) {
      for (const bool symmetric : {false, true}) {
        const QuantizerSpec wanted = spec_of(8, symmetric);
        const Encoding found = find_encoding(observe_values(values), wanted, options_of(scheme));
        EXPECT_GT(found.scale, 0);
        EXPECT_TRUE(std::isfinite(found.min) && std::isfinite(found.max));
        EXPECT_EQ(found.offset, std::round(found.offset));  // zero is a grid point
        EXPECT_LE(found.offset, 0);
        EXPECT_GE(found.offset, -255);
      }
    }
  }
}

TEST(Search, ConstantsAndMasksAreKeptExactly) {
  for (const bool symmetric : {false, true}) {
    const QuantizerSpec spec = spec_of(8, symmetric);
    const std::vector<float> mask = draw("mask", 1, 1000);
    const Encoding found = find_encoding(observe_values(mask), spec, options_of(Scheme::mse));
    EXPECT_LE(true_error(mask, found, spec), 1e-9);
  }
}

TEST(Search, NeverWorseThanMinMaxAndMoreBitsAreNeverWorse) {
  for (const char* name : {"normal", "gelu", "student3"}) {
    const std::vector<float> values = draw(name, 11, 20000);
    const TensorStatistics statistics = observe_values(values);
    for (const bool symmetric : {false, true}) {
      double before = std::numeric_limits<double>::infinity();
      for (const int bitwidth : {2, 3, 4, 6, 8, 10, 16}) {
        const QuantizerSpec spec = spec_of(bitwidth, symmetric);
        const double found = true_error(values, find_encoding(statistics, spec, options_of(Scheme::mse)), spec);
        const double whole = true_error(values, find_encoding(statistics, spec, options_of(Scheme::min_max)), spec);
        EXPECT_LE(found, whole * 1.001) << name << " " << bitwidth;
        EXPECT_LE(found, before) << name << " " << bitwidth;
        before = found;
      }
    }
  }
}

TEST(Search, ScalesWithTheData) {
  // Powers of two move every value to the same place of another octave.
  const std::vector<float> values = draw("gelu", 3, 20000);
  std::vector<float> larger = values;
  for (float& value : larger) value *= 16;
  for (const bool symmetric : {false, true}) {
    const QuantizerSpec spec = spec_of(8, symmetric);
    const Encoding small = find_encoding(observe_values(values), spec);
    const Encoding large = find_encoding(observe_values(larger), spec);
    EXPECT_EQ(large.offset, small.offset);
    EXPECT_NEAR(large.scale / small.scale, 16, 0.02);
  }
}

TEST(Search, GammaWidensTheRange) {
  const TensorStatistics statistics = observe_values(draw("normal", 5, 50000));
  const QuantizerSpec spec = spec_of(4, true);
  double before = 0;
  for (const double gamma : {1.0, 3.0, 10.0, 100.0}) {
    SearchOptions options;
    options.gamma = gamma;
    const double scale = find_encoding(statistics, spec, options).scale;
    EXPECT_GE(scale, before);
    before = scale;
  }
}

TEST(Search, PercentileIsTheQuantileOfEachSide) {
  std::vector<float> values = draw("normal", 9, 100000);
  SearchOptions options = options_of(Scheme::percentile);
  options.percentile = 99;
  const Encoding found = find_encoding(observe_values(values), QuantizerSpec{}, options);
  std::sort(values.begin(), values.end());
  EXPECT_NEAR(found.min, static_cast<double>(values[1000]), 0.02);
  EXPECT_NEAR(found.max, static_cast<double>(values[99000]), 0.02);
  options.percentile = 100;
  EXPECT_EQ(find_encoding(observe_values(values), QuantizerSpec{}, options),
            find_encoding(observe_values(values), QuantizerSpec{}, options_of(Scheme::min_max)));
}

TEST(Search, EntropyClipsTailsAndKeepsUniformData) {
  std::vector<float> values = draw("normal", 9, 100000);
  values.push_back(100);
  const Encoding found = find_encoding(observe_values(values), spec_of(8, true), options_of(Scheme::entropy));
  EXPECT_LT(found.max, 20);
  EXPECT_GT(found.max, 2);
  std::vector<float> even(100000);
  for (std::size_t i = 0; i < even.size(); ++i) even[i] = static_cast<float>(i) / 50000.0f - 1;
  EXPECT_GT(find_encoding(observe_values(even), spec_of(8, true), options_of(Scheme::entropy)).max, 0.9);
}

TEST(Search, RangeConstraintsAndOptionsAreChecked) {
  QuantizerSpec spec;
  spec.fixed_min = 0;
  spec.fixed_max = 1;
  const TensorStatistics statistics = observe_values(std::vector<float>{-1, 2});
  EXPECT_DOUBLE_EQ(find_encoding(statistics, spec).scale, 1.0 / 255);
  EXPECT_THROW(find_encoding(statistics, spec_of(1, false)), Error);
  SearchOptions options;
  options.gamma = 0;
  EXPECT_THROW(find_encoding(statistics, QuantizerSpec{}, options), Error);
  EXPECT_THROW(find_encoding(statistics, QuantizerSpec{}, options_of(Scheme::tf_enhanced)), Error);
  TensorStatistics extremes = statistics;
  extremes.bins.clear();
  EXPECT_NO_THROW(find_encoding(extremes, QuantizerSpec{}, options_of(Scheme::min_max)));
  EXPECT_THROW(find_encoding(extremes, QuantizerSpec{}), Error);
}

TEST(Search, CandidatesAreDistinctAndHoldMinMax) {
  const TensorStatistics statistics = observe_values(draw("laplace", 2, 20000));
  for (const bool symmetric : {false, true}) {
    const QuantizerSpec spec = spec_of(4, symmetric);
    const auto candidates = find_candidates(statistics, spec, {}, 16);
    EXPECT_EQ(candidates.size(), 16u);
    EXPECT_EQ(candidates.front(), find_encoding(statistics, spec));
    EXPECT_EQ(
        std::count(candidates.begin(), candidates.end(), find_encoding(statistics, spec, options_of(Scheme::min_max))),
        1);
  }
}

TEST(Refine, PointMassesAreMeasured) {
  for (const char* name : {"sigmoid", "relu6", "image", "mask"})
    for (const int bitwidth : {8, 4})
      for (const bool symmetric : {false, true}) {
        double worst = 0;
        for (unsigned seed = 6; seed <= 10; ++seed) {
          const std::vector<float> values = draw(name, seed);
          const QuantizerSpec spec = spec_of(bitwidth, symmetric);
          const double dense = dense_error(values, spec);
          const double found =
              true_error(values, find_encoding(observe_values(values), spec, options_of(Scheme::mse)), spec);
          const double measured = true_error(values, refined(values, spec), spec);
          if (dense > 1e-9) worst = std::max(worst, found / dense - 1);
          EXPECT_LE(measured, dense * 1.001 + 1e-9) << name << " " << bitwidth << " " << symmetric << " " << seed;
          EXPECT_LE(measured, found * 1.0001);
        }
        RecordProperty(fmt::format("{}_{}_{}_percent", name, bitwidth, symmetric), fmt::format("{:.3f}", 100 * worst));
      }
}

}  // namespace
}  // namespace tare
