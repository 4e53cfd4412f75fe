// Operators that take half types as they are give the bits of the float32 operator with its inputs widened before and
// its outputs rounded after: with odd sizes, along several axes, and with values that are not numbers or subnormal.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "cuda_host/one_node.hpp"
#include "operators.hpp"
#include "support/backends.hpp"

namespace tare {
namespace {

using test::Case;
using test::floats;
using test::integers;
using test::narrowed;
using test::widened;

using List = std::vector<std::int64_t>;
using Attributes = std::map<std::string, Attribute>;

/// Some of the elements replaced by what arithmetic likes least.
Tensor with_special_values(Tensor tensor) {
  const float values[] = {
      std::numeric_limits<float>::quiet_NaN(), INFINITY, -INFINITY, -0.0f, 3e-6f, -1e-39f, 65504.0f, -3e38f};
  std::int64_t i = 1;
  for (const float value : values) {
    if (i < tensor.elements()) tensor.mutable_data<float>()[i] = value;
    i += tensor.elements() / 11 + 1;
  }
  return tensor;
}

class Halves : public testing::TestWithParam<DataType> {
 protected:
  /// `stays` has a bit for every float32 input that is no half in the model either.
  void compare(const Case& c, std::uint32_t stays = 0) {
    Case half = c;
    Case wide = c;
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      if (c.inputs[i].type() != DataType::float32 || (stays >> i & 1u) != 0) continue;
      half.inputs[i] = narrowed(c.inputs[i], GetParam());
      wide.inputs[i] = widened(half.inputs[i]);
    }
    const std::vector<Tensor> have = run(*device_, half);
    std::vector<Tensor> want = run(*device_, wide);
    ASSERT_EQ(have.size(), want.size());
    for (std::size_t o = 0; o < want.size(); ++o) {
      const std::string where = fmt::format("{}, output {}", c.op_type, o);
      if (want[o].type() == DataType::float32) want[o] = narrowed(want[o], GetParam());
      ASSERT_EQ(have[o].type(), want[o].type()) << where;
      ASSERT_EQ(have[o].shape().text(), want[o].shape().text()) << where;
      EXPECT_EQ(std::memcmp(have[o].data(), want[o].data(), want[o].bytes()), 0) << where;
    }
  }
  /// With special values in the first input, and without.
  void compare_both(Case c, std::uint32_t stays = 0) {
    compare(c, stays);
    c.inputs[0] = with_special_values(c.inputs[0]);
    compare(c, stays);
  }

