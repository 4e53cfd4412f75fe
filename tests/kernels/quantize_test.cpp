// Quantize-dequantize of tensors against the scalar formulas, bit for bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/inputs.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

using test::bits_of_all;
using test::devices;

TensorEncodings encodings_of(const QuantizerSpec& spec,
                             const std::vector<std::pair<double, double>>& scale_and_offset) {
  TensorEncodings result;
  result.tensor = "x";
  result.spec = spec;
  for (const auto& [scale, offset] : scale_and_offset)
    result.encodings.push_back(
        {.min = static_cast<double>(static_cast<float>(scale)) * offset,
         .max = static_cast<double>(static_cast<float>(scale)) * (offset + static_cast<double>(spec.steps())),
         .scale = scale,
         .offset = offset});
  return result;
}

float expected(float x, const Encoding& e, const QuantizerSpec& spec, Rounding rounding) {
  const Grid grid = make_grid(e.scale, e.offset, static_cast<double>(spec.steps()), e.min, e.max);
  switch (spec.format) {
    case NumberFormat::float16: return half_to_float(float_to_half(x));
    case NumberFormat::float8e4m3fn: return round_to_float8e4m3fn(x / grid.scale) * grid.scale;
    case NumberFormat::float8e5m2: return round_to_float8e5m2(x / grid.scale) * grid.scale;
    case NumberFormat::integer: break;
  }
  if (rounding == Rounding::half_up)
    return quantize_dequantize_half_up(x, grid.scale, grid.offset, grid.minimum, grid.maximum);
  return quantize_dequantize(x, grid.scale, grid.zero_point, grid.low, grid.high);
}

/// Index of the encoding of a logical (channels-first) element.
std::size_t encoding_index(std::int64_t element, const Shape& shape, const QuantizerSpec& spec) {
  std::int64_t channel = 0;
  std::int64_t block = 0;
  std::int64_t blocks = 1;
  for (std::size_t axis = shape.rank(); axis-- > 0;) {
    const std::int64_t coordinate = element % shape[axis];
    element /= shape[axis];
    if (spec.channel_axis == static_cast<int>(axis)) channel = coordinate;
    if (spec.block_axis == static_cast<int>(axis)) {
      block = coordinate / spec.block_size;
      blocks = (shape[axis] + spec.block_size - 1) / spec.block_size;
    }
  }
  return static_cast<std::size_t>(channel * blocks + block);
}

Tensor to_channels_last(Backend& backend, const Tensor& plain) {
  const Shape& shape = plain.shape();
  Tensor last = backend.allocate(plain.type(), shape, Layout::channels_last);
  const std::int64_t spatial = shape.elements(2, shape.rank());
  for (std::int64_t n = 0; n < shape[0]; ++n)
    for (std::int64_t c = 0; c < shape[1]; ++c)
      for (std::int64_t s = 0; s < spatial; ++s)
        last.mutable_data<float>()[(n * spatial + s) * shape[1] + c] =
            plain.data<float>()[(n * shape[1] + c) * spatial + s];
  return last;
}

void check(const Tensor& input, const TensorEncodings& encodings, Rounding rounding) {
  std::vector<std::uint32_t> want;
  for (std::int64_t i = 0; i < input.elements(); ++i)
    want.push_back(
        bits_of(expected(input.data<float>()[i], encodings.encodings[encoding_index(i, input.shape(), encodings.spec)],
                         encodings.spec, rounding)));
  for (const test::Device& device : devices()) {
    const std::vector<std::uint32_t> before = bits_of_all(input);
    const Tensor shared = device.backend->quantize_dequantize(input, encodings, rounding);
    ASSERT_EQ(bits_of_all(shared), want) << device.name;
    EXPECT_EQ(bits_of_all(input), before) << "a shared input must not change";

    Tensor own = Tensor::of<float>(input.shape(), input.span<float>());
    const void* storage = own.data();
    const Tensor in_place = device.backend->quantize_dequantize(std::move(own), encodings, rounding);
    if (input.elements() > 0) {
      EXPECT_EQ(in_place.data(), storage);
    }
    ASSERT_EQ(bits_of_all(in_place), want) << device.name;

    if (input.rank() < 3) continue;
    const Tensor last =
        device.backend->quantize_dequantize(to_channels_last(*device.backend, input), encodings, rounding);
    EXPECT_EQ(last.layout(), Layout::channels_last);
    ASSERT_EQ(bits_of_all(device.backend->to_plain(last)), want) << device.name << " channels last";
  }
}

