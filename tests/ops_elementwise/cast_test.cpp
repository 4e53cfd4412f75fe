// Casts: every 8-bit float code survives, rounding goes to the nearest value of the format, integers wrap or saturate.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops_elementwise/operator_run.hpp"
#include "tare/small_float.hpp"

namespace tare::test {
namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

Tensor cast(const Tensor& x, DataType type, bool saturate = true) {
  return OperatorRun{"Cast", {{"to", static_cast<std::int64_t>(type)}, {"saturate", std::int64_t{saturate}}}}({x});
}
Tensor cast_in_opset(std::int64_t opset, const Tensor& x, DataType type) {
  return OperatorRun{"Cast", {{"to", static_cast<std::int64_t>(type)}}, opset}({x});
}

const DataType float8_types[] = {DataType::float8e4m3fn, DataType::float8e4m3fnuz, DataType::float8e5m2,
                                 DataType::float8e5m2fnuz};

TEST(SmallFloat, EveryCodeSurvivesTheRoundTrip) {
  for (const DataType type : float8_types) {
    Tensor codes = Tensor::host(type, {256});
    for (int i = 0; i < 256; ++i) codes.mutable_data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i);
    const Tensor wide = cast(codes, DataType::float32);
    const Tensor back = cast(wide, type, false);
    for (int i = 0; i < 256; ++i)
      if (!std::isnan(wide.data<float>()[i])) {
        EXPECT_EQ(back.data<std::uint8_t>()[i], i) << name_of(type) << " " << wide.data<float>()[i];
      }
  }
}

TEST(SmallFloat, KnownValues) {
  const auto decode = [](DataType type, int code) {
    return small_float(type)->decode(static_cast<std::uint8_t>(code));
  };
  EXPECT_EQ(decode(DataType::float8e4m3fn, 0x7e), 448.0f);
  EXPECT_EQ(decode(DataType::float8e4m3fn, 0x38), 1.0f);
  EXPECT_EQ(decode(DataType::float8e4m3fn, 0x01), 0x1p-9f);
  EXPECT_EQ(decode(DataType::float8e4m3fnuz, 0x7f), 240.0f);
  EXPECT_EQ(decode(DataType::float8e5m2, 0x7b), 57344.0f);
  EXPECT_EQ(decode(DataType::float8e5m2, 0xfc), -inf);
  EXPECT_EQ(decode(DataType::float8e5m2, 0x01), 0x1p-16f);
  EXPECT_EQ(decode(DataType::float8e5m2fnuz, 0x7f), 57344.0f);
  EXPECT_TRUE(std::isnan(decode(DataType::float8e5m2fnuz, 0x80)));
  EXPECT_EQ(decode(DataType::float4e2m1, 7), 6.0f);
  EXPECT_EQ(decode(DataType::float4e2m1, 9), -0.5f);
}

TEST(SmallFloat, RoundsToTheNearestCode) {
  for (const DataType type : float8_types) {
    const SmallFloat& format = *small_float(type);
    for (const float x : numbers(5000, -1.2, 1.2)) {
      const float value = x * format.largest * std::abs(x) * std::abs(x) * std::abs(x);
      const float rounded = format.decode(format.encode(value, true));
      double best = 1e30;
      for (int code = 0; code < 256; ++code) {
        const float candidate = format.decode(static_cast<std::uint8_t>(code));
        if (std::isfinite(candidate))
          best = std::min(best, std::abs(static_cast<double>(candidate) - static_cast<double>(value)));
      }
      EXPECT_EQ(std::abs(static_cast<double>(rounded) - static_cast<double>(value)), best)
          << name_of(type) << " " << value;
    }
  }
}

TEST(SmallFloat, OverflowSaturatesOrBecomesInfiniteOrNan) {
  for (const DataType type : float8_types) {
    const SmallFloat& format = *small_float(type);
    EXPECT_EQ(format.decode(format.encode(1e9f, true)), format.largest);
    EXPECT_EQ(format.decode(format.encode(-1e9f, true)), -format.largest);
    const float beyond = format.decode(format.encode(1e9f, false));
    EXPECT_TRUE(type == DataType::float8e5m2 ? beyond == inf : std::isnan(beyond));
    EXPECT_TRUE(std::isnan(format.decode(format.encode(nan, true))));
    EXPECT_EQ(format.decode(format.encode(-1e-30f, true)), 0.0f);
  }
}

