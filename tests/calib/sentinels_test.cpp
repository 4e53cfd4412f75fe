// Values that only mark something are taken for a floor below all others: in the search on a histogram, and wherever
// candidates are measured on the values themselves.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "calib/draws.hpp"
#include "calib/searches.hpp"
#include "tare/calibration.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

using test::draw;
using test::options_of;
using test::spec_of;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float masks[] = {-10000.0f, -65504.0f, -1e9f, -std::numeric_limits<float>::max(), -infinity};

/// Normal, but for every fourth.
std::vector<float> scores(float mask, std::size_t count = 20000) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0.3f, 2.0f);
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = i % 4 == 0 ? mask : normal(random);
  return values;
}

std::vector<float> with_floor(std::vector<float> values) {
  const auto floor = static_cast<float>(find_sentinels(observe_values(values)).value().floor);
  for (float& value : values) value = value <= highest_sentinel ? floor : value;
  return values;
}

template <class Check>
void for_every_search(Check&& check) {
  for (const Scheme scheme : {Scheme::sqnr, Scheme::mse})
    for (const int bitwidth : {8, 4})
      for (const bool symmetric : {false, true}) check(spec_of(bitwidth, symmetric), options_of(scheme));
}

TEST(Sentinels, MasksAreFoundAndClampedBelowTheBulk) {
  const std::vector<float> bulk = draw("normal", 4, 10000);
  EXPECT_FALSE(find_sentinels(observe_values(bulk)));
  for (const float mask : masks) {
    std::vector<float> masked = bulk;
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
  std::vector<float> wide = bulk;  // large values that are no sentinels: the bulk reaches out to them
  for (std::size_t i = 0; i < wide.size(); ++i) wide[i] *= 4000;
  EXPECT_FALSE(find_sentinels(observe_values(wide)));
}

TEST(Sentinels, AreMeasuredAsWhatTheSearchTakesThemFor) {
  for (const float mask : masks) {
    const std::vector<float> masked = scores(mask);
    const std::vector<float> clamped = with_floor(masked);
    for_every_search([&](const QuantizerSpec& spec, const SearchOptions& options) {
      RefineAccumulator of_masked(observe_values(masked), spec, options);
      of_masked.add(masked);
      RefineAccumulator of_clamped(observe_values(clamped), spec, options);
      of_clamped.add(clamped);
      EXPECT_EQ(of_masked.best(), of_clamped.best()) << mask << ", " << spec.bitwidth << " bits";
    });
  }
}

TEST(Sentinels, OfHalvesAreMeasuredLikeThoseOfFloats) {
  std::vector<float> rounded = scores(-65504.0f);
  Tensor halves = Tensor::host(DataType::float16, {static_cast<std::int64_t>(rounded.size())});
  for (std::size_t i = 0; i < rounded.size(); ++i) {
    halves.mutable_data<std::uint16_t>()[i] = float_to_half(rounded[i]);
    rounded[i] = half_to_float(halves.data<std::uint16_t>()[i]);
  }
  for_every_search([&](const QuantizerSpec& spec, const SearchOptions& options) {
    RefineAccumulator of_halves(observe_values(rounded), spec, options);
    of_halves.add(halves);
    RefineAccumulator of_floats(observe_values(with_floor(rounded)), spec, options);
    of_floats.add(with_floor(rounded));
    EXPECT_EQ(of_halves.best(), of_floats.best()) << spec.bitwidth << " bits";
  });
}

/// More values than are searched without a histogram.
TEST(Sentinels, OfWeightsAreMeasuredTheSame) {
  for (const float mask : masks) {
    const std::vector<float> masked = scores(mask);
    const auto tensor = [](const std::vector<float>& values) {
      return Tensor::of<float>({static_cast<std::int64_t>(values.size())}, values);
    };
    for_every_search([&](const QuantizerSpec& spec, const SearchOptions& options) {
      EXPECT_EQ(find_parameter_encodings("w", tensor(masked), spec, options).encodings,
                find_parameter_encodings("w", tensor(with_floor(masked)), spec, options).encodings)
          << mask << ", " << spec.bitwidth << " bits";
    });
  }
}

TEST(Sentinels, ThatAreKeptAreMeasuredAsTheyAre) {
  const std::vector<float> masked = scores(-10000.0f);
  for_every_search([&](const QuantizerSpec& spec, SearchOptions options) {
    options.keep_sentinels = true;
    RefineAccumulator refine(observe_values(masked), spec, options);
    refine.add(masked);
    EXPECT_NEAR(refine.best().min, -10000, 1500) << spec.bitwidth << " bits";
  });
}

/// A mask of zeros and -inf, like one of zeros and -1e9, has a range from the floor on.
TEST(Sentinels, BesideNothingButZerosKeepTheirRange) {
  for (const float mask : masks)
    for (const Scheme scheme : {Scheme::sqnr, Scheme::mse, Scheme::percentile, Scheme::entropy}) {
      std::vector<float> values(64, 0.0f);
      for (std::size_t i = 0; i < values.size(); i += 3) values[i] = mask;
      const Encoding found = find_encoding(observe_values(values), {}, options_of(scheme));
      EXPECT_NEAR(found.min, -20, 0.1) << mask << ", scheme " << static_cast<int>(scheme);
      EXPECT_NEAR(found.max, 0, 0.1) << mask << ", scheme " << static_cast<int>(scheme);
    }
}

TEST(Refine, ValuesCountAsOftenAsIsSaid) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> values(4000);
  for (float& value : values) value = normal(random);
  const std::vector<float> constant = {4.1f, -3.3f, 3.9f, 3.05f};
  constexpr std::size_t times = 50;
  std::vector<float> all = values;
  for (std::size_t i = 0; i < times; ++i) all.insert(all.end(), constant.begin(), constant.end());
  const TensorStatistics statistics = observe_values(all);
  for_every_search([&](const QuantizerSpec& spec, const SearchOptions& options) {
    RefineAccumulator one_by_one(statistics, spec, options);
    one_by_one.add(all);
    RefineAccumulator weighted(statistics, spec, options);
    weighted.add(values);
    weighted.add(constant, static_cast<double>(times));
    EXPECT_EQ(weighted.best(), one_by_one.best()) << spec.bitwidth << " bits";
  });
}

}  // namespace
}  // namespace tare