std::vector<QuantizerSpec> specs() {
  std::vector<QuantizerSpec> all;
  for (const int bitwidth : {2, 4, 8, 16}) {
    all.push_back({.bitwidth = bitwidth});
    all.push_back({.bitwidth = bitwidth, .symmetric = true, .strict_symmetric = true});
  }
  for (const NumberFormat format : {NumberFormat::float16, NumberFormat::float8e4m3fn, NumberFormat::float8e5m2})
    all.push_back({.format = format});
  return all;
}

TEST(QuantizeDequantize, SpecialValuesAndTies) {
  std::vector<float> values = test::special_values();
  for (int i = -600; i <= 600; ++i) values.push_back(static_cast<float>(i) * 0.5f * 0.03125f);
  const Tensor input = test::tensor_of(values, {static_cast<std::int64_t>(values.size())});
  for (const QuantizerSpec& spec : specs())
    for (const Rounding rounding : {Rounding::half_even, Rounding::half_up})
      for (const auto& grid : std::vector<std::pair<double, double>>{
               {0.03125, -128}, {0.1, 0}, {1e-6, -7}, {3e30, -1}, {0.0173, -static_cast<double>(spec.steps())}})
        check(input, encodings_of(spec, {grid}), rounding);
}

TEST(QuantizeDequantize, Float8MakesNaNQuietAndKeepsItsBits) {
  const std::vector<std::pair<std::uint32_t, std::uint32_t>> quiet{
      {0x7f800001u, 0x7fc00001u}, {0xff800001u, 0xffc00001u}, {0x7fbfffffu, 0x7fffffffu},
      {0x7fc00000u, 0x7fc00000u}, {0xffd12345u, 0xffd12345u}, {0xffa00000u, 0xffe00000u}};
  std::vector<float> values;
  std::vector<std::uint32_t> want;
  for (int i = 0; i < 100; ++i) {
    values.push_back(float_of(quiet[static_cast<std::size_t>(i) % quiet.size()].first));
    want.push_back(quiet[static_cast<std::size_t>(i) % quiet.size()].second);
  }
  for (const NumberFormat format : {NumberFormat::float8e4m3fn, NumberFormat::float8e5m2})
    for (const test::Device& device : devices())
      EXPECT_EQ(bits_of_all(device.backend->quantize_dequantize(
                    test::tensor_of(values, {100}), encodings_of({.format = format}, {{0.1, 0}}), Rounding::half_even)),
                want)
          << device.name;
}

/// Too large for caches: a copy is written another way than in place.
TEST(QuantizeDequantize, LargeCopiesHaveTheBitsOfTensorsInPlace) {
  const Shape shape{343, 49, 1001};  // 64 MiB and a little
  std::vector<float> values = test::normal_values(100003, 5);
  const std::vector<float> special = test::special_values();
  values.insert(values.end(), special.begin(), special.end());
  Tensor input = Tensor::host(DataType::float32, shape);
  for (std::int64_t i = 0; i < input.elements(); ++i)
    input.mutable_data<float>()[i] = values[static_cast<std::size_t>(i) % values.size()];
  const auto device = make_cpu_backend({.threads = 3});
  for (const QuantizerSpec& spec :
       {QuantizerSpec{}, QuantizerSpec{.channel_axis = 0}, QuantizerSpec{.channel_axis = 2},
        QuantizerSpec{.bitwidth = 4, .channel_axis = 1, .block_axis = 2, .block_size = 100}}) {
    std::vector<std::pair<double, double>> grids;
    const std::int64_t channels = spec.channel_axis ? shape[static_cast<std::size_t>(*spec.channel_axis)] : 1;
    for (std::int64_t i = 0; i < channels * (spec.block_axis ? 11 : 1); ++i)
      grids.emplace_back(0.01 + 0.001 * static_cast<double>(i % 17), -static_cast<double>(i % 13));
    const TensorEncodings encodings = encodings_of(spec, grids);
    const Tensor copy = device->quantize_dequantize(input, encodings, Rounding::half_even);
    ASSERT_NE(copy.data(), input.data());
    const Tensor in_place =
        device->quantize_dequantize(Tensor::of<float>(shape, input.span<float>()), encodings, Rounding::half_even);
    EXPECT_EQ(std::memcmp(copy.data(), in_place.data(), copy.bytes()), 0) << grids.size() << " grids";
  }
}

