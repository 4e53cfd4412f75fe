// Statistics that are derived equal those of the values themselves.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "calib/derived.hpp"
#include "tare/calibration.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

std::vector<std::vector<float>> samples() {
  std::mt19937 engine(7);
  std::normal_distribution<float> normal(0.5f, 3.0f);
  std::vector<float> many(20000);
  for (float& value : many) value = normal(engine);
  std::vector<float> sorted = many;
  std::sort(sorted.begin(), sorted.end());
  const std::vector<float> low(sorted.begin(), sorted.begin() + 5000);
  const std::vector<float> high(sorted.end() - 3000, sorted.end());
  std::vector<float> special = many;
  for (const float value : {0.0f, -0.0f, 6.0f, 6.0f, -1.0f, infinity, -infinity, 1e-42f, -1e-42f, 5.9999995f,
                            6.0000005f, std::numeric_limits<float>::quiet_NaN()})
    special.push_back(value);
  return {many,      low,        high, special,     {6, 6, 7},  {6, 6, 5}, {-2, -1, -1},
          {0, 0, 3}, {0, -0.0f}, {9},  {-infinity}, {infinity}, {}};
}

TEST(Derived, ClippedStatisticsAreThoseOfClippedValues) {
  const std::pair<float, float> ranges[] = {
      {0, infinity},     {0, 6},         {-1, 1},        {0, 1}, {-0.0f, 6},
      {-infinity, 0.5f}, {-infinity, 0}, {-3, infinity}, {0, 0}, {-infinity, infinity}};
  for (const auto& [low, high] : ranges) {
    ASSERT_TRUE(clips_exactly(low, high)) << low << " " << high;
    for (const std::vector<float>& values : samples()) {
      std::vector<float> cut;
      for (const float value : values) cut.push_back(value < low ? low : (value > high ? high : value));
      EXPECT_EQ(clipped(observe_values(values), low, high), observe_values(cut))
          << low << " " << high << ", " << values.size() << " values";
    }
  }
}

TEST(Derived, OnlyLimitsThatBeginABinAreExact) {
  EXPECT_FALSE(clips_exactly(0, 0.1f));
  EXPECT_FALSE(clips_exactly(-0.3f, infinity));
  EXPECT_FALSE(clips_exactly(1, 6));  // values below 1 lie on the wrong side of their limit
  EXPECT_FALSE(clips_exactly(-6, -1));
}

std::vector<float> images_of(std::span<const float> values, float (*f)(float)) {
  std::vector<float> images;
  for (const float value : values) images.push_back(f(value));
  return images;
}

TensorStatistics mapped_by(const std::vector<float>& values, float (*f)(float)) {
  return mapped(observe_values(values), [f](std::span<const float> points) { return images_of(points, f); });
}

TEST(Derived, TheIdentityMapsStatisticsToThemselves) {
  for (const std::vector<float>& values : samples())
    EXPECT_EQ(mapped_by(values, [](float x) { return x; }), observe_values(values)) << values.size() << " values";
}

/// The largest share of the values that must move to another bin's other side to make one histogram of the other.
double distance(const TensorStatistics& a, const TensorStatistics& b) {
  const auto shares = [](const TensorStatistics& statistics) {
    std::vector<double> share(histogram_bin_count + 1);  // zero lies between the sides
    for (const auto& [bin, count] : statistics.bins)
      share[bin < histogram_side_count ? bin : bin + 1] = static_cast<double>(count);
    share[histogram_side_count] = static_cast<double>(statistics.zero_count);
    return share;
  };
  const std::vector<double> left = shares(a);
  const std::vector<double> right = shares(b);
  double sum = 0;
  double worst = 0;
  for (std::size_t i = 0; i < left.size(); ++i) {
    sum += left[i] - right[i];
    worst = std::max(worst, std::abs(sum));
  }
  return a.count == 0 ? 0 : worst / static_cast<double>(a.count);
}

