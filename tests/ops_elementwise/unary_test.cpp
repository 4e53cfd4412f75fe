// Operators of one operand against double-precision formulas: types, layouts, in place, edges, attributes of every
// opset.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops_elementwise/operator_run.hpp"

namespace tare::test {
namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

struct Case {
  std::string op_type;
  Attributes attributes;
  double (*exact)(double);
  double low = -6;
  double high = 6;
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double softplus(double x) { return std::log1p(std::exp(x)); }

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"Abs", {}, [](double x) { return std::abs(x); }},
      {"Acos", {}, [](double x) { return std::acos(x); }, -1, 1},
      {"Acosh", {}, [](double x) { return std::acosh(x); }, 1, 9},
      {"Asin", {}, [](double x) { return std::asin(x); }, -1, 1},
      {"Asinh", {}, [](double x) { return std::asinh(x); }},
      {"Atan", {}, [](double x) { return std::atan(x); }},
      {"Atanh", {}, [](double x) { return std::atanh(x); }, -0.99, 0.99},
      {"Ceil", {}, [](double x) { return std::ceil(x); }},
      {"Celu", {{"alpha", 2.0f}}, [](double x) { return std::max(0.0, x) + std::min(0.0, 2 * std::expm1(x / 2)); }},
      {"Cos", {}, [](double x) { return std::cos(x); }},
      {"Cosh", {}, [](double x) { return std::cosh(x); }},
      {"Elu", {{"alpha", 1.5f}}, [](double x) { return x < 0 ? 1.5 * std::expm1(x) : x; }},
      {"Erf", {}, [](double x) { return std::erf(x); }},
      {"Exp", {}, [](double x) { return std::exp(x); }},
      {"Floor", {}, [](double x) { return std::floor(x); }},
      {"Gelu", {}, [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }},
      {"Gelu",
       {{"approximate", std::string("tanh")}},
       [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }},
      {"HardSigmoid", {{"alpha", 0.25f}}, [](double x) { return std::clamp(0.25 * x + 0.5, 0.0, 1.0); }},
      {"HardSwish", {}, [](double x) { return x * std::clamp(x / 6 + 0.5, 0.0, 1.0); }},
      {"Identity", {}, [](double x) { return x; }},
      {"LeakyRelu", {{"alpha", 0.125f}}, [](double x) { return x < 0 ? 0.125 * x : x; }},
      {"Log", {}, [](double x) { return std::log(x); }, 0.01, 9},
      {"Mish", {}, [](double x) { return x * std::tanh(softplus(x)); }, -30, 30},
      {"Neg", {}, [](double x) { return -x; }},
      {"Reciprocal", {}, [](double x) { return 1 / x; }},
      {"Relu", {}, [](double x) { return std::max(x, 0.0); }},
      {"Round", {}, [](double x) { return std::nearbyint(x); }},
      {"Selu",
       {},
       [](double x) { return 1.05070102214813232421875 * (x > 0 ? x : 1.67326319217681884765625 * std::expm1(x)); }},
      {"Shrink",
       {{"lambd", 1.5f}, {"bias", 0.5f}},
       [](double x) { return x < -1.5 ? x + 0.5 : (x > 1.5 ? x - 0.5 : 0.0); }},
      {"Sigmoid", {}, sigmoid},
      {"Sign", {}, [](double x) { return x > 0 ? 1.0 : (x < 0 ? -1.0 : 0.0); }},
      {"Sin", {}, [](double x) { return std::sin(x); }},
      {"Sinh", {}, [](double x) { return std::sinh(x); }},
      {"Softplus", {}, softplus},
      {"Softsign", {}, [](double x) { return x / (1 + std::abs(x)); }},
      {"Sqrt", {}, [](double x) { return std::sqrt(x); }, 0, 9},
      {"Swish", {{"alpha", 1.5f}}, [](double x) { return x * sigmoid(1.5 * x); }},
      {"Tan", {}, [](double x) { return std::tan(x); }},
      {"Tanh", {}, [](double x) { return std::tanh(x); }},
      {"ThresholdedRelu", {{"alpha", 2.0f}}, [](double x) { return x > 2 ? x : 0.0; }},
  };
  return all;
}

class Unary : public testing::TestWithParam<Case> {
 protected:
  OperatorRun run() const { return {.op_type = GetParam().op_type, .attributes = GetParam().attributes}; }
};