/// The floats around every threshold between two codes: where a quotient off by its last bit would show.
std::vector<float> thresholds(double scale, double offset, double steps) {
  std::vector<float> values;
  for (double code = -2; code <= steps + 2; code += steps > 255 ? 97 : 1) {
    const std::int32_t key = ascending_key(bits_of(static_cast<float>((code + offset + 0.5) * scale)));
    for (std::int32_t d = -3; d <= 3; ++d) values.push_back(value_of_key(key + d));
  }
  return values;
}

TEST(QuantizeDequantize, ThresholdsOfScalesWithAndWithoutAReciprocal) {
  std::vector<double> scales;
  for (const std::uint32_t mantissa : {0x0u, 0x1u, 0x7fffffu, 0x400000u, 0x2aaaabu, 0x123456u, 0x5a5a5au, 0x2000ffu})
    for (const std::uint32_t exponent : {20u, 60u, 119u, 124u, 127u, 170u, 240u})
      scales.push_back(static_cast<double>(float_of(exponent << 23 | mantissa)));
  for (const int bitwidth : {2, 8, 16})
    for (const double scale : scales) {
      const QuantizerSpec spec{.bitwidth = bitwidth};
      const double steps = static_cast<double>(spec.steps());
      const double offset = -std::floor(steps / 3);
      const std::vector<float> values = thresholds(scale, offset, steps);
      const auto n = static_cast<std::int64_t>(values.size());
      check(test::tensor_of(values, {n}), encodings_of(spec, {{scale, offset}}), Rounding::half_even);
    }
}

TEST(QuantizeDequantize, ChannelsOfWhichSomeHaveNoReciprocal) {
  for (const Shape& shape : {Shape{3, 5, 49}, Shape{1, 5, 7, 7}, Shape{40, 5}})
    for (const bool mixed : {false, true}) {
      std::vector<std::pair<double, double>> grids;
      for (int channel = 0; channel < 5; ++channel) grids.emplace_back(0.01 + 0.003 * channel, -20.0 * channel);
      if (mixed) grids[3].first = static_cast<double>(float_of(0x3c000001));
      EXPECT_EQ(exact_reciprocal(static_cast<float>(grids[3].first), 60, 0, 255) == 0, mixed);
      check(test::tensor_of(test::normal_values(static_cast<std::size_t>(shape.elements()), 6), shape),
            encodings_of({.bitwidth = 8, .channel_axis = 1}, grids), Rounding::half_even);
    }
}

TEST(QuantizeDequantize, ColumnsOfZeroPointsThatAreNoIntegers) {
  const Shape shape{2, 43, 9};
  std::vector<std::pair<double, double>> grids;
  for (int channel = 0; channel < 43; ++channel) grids.emplace_back(0.01 + 0.003 * channel, -3.0 * channel - 0.25);
  for (const Rounding rounding : {Rounding::half_even, Rounding::half_up})
    check(test::tensor_of(test::normal_values(static_cast<std::size_t>(shape.elements()), 6, 30.0f), shape),
          encodings_of({.bitwidth = 8, .channel_axis = 1}, grids), rounding);
}

/// Then they are made as they are needed: rows of channels, blocks of channels, and channels of blocks.
TEST(QuantizeDequantize, MoreGridsThanAPlanKeeps) {
  struct Case {
    Shape shape;
    int channel_axis;
    std::optional<int> block_axis;
    std::size_t grids;
  };
  for (const Case& c : {Case{{5000, 3}, 0, {}, 5000}, Case{{2, 5000, 2}, 1, {}, 5000}, Case{{70, 1031}, 0, 1, 70 * 65},
                        Case{{1031, 70}, 1, 0, 70 * 65}, Case{{1031, 70, 3}, 1, 0, 70 * 65}}) {
    QuantizerSpec spec{.bitwidth = 8, .channel_axis = c.channel_axis, .block_axis = c.block_axis};
    if (c.block_axis) spec.block_size = 16;
    std::vector<std::pair<double, double>> grids;
    for (std::size_t i = 0; i < c.grids; ++i)
      grids.emplace_back(0.01 + 0.001 * static_cast<double>(i % 1013), -static_cast<double>(i % 239));
    check(test::tensor_of(test::normal_values(static_cast<std::size_t>(c.shape.elements()), 6), c.shape),
          encodings_of(spec, grids), Rounding::half_even);
  }
}