TEST(Derived, FunctionsOfHistogramsAreCloseToHistogramsOfFunctions) {
  struct Case {
    float (*f)(float);
    bool turns;
  };
  const Case cases[] = {{[](float x) { return x / 6; }, false},
                        {[](float x) { return -0.7f * x; }, false},
                        {[](float x) { return x + 3; }, false},
                        {[](float x) { return std::clamp(x + 3, 0.0f, 6.0f); }, false},
                        {[](float x) { return 1 / (1 + std::exp(-x)); }, false},
                        {[](float x) { return x * std::clamp(x + 3, 0.0f, 6.0f) / 6; }, true}};
  for (const Case& c : cases)
    for (const std::vector<float>& values : samples()) {
      const TensorStatistics read = observe_values(images_of(values, c.f));
      TensorStatistics extremes = read;
      extremes.bins.clear();
      const TensorStatistics derived = mapped(
          observe_values(values), [&](std::span<const float> points) { return images_of(points, c.f); },
          c.turns ? &extremes : nullptr);
      EXPECT_EQ(derived.count, read.count);
      EXPECT_EQ(derived.nan_count, read.nan_count);
      EXPECT_EQ(derived.positive_infinity_count, read.positive_infinity_count);
      EXPECT_EQ(derived.negative_infinity_count, read.negative_infinity_count);
      EXPECT_EQ(derived.min, read.min);
      EXPECT_EQ(derived.max, read.max);
      if (values.size() > 1000) {
        EXPECT_LT(distance(derived, read), 0.01);
      }
    }
}

double squared_error(std::span<const float> values, const Encoding& encoding, const QuantizerSpec& spec) {
  double sum = 0;
  for (const float value : values) {
    const double code = std::nearbyint(static_cast<double>(value) / encoding.scale) - encoding.offset;
    const double clamped = std::clamp(code, 0.0, static_cast<double>(spec.steps()));
    const double error = static_cast<double>(value) - encoding.scale * (clamped + encoding.offset);
    sum += error * error;
  }
  return sum;
}

/// A third of a page is white, which is a small number before 3 is added to it: where it lies among the codes decides.
TEST(Derived, ValuesThatLieCloselyTogetherAreFoundWhereTheyLie) {
  QuantizerSpec spec;
  spec.symmetric = false;
  SearchOptions options;
  options.scheme = Scheme::mse;
  for (const float white : {-0.2371f, 0.0837f, 0.3f}) {
    std::mt19937 engine(11);
    std::normal_distribution<float> normal(0.0f, 1.0f);
    std::vector<float> values(30000);
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = i % 3 == 0 ? white : std::clamp(normal(engine), -3.0f, 3.0f);
    const auto f = [](float x) { return x + 3; };
    const TensorStatistics derived = mapped_by(values, f);
    std::uint64_t near = 0;
    for (const auto& [value, count] : derived.points)
      if (std::abs(value - f(white)) < 4e-3f) near += count;
    EXPECT_GE(near, values.size() / 3) << white;
    EXPECT_TRUE(std::is_sorted(derived.points.begin(), derived.points.end()));

    TensorStatistics even = derived;
    even.points.clear();
    const std::vector<float> images = images_of(values, f);
    const double found = squared_error(images, find_encoding(derived, spec, options), spec);
    const double without = squared_error(images, find_encoding(even, spec, options), spec);
    EXPECT_LT(found, 0.8 * without) << white;
  }
}

TEST(Derived, ValuesThatLieEvenlyHaveNoPoints) {
  std::mt19937 engine(5);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<float> values(50000);
  for (float& value : values) value = normal(engine);
  EXPECT_TRUE(mapped_by(values, [](float x) { return x + 3; }).points.empty());
  EXPECT_TRUE(mapped_by(values, [](float x) { return 1 / (1 + std::exp(-x)); }).points.empty());
}

TEST(Derived, PointsAddUpAndAreCutWithTheirValues) {
  std::vector<float> values(3000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 2 == 0 ? 0.0837f : static_cast<float>(i) * 1e-3f;
  const TensorStatistics once = mapped_by(values, [](float x) { return x + 3; });
  ASSERT_FALSE(once.points.empty());
  TensorStatistics twice = once;
  twice.merge(once);
  ASSERT_EQ(twice.points.size(), once.points.size());
  for (std::size_t i = 0; i < once.points.size(); ++i) EXPECT_EQ(twice.points[i].second, 2 * once.points[i].second);
  EXPECT_EQ(clipped(once, 0, 8).points, once.points);
  EXPECT_TRUE(clipped(once, 0, 2).points.empty());
}

TEST(Derived, WithoutAHistogramTheExtremesAreMapped) {
  TensorStatistics extremes = observe_values(std::vector<float>{-2, 0, 5});
  extremes.bins.clear();
  const TensorStatistics derived =
      mapped(extremes, [](std::span<const float> points) { return images_of(points, [](float x) { return 1 - x; }); });
  EXPECT_EQ(derived.min, -4);
  EXPECT_EQ(derived.max, 3);
  EXPECT_TRUE(derived.bins.empty());
}

}  // namespace
}  // namespace tare
