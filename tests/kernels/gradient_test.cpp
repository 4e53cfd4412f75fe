// What quantize-dequantize passes back, on every backend: against a plain loop over the formulas of docs/numerics.md,
// in float64, and against differences of quantize-dequantize itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/inputs.hpp"
#include "plan/encoding_index.hpp"
#include "support/backends.hpp"
#include "tare/error.hpp"
#include "tare/numerics.hpp"
#include "tare/quantizer.hpp"

namespace tare {
namespace {

struct Case {
  const char* name;
  Shape shape;
  QuantizerSpec spec{};
  Layout layout = Layout::plain;
};
const Case cases[] = {
    {"tensor", {10007}},
    {"tensor_of_several_parts", {3, 70001}},
    {"scalar", {}},
    {"nothing", {0, 3}, {.channel_axis = 1}},
    {"rows", {4, 5, 9, 9}, {.channel_axis = 1}},
    {"long_rows", {2, 3, 20011}, {.channel_axis = 1}},
    {"short_rows", {6, 7, 3, 3}, {.symmetric = true, .channel_axis = 1}},
    {"one_channel_a_row", {40, 300}, {.bitwidth = 4, .symmetric = true, .channel_axis = 0}},
    {"columns", {517, 64}, {.channel_axis = -1}},
    {"wide_columns", {9, 5000}, {.channel_axis = 1}},
    {"channels_last", {2, 40, 9, 9}, {.channel_axis = 1}, Layout::channels_last},
    {"blocks", {48, 256}, {.bitwidth = 4, .channel_axis = 0, .block_axis = 1, .block_size = 32}},
    {"uneven_blocks", {48, 250}, {.bitwidth = 4, .channel_axis = 0, .block_axis = 1, .block_size = 32}},
    {"blocks_outside", {70, 33}, {.bitwidth = 4, .channel_axis = 1, .block_axis = 0, .block_size = 16}},
    {"blocks_around_rows", {70, 3, 40}, {.bitwidth = 4, .channel_axis = 1, .block_axis = 0, .block_size = 16}},
};

std::size_t place_of(const Case& c, std::size_t logical) {
  if (c.layout == Layout::plain) return logical;
  const auto inside = static_cast<std::size_t>(c.shape.elements(2, c.shape.rank()));
  const auto channels = static_cast<std::size_t>(c.shape[1]);
  return logical / (channels * inside) * channels * inside + logical % inside * channels + logical / inside % channels;
}

QuantizerSpec counted_from_front(QuantizerSpec spec, const Shape& shape) {
  if (spec.channel_axis && *spec.channel_axis < 0) *spec.channel_axis += static_cast<int>(shape.rank());
  return spec;
}

/// Grids that cut off some of the values, whose zero is not in the middle where they are asymmetric.
TensorEncodings encodings_of(const Case& c) {
  TensorEncodings result{"x", SiteRole::activation, c.spec, {}};
  const EncodingIndex index(counted_from_front(c.spec, c.shape), c.shape);
  const double steps = static_cast<double>(c.spec.steps());
  for (std::size_t i = 0; i < index.count(); ++i) {
    const double scale = static_cast<double>(static_cast<float>((2.0 + 0.1 * static_cast<double>(i % 7)) / steps));
    const double offset =
        c.spec.symmetric ? -std::ceil(steps / 2) : -std::floor(steps * 0.4) - static_cast<double>(i % 3);
    result.encodings.push_back({scale * offset, scale * (offset + steps), scale, offset});
  }
  return result;
}

/// Elements in memory order.
Tensor in_memory(const Case& c, const std::vector<float>& values, DataType type) {
  Tensor tensor = Tensor::host(type, c.shape, c.layout);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t at = place_of(c, i);
    if (type == DataType::float32)
      tensor.mutable_data<float>()[at] = values[i];
    else
      tensor.mutable_data<std::uint16_t>()[at] =
          type == DataType::float16 ? float_to_half(values[i]) : float_to_bfloat(values[i]);
  }
  return tensor;
}
float value_at(const Tensor& tensor, std::size_t at) {
  if (tensor.type() == DataType::float32) return tensor.data<float>()[at];
  const std::uint16_t bits = tensor.data<std::uint16_t>()[at];
  return tensor.type() == DataType::float16 ? half_to_float(bits) : bfloat_to_float(bits);
}

struct Expected {
  std::vector<float> input;  ///< in memory order
  std::vector<double> scale, offset, size;
};

/// One value after the other.
Expected expected_of(const Case& c, const Tensor& input, const Tensor& gradient, const TensorEncodings& encodings,
                     Rounding rounding) {
  const EncodingIndex index(counted_from_front(c.spec, c.shape), c.shape);
  const auto elements = static_cast<std::size_t>(c.shape.elements());
  Expected result{std::vector<float>(elements), std::vector<double>(index.count()), std::vector<double>(index.count()),
                  std::vector<double>(index.count(), 1e-30)};
  for (std::size_t i = 0; i < elements; ++i) {
    const std::size_t at = place_of(c, i);
    const std::size_t e = index[i];
    const Encoding& grid = encodings.encodings[e];
    const float scale = static_cast<float>(grid.scale);
    const float x = value_at(input, at);
    const float g = value_at(gradient, at);
    const float steps = x / scale;
    const float lowest = static_cast<float>(grid.offset);
    const float highest = static_cast<float>(grid.offset + static_cast<double>(c.spec.steps()));
    const float rounded =
        rounding == Rounding::half_even
            ? std::nearbyint(steps)
            : std::floor(std::min(std::max(x, static_cast<float>(grid.min)), static_cast<float>(grid.max)) / scale -
                         lowest + 0.5f) +
                  lowest;
    const bool inside = rounding == Rounding::half_even
                            ? rounded >= lowest && rounded <= highest
                            : x >= static_cast<float>(grid.min) && x <= static_cast<float>(grid.max);
    const float cut = std::min(std::max(rounded, lowest), highest);
    const float of_scale = g * (inside ? cut - steps : cut);
    const float of_offset = inside ? 0.0f : g * scale;
    result.input[at] = inside ? g : 0.0f;
    result.scale[e] += static_cast<double>(of_scale);
    result.offset[e] += static_cast<double>(of_offset);
    result.size[e] += std::abs(static_cast<double>(of_scale)) + std::abs(static_cast<double>(of_offset));
  }
  return result;
}

void expect_near(const std::vector<double>& have, const std::vector<double>& want, const std::vector<double>& size,
                 const std::string& where) {
  ASSERT_EQ(have.size(), want.size()) << where;
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(have[i], want[i], 1e-12 * size[i]) << where << ", " << i;
}

class Gradient : public testing::TestWithParam<test::NamedBackend> {
 protected:
  void SetUp() override {
    if (!GetParam().missing.empty()) GTEST_SKIP() << GetParam().missing;
    backend_ = GetParam().make();
  }
  QuantizeGradient gradient_of(const Tensor& input, const Tensor& gradient, const TensorEncodings& encodings,
                               Rounding rounding = Rounding::half_even) {
    QuantizeGradient result = backend_->quantize_gradient(input, gradient, encodings, rounding);
    EXPECT_EQ(result.input.layout(), input.layout());
    if (result.input.layout() == Layout::plain) result.input = backend_->download(result.input);
    return result;
  }
  std::unique_ptr<Backend> backend_;
};

TEST_P(Gradient, IsThatOfTheFormulas) {
  for (const Case& c : cases)
    for (const DataType type : {DataType::float32, DataType::float16, DataType::bfloat16})
      for (const Rounding rounding : {Rounding::half_even, Rounding::half_up}) {
        if (c.layout != Layout::plain && backend_->name() != "cpu") continue;  // where only plain tensors are uploaded
        const std::string where = std::string(c.name) + ", " + std::string(name_of(type));
        const auto elements = static_cast<std::size_t>(c.shape.elements());
        const Tensor input = in_memory(c, test::normal_values(elements, 1), type);
        const Tensor gradient = in_memory(c, test::normal_values(elements, 2), type);
        const TensorEncodings encodings = encodings_of(c);
        const QuantizeGradient have = gradient_of(input, gradient, encodings, rounding);
        const Expected want = expected_of(c, input, gradient, encodings, rounding);
        ASSERT_EQ(have.input.shape(), c.shape) << where;
        ASSERT_EQ(have.input.type(), type) << where;
        for (std::size_t i = 0; i < elements; ++i)
          ASSERT_EQ(value_at(have.input, i), want.input[i]) << where << ", " << i;
        expect_near(have.scale, want.scale, want.size, where + ", scale");
        expect_near(have.offset, want.offset, want.size, where + ", offset");
      }
}

TEST_P(Gradient, IsOneWithinTheGridAndNothingBeyondIt) {
  // Codes 0 to 7 at -1.0 to 2.5. Half a step beyond the last one still rounds to it, when that is even.
  const TensorEncodings grid{"x", SiteRole::activation, {.bitwidth = 3}, {{-1.0, 2.5, 0.5, -2}}};
  const std::vector<float> x{-1.5f,
                             -1.25f,
                             -1.0f,
                             0.3f,
                             2.5f,
                             2.74f,
                             2.76f,
                             std::numeric_limits<float>::quiet_NaN(),
                             std::numeric_limits<float>::infinity()};
  const std::vector<float> ones(x.size(), 1.0f);
  const Shape shape{static_cast<std::int64_t>(x.size())};
  const QuantizeGradient have = gradient_of(test::tensor_of(x, shape), test::tensor_of(ones, shape), grid);
  EXPECT_THAT(have.input.span<float>(), testing::ElementsAre(0, 1, 1, 1, 1, 1, 0, 0, 0));
  EXPECT_DOUBLE_EQ(have.offset[0], 4 * 0.5);  // cut off: one step below, one above, NaN, infinity
}

/// Moving both ends of the range moves what is cut off with them, and the steps in between.
TEST_P(Gradient, FollowsDifferencesOfTheRange) {
  for (const bool symmetric : {false, true}) {
    const QuantizerSpec spec{.bitwidth = 8, .symmetric = symmetric};
    const double steps = static_cast<double>(spec.steps());
    const auto encoding_of = [&](double min, double max) {
      const double scale = (max - min) / steps;
      return Encoding{min, max, scale, symmetric ? -128.0 : min / scale};
    };
    // The offset is no integer here: rounding it counts as the identity, and quantizing is close to it with 8 bits.
    const double min = symmetric ? -128.0 / 127.0 * 0.8 : -0.7;
    const double max = 0.8;
    const std::vector<float> x = test::normal_values(4000, 3);
    const std::vector<float> g = test::normal_values(4000, 4);
    const Tensor input = test::tensor_of(x, {4000});
    const Encoding middle = encoding_of(min, max);
    const QuantizeGradient have =
        gradient_of(input, test::tensor_of(g, {4000}), {"x", SiteRole::activation, spec, {middle}});
    const RangeGradient range = range_gradient(middle, spec, have.scale[0], have.offset[0]);
    // Of the clamp alone: what is rounded changes by less than a step and in no direction.
    double of_min = 0, of_max = 0, rounding = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double value = static_cast<double>(x[i]);
      const double weight = static_cast<double>(g[i]);
      of_min += value < middle.min ? weight : 0;
      of_max += value > middle.max ? weight : 0;
      rounding += std::abs(weight);
    }
    if (symmetric) {  // both ends move together
      EXPECT_NEAR(range.max * max + range.min * min, of_max * max + of_min * min, rounding / steps);
    } else {
      EXPECT_NEAR(range.min, of_min, rounding / steps);
      EXPECT_NEAR(range.max, of_max, rounding / steps);
    }
    EXPECT_GT(std::abs(of_min) + std::abs(of_max), 4 * rounding / steps);  // or nothing was shown
  }
}

