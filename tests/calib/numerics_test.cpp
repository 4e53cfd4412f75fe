// The element formulas against independent arithmetic: exact edges, ties, NaN and infinities.
#include "tare/numerics.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace tare {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

TEST(Quantize, IsOnnxQuantizeLinear) {
  EXPECT_EQ(quantize(0.5f, 1, 0, -128, 127), 0);
  EXPECT_EQ(quantize(1.5f, 1, 0, -128, 127), 2);
  EXPECT_EQ(quantize(-2.5f, 1, 0, -128, 127), -2);
  EXPECT_EQ(quantize(0.5f, 1, 5, 0, 255), 5);  // the zero point comes after the rounding
  EXPECT_EQ(quantize(infinity, 0.1f, 3, 0, 255), 255);
  EXPECT_EQ(quantize(-infinity, 0.1f, 3, 0, 255), 0);
  EXPECT_EQ(quantize(not_a_number, 0.1f, 3, 0, 255), 0);
  EXPECT_EQ(quantize(3e38f, 1e-38f, 3, 0, 255), 255);
  EXPECT_EQ(quantize_dequantize(1.0f, 0.5f, 3, 0, 4), 0.5f);
  EXPECT_FALSE(std::signbit(quantize_dequantize(-0.0f, 0.5f, 3, 0, 4)));
}

TEST(Quantize, DividesInsteadOfMultiplyingByAReciprocal) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> scales(1e-4f, 2.0f);
  for (int i = 0; i < 20000; ++i) {
    const float scale = scales(random);
    const float x = scale * (static_cast<float>(i % 255) - 127.5f);
    const double exact =
        static_cast<double>(x) / static_cast<double>(scale);  // rounds to float without double rounding
    const float expected = std::min(127.0f, std::max(-128.0f, std::nearbyint(static_cast<float>(exact))));
    ASSERT_EQ(quantize(x, scale, 0, -128, 127), expected) << x << " / " << scale;
  }
}

TEST(Quantize, TheProductGivesTheBitsOfTheDivision) {
  std::mt19937 numbers(11);
  const auto random = [&] { return static_cast<std::uint32_t>(numbers()); };
  int without = 0;
  int scales = 0;
  for (int i = 0; i < 400; ++i)
    for (const int bits : {2, 4, 8, 16}) {
      const float high = static_cast<float>((1 << bits) - 1);
      const float zero_point = static_cast<float>(static_cast<int>(random() % (1u << bits)));
      // Every third mantissa is near a multiple of a power of two, where a quotient is hardest to round.
      std::uint32_t mantissa = random() & 0x7fffffu;
      if (i % 3 == 0) mantissa = ((mantissa >> 12 << 12) + random() % 41 - 20) & 0x7fffffu;
      const float scale = float_of((28 + random() % 199) << 23 | mantissa);
      const float reciprocal = exact_reciprocal(scale, zero_point, 0, high);
      ++scales;
      without += reciprocal == 0;
      if (reciprocal == 0) continue;
      const float rest = rest_of_reciprocal(scale, reciprocal);
      const float lowest = dequantize(0, scale, zero_point);
      const float highest = dequantize(high, scale, zero_point);
      const auto check = [&](float x) {
        ASSERT_EQ(bits_of(quantize_dequantize_by_product(x, scale, reciprocal, rest, lowest, highest)),
                  bits_of(quantize_dequantize(x, scale, zero_point, 0, high)))
            << std::hexfloat << x << " with scale " << scale << ", zero point " << zero_point;
      };
      for (float code = -2; code <= high + 2; code += bits == 16 ? 131 : 1) {
        const std::int32_t key = ascending_key(bits_of((code - zero_point + 0.5f) * scale));
        for (std::int32_t d = -4; d <= 4; ++d) check(value_of_key(key + d));
      }
      for (const float x : {0.0f, -0.0f, 1e-45f, -1e-45f, 3e38f, -3e38f, infinity, -infinity, not_a_number}) check(x);
      for (int k = 0; k < 20; ++k) check(float_of(random()));
    }
  EXPECT_LT(without, scales / 5);
  EXPECT_GT(without, 0);
}

