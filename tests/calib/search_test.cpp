// Quality and properties of the search. The reference is a dense search that measures the true error on the data with
// its own arithmetic: scales in steps of 1/256 octave around its best coarse one, zero points one by one.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "calib/searches.hpp"
#include "tare/calibration.hpp"
#include "tare/error.hpp"

namespace tare {
namespace {

using test::options_of;
using test::spec_of;

constexpr std::size_t samples = 200000;

std::vector<float> draw(const std::string& name, unsigned seed, std::size_t count = samples) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform(0, 1);
  std::student_t_distribution<double> student(3);
  std::gamma_distribution<double> gamma(2);
  const std::map<std::string, std::function<double()>> draws = {
      {"normal", [&] { return normal(random); }},
      {"laplace",
       [&] {
         const double u = uniform(random) - 0.5;
         return u < 0 ? std::log(1 + 2 * u + 1e-12) : -std::log(1 - 2 * u + 1e-12);
       }},
      {"student3", [&] { return student(random); }},
      {"relu", [&] { return std::max(0.0, normal(random)); }},
      {"gelu",
       [&] {
         const double x = normal(random);
         return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
       }},
      {"outlier", [&] { return normal(random) * (uniform(random) < 0.001 ? 50 : 1); }},
      {"lognormal", [&] { return std::exp(normal(random)); }},
      {"shifted", [&] { return normal(random) + 1; }},
      {"leaky",
       [&] {
         const double x = normal(random);
         return x < 0 ? 0.1 * x : x;
       }},
      {"gamma", [&] { return gamma(random) - 0.5; }},
      {"one_sided", [&] { return std::abs(normal(random)) * (uniform(random) < 0.001 ? 50 : 1); }},
      {"sigmoid", [&] { return 1 / (1 + std::exp(-8 * normal(random))); }},
      {"relu6", [&] { return std::min(6.0, std::max(0.0, 4 * normal(random))); }},
      {"image", [&] { return (std::floor(256 * uniform(random)) / 255 - 0.485) / 0.229; }},
      {"mask", [&] { return uniform(random) < 0.3 ? 1.0 : 0.0; }},
  };
  std::vector<float> values(count);
  const auto& next = draws.at(name);
  for (float& value : values) value = static_cast<float>(next());
  return values;
}

double true_error(const std::vector<float>& values, double scale, double low, double high, std::size_t stride = 1) {
  const float s = static_cast<float>(scale);
  const float l = static_cast<float>(low);
  const float h = static_cast<float>(high);
  constexpr float magic = 0x1.8p23f;
  double total = 0;
  for (std::size_t begin = 0; begin < values.size(); begin += 1024 * stride) {
    float sums[16] = {};
    const std::size_t end = std::min(values.size(), begin + 1024);
    for (std::size_t i = begin; i < end; ++i) {
      const float clipped = std::min(std::max(values[i] / s, l), h);
      const float error = values[i] - ((clipped + magic) - magic) * s;
      sums[i % 16] += error * error;
    }
    for (const float sum : sums) total += static_cast<double>(sum);
  }
  return total;
}

double true_error(const std::vector<float>& values, const Encoding& encoding, const QuantizerSpec& spec) {
  return true_error(values, encoding.scale, encoding.offset, encoding.offset + static_cast<double>(spec.steps()));
}

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

TEST(Parameters, EachChannelAndBlockIsSearchedOnItsOwnValues) {
  std::vector<float> values = draw("laplace", 8, 64 * 96);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] *= 1 + static_cast<float>(i / 96);
  const Tensor weights = Tensor::of<float>({64, 96}, values);
  QuantizerSpec spec = spec_of(4, true);
  spec.channel_axis = 0;
  for (const Scheme scheme :
       {Scheme::min_max, Scheme::sqnr, Scheme::mse, Scheme::percentile, Scheme::entropy, Scheme::tf_enhanced}) {
    const auto found = find_parameter_encodings("w", weights, spec, options_of(scheme)).encodings;
    ASSERT_EQ(found.size(), 64u);
    const std::vector<float> channel(values.begin() + 5 * 96, values.begin() + 6 * 96);
    const Tensor alone = Tensor::of<float>({96}, channel);
    EXPECT_EQ(find_parameter_encodings("w", alone, spec_of(4, true), options_of(scheme)).encodings[0], found[5]);
    if (scheme != Scheme::mse) continue;
    const Encoding whole = min_max_encoding(*std::min_element(channel.begin(), channel.end()),
                                            *std::max_element(channel.begin(), channel.end()), spec);
    EXPECT_LE(true_error(channel, found[5], spec), true_error(channel, whole, spec) * 1.0001);
  }
  spec.block_axis = 1;
  spec.block_size = 32;
  EXPECT_EQ(find_parameter_encodings("w", weights, spec, {}).encodings.size(), 64u * 3);
  spec.block_size = 36;
  EXPECT_THROW(find_parameter_encodings("w", weights, spec, {}), Error);
  spec = spec_of(4, true);
  spec.channel_axis = 2;
  EXPECT_THROW(find_parameter_encodings("w", weights, spec, {}), Error);
  spec = spec_of(40, true);
  EXPECT_THROW(find_parameter_encodings("w", weights, spec, {}), Error);
  EXPECT_EQ(find_parameter_encodings("w", Tensor::of<float>({0}, {}), QuantizerSpec{}, {}).encodings.size(), 1u);
}