TEST_P(Unary, FollowsItsFormulaInFloat32) {
  for (const std::int64_t count : {0, 1, 7, 33, 50021}) {
    const std::vector<float> x = numbers(count, GetParam().low, GetParam().high);
    const Tensor result = run()({tensor<float>({count}, x)});
    ASSERT_EQ(result.type(), DataType::float32);
    ASSERT_EQ(result.shape(), Shape({count}));
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double exact = GetParam().exact(static_cast<double>(x[i]));
      ASSERT_NEAR(result.data<float>()[i], exact, 4e-7 * (0.5 + std::abs(exact))) << x[i];
    }
  }
}

TEST_P(Unary, FollowsItsFormulaInFloat64) {
  const std::vector<double> x = numbers<double>(1001, GetParam().low, GetParam().high);
  const Tensor result = run()({tensor<double>({1001}, x)});
  ASSERT_EQ(result.type(), DataType::float64);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = GetParam().exact(x[i]);
    ASSERT_NEAR(result.data<double>()[i], exact, 1e-13 * (0.5 + std::abs(exact))) << x[i];
  }
}

TEST_P(Unary, KeepsTheLayoutAndTheShape) {
  const Shape shape = {2, 3, 5, 7};
  const Tensor plain = tensor<float>(shape, numbers(shape.elements(), GetParam().low, GetParam().high));
  const Tensor expected = run()({plain});
  const Tensor result = run()({to_channels_last(plain)});
  EXPECT_EQ(result.layout(), Layout::channels_last);
  EXPECT_EQ(values<float>(to_plain(result)), values<float>(expected));
  EXPECT_EQ(run()({tensor<float>({}, {1.0f})}).shape(), Shape({}));
}

TEST_P(Unary, OverwritesOnlyWhatNobodyElseHolds) {
  const Tensor kept = tensor<float>({40000}, numbers(40000, GetParam().low, GetParam().high));
  const std::vector<float> before = values<float>(kept);
  const std::vector<float> expected = values<float>(run()({kept}));
  EXPECT_EQ(values<float>(kept), before);
  Tensor given = tensor<float>({40000}, before);
  const void* storage = given.data();
  std::vector<Tensor> inputs;
  inputs.push_back(std::move(given));
  const Tensor result = run()(std::move(inputs));
  EXPECT_EQ(values<float>(result), expected);
  EXPECT_EQ(result.data(), storage);
}

