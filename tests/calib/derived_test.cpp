// Statistics that are derived equal those of the values themselves.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "calib/derived.hpp"
#include "tare/calibration.hpp"

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

}  // namespace
}  // namespace tare