/// Every scale of the lattice down to a quarter of the whole range's, with every zero point that the data may need.
double least_error(const std::vector<float>& values, const QuantizerSpec& spec) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const Encoding whole = min_max_encoding(*low, *high, spec);
  double least = true_error(values, whole, spec);
  for (int n = 0; n < 1024; ++n) {
    const double scale = whole.scale * std::exp2(-n / 512.0);
    const double first = spec.symmetric ? whole.offset : std::floor(std::min(0.0f, *low) / scale);
    const double last =
        spec.symmetric ? whole.offset
                       : std::min(0.0, std::ceil(std::max(0.0f, *high) / scale) - static_cast<double>(spec.steps()));
    for (double offset = std::max(first, -static_cast<double>(spec.steps())); offset <= std::max(first, last); ++offset)
      least = std::min(least, true_error(values, Encoding{0, 0, scale, offset}, spec));
  }
  return least;
}

/// A few values have no density: what decides is where each of them falls.
TEST(Parameters, OfFewValuesComeCloseToTheLeastError) {
  for (const bool symmetric : {true, false})
    for (const int bitwidth : {8, 4})
      for (const std::size_t count : {9u, 32u, 100u, 256u, 257u, 4096u, 4097u}) {
        if (!symmetric && count > 300) continue;
        const QuantizerSpec spec = spec_of(bitwidth, symmetric);
        double excess = 0;
        for (unsigned seed = 1; seed <= 20; ++seed) {
          const std::vector<float> values = draw(seed % 2 == 0 ? "normal" : "laplace", seed, count);
          const Tensor weights = Tensor::of<float>({static_cast<std::int64_t>(count)}, values);
          const Encoding found = find_parameter_encodings("w", weights, spec, options_of(Scheme::mse)).encodings.at(0);
          excess += (true_error(values, found, spec) / least_error(values, spec) - 1) / 20;
        }
        EXPECT_LE(excess, 0.002) << count << " values, " << bitwidth << " bits, symmetric " << symmetric;
      }
}

/// A channel of zeros, one value, one sign, NaN and infinities: the search of values agrees with that of statistics.
TEST(Parameters, OfOddValuesHaveTheEncodingOfTheirStatistics) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const std::vector<float>& values : {std::vector<float>{0, 0, 0},
                                           {-0.0f},
                                           {1.5f},
                                           {-1.5f},
                                           {nan, 1, 2},
                                           {infinity, -1},
                                           {-infinity, 3},
                                           {nan, nan},
                                           {1e-30f, -1e-30f},
                                           {3e38f, -3e38f},
                                           {-2e4f, 1}})
    for (const Scheme scheme : {Scheme::sqnr, Scheme::mse})
      for (const bool symmetric : {true, false}) {
        const QuantizerSpec spec = spec_of(8, symmetric);
        const Tensor weights = Tensor::of<float>({static_cast<std::int64_t>(values.size())}, values);
        const Encoding found = find_parameter_encodings("w", weights, spec, options_of(scheme)).encodings.at(0);
        const Encoding expected = find_encoding(observe_values(values), spec, options_of(scheme));
        EXPECT_NEAR(found.scale / expected.scale, 1, 0.03) << values[0] << ", " << values.back();
        EXPECT_NEAR(found.offset, expected.offset, 2);
      }
}

TEST(Sentinels, MasksAreFoundAndClampedBelowTheBulk) {
  std::vector<float> scores = draw("normal", 4, 10000);
  EXPECT_FALSE(find_sentinels(observe_values(scores)));
  for (const float mask :
       {-10000.0f, -65504.0f, -1e9f, -std::numeric_limits<float>::max(), -std::numeric_limits<float>::infinity()}) {
    std::vector<float> masked = scores;
    for (std::size_t i = 0; i < masked.size(); i += 4) masked[i] = mask;
    const TensorStatistics statistics = observe_values(masked);
    const auto sentinels = find_sentinels(statistics);
    ASSERT_TRUE(sentinels) << mask;
    EXPECT_EQ(sentinels->count, 2500u);
    EXPECT_LT(sentinels->floor, -20);
    EXPECT_GT(sentinels->floor, -26);
    for (const Scheme scheme : {Scheme::sqnr, Scheme::mse, Scheme::percentile, Scheme::entropy}) {
      const Encoding found = find_encoding(statistics, QuantizerSpec{}, options_of(scheme));
      EXPECT_GT(found.min, -30) << mask;
    }
    SearchOptions kept = options_of(Scheme::mse);
    kept.keep_sentinels = true;
    if (std::isfinite(mask)) {
      EXPECT_LT(find_encoding(statistics, QuantizerSpec{}, kept).min, -1000);
    }
  }
  std::vector<float> wide = scores;  // large values that are no sentinels: the bulk reaches out to them
  for (std::size_t i = 0; i < wide.size(); ++i) wide[i] *= 4000;
  EXPECT_FALSE(find_sentinels(observe_values(wide)));
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