TEST(QuantizeDequantize, OddSizes) {
  for (const std::int64_t n : {0, 1, 2, 7, 15, 16, 17, 31, 63, 64, 65, 1023, 16385, 49157})
    for (const Rounding rounding : {Rounding::half_even, Rounding::half_up})
      check(test::tensor_of(test::normal_values(static_cast<std::size_t>(n), 1, 3.0f), {n}),
            encodings_of({.bitwidth = 8}, {{0.0391, -131}}), rounding);
  check(test::tensor_of({1.26f}, {}), encodings_of({.bitwidth = 8}, {{0.5, -3}}), Rounding::half_even);
}

TEST(QuantizeDequantize, NanTakesTheLowestCodeAndInfinitiesSaturate) {
  auto backend = make_cpu_backend();
  const Tensor input = test::tensor_of({NAN, INFINITY, -INFINITY, 0.25f, 0.75f, -0.25f}, {6});
  const TensorEncodings encodings = encodings_of({.bitwidth = 8, .symmetric = true}, {{0.5, -128}});
  const Tensor even = backend->quantize_dequantize(input, encodings, Rounding::half_even);
  const std::vector<float> want_even = {-64.0f, 63.5f, -64.0f, 0.0f, 1.0f, 0.0f};
  EXPECT_EQ(std::vector<float>(even.data<float>(), even.data<float>() + 6), want_even);
  const Tensor up = backend->quantize_dequantize(input, encodings, Rounding::half_up);
  const std::vector<float> want_up = {-64.0f, 63.5f, -64.0f, 0.5f, 1.0f, 0.0f};
  EXPECT_EQ(std::vector<float>(up.data<float>(), up.data<float>() + 6), want_up);
}

TEST(QuantizeDequantize, PerChannelAlongEveryAxisAndLayout) {
  for (const Shape& shape :
       {Shape{5, 7, 3, 11}, Shape{64, 3, 2, 2}, Shape{2, 70, 9}, Shape{1, 128, 33, 5}, Shape{4, 1, 6}})
    for (int axis = 0; axis < static_cast<int>(shape.rank()); ++axis)
      for (const NumberFormat format : {NumberFormat::integer, NumberFormat::float8e4m3fn, NumberFormat::float8e5m2}) {
        std::vector<std::pair<double, double>> grids;
        for (std::int64_t c = 0; c < shape[static_cast<std::size_t>(axis)]; ++c)
          grids.emplace_back(0.01 + 0.003 * static_cast<double>(c), -static_cast<double>(c % 200));
        const Tensor input = test::tensor_of(test::normal_values(static_cast<std::size_t>(shape.elements()), 2), shape);
        const QuantizerSpec spec{.format = format, .bitwidth = 8, .channel_axis = axis};
        for (const Rounding rounding : {Rounding::half_even, Rounding::half_up})
          check(input, encodings_of(spec, grids), rounding);
      }
}

TEST(QuantizeDequantize, PerBlock) {
  for (const Shape& shape : {Shape{6, 32}, Shape{32, 6}, Shape{8, 12, 5}, Shape{3, 5, 8, 2}, Shape{7, 30}})
    for (int block_axis = 0; block_axis < static_cast<int>(shape.rank()); ++block_axis)
      for (int channel_axis = -1; channel_axis < static_cast<int>(shape.rank()); ++channel_axis)
        for (const int block_size : {1, 4, 16}) {
          if (channel_axis == block_axis) continue;
          QuantizerSpec spec{.bitwidth = 4, .block_axis = block_axis, .block_size = block_size};
          std::int64_t count = (shape[static_cast<std::size_t>(block_axis)] + block_size - 1) / block_size;
          if (channel_axis >= 0) {
            spec.channel_axis = channel_axis;
            count *= shape[static_cast<std::size_t>(channel_axis)];
          }
          std::vector<std::pair<double, double>> grids;
          for (std::int64_t i = 0; i < count; ++i)
            grids.emplace_back(0.05 + 0.01 * static_cast<double>(i), -static_cast<double>(i % 16));
          check(test::tensor_of(test::normal_values(static_cast<std::size_t>(shape.elements()), 3), shape),
                encodings_of(spec, grids), Rounding::half_even);
        }
}