TEST_P(Gradient, RefusesWhatDoesNotFit) {
  const Tensor x = test::tensor_of({1, 2, 3, 4}, {2, 2});
  const TensorEncodings grid{"scores", SiteRole::activation, {}, {{0, 2.55, 0.01, 0}}};
  const auto message = [&](ErrorKind kind, const Tensor& input, const Tensor& gradient,
                           const TensorEncodings& encodings) {
    try {
      gradient_of(input, gradient, encodings);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      return std::string(error.what());
    }
    ADD_FAILURE() << "no error";
    return std::string();
  };
  using testing::HasSubstr;
  EXPECT_THAT(message(ErrorKind::data, x, test::tensor_of({1, 2, 3, 4}, {4}), grid), HasSubstr("'scores'"));
  TensorEncodings channels = grid;
  channels.spec.channel_axis = 1;
  EXPECT_THAT(message(ErrorKind::data, x, x, channels), HasSubstr("1 encodings for 2 channels"));
  TensorEncodings float8 = grid;
  float8.spec.format = NumberFormat::float8e4m3fn;
  EXPECT_THAT(message(ErrorKind::unsupported, x, x, float8), HasSubstr("float formats"));
}

INSTANTIATE_TEST_SUITE_P(Backends, Gradient, testing::ValuesIn(test::backends()),
                         [](const auto& test) { return test.param.name; });

/// Neither threads nor instruction sets change a bit.
TEST(GradientOfTheCpu, IsTheSameOnAllThreads) {
  for (const Case& c : cases) {
    const auto elements = static_cast<std::size_t>(c.shape.elements());
    const Tensor input = in_memory(c, test::normal_values(elements, 1), DataType::float32);
    const Tensor gradient = in_memory(c, test::normal_values(elements, 2), DataType::float32);
    std::vector<double> first;
    for (const test::Device& device : test::devices()) {
      const QuantizeGradient have =
          device.backend->quantize_gradient(input, gradient, encodings_of(c), Rounding::half_even);
      if (first.empty()) first = have.scale;
      EXPECT_EQ(have.scale, first) << c.name << ", " << device.name;
    }
  }
}

}  // namespace
}  // namespace tare