TEST(Quantize, WithoutAReciprocalWhereTheQuotientMayRoundOtherwise) {
  EXPECT_EQ(exact_reciprocal(0.5f, 128, 0, 255), 2);
  EXPECT_NE(exact_reciprocal(0.0123f, 128, 0, 255), 0);
  EXPECT_EQ(exact_reciprocal(float_of(0x3f800001), 128, 0, 255), 0);  // next to a power of two
  EXPECT_EQ(exact_reciprocal(1e-38f, 128, 0, 255), 0);                // 1 / scale, or what is left, is too small
  EXPECT_EQ(exact_reciprocal(1e35f, 128, 0, 255), 0);
  EXPECT_EQ(exact_reciprocal(0.0123f, 1e6f, 0, 255), 0);  // codes far from zero
  EXPECT_EQ(exact_reciprocal(0.0123f, 0.5f, 0, 255), 0);  // no integer
  EXPECT_EQ(exact_reciprocal(not_a_number, 0, 0, 255), 0);
  EXPECT_EQ(exact_reciprocal(0.0f, 0, 0, 255), 0);
  EXPECT_EQ(exact_reciprocal(0.1f, not_a_number, 0, 255), 0);
}

TEST(Quantize, HalfUpIsAimets) {
  // 0.25 / 0.5 goes up, -0.25 / 0.5 goes up to zero, -0.75 to -0.5.
  const auto qdq = [](float x) { return quantize_dequantize_half_up(x, 0.5f, -128, -64, 63.5f); };
  EXPECT_EQ(qdq(0.25f), 0.5f);
  EXPECT_EQ(qdq(-0.25f), 0.0f);
  EXPECT_EQ(qdq(-0.75f), -0.5f);
  EXPECT_EQ(qdq(not_a_number), -64.0f);
  EXPECT_EQ(qdq(infinity), 63.5f);
  EXPECT_EQ(qdq(-infinity), -64.0f);
  EXPECT_EQ(round_half_away(0.49999997f), 0.0f);
  EXPECT_EQ(round_half_away(-2.5f), -3.0f);
  const std::vector<float> x = {-10, -.5f, 0, 1.5f, 2.5f, 3, 3.1f, 3.9f, 255, 255.1f, 300};
  const std::vector<float> expected = {0, 0, 0, 2, 3, 3, 3, 4, 255, 255, 255};
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(quantize_dequantize_half_up(x[i], 1, 0, 0, 255), expected[i]);
}

TEST(HistogramBin, EdgesAreExactAndBinsAscend) {
  EXPECT_EQ(histogram_bin_count, 6810u);
  EXPECT_EQ(histogram_bin_lower(0), -0x1p128);
  EXPECT_EQ(histogram_bin_upper(histogram_bin_count - 1), 0x1p128);
  for (std::uint32_t bin = 0; bin < histogram_bin_count; ++bin) {
    const double lower = histogram_bin_lower(bin);
    const double upper = histogram_bin_upper(bin);
    ASSERT_LT(lower, upper);
    const bool negative = bin < histogram_side_count;
    const double inner = negative ? upper : lower;  // the closed edge
    const double outer = negative ? lower : upper;
    if (inner != 0) {
      ASSERT_EQ(histogram_bin(bits_of(static_cast<float>(inner))), bin);
    }
    const float last = std::abs(outer) == 0x1p128
                           ? std::copysign(std::numeric_limits<float>::max(), static_cast<float>(lower))
                           : std::nextafter(static_cast<float>(outer), 0.0f);
    ASSERT_EQ(histogram_bin(bits_of(last)), bin);
    const double width = (upper - lower) / std::abs(outer);
    if (std::abs(inner) >= 0x1p-30 && std::abs(outer) <= 0x1p20) {
      ASSERT_LE(width, 1.0 / 64);
    }
  }
  EXPECT_EQ(histogram_bin(1), histogram_side_count);  // smallest subnormal
  EXPECT_EQ(histogram_bin(0x80000001u), histogram_side_count - 1);
}

}  // namespace
}  // namespace tare
