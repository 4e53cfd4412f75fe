// The search of weights: every channel and block on its own values, however few or odd they are.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
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

}  // namespace
}  // namespace tare
