// Operators on integer codes and losses against plain formulas in double.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops_elementwise/operator_run.hpp"

namespace tare::test {
namespace {

using Codes = std::vector<std::uint8_t>;

TEST(QuantizeLinear, PerTensorRoundsToEvenAndSaturates) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x = tensor<float>({8}, {0, 1, 3, 5, 1000, -1000, inf, std::numeric_limits<float>::quiet_NaN()});
  const Tensor y = OperatorRun{"QuantizeLinear"}({x, tensor<float>({}, {2}), tensor<std::uint8_t>({}, {128})});
  EXPECT_EQ(values<std::uint8_t>(y), (Codes{128, 128, 130, 130, 255, 0, 255, 0}));
  EXPECT_EQ(OperatorRun{"QuantizeLinear"}({x, tensor<float>({}, {2})}).type(), DataType::uint8);
}

TEST(QuantizeLinear, PerAxisAndBlockedFollowTheirScales) {
  const Shape shape = {2, 5, 3};
  const std::vector<float> x = numbers(30, -4, 4);
  const std::vector<float> per_axis = {0.1f, 0.2f, 0.05f, 0.5f, 1.0f};
  const Tensor axis = OperatorRun{"QuantizeLinear", {{"axis", std::int64_t{-2}}}}(
      {tensor<float>(shape, x), tensor<float>({5}, per_axis), tensor<std::int8_t>({5}, {0, 1, 2, 3, -4})});
  const std::vector<float> blocks = numbers(2 * 3 * 3, 0.05, 0.5, 3);
  const Tensor blocked =
      OperatorRun{"QuantizeLinear",
                  {{"axis", std::int64_t{1}}, {"block_size", std::int64_t{2}}, {"output_dtype", std::int64_t{5}}}}(
          {tensor<float>(shape, x), tensor<float>({2, 3, 3}, blocks)});
  ASSERT_EQ(blocked.type(), DataType::int16);
  const int zero[] = {0, 1, 2, 3, -4};
  for (std::size_t i = 0; i < 30; ++i) {
    const std::size_t c = i / 3 % 5;
    EXPECT_EQ(axis.data<std::int8_t>()[i],
              std::clamp(std::nearbyint(x[i] / per_axis[c]) + static_cast<float>(zero[c]), -128.0f, 127.0f));
    const std::size_t block = (i / 15 * 3 + c / 2) * 3 + i % 3;
    EXPECT_EQ(blocked.data<std::int16_t>()[i], std::nearbyint(x[i] / blocks[block]));
  }
  const Tensor back = OperatorRun{"DequantizeLinear", {{"axis", std::int64_t{1}}, {"block_size", std::int64_t{2}}}}(
      {blocked, tensor<float>({2, 3, 3}, blocks)});
  for (std::size_t i = 0; i < 30; ++i) EXPECT_NEAR(back.data<float>()[i], x[i], 0.2501);
}

TEST(DequantizeLinear, TakesWideIntegersAndHalfScales) {
  const Tensor x = tensor<std::int32_t>({3}, {-5, 0, 1 << 20});
  EXPECT_EQ(values<float>(OperatorRun{"DequantizeLinear"}({x, tensor<float>({}, {0.5f})})),
            (std::vector<float>{-2.5f, 0, 524288}));
  Tensor half = Tensor::host(DataType::float16, {});
  *half.mutable_data<std::uint16_t>() = float_to_half(0.5f);
  const Tensor y =
      OperatorRun{"DequantizeLinear"}({tensor<std::uint8_t>({2}, {3, 9}), half, tensor<std::uint8_t>({}, {5})});
  ASSERT_EQ(y.type(), DataType::float16);
  EXPECT_EQ(half_to_float(y.data<std::uint16_t>()[1]), 2.0f);
}

TEST(QuantizeLinear, ScalesMayBePowersOfTwoOfEightBits) {
  Tensor scales = Tensor::host(DataType::float8e8m0, {2});
  scales.mutable_data<std::uint8_t>()[0] = 126;  // a half
  scales.mutable_data<std::uint8_t>()[1] = 129;  // four
  const Attributes axis{{"axis", std::int64_t{0}}};
  const Tensor codes = OperatorRun{
      "QuantizeLinear", axis, 24}({tensor<float>({2, 2}, {1.5f, 4, 8, 17}), scales, tensor<std::uint8_t>({2}, {0, 1})});
  EXPECT_EQ(values<std::uint8_t>(codes), (std::vector<std::uint8_t>{3, 8, 3, 5}));
  Attributes typed = axis;
  typed["output_dtype"] = static_cast<std::int64_t>(DataType::float32);
  const Tensor back = OperatorRun{"DequantizeLinear", typed, 24}({codes, scales, tensor<std::uint8_t>({2}, {0, 1})});
  EXPECT_EQ(values<float>(back), (std::vector<float>{1.5f, 4, 8, 16}));
  EXPECT_THROW((OperatorRun{"DequantizeLinear", axis, 24}({codes, scales})), Error);
}

TEST(QuantizeLinear, RefusesParametersThatDoNotFit) {
  const Tensor x = tensor<float>({2, 3}, numbers(6, 0, 1));
  const auto run = [&](const Attributes& attributes, const Tensor& scale, const Tensor& zero = {}) {
    return OperatorRun{"QuantizeLinear", attributes}({x, scale, zero});
  };
  EXPECT_THROW(run({}, tensor<float>({2}, {1, 1})), Error);
  EXPECT_THROW(run({{"axis", std::int64_t{7}}}, tensor<float>({3}, {1, 1, 1})), Error);
  EXPECT_THROW(run({}, tensor<float>({3}, {1, 1, 1}), tensor<std::uint8_t>({2}, {0, 0})), Error);
  EXPECT_THROW(run({{"block_size", std::int64_t{-2}}}, tensor<float>({2, 2}, {1, 1, 1, 1})), Error);
  EXPECT_THROW(run({{"output_dtype", std::int64_t{8}}}, tensor<float>({}, {1})), Error);
}

TEST(DynamicQuantizeLinear, CoversTheRangeWithZeroInside) {
  const auto results =
      OperatorRun{.op_type = "DynamicQuantizeLinear", .outputs = 3}.all({tensor<float>({3}, {1, 2, 5.1f})});
  EXPECT_FLOAT_EQ(results[1].data<float>()[0], 0.02f);
  EXPECT_EQ(results[2].data<std::uint8_t>()[0], 0);
  EXPECT_EQ(values<std::uint8_t>(results[0]), (Codes{50, 100, 255}));
  const auto zeros = OperatorRun{.op_type = "DynamicQuantizeLinear", .outputs = 3}.all({tensor<float>({2}, {0, 0})});
  EXPECT_EQ(values<std::uint8_t>(zeros[0]), (Codes{0, 0}));
}

TEST(MatMulInteger, MultipliesWithZeroPointsAndBatches) {
  const std::vector<std::uint8_t> a = numbers<std::uint8_t>(2 * 3 * 4, 0, 256, 5);
  const std::vector<std::int8_t> b = numbers<std::int8_t>(4 * 5, -128, 128, 6);
  const Tensor y =
      OperatorRun{"MatMulInteger"}({tensor<std::uint8_t>({2, 3, 4}, a), tensor<std::int8_t>({4, 5}, b),
                                    tensor<std::uint8_t>({}, {100}), tensor<std::int8_t>({5}, {1, 2, 3, 4, 5})});
  ASSERT_EQ(y.shape(), Shape({2, 3, 5}));
  for (int n = 0; n < 6; ++n)
    for (int j = 0; j < 5; ++j) {
      int sum = 0;
      for (int k = 0; k < 4; ++k)
        sum += (a[static_cast<std::size_t>(n * 4 + k)] - 100) * (b[static_cast<std::size_t>(k * 5 + j)] - j - 1);
      EXPECT_EQ(y.data<std::int32_t>()[n * 5 + j], sum);
    }
  EXPECT_THROW(OperatorRun{"MatMulInteger"}({tensor<std::uint8_t>({2, 3, 4}, a), tensor<std::int8_t>({5, 4}, b)}),
               Error);
  EXPECT_THROW(OperatorRun{"MatMulInteger"}({tensor<std::uint8_t>({}, {1}), tensor<std::int8_t>({5, 4}, b)}), Error);
}

TEST(ConvInteger, PadsWithTheZeroPointAndStrides) {
  const std::vector<std::uint8_t> x = numbers<std::uint8_t>(2 * 4 * 7 * 6, 0, 256, 5);
  const std::vector<std::int8_t> w = numbers<std::int8_t>(6 * 2 * 3 * 2, -128, 128, 6);
  const Tensor y = OperatorRun{"ConvInteger",
                               {{"group", std::int64_t{2}},
                                {"strides", std::vector<std::int64_t>{2, 1}},
                                {"dilations", std::vector<std::int64_t>{1, 2}},
                                {"pads", std::vector<std::int64_t>{1, 0, 2, 3}}}}(
      {tensor<std::uint8_t>({2, 4, 7, 6}, x), tensor<std::int8_t>({6, 2, 3, 2}, w), tensor<std::uint8_t>({}, {7})});
  ASSERT_EQ(y.shape(), Shape({2, 6, 4, 7}));
  std::size_t at = 0;
  for (int n = 0; n < 2; ++n)
    for (int m = 0; m < 6; ++m)
      for (int oh = 0; oh < 4; ++oh)
        for (int ow = 0; ow < 7; ++ow) {
          int sum = 0;
          for (int c = 0; c < 2; ++c)
            for (int kh = 0; kh < 3; ++kh)
              for (int kw = 0; kw < 2; ++kw) {
                const int ih = oh * 2 - 1 + kh;
                const int iw = ow + kw * 2;
                if (ih < 0 || ih >= 7 || iw >= 6) continue;
                sum += (x[static_cast<std::size_t>(((n * 4 + m / 3 * 2 + c) * 7 + ih) * 6 + iw)] - 7) *
                       w[static_cast<std::size_t>(((m * 2 + c) * 3 + kh) * 2 + kw)];
              }
          ASSERT_EQ(y.data<std::int32_t>()[at++], sum);
        }
}

TEST(CrossEntropy, WeighsIgnoresAndReduces) {
  const Shape shape = {3, 4, 2};
  const std::vector<float> x = numbers(24, -3, 3);
  const std::vector<std::int64_t> labels = {0, 3, 1, 2, 2, 1};
  const std::vector<float> weights = {0.5f, 1, 2, 4};
  for (const bool ignores : {false, true})
    for (const std::string reduction : {"none", "sum", "mean"}) {
      Attributes attributes = {{"reduction", reduction}};
      if (ignores) attributes["ignore_index"] = std::int64_t{2};
      const auto results =
          OperatorRun{.op_type = "SoftmaxCrossEntropyLoss", .attributes = attributes, .outputs = 2}.all(
              {tensor<float>(shape, x), tensor<std::int64_t>({3, 2}, labels), tensor<float>({4}, weights)});
      double sum = 0;
      double weight_sum = 0;
      for (std::size_t i = 0; i < 6; ++i) {
        double total = 0;
        const auto score = [&](std::size_t c) { return static_cast<double>(x[(i / 2 * 4 + c) * 2 + i % 2]); };
        for (std::size_t c = 0; c < 4; ++c) total += std::exp(score(c));
        for (std::size_t c = 0; c < 4; ++c)
          EXPECT_NEAR(results[1].data<float>()[(i / 2 * 4 + c) * 2 + i % 2], score(c) - std::log(total), 1e-6);
        const auto label = static_cast<std::size_t>(labels[i]);
        const double weight = ignores && label == 2 ? 0 : static_cast<double>(weights[label]);
        const double loss = weight * (std::log(total) - score(label));
        sum += loss;
        weight_sum += weight;
        if (reduction == "none") {
          EXPECT_NEAR(results[0].data<float>()[i], loss, 1e-5);
        }
      }
      if (reduction == "sum") {
        EXPECT_NEAR(results[0].data<float>()[0], sum, 1e-5);
      }
      if (reduction == "mean") {
        EXPECT_NEAR(results[0].data<float>()[0], sum / weight_sum, 1e-5);
      }
      const Tensor direct = OperatorRun{.op_type = "NegativeLogLikelihoodLoss", .attributes = attributes}(
          {results[1], tensor<std::int64_t>({3, 2}, labels), tensor<float>({4}, weights)});
      EXPECT_EQ(values<float>(direct), values<float>(results[0]));
    }
}

TEST(CrossEntropy, RefusesLabelsOutsideTheClasses) {
  const Tensor x = tensor<float>({1, 3}, {1, 2, 3});
  EXPECT_THROW(OperatorRun{"SoftmaxCrossEntropyLoss"}({x, tensor<std::int64_t>({1}, {3})}), Error);
  EXPECT_THROW(OperatorRun{"NegativeLogLikelihoodLoss"}({x, tensor<std::int64_t>({1}, {-1})}), Error);
  EXPECT_THROW(OperatorRun{"NegativeLogLikelihoodLoss"}({x, tensor<std::int64_t>({2}, {0, 1})}), Error);
  EXPECT_THROW(OperatorRun{"NegativeLogLikelihoodLoss"}({tensor<float>({1, 0}, {}), tensor<std::int64_t>({1}, {0})}),
               Error);
}

}  // namespace
}  // namespace tare::test
