#include "tare/tensor.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "tare/numerics.hpp"

namespace tare {
namespace {

TEST(Half, EveryValueSurvivesTheRoundTrip) {
  for (std::uint32_t i = 0; i < 0x10000u; ++i) {
    const auto half = static_cast<std::uint16_t>(i);
    const float wide = half_to_float(half);
    if (std::isnan(wide))
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(wide))));
    else
      EXPECT_EQ(float_to_half(wide), half);
    const float brain = bfloat_to_float(half);
    if (!std::isnan(brain)) {
      EXPECT_EQ(float_to_bfloat(brain), half);
    }
  }
}

TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(half_to_float(float_to_half(2049.0f)), 2048.0f);
  EXPECT_EQ(half_to_float(float_to_half(2051.0f)), 2052.0f);
  EXPECT_EQ(half_to_float(float_to_half(65519.0f)), 65504.0f);
  EXPECT_TRUE(std::isinf(half_to_float(float_to_half(65520.0f))));
  EXPECT_EQ(half_to_float(float_to_half(0x1.8p-24f)), 0x1p-23f);
  EXPECT_EQ(half_to_float(float_to_half(0x1p-25f)), 0.0f);
}

TEST(Tensor, RefusesShapesThatCannotBe) {
  EXPECT_THROW(Tensor::host(DataType::float32, {2, -1}), Error);
  EXPECT_THROW(Tensor::host(DataType::float32, {std::int64_t{1} << 40, std::int64_t{1} << 40}), Error);
  EXPECT_EQ(Tensor::host(DataType::string, {2}).data<std::string>()[1], "");
  EXPECT_EQ(Tensor::host(DataType::float32, {0, 3}).elements(), 0);
}

}  // namespace
}  // namespace tare
