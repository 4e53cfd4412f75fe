// The codes and values that AIMET's quantizer gives, element by element (vectors of its own tests, and measured ones),
// with AIMET's rounding.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "calib/encoding.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

using Floats = std::vector<float>;

Grid grid_of(const Encoding& encoding, const QuantizerSpec& spec) {
  return make_grid(encoding.scale, encoding.offset, static_cast<double>(spec.steps()), encoding.min, encoding.max);
}

Floats codes(const Floats& values, const Encoding& encoding, const QuantizerSpec& spec) {
  const Grid grid = grid_of(encoding, spec);
  Floats result;
  for (const float x : values)
    result.push_back(quantize_half_up(x, grid.scale, grid.offset, grid.minimum, grid.maximum));
  return result;
}

Floats restored(const Floats& values, const Encoding& encoding, const QuantizerSpec& spec) {
  const Grid grid = grid_of(encoding, spec);
  Floats result;
  for (const float x : values)
    result.push_back(quantize_dequantize_half_up(x, grid.scale, grid.offset, grid.minimum, grid.maximum));
  return result;
}

TEST(AimetCodes, OfAnObservedRange) {
  const QuantizerSpec spec;
  const Encoding encoding = min_max_encoding(-50, 80, spec);
  EXPECT_EQ(codes({-40, -1, 0, 1, 2, -50, 80}, encoding, spec), (Floats{20, 96, 98, 100, 102, 0, 255}));
}

TEST(AimetCodes, HalvesRoundUpOnAUnitGrid) {
  const Encoding unit{0, 255, 1, 0};
  EXPECT_EQ(restored({-10, -.5f, 0, 1.5f, 2.5f, 3, 3.1f, 3.9f, 255, 255.1f, 300}, unit, {}),
            (Floats{0, 0, 0, 2, 3, 3, 3, 4, 255, 255, 255}));
}

TEST(AimetCodes, HalvesBelowZeroRoundUpToo) {
  QuantizerSpec spec;
  spec.symmetric = true;
  EXPECT_EQ(restored({.25f, -.25f, -.75f}, {-64, 63.5, .5, -128}, spec), (Floats{.5f, 0, -.5f}));
}

TEST(AimetCodes, ValuesAreFloatEqual) {
  const QuantizerSpec spec;
  const Encoding encoding = min_max_encoding(-.46, .72, spec);
  const Floats found = restored({-.5f, -.25f, 0, .25f, .5f, .75f}, encoding, spec);
  const Floats expected = {-.45811754f, -.2498823f, 0, .2498823f, .49976459f, .72188222f};
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_FLOAT_EQ(found[i], expected[i]);
  EXPECT_EQ(codes({-.5f, -.25f, 0, .25f, .5f, .75f}, encoding, spec), (Floats{0, 45, 99, 153, 207, 255}));
}

/// -15, -14.5, … in the shape [1, 4, 5, 3].
class PerChannelCodes : public testing::Test {
 protected:
  TensorEncodings encodings(int axis) {
    Floats values(60);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = -15.0f + 0.5f * static_cast<float>(i);
    spec.channel_axis = axis;
    const Tensor tensor = Tensor::of<float>({1, 4, 5, 3}, values);
    grouped = calib::group_parameter("w", tensor, spec);
    SearchOptions options;
    options.scheme = Scheme::min_max;
    return find_parameter_encodings("w", tensor, spec, options);
  }
  Floats row(const TensorEncodings& found, std::size_t channel) const {
    const auto begin = grouped.values.begin() + static_cast<std::ptrdiff_t>(channel * grouped.size);
    return codes({begin, begin + static_cast<std::ptrdiff_t>(grouped.size)}, found.encodings[channel], spec);
  }

  QuantizerSpec spec;
  calib::GroupedValues grouped;
};

TEST_F(PerChannelCodes, Asymmetric) {
  const TensorEncodings found = encodings(1);
  EXPECT_EQ(row(found, 0), (Floats{0, 9, 17, 26, 34, 43, 51, 60, 68, 77, 85, 94, 102, 111, 119}));
  EXPECT_EQ(row(found, 1), (Floats{0, 17, 34, 51, 68, 85, 102, 119, 136, 153, 170, 187, 204, 221, 238}));
  EXPECT_EQ(row(found, 2), (Floats{0, 18, 36, 55, 73, 91, 109, 128, 146, 164, 182, 200, 219, 237, 255}));
  EXPECT_EQ(row(found, 3), (Floats{132, 141, 149, 158, 167, 176, 185, 193, 202, 211, 220, 229, 237, 246, 255}));
}

TEST_F(PerChannelCodes, Strict) {
  spec.symmetric = spec.strict_symmetric = true;
  const TensorEncodings found = encodings(1);
  const auto signed_row = [&](std::size_t channel) {
    Floats signed_codes = row(found, channel);
    for (float& code : signed_codes) code += static_cast<float>(found.encodings[channel].offset);
    return signed_codes;
  };
  EXPECT_EQ(signed_row(0), (Floats{-127, -123, -119, -114, -110, -106, -102, -97, -93, -89, -85, -80, -76, -72, -68}));
  EXPECT_EQ(signed_row(1).front(), -127);
  EXPECT_EQ(signed_row(1).back(), -8);
  EXPECT_EQ(signed_row(2), (Floats{0, 9, 18, 27, 36, 45, 54, 64, 73, 82, 91, 100, 109, 118, 127}));
  EXPECT_EQ(signed_row(3).front(), 66);
  EXPECT_EQ(signed_row(3).back(), 127);
}

TEST_F(PerChannelCodes, OtherAxes) {
  const auto expect = [](const TensorEncodings& found, const std::vector<Encoding>& expected) {
    ASSERT_EQ(found.encodings.size(), expected.size());
    for (std::size_t c = 0; c < expected.size(); ++c) {
      EXPECT_NEAR(found.encodings[c].min, expected[c].min, 1e-6);
      EXPECT_NEAR(found.encodings[c].max, expected[c].max, 1e-6);
      EXPECT_NEAR(found.encodings[c].scale, expected[c].scale, 1e-6);
      EXPECT_EQ(found.encodings[c].offset, expected[c].offset);
    }
  };
  expect(encodings(3), {{-14.976471, 13.523529, 0.111765, -134},
                        {-14.529412, 13.970588, 0.111765, -130},
                        {-13.970588, 14.529412, 0.111765, -125}});
  spec.symmetric = spec.strict_symmetric = true;
  expect(encodings(2), {{-15, 15, 0.11811, -127},
                        {-13.5, 13.5, 0.106299, -127},
                        {-12, 12, 0.094488, -127},
                        {-13, 13, 0.102362, -127},
                        {-14.5, 14.5, 0.114173, -127}});
}

TEST(AimetCodes, Float8) {
  const float scale = .006696428571f;
  const Floats values = {1, 2, -3, .1f, .77f, 5};
  const Floats expected = {.96428573f, 1.9285715f, -3, .100446f, .75f, 3};
  for (std::size_t i = 0; i < values.size(); ++i)
    EXPECT_NEAR(round_to_float8e4m3fn(values[i] / scale) * scale, expected[i], 1e-6) << values[i];
}

}  // namespace
}  // namespace tare