TEST(Cast, FloatsToIntegersTruncateAndSaturate) {
  const Tensor x = tensor<float>({7}, {-1.9f, 1.9f, 300, -300, nan, inf, 1e30f});
  EXPECT_EQ(values<std::int8_t>(cast(x, DataType::int8)), (std::vector<std::int8_t>{-1, 1, 127, -128, 0, 127, 127}));
  EXPECT_EQ(values<std::int64_t>(cast(x, DataType::int64))[2], 300);
  EXPECT_EQ(values<std::int64_t>(cast(x, DataType::int64))[6], std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(values<bool>(cast(tensor<float>({3}, {0, -0.5f, nan}), DataType::boolean)),
            (std::vector<bool>{false, true, true}));
}

TEST(Cast, IntegersWrapAndKeepSixtyFourBits) {
  const std::int64_t large = (std::int64_t{1} << 53) + 1;
  const Tensor x = tensor<std::int64_t>({2}, {large, -1});
  EXPECT_EQ(values<std::uint64_t>(cast(x, DataType::uint64)), (std::vector<std::uint64_t>{9007199254740993u, ~0ull}));
  EXPECT_EQ(values<std::uint8_t>(cast(x, DataType::uint8)), (std::vector<std::uint8_t>{1, 255}));
  EXPECT_EQ(values<float>(cast(tensor<bool>({2}, {true, false}), DataType::float32)), (std::vector<float>{1, 0}));
}

TEST(Cast, DoublesBecomeHalvesInOneRounding) {
  // Just above a tie of float16: through float32 it would fall onto the tie and go down.
  const Tensor x = tensor<double>({2}, {1 + 0x1p-11 + 0x1p-40, -(1 + 0x1p-11 + 0x1p-40)});
  const Tensor half = cast(x, DataType::float16);
  EXPECT_EQ(half_to_float(half.data<std::uint16_t>()[0]), 1 + 0x1p-10f);
  EXPECT_EQ(half_to_float(half.data<std::uint16_t>()[1]), -1 - 0x1p-10f);
}

std::vector<int> powers(const std::vector<float>& x, const std::string& mode, bool saturate) {
  const auto e8m0 = static_cast<std::int64_t>(DataType::float8e8m0);
  const OperatorRun run{"Cast", {{"to", e8m0}, {"saturate", std::int64_t{saturate}}, {"round_mode", mode}}, 24};
  const std::vector<std::uint8_t> codes = values<std::uint8_t>(run({tensor<float>({std::ssize(x)}, x)}));
  return {codes.begin(), codes.end()};
}

TEST(PowersOfTwo, EveryCodeSurvivesTheRoundTrip) {
  Tensor codes = Tensor::host(DataType::float8e8m0, {255});
  for (int i = 0; i < 255; ++i) codes.mutable_data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i);
  const std::vector<float> wide = values<float>(cast(codes, DataType::float32));
  for (int i = 0; i < 255; ++i) ASSERT_EQ(wide[static_cast<std::size_t>(i)], std::ldexp(1.0f, i - 127)) << i;
  for (const char* mode : {"up", "down", "nearest"})
    for (const bool saturate : {false, true}) {
      const std::vector<int> back = powers(wide, mode, saturate);
      for (int i = 0; i < 255; ++i) ASSERT_EQ(back[static_cast<std::size_t>(i)], i) << mode;
    }
  *codes.mutable_data<std::uint8_t>() = 255;
  EXPECT_TRUE(std::isnan(*cast(codes, DataType::float32).data<float>()));
}