TEST(QuantizeDequantize, HalfTensorsAreWidenedQuantizedAndRoundedBack) {
  const std::int64_t n = 0x10000;
  std::vector<std::uint16_t> halves(n);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  const Tensor raw = Tensor::of<std::uint16_t>({n}, std::span<const std::uint16_t>(halves));
  for (const QuantizerSpec& spec : specs())
    for (const DataType type : {DataType::float16, DataType::bfloat16}) {
      const TensorEncodings encodings = encodings_of(spec, {{0.0391, -100}});
      std::vector<std::uint16_t> want(n);
      for (std::size_t i = 0; i < halves.size(); ++i) {
        const float wide = type == DataType::float16 ? half_to_float(halves[i]) : bfloat_to_float(halves[i]);
        const float quantized = expected(wide, encodings.encodings[0], spec, Rounding::half_even);
        want[i] = type == DataType::float16 ? float_to_half(quantized) : float_to_bfloat(quantized);
      }
      for (const test::Device& device : devices()) {
        const Tensor out = device.backend->quantize_dequantize(raw.retyped(type), encodings, Rounding::half_even);
        EXPECT_EQ(out.type(), type);
        ASSERT_TRUE(std::equal(want.begin(), want.end(), out.data<std::uint16_t>())) << device.name;
      }
    }
}

TEST(QuantizeDequantize, Float8ValueSets) {
  // Independent reference: the nearest of all values of the type, ties to the even code.
  const auto nearest = [](float x, int mantissa_bits, int bias, float largest) {
    std::vector<float> values;
    for (int exponent = 0; exponent < (1 << (7 - mantissa_bits)); ++exponent)
      for (int mantissa = 0; mantissa < (1 << mantissa_bits); ++mantissa) {
        const float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), 1 - bias - mantissa_bits)
                                          : std::ldexp(static_cast<float>(mantissa + (1 << mantissa_bits)),
                                                       exponent - bias - mantissa_bits);
        if (value <= largest) values.push_back(value);
      }
    std::size_t best = 0;
    for (std::size_t i = 1; i < values.size(); ++i) {
      const double distance = std::fabs(double{std::fabs(x)} - double{values[i]});
      const double least = std::fabs(double{std::fabs(x)} - double{values[best]});
      if (distance < least || (distance == least && i % 2 == 0)) best = i;
    }
    return std::copysign(values[best], x);
  };
  for (const float x : test::normal_values(4000, 4, 100.0f))
    for (const float y : {x, x * 1e-4f, x * 10.0f, std::round(x * 64.0f) / 1024.0f}) {
      EXPECT_EQ(round_to_float8e4m3fn(y), nearest(y, 3, 7, 448.0f)) << y;
      EXPECT_EQ(round_to_float8e5m2(y), nearest(y, 2, 15, 57344.0f)) << y;
    }
  EXPECT_EQ(round_to_float8e4m3fn(INFINITY), 448.0f);
  EXPECT_EQ(round_to_float8e5m2(-INFINITY), -57344.0f);
  EXPECT_TRUE(std::isnan(round_to_float8e5m2(NAN)));
}

TEST(QuantizeDequantize, RefusesWhatDoesNotFit) {
  auto backend = make_cpu_backend();
  const Tensor input = test::tensor_of(test::normal_values(24, 5), {2, 3, 4});
  const auto run = [&](const QuantizerSpec& spec, std::size_t count) {
    backend->quantize_dequantize(input, encodings_of(spec, std::vector<std::pair<double, double>>(count, {0.1, 0})),
                                 Rounding::half_even);
  };
  EXPECT_THROW(run({}, 0), Error);
  EXPECT_THROW(run({}, 2), Error);
  EXPECT_THROW(run({.channel_axis = 1}, 2), Error);
  EXPECT_THROW(run({.channel_axis = 3}, 3), Error);
  EXPECT_THROW(run({.channel_axis = -4}, 3), Error);
  EXPECT_NO_THROW(run({.channel_axis = -2}, 3));
  EXPECT_THROW(run({.channel_axis = 1, .block_axis = 1, .block_size = 1}, 3), Error);
  EXPECT_THROW(run({.block_axis = 2, .block_size = 0}, 1), Error);
  EXPECT_THROW(backend->quantize_dequantize(Tensor::host(DataType::int32, {2}), encodings_of({}, {{1.0, 0}}),
                                            Rounding::half_even),
               Error);
}

}  // namespace
}  // namespace tare