  std::unique_ptr<Backend> device_ = test::backends().at(0).make();
};

INSTANTIATE_TEST_SUITE_P(Types, Halves, testing::Values(DataType::float16, DataType::bfloat16),
                         [](const auto& type) { return std::string(name_of(type.param)); });

TEST_P(Halves, Normalizations) {
  for (const Shape& shape : {Shape{2, 6, 5, 7}, Shape{3, 6, 4}, Shape{5, 6}}) {
    const Tensor x = floats(shape, 1, 3.0f);
    const auto channels = [](std::int64_t n, unsigned seed) { return floats({n}, seed); };
    Tensor variances = channels(6, 2);
    for (float& v : variances.mutable_span<float>()) v = v * v;
    compare_both({"BatchNormalization", {x, channels(6, 3), channels(6, 4), channels(6, 5), variances}});
    compare_both({"BatchNormalization",
                  {x, channels(6, 3), channels(6, 4), channels(6, 5), variances},
                  {{"training_mode", std::int64_t{1}}},
                  3});
    compare_both({"GroupNormalization", {x, channels(6, 6), channels(6, 7)}, {{"num_groups", std::int64_t{3}}}});
    compare_both({"GroupNormalization", {x, channels(3, 6), channels(3, 7)}, {{"num_groups", std::int64_t{3}}}});
    compare_both({"InstanceNormalization", {x, channels(6, 8), channels(6, 9)}});
    for (const std::int64_t size : {1, 3, 4}) compare_both({"LRN", {x}, {{"size", size}, {"alpha", 0.5f}}});
    compare_both({"LRN", {x}, {{"size", std::int64_t{5}}, {"beta", 0.6f}}});
    for (std::size_t axis = 0; axis < shape.rank(); ++axis) {
      const Attributes along{{"axis", static_cast<std::int64_t>(axis)}};
      const Shape dims(shape.begin() + axis, shape.end());
      compare_both({"LayerNormalization", {x, floats(dims, 10), floats(dims, 11)}, along, 3});
      compare_both({"LayerNormalization", {x, floats({shape.back()}, 12)}, along});
      compare_both({"RMSNormalization", {x, floats(dims, 13)}, along});
      for (const std::int64_t p : {1, 2}) {
        Attributes norm = along;
        norm["p"] = p;
        compare_both({"LpNormalization", {x}, norm});
      }
      compare_both({"MeanVarianceNormalization", {x}, {{"axes", List{static_cast<std::int64_t>(axis)}}}});
    }
    compare_both({"MeanVarianceNormalization", {x}, {{"axes", List{0, -1}}}});
  }
  compare_both({"LayerNormalization", {floats({3, 1500}, 14), floats({1500}, 15), floats({1500}, 16)}});
}

TEST_P(Halves, RowsAndReductions) {
  const Tensor x = floats({3, 5, 4, 7}, 20, 2.0f);
  for (const std::int64_t axis : {0, 1, 2, 3}) {
    for (const char* type : {"Softmax", "LogSoftmax", "Hardmax"}) compare_both({type, {x}, {{"axis", axis}}});
    for (const char* type : {"ArgMax", "ArgMin"})
      for (const std::int64_t last : {0, 1}) compare_both({type, {x}, {{"axis", axis}, {"select_last_index", last}}});
    for (const char* type : {"CumSum", "CumProd"})
      compare_both({type, {x, integers({}, {axis})}, {{"exclusive", axis % 2}, {"reverse", axis / 2}}});
    for (const std::int64_t largest : {0, 1})
      compare_both({"TopK", {x, integers({1}, {3})}, {{"axis", axis}, {"largest", largest}}, 2});
  }
  for (const char* type : {"Softmax", "LogSoftmax", "Hardmax"}) {
    Case before_13{type, {x}, {{"axis", std::int64_t{2}}}};
    before_13.opset = 11;
    compare_both(before_13);
  }
  for (const char* type : {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
                           "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"}) {
    for (const List& axes : {List{0}, List{1}, List{-1}, List{0, 1}, List{0, 2}, List{1, 3}, List{2, 3}})
      compare_both({type,
                    {x, integers({static_cast<std::int64_t>(axes.size())}, axes)},
                    {{"keepdims", static_cast<std::int64_t>(axes.size() % 2)}}});
    compare_both({type, {x}});
  }
  compare_both({"SumTo", {x, floats({5, 1, 7}, 21)}, {}, 1, "tare"});
}

TEST_P(Halves, Arithmetic) {
  const Tensor x = floats({2, 3, 4, 8}, 30);
  const Tensor odd = floats({2, 3, 5, 7}, 31);
  for (const char* type : {"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Equal", "Greater",
                           "GreaterOrEqual", "Less", "LessOrEqual", "PRelu"}) {
    compare_both({type, {x, with_special_values(floats({2, 3, 4, 8}, 32))}});
    compare_both({type, {x, floats({8}, 33)}});
    compare_both({type, {odd, floats({3, 1, 1}, 34)}});
    compare_both({type, {odd, odd}});
  }
  for (const char* type : {"Max", "Min", "Sum", "Mean"}) {
    compare_both({type, {odd}});
    compare_both({type, {x, floats({8}, 35), floats({2, 3, 4, 8}, 36)}});
    compare_both({type, {odd, floats({3, 1, 1}, 37), floats({7}, 38), floats({2, 3, 5, 7}, 39), floats({1}, 40)}});
  }
  compare_both({"Mod", {odd, floats({3, 1, 1}, 41)}, {{"fmod", std::int64_t{1}}}});
  for (const float exponent : {2.0f, -1.0f, 0.5f, 1.0f, 3.0f, 1.7f}) {
    compare_both({"Pow", {odd, Tensor::of<float>({}, std::vector{exponent})}});
    compare_both({"Pow", {x, Tensor::of<float>({1}, std::vector{exponent})}}, 2);
  }
  compare_both({"Pow", {odd, floats({7}, 42)}});
  compare_both({"Pow", {odd, floats({3, 1, 1}, 43)}}, 2);
  compare_both({"Pow", {odd, integers({7}, {0, 1, 2, 3, 4, -1, -2})}});
}

TEST_P(Halves, Unary) {
  for (const char* type : {"Abs", "Erf", "Exp", "Gelu", "HardSwish", "Log", "Mish", "Neg", "Reciprocal", "Relu",
                           "Round", "Sigmoid", "Sign", "Softplus", "Sqrt", "Tanh", "IsNaN", "IsInf"})
    for (const Shape& shape : {Shape{3, 8, 4}, Shape{3, 5, 7}}) compare_both({type, {floats(shape, 50, 2.0f)}});
  Tensor not_training = Tensor::host(DataType::boolean, {});
  *not_training.mutable_data<std::uint8_t>() = 0;
  const auto number = [](float x) { return Tensor::of<float>({}, std::vector{x}); };
  compare_both({"Clip", {floats({3, 5, 7}, 51), number(-0.3f), number(0.7f)}});
  compare_both({"Clip", {floats({3, 5, 7}, 51), Tensor(), number(0.7f)}});
  compare_both({"Dropout", {floats({3, 5, 7}, 52), number(0.25f), not_training}, {}, 2});
  Case typed_mask{"Dropout", {floats({3, 5, 7}, 53)}, {}, 2};
  typed_mask.opset = 7;
  compare_both(typed_mask);
}

TEST_P(Halves, Images) {
  const Tensor image = floats({2, 3, 6, 5}, 60);
  for (const char* mode : {"nearest", "linear", "cubic"}) {
    const Attributes by{{"mode", std::string(mode)}};
    compare_both({"Resize", {image, Tensor(), Tensor(), integers({4}, {2, 3, 11, 8})}, by});
    compare_both({"Resize", {image, Tensor(), Tensor::of<float>({4}, std::vector{1.0f, 1.0f, 2.0f, 0.7f})}, by}, 4);
    Attributes crop = by;
    crop["coordinate_transformation_mode"] = std::string("tf_crop_and_resize");
    crop["extrapolation_value"] = 0.3f;
    compare_both({"Resize",
                  {image, Tensor::of<float>({8}, std::vector{0.0f, 0.0f, -0.25f, 0.1f, 1.0f, 1.0f, 1.25f, 0.9f}),
                   Tensor(), integers({4}, {2, 3, 9, 4})},
                  crop});
    for (const std::int64_t corners : {0, 1}) {
      const Attributes grid{{"mode", std::string(mode)}, {"align_corners", corners}};
      compare_both({"GridSample", {image, floats({2, 7, 4, 2}, 61)}, grid});
      compare_both({"GridSample", {floats({1, 3, 4, 5, 6}, 62), floats({1, 3, 4, 5, 3}, 63)}, grid});
    }
  }
  Case upsample{"Upsample", {image, Tensor::of<float>({4}, std::vector{1.0f, 1.0f, 2.0f, 3.0f})}};
  upsample.opset = 9;
  compare_both(upsample, 2);
  for (const char* type : {"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"}) compare_both({type, {image}});
}

TEST_P(Halves, SumsOfLabels) {
  const auto einsum = [&](const char* equation, std::vector<Tensor> inputs) {
    compare_both({"Einsum", std::move(inputs), {{"equation", std::string(equation)}}});
  };
  einsum("bij,bjk->bik", {floats({3, 5, 7}, 70), floats({3, 7, 4}, 71)});
  einsum("...ij->...ji", {floats({2, 3, 5, 7}, 72)});
  einsum("ij,jk,kl->il", {floats({4, 5}, 73), floats({5, 6}, 74), floats({6, 3}, 75)});
  einsum("ij->", {floats({9, 8}, 76)});
}

TEST_P(Halves, Codes) {
  const Tensor x = floats({4, 6, 5}, 80, 4.0f);
  const Tensor one = Tensor::of<float>({}, std::vector{0.05f});
  const Tensor six = Tensor::of<float>({6}, std::vector{0.05f, 0.03f, 0.01f, 0.2f, 0.1f, 0.5f});
  const Tensor zero_point = Tensor::of<std::int8_t>({}, std::vector<std::int8_t>{3});
  const Tensor six_points = Tensor::of<std::uint8_t>({6}, std::vector<std::uint8_t>{0, 9, 128, 200, 255, 7});
  compare_both({"QuantizeLinear", {x, one}});
  compare_both({"QuantizeLinear", {x, one, zero_point}});
  compare_both({"QuantizeLinear", {x, six, six_points}});
  Tensor codes = Tensor::host(DataType::uint8, x.shape());
  for (std::int64_t i = 0; i < codes.elements(); ++i) codes.mutable_data<std::uint8_t>()[i] = std::uint8_t(i * 37);
  compare({"DequantizeLinear", {codes, one}});
  compare({"DequantizeLinear", {codes, six, six_points}});
  const auto float8 = static_cast<std::int64_t>(DataType::float8e4m3fn);
  compare({"QuantizeLinear", {x, one}, {{"output_dtype", float8}}});
  Tensor small = Tensor::host(DataType::float8e4m3fn, {70});
  for (std::int64_t i = 0; i < 70; ++i) small.mutable_data<std::uint8_t>()[i] = std::uint8_t(i);
  compare({"DequantizeLinear", {small, one}});
}

TEST_P(Halves, Scatters) {
  const Tensor data = floats({5, 7}, 90);
  const Tensor rows = integers({3, 7}, {0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0});
  const Tensor updates = floats({3, 7}, 91);
  compare_both({"ScatterElements", {data, rows, updates}});
  compare_both({"ScatterND", {data, integers({2, 1}, {3, 1}), floats({2, 7}, 92)}});
  // Several updates of one place are rounded one after the other, as on the host.
  const auto host = make_cpu_backend({.threads = 1});
  const Tensor again = integers({3, 7}, List(21, 2));
  for (const char* reduction : {"none", "add", "mul", "min", "max"}) {
    const Case c{"ScatterElements",
                 {narrowed(with_special_values(data), GetParam()), again, narrowed(updates, GetParam())},
                 {{"reduction", std::string(reduction)}}};
    const Tensor want = run(*host, c).at(0);
    const Tensor have = run(*device_, c).at(0);
    ASSERT_EQ(have.type(), GetParam());
    EXPECT_EQ(std::memcmp(have.data(), want.data(), want.bytes()), 0) << reduction;
  }
}

/// Two passes over memory more: worth it for rare operators alone. docs/design.md lists the same.
TEST(HalvesTable, OnlyRareOperatorsAreWidened) {
  const std::set<std::string> rare{"AffineGrid",
                                   "Col2Im",
                                   "DFT",
                                   "DeformConv",
                                   "Det",
                                   "DynamicQuantizeLinear",
                                   "GRU",
                                   "LSTM",
                                   "MaxRoiPool",
                                   "NegativeLogLikelihoodLoss",
                                   "NonZero",
                                   "RNN",
                                   "RoiAlign",
                                   "STFT",
                                   "SoftmaxCrossEntropyLoss",
                                   "Unique"};
  std::set<std::string> widened;
  for (const auto& [name, entry] : cuda::operator_table().all())
    if (entry.op.half == cpu::Half::widen) widened.insert(name);
  EXPECT_EQ(widened, rare);
}

}  // namespace
}  // namespace tare