TEST(PowersOfTwo, RoundAsTheirModeSays) {
  // 1, a little more, a quarter, below the middle, the middle, above it, and below the next power.
  const std::vector<float> x{1, 1 + 0x1p-23f, 1.25f, 1.499f, 1.5f, 1.501f, 2 - 0x1p-23f};
  EXPECT_EQ(powers(x, "up", true), (std::vector<int>{127, 128, 128, 128, 128, 128, 128}));
  EXPECT_EQ(powers(x, "down", true), (std::vector<int>{127, 127, 127, 127, 127, 127, 127}));
  EXPECT_EQ(powers(x, "nearest", true), (std::vector<int>{127, 127, 127, 127, 128, 128, 128}));
  // Between the smallest two, where floats are subnormal.
  const std::vector<float> small{0x1.2p-127f, 0x1.8p-127f};
  EXPECT_EQ(powers(small, "up", true), (std::vector<int>{1, 1}));
  EXPECT_EQ(powers(small, "nearest", true), (std::vector<int>{0, 1}));
  EXPECT_EQ(powers(small, "down", true), (std::vector<int>{0, 0}));
  EXPECT_THROW(powers(x, "sideways", true), Error);
}

TEST(PowersOfTwo, BeyondTheirRangeAsTheSpecificationTabulates) {
  const std::vector<float> x{0, nan, inf, 0x1.8p127f, 0x1p-128f};
  EXPECT_EQ(powers(x, "up", true), (std::vector<int>{0, 255, 254, 254, 0}));
  EXPECT_EQ(powers(x, "nearest", false), (std::vector<int>{255, 255, 255, 255, 255}));
}

TEST(Cast, FourBitIntegersAreLimited) {
  const Tensor x = tensor<float>({5}, {-9, -1.5f, 0.5f, 6.6f, 20});
  EXPECT_EQ(values<std::int8_t>(cast(x, DataType::int4)), (std::vector<std::int8_t>{-8, -2, 0, 7, 7}));
  EXPECT_EQ(values<std::uint8_t>(cast(x, DataType::uint4)), (std::vector<std::uint8_t>{0, 0, 0, 7, 15}));
  EXPECT_EQ(values<float>(cast(cast(x, DataType::int4), DataType::float32)), (std::vector<float>{-8, -2, 0, 7, 7}));
}

TEST(Cast, SmallIntegersKeepTheirLowerBitsFromOpset24On) {
  using Signed = std::vector<std::int8_t>;
  using Unsigned = std::vector<std::uint8_t>;
  const Tensor x = tensor<float>({9}, {-9, -1.5f, 0.5f, 6.6f, 20, 300, nan, inf, 1e30f});
  EXPECT_EQ(values<std::int8_t>(cast_in_opset(24, x, DataType::int4)), (Signed{7, -2, 0, 7, 4, -4, 0, 0, 0}));
  EXPECT_EQ(values<std::uint8_t>(cast_in_opset(24, x, DataType::uint4)), (Unsigned{7, 14, 0, 7, 4, 12, 0, 0, 0}));
  EXPECT_EQ(values<std::int8_t>(cast_in_opset(25, x, DataType::int2)), (Signed{-1, -2, 0, -1, 0, 0, 0, 0, 0}));
  EXPECT_EQ(values<std::uint8_t>(cast_in_opset(25, x, DataType::uint2)), (Unsigned{3, 2, 0, 3, 0, 0, 0, 0, 0}));
  // 64-bit integers do not pass through a float, which would lose these bits.
  const Tensor large = tensor<std::int64_t>({3}, {(std::int64_t{1} << 60) + 9, -7, 5});
  EXPECT_EQ(values<std::int8_t>(cast_in_opset(24, large, DataType::int4)), (Signed{-7, -7, 5}));
  EXPECT_EQ(values<std::uint8_t>(cast_in_opset(25, large, DataType::uint2)), (Unsigned{1, 1, 1}));
  // Of integers always: Cast of opset 21 says so.
  EXPECT_EQ(values<std::int8_t>(cast_in_opset(23, large, DataType::int4)), (Signed{-7, -7, 5}));
}

Tensor bit_cast(const Tensor& x, std::int64_t to) { return OperatorRun{"BitCast", {{"to", to}}, 26}({x}); }
Tensor bit_cast(const Tensor& x, DataType type) { return bit_cast(x, static_cast<std::int64_t>(type)); }