TEST_P(Unary, WidensHalves) {
  const std::vector<float> x = numbers(257, GetParam().low, GetParam().high);
  Tensor half = Tensor::host(DataType::float16, {257});
  for (std::size_t i = 0; i < x.size(); ++i) half.mutable_data<std::uint16_t>()[i] = float_to_half(x[i]);
  const Tensor result = run()({half});
  ASSERT_EQ(result.type(), DataType::float16);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = GetParam().exact(static_cast<double>(half_to_float(half.data<std::uint16_t>()[i])));
    if (std::abs(exact) < 6e4) {
      ASSERT_NEAR(half_to_float(result.data<std::uint16_t>()[i]), exact, 1e-3 * (0.5 + std::abs(exact)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Unary, testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.op_type + std::to_string(instance.index); });

TEST(UnaryEdges, NanPassesAndInfinitiesSaturate) {
  const Tensor x = tensor<float>({3}, {nan, inf, -inf});
  const auto expect = [&](const std::string& op_type, float at_inf, float at_minus_inf) {
    const std::vector<float> y = values<float>(OperatorRun{op_type}({x}));
    EXPECT_TRUE(std::isnan(y[0])) << op_type;
    EXPECT_EQ(y[1], at_inf) << op_type;
    EXPECT_EQ(y[2], at_minus_inf) << op_type;
  };
  expect("Relu", inf, 0);
  expect("Clip", inf, -inf);
  expect("Sigmoid", 1, 0);
  expect("Tanh", 1, -1);
  expect("Erf", 1, -1);
  expect("Exp", inf, 0);
  expect("Softplus", inf, 0);
  expect("Softsign", 1, -1);
  expect("Elu", inf, -1);
  expect("Sign", 1, -1);
  expect("HardSigmoid", 1, 0);
  expect("LeakyRelu", inf, -inf);
}

TEST(UnaryEdges, RoundGoesToEven) {
  const Tensor x = tensor<float>({6}, {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 8388609.0f});
  EXPECT_EQ(values<float>(OperatorRun{"Round"}({x})), (std::vector<float>{0, 2, 2, 0, -2, 8388609.0f}));
}

TEST(UnaryEdges, IntegersDoNotOverflow) {
  const auto lowest = std::numeric_limits<std::int32_t>::lowest();
  const Tensor x = tensor<std::int32_t>({3}, {lowest, -3, 5});
  EXPECT_EQ(values<std::int32_t>(OperatorRun{"Abs"}({x})), (std::vector<std::int32_t>{lowest, 3, 5}));
  EXPECT_EQ(values<std::int32_t>(OperatorRun{"Neg"}({x})), (std::vector<std::int32_t>{lowest, 3, -5}));
  EXPECT_EQ(values<std::int32_t>(OperatorRun{"Relu"}({x})), (std::vector<std::int32_t>{0, 0, 5}));
  EXPECT_EQ(values<std::int32_t>(OperatorRun{"Sign"}({x})), (std::vector<std::int32_t>{-1, -1, 1}));
  EXPECT_EQ(values<std::int32_t>(OperatorRun{"BitwiseNot"}({x})), (std::vector<std::int32_t>{~lowest, 2, -6}));
  EXPECT_THROW(OperatorRun{"Exp"}({x}), Error);
}

TEST(Clip, TakesAttributesBeforeOpset11AndInputsAfter) {
  const Tensor x = tensor<float>({5}, {-2, -0.5f, 0, nan, 3});
  const auto check = [](const Tensor& y, float low, float high) {
    EXPECT_EQ(y.data<float>()[0], low);
    EXPECT_TRUE(std::isnan(y.data<float>()[3]));
    EXPECT_EQ(y.data<float>()[4], high);
  };
  check(OperatorRun{.op_type = "Clip", .attributes = {{"min", -1.0f}, {"max", 2.0f}}, .opset = 6}({x}), -1, 2);
  check(OperatorRun{.op_type = "Clip", .attributes = {{"min", -1.0f}}, .opset = 10}({x}), -1, 3);
  check(OperatorRun{"Clip"}({x, tensor<float>({}, {-1}), tensor<float>({}, {2})}), -1, 2);
  check(OperatorRun{"Clip"}({x, Tensor(), tensor<float>({}, {2})}), -2, 2);
  // Crossed bounds: the upper one wins.
  check(OperatorRun{"Clip"}({x, tensor<float>({}, {2}), tensor<float>({}, {1})}), 1, 1);
  EXPECT_THROW(OperatorRun{"Clip"}({x, tensor<double>({}, {2})}), Error);
  EXPECT_THROW(OperatorRun{"Clip"}({x, tensor<float>({2}, {1, 2})}), Error);
  const Tensor integers = tensor<std::int8_t>({3}, {-9, 0, 9});
  EXPECT_EQ(values<std::int8_t>(OperatorRun{"Clip"}({integers, tensor<std::int8_t>({}, {-3}), Tensor()})),
            (std::vector<std::int8_t>{-3, 0, 9}));
}

TEST(Dropout, PassesTheDataAndRefusesToTrain) {
  const Tensor x = tensor<float>({2, 2}, {1, 2, 3, 4});
  const Tensor ratio = tensor<float>({}, {0.5f});
  const std::vector<Tensor> both =
      OperatorRun{.op_type = "Dropout", .outputs = 2}.all({x, ratio, tensor<bool>({}, {false})});
  EXPECT_EQ(values<float>(both[0]), values<float>(x));
  EXPECT_EQ(values<bool>(both[1]), std::vector<bool>(4, true));
  EXPECT_THROW(OperatorRun{"Dropout"}({x, ratio, tensor<bool>({}, {true})}), Error);
  EXPECT_EQ(values<float>(OperatorRun{.op_type = "Dropout", .attributes = {{"ratio", 0.3f}}, .opset = 7}({x})),
            values<float>(x));
}

TEST(Predicates, FindNanAndInfinity) {
  const Tensor x = tensor<float>({4}, {nan, inf, -inf, 1});
  EXPECT_EQ(values<bool>(OperatorRun{"IsNaN"}({x})), (std::vector<bool>{true, false, false, false}));
  EXPECT_EQ(values<bool>(OperatorRun{"IsInf"}({x})), (std::vector<bool>{false, true, true, false}));
  EXPECT_EQ(values<bool>(OperatorRun{"IsInf", {{"detect_negative", std::int64_t{0}}}}({x})),
            (std::vector<bool>{false, true, false, false}));
  EXPECT_EQ(values<bool>(OperatorRun{"Not"}({tensor<bool>({2}, {true, false})})), (std::vector<bool>{false, true}));
}

}  // namespace
}  // namespace tare::test