TEST(BitCast, KeepsTheBits) {
  const Tensor x = tensor<float>({2, 2}, {1, -0.0f, inf, 0x1p-149f});
  const Tensor bits = bit_cast(x, DataType::uint32);
  EXPECT_EQ(bits.shape(), x.shape());
  EXPECT_EQ(values<std::uint32_t>(bits), (std::vector<std::uint32_t>{0x3f800000, 0x80000000, 0x7f800000, 1}));
  EXPECT_EQ(values<std::uint32_t>(bit_cast(bit_cast(bits, DataType::float32), DataType::uint32)),
            values<std::uint32_t>(bits));
  // In memory a signed integer of 4 or 2 bits has its sign in the rest of its byte.
  const Tensor nibbles = cast(tensor<float>({3}, {-8, -1, 7}), DataType::int4);
  const Tensor codes = bit_cast(nibbles, DataType::uint4);
  EXPECT_EQ(values<std::uint8_t>(codes), (std::vector<std::uint8_t>{8, 15, 7}));
  EXPECT_EQ(values<std::int8_t>(bit_cast(codes, DataType::int4)), (std::vector<std::int8_t>{-8, -1, 7}));
  EXPECT_EQ(values<float>(cast(bit_cast(nibbles, DataType::float4e2m1), DataType::float32)),
            (std::vector<float>{-0.0f, -6, 6}));
  EXPECT_EQ(values<std::uint8_t>(bit_cast(cast(tensor<float>({2}, {-2, 1}), DataType::int2), DataType::uint2)),
            (std::vector<std::uint8_t>{2, 1}));
  // Operators rely on booleans that are 0 or 1.
  EXPECT_EQ(values<std::uint8_t>(bit_cast(tensor<std::uint8_t>({3}, {0, 1, 0x80}), DataType::boolean)),
            (std::vector<std::uint8_t>{0, 1, 1}));
}

TEST(BitCast, RefusesOtherSizesAndWhatIsNoNumber) {
  const Tensor x = tensor<float>({1}, {1});
  for (const std::int64_t to : {0, 99, static_cast<int>(DataType::string), static_cast<int>(DataType::int64),
                                static_cast<int>(DataType::float16)})
    EXPECT_THROW(bit_cast(x, to), Error) << to;
  EXPECT_THROW(bit_cast(Tensor::host(DataType::string, {1}), DataType::float32), Error);
}

/// Numbers of ONNX 1.17's own data, which 1.21 has no longer.
TEST(Cast, TextAndNumbers) {
  const std::vector<std::string> texts{"0.9767611", "0.039187793", "0.2961402", "NaN", "INF", "+INF", "-INF"};
  Tensor x = Tensor::host(DataType::string, {7});
  std::copy(texts.begin(), texts.end(), x.mutable_data<std::string>());
  const std::vector<float> numbers = values<float>(cast(x, DataType::float32));
  EXPECT_EQ(numbers[0], 0.9767611026763916f);
  EXPECT_EQ(numbers[1], 0.03918779268860817f);
  EXPECT_EQ(numbers[2], 0.296140193939209f);
  EXPECT_TRUE(std::isnan(numbers[3]));
  EXPECT_EQ((std::vector<float>(numbers.begin() + 4, numbers.end())), (std::vector<float>{inf, inf, -inf}));
  const Tensor written = cast(tensor<float>({3}, {numbers[0], numbers[1], numbers[2]}), DataType::string);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(written.data<std::string>()[i], texts[i]);
}

TEST(Cast, KeepsTheLayoutAndRefusesUnknownTypes) {
  const Tensor x = tensor<float>({2, 3, 4}, numbers(24, -9, 9));
  const Tensor last = cast(to_channels_last(x), DataType::int32);
  EXPECT_EQ(values<std::int32_t>(to_plain(last)), values<std::int32_t>(cast(x, DataType::int32)));
  EXPECT_EQ(cast(x, DataType::string).type(), DataType::string);
  EXPECT_THROW(cast(x, static_cast<DataType>(99)), Error);
  EXPECT_EQ(OperatorRun{"CastLike"}({x, tensor<double>({}, {0})}).type(), DataType::float64);
}

}  // namespace
}  // namespace tare::test
