// Operators whose ONNX examples are small: larger data, odd sizes, special values, beside the CPU backend.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "cuda_host/one_node.hpp"
#include "model/real_element.hpp"
#include "support/backends.hpp"

namespace tare {
namespace {

using test::Case;
using test::floats;
using test::halves;
using test::integers;
using test::random_integers;
using test::run;

void compare(const Case& c) { test::compare(*make_cpu_backend({.threads = 2}), *test::backends().at(0).make(), c); }

TEST(CudaOperators, TopK) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  Tensor special =
      Tensor::of<float>({2, 9}, std::vector<float>{0.0f, -0.0f, nan, 1, 1, -1, INFINITY, -INFINITY, nan,  //
                                                   2, 2, 2, 2, 2, 2, 2, 2, 2});
  for (const std::int64_t largest : {0, 1})
    for (const std::int64_t sorted : {0, 1}) {
      const std::map<std::string, Attribute> attributes{{"largest", largest}, {"sorted", sorted}};
      const auto with_axis = [&](std::int64_t axis) {
        auto all = attributes;
        all["axis"] = axis;
        return all;
      };
      compare({"TopK", {special, integers({1}, {5})}, attributes, 2});
      compare({"TopK", {floats({3, 1000, 5}, 1), integers({1}, {17})}, with_axis(1), 2});
      compare({"TopK", {floats({2, 20'000}, 2), integers({1}, {300})}, attributes, 2});  // a launch a step
      compare({"TopK", {floats({4, 33}, 3), integers({1}, {33})}, attributes, 2});
      compare({"TopK", {floats({4, 1}, 4), integers({1}, {1})}, attributes, 2});
      compare({"TopK", {floats({4, 3}, 5), integers({1}, {0})}, attributes, 2});
    }
}

TEST(CudaOperators, AlongAnAxis) {
  for (const std::int64_t exclusive : {0, 1})
    for (const std::int64_t reverse : {0, 1})
      for (const char* type : {"CumSum", "CumProd"})
        compare({type, {floats({3, 50, 7}, 6), integers({}, {1})}, {{"exclusive", exclusive}, {"reverse", reverse}}});
  compare({"NonZero", {floats({5, 6, 7}, 7)}});
  compare({"Unique", {floats({40, 3}, 8)}, {{"axis", std::int64_t{0}}}, 4});
  compare({"ArrayFeatureExtractor", {floats({6, 9}, 9), integers({1, 4}, {8, 0, 3, 3})}, {}, 1, "ai.onnx.ml"});
  compare({"Binarizer", {floats({7, 11}, 10)}, {{"threshold", 0.25f}}, 1, "ai.onnx.ml"});
  compare({"SumTo", {floats({4, 5, 6, 7}, 11), floats({5, 1, 7}, 12)}, {}, 1, "tare", false});
  compare({"DynamicQuantizeLinear", {floats({64, 33}, 13, 4.0f)}, {}, 3});
}

TEST(CudaOperators, Transpose) {
  for (const std::vector<std::int64_t>& perm :
       {std::vector<std::int64_t>{0, 2, 3, 1}, {0, 3, 1, 2}, {3, 2, 1, 0}, {2, 0, 3, 1}, {0, 2, 1, 3}, {1, 0, 3, 2}})
    for (const Shape& shape : {Shape{2, 40, 3, 37}, Shape{1, 16, 65, 32}, Shape{70, 2, 1, 33}, Shape{3, 15, 4, 64}})
      compare({"Transpose", {floats(shape, 14)}, {{"perm", perm}}});
  for (const DataType type : {DataType::float16, DataType::int64, DataType::uint8}) {
    Tensor tensor = Tensor::host(type, {5, 33, 47});
    auto* bytes = reinterpret_cast<std::uint8_t*>(tensor.mutable_data());
    for (std::size_t i = 0; i < tensor.bytes(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 256 * 3);
    if (type == DataType::float16) tensor = halves({5, 33, 47}, 15, type);
    compare({"Transpose", {tensor}, {{"perm", std::vector<std::int64_t>{0, 2, 1}}}});
  }
}

/// The last windows of ceil_mode reach beyond the padding, which counts, and what is behind it, which does not.
TEST(CudaOperators, PoolsBeyondTheirPadding) {
  for (const std::int64_t dilation : {1, 2})
    for (const std::int64_t include : {0, 1})
      for (const std::size_t rank : {1u, 2u, 3u}) {
        const std::vector<std::int64_t> kernel(rank, 3), strides(rank, 2), pads(2 * rank, 1), dilations(rank, dilation);
        Shape shape{2, 3};
        for (std::size_t d = 0; d < rank; ++d) shape.push_back(12);
        compare({"AveragePool",
                 {floats(shape, 17)},
                 {{"kernel_shape", kernel},
                  {"strides", strides},
                  {"pads", pads},
                  {"dilations", dilations},
                  {"ceil_mode", std::int64_t{1}},
                  {"count_include_pad", include}}});
      }
}

TEST(CudaOperators, CachesAndBits) {
  for (const char* mode : {"linear", "circular"}) {
    const std::map<std::string, Attribute> attributes{{"mode", std::string(mode)}, {"axis", std::int64_t{2}}};
    compare({"TensorScatter", {floats({2, 3, 9, 5}, 18), floats({2, 3, 4, 5}, 19), integers({2}, {5, 0})}, attributes});
  }
  compare({"TensorScatter",
           {floats({2, 9, 5}, 18), floats({2, 4, 5}, 19), integers({2}, {7, -3})},
           {{"mode", std::string("circular")}}});
  for (const DataType type : {DataType::int32, DataType::uint32})
    compare({"BitCast", {floats({5, 7}, 18)}, {{"to", static_cast<std::int64_t>(type)}}});
  compare(
      {"BitCast", {halves({5, 7}, 18, DataType::float16)}, {{"to", static_cast<std::int64_t>(DataType::bfloat16)}}});
}

TEST(CudaOperators, Sampling) {
  for (const char* mode : {"nearest", "linear", "cubic"})
    for (const char* padding : {"zeros", "border", "reflection"})
      for (const std::int64_t corners : {0, 1}) {
        const std::map<std::string, Attribute> attributes{
            {"mode", std::string(mode)}, {"padding_mode", std::string(padding)}, {"align_corners", corners}};
        compare({"GridSample", {floats({2, 11, 9, 13}, 20), floats({2, 17, 5, 2}, 21)}, attributes});
        compare({"GridSample", {floats({1, 3, 4, 5, 6}, 22), floats({1, 3, 4, 5, 3}, 23)}, attributes});
      }
  for (const std::int64_t corners : {0, 1}) {
    compare({"AffineGrid", {floats({2, 2, 3}, 24), integers({4}, {2, 3, 13, 17})}, {{"align_corners", corners}}});
    compare({"AffineGrid", {floats({2, 3, 4}, 25), integers({5}, {2, 3, 5, 1, 7})}, {{"align_corners", corners}}});
  }
  Tensor regions = Tensor::of<float>({3, 4}, std::vector<float>{0, 0, 30, 20, -4, 2.5f, 9, 40, 12, 12, 12, 13});
  for (const char* mode : {"avg", "max"})
    for (const std::int64_t samples : {0, 2})
      compare({"RoiAlign",
               {floats({2, 5, 25, 31}, 26), regions, integers({3}, {1, 0, 1})},
               {{"mode", std::string(mode)},
                {"sampling_ratio", samples},
                {"output_height", std::int64_t{3}},
                {"output_width", std::int64_t{4}},
                {"spatial_scale", 0.75f}}});
  Tensor pooled = Tensor::of<float>({2, 5}, std::vector<float>{1, 0, 0, 30, 20, 0, 7, 5, 3, 40});
  compare({"MaxRoiPool", {floats({2, 5, 25, 31}, 27), pooled}, {{"pooled_shape", std::vector<std::int64_t>{3, 4}}}});
  compare({"Col2Im",
           {floats({2, 3 * 6, 30}, 28), integers({2}, {9, 8}), integers({2}, {2, 3})},
           {{"strides", std::vector<std::int64_t>{2, 1}}, {"pads", std::vector<std::int64_t>{1, 0, 1, 0}}}});
  const std::map<std::string, Attribute> unpool{{"kernel_shape", std::vector<std::int64_t>{2, 2}},
                                                {"strides", std::vector<std::int64_t>{2, 2}}};
  compare({"MaxUnpool", {floats({2, 3, 5, 7}, 29), random_integers({2, 3, 5, 7}, 2 * 3 * 10 * 14, 30)}, unpool});
  const std::map<std::string, Attribute> deformed{
      {"pads", std::vector<std::int64_t>{1, 1, 1, 1}}, {"group", std::int64_t{2}}, {"offset_group", std::int64_t{2}}};
  compare({"DeformConv",
           {floats({2, 4, 9, 11}, 31), floats({6, 2, 3, 3}, 32), floats({2, 36, 9, 11}, 33, 2.0f), floats({6}, 34),
            floats({2, 18, 9, 11}, 35)},
           deformed,
           1,
           "",
           false});
}

TEST(CudaOperators, SignalsAndMatrices) {
  for (const std::int64_t length : {1, 8, 12, 37})
    for (const std::int64_t inverse : {0, 1})
      for (const std::int64_t parts : {1, 2})
        compare({"DFT",
                 {floats({2, 12, 3, parts}, 40), integers({}, {length}), integers({}, {1})},
                 {{"inverse", inverse}, {"onesided", std::int64_t{inverse == 0 && parts == 1 ? 1 : 0}}}});
  for (const std::int64_t length : {1, 8, 12, 21, 37})
    compare({"DFT",
             {floats({2, 12, 3, 2}, 39), integers({}, {length}), integers({}, {1})},
             {{"inverse", std::int64_t{1}}, {"onesided", std::int64_t{1}}}});
  compare({"STFT", {floats({2, 100, 1}, 41), integers({}, {10}), floats({24}, 42), integers({}, {24})}});
  compare({"STFT",
           {floats({1, 64, 2}, 43), integers({}, {7}), Tensor(), integers({}, {16})},
           {{"onesided", std::int64_t{0}}}});
  compare({"Det", {floats({5, 13, 13}, 44)}});
  compare({"Det", {floats({3, 1, 1}, 45)}});
  const auto einsum = [](const char* equation, std::vector<Tensor> inputs) {
    compare({"Einsum", std::move(inputs), {{"equation", std::string(equation)}}, 1, "", false});
  };
  einsum("bij,bjk->bik", {floats({3, 5, 7}, 46), floats({3, 7, 4}, 47)});
  einsum("...ij->...ji", {floats({2, 3, 5, 7}, 48)});
  einsum("ii->i", {floats({6, 6}, 49)});
  einsum("ij,jk,kl->il", {floats({4, 5}, 50), floats({5, 6}, 51), floats({6, 3}, 52)});
  einsum("bhqd,bhkd->bhqk", {floats({2, 3, 5, 8}, 53), floats({2, 3, 7, 8}, 54)});
  einsum("ij->", {floats({9, 8}, 55)});
}

/// Rows that a block of threads shares.
TEST(CudaOperators, LongRows) {
  const auto near = [](const char* type, std::vector<Tensor> inputs, std::map<std::string, Attribute> attributes = {},
                       std::size_t outputs = 1) {
    compare({type, std::move(inputs), std::move(attributes), outputs, "", false});
  };
  const std::map<std::string, Attribute> second{{"axis", std::int64_t{1}}};
  for (const char* type : {"Softmax", "LogSoftmax", "Hardmax"}) {
    near(type, {floats({3, 2500}, 100)}, second);
    near(type, {floats({2, 1300, 3}, 101)}, second);
  }
  for (const char* type : {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
                           "ReduceSumSquare", "ReduceLogSumExp"})
    near(type, {floats({3, 2500}, 102), integers({1}, {1})});
  near("LayerNormalization", {floats({5, 1500}, 103), floats({1500}, 104), floats({1500}, 105)}, {}, 3);
  near("InstanceNormalization", {floats({2, 3, 40, 41}, 106), floats({3}, 107), floats({3}, 108)});
  near("GroupNormalization", {floats({2, 4, 40, 17}, 109), floats({4}, 110), floats({4}, 111)},
       {{"num_groups", std::int64_t{2}}});
  near("MeanVarianceNormalization", {floats({2, 3, 30, 30}, 112)});
  for (const std::int64_t p : {1, 2}) near("LpNormalization", {floats({3, 1500}, 113)}, {{"p", p}});
  for (const char* type : {"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"})
    near(type, {floats({2, 3, 40, 41}, 114)});
  near("Det", {floats({2, 37, 37}, 115, 0.3f)});
  for (const char* reduction : {"sum", "mean"})
    near("SoftmaxCrossEntropyLoss", {floats({40, 10, 7, 9}, 116), random_integers({40, 7, 9}, 10, 117)},
         {{"reduction", std::string(reduction)}}, 2);
  near("SoftmaxCrossEntropyLoss", {floats({3, 1500}, 118), random_integers({3}, 1500, 119)});
}

TEST(CudaOperators, DequantizedToTheTypeThatIsAskedFor) {
  const auto asking = [](DataType type, std::vector<Tensor> inputs) {
    return Case{"DequantizeLinear", std::move(inputs), {{"output_dtype", static_cast<std::int64_t>(type)}}};
  };
  const Tensor codes = Tensor::of<std::int8_t>({5}, std::vector<std::int8_t>{-128, -3, 0, 7, 127});
  Tensor small = Tensor::host(DataType::float8e4m3fn, {70});
  for (std::int64_t i = 0; i < 70; ++i) small.mutable_data<std::uint8_t>()[i] = std::uint8_t(i);
  const Tensor scale = Tensor::of<float>({}, std::vector{0.3f});
  for (const DataType type : {DataType::float32, DataType::float16, DataType::bfloat16})
    for (const Tensor& x : {codes, small}) {
      compare(asking(type, {x, scale}));
      // The host knows by the types of the graph, which there are none of here, that this result stays a float32.
      for (const DataType half : {DataType::float16, DataType::bfloat16}) {
        const Case c = asking(type, {x, test::narrowed(scale, half)});
        if (type != DataType::float32) compare(c);
        EXPECT_EQ(run(*test::backends().at(0).make(), c).at(0).type(), type);
      }
    }
  const auto host = make_cpu_backend({.threads = 2});
  const auto device = test::backends().at(0).make();
  for (Backend* backend : {host.get(), device.get()})
    for (const DataType type : {DataType::int8, DataType::float64, static_cast<DataType>(99)})
      EXPECT_THROW(run(*backend, asking(type, {codes, scale})), Error) << name_of(type);
}

/// What is rounded once gives the bits of the CPU, which widens around every operator.
TEST(CudaOperators, HalvesAsTheyAre) {
  for (const DataType type : {DataType::float16, DataType::bfloat16}) {
    const auto some = [&](const Shape& shape, unsigned seed) { return halves(shape, seed, type); };
    for (const char* unary : {"Relu", "Sigmoid", "Gelu", "HardSwish", "Neg"})
      for (const Shape& shape : {Shape{3, 8, 4}, Shape{3, 5, 7}}) compare({unary, {some(shape, 70)}});
    compare({"Clip", {some({3, 5, 7}, 71), some({}, 72)}});
    for (const char* binary : {"Add", "Sub", "Mul", "Div", "Max", "Min"}) {
      compare({binary, {some({2, 3, 4, 8}, 73), some({2, 3, 4, 8}, 74)}});
      compare({binary, {some({2, 3, 5, 7}, 75), some({3, 1, 1}, 76)}});
      compare({binary, {some({2, 3, 4, 8}, 77), some({8}, 78)}});
    }
    const std::map<std::string, Attribute> window{{"kernel_shape", std::vector<std::int64_t>{3, 2}},
                                                  {"strides", std::vector<std::int64_t>{2, 1}},
                                                  {"pads", std::vector<std::int64_t>{1, 0, 1, 1}}};
    for (const char* pooling : {"MaxPool", "AveragePool"}) compare({pooling, {some({2, 3, 9, 11}, 79)}, window});
    for (const char* pooling : {"GlobalAveragePool", "GlobalMaxPool"}) compare({pooling, {some({2, 3, 9, 11}, 80)}});
    compare({"Transpose", {some({2, 3, 5, 7}, 81)}, {{"perm", std::vector<std::int64_t>{0, 2, 3, 1}}}});
  }
}

/// Sums of products: half an ulp of the type apart at the most, twice where a bias follows the library's sums.
TEST(CudaOperators, ProductsOfHalves) {
  for (const DataType type : {DataType::float16, DataType::bfloat16}) {
    const auto host = make_cpu_backend({.threads = 2});
    const auto device = test::backends().at(0).make();
    const auto check = [&](const Case& c) {
      const Tensor want = run(*host, c).at(0);
      const Tensor have = run(*device, c).at(0);
      ASSERT_EQ(have.type(), type) << c.op_type;
      ASSERT_EQ(have.shape().text(), want.shape().text()) << c.op_type;
      const float unit = type == DataType::float16 ? 0x1p-10f : 0x1p-7f;
      for (std::int64_t i = 0; i < want.elements(); ++i) {
        const float w = real_element(want, i);
        ASSERT_NEAR(real_element(have, i), w, 2 * unit * (1.0f + std::abs(w))) << c.op_type << ", element " << i;
      }
    };
    const auto some = [&](const Shape& shape, unsigned seed) { return halves(shape, seed, type); };
    check({"MatMul", {some({2, 5, 8}, 82), some({2, 8, 6}, 83)}});
    check({"MatMul", {some({2, 3, 5, 8}, 84), some({1, 3, 8, 6}, 85)}});
    check({"Gemm", {some({5, 8}, 86), some({6, 8}, 87), some({6}, 88)}, {{"transB", std::int64_t{1}}}});
    check({"Gemm", {some({5, 8}, 89), some({8, 6}, 90), some({5, 1}, 91)}, {{"beta", 0.5f}}});
    const std::map<std::string, Attribute> window{{"pads", std::vector<std::int64_t>{1, 0, 0, 1}},
                                                  {"strides", std::vector<std::int64_t>{2, 1}}};
    check({"Conv", {some({2, 4, 9, 11}, 92), some({6, 4, 3, 3}, 93), some({6}, 94)}, window});
    check({"ConvTranspose", {some({2, 4, 5, 6}, 95), some({4, 3, 3, 3}, 96)}, window});
  }
}

TEST(CudaOperators, Losses) {
  for (const char* reduction : {"none", "sum", "mean"})
    for (const char* type : {"NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"}) {
      const std::map<std::string, Attribute> attributes{{"reduction", std::string(reduction)},
                                                        {"ignore_index", std::int64_t{3}}};
      const std::size_t outputs = std::string_view(type).starts_with("Softmax") ? 2 : 1;
      compare({type, {floats({6, 10}, 60), random_integers({6}, 10, 61)}, attributes, outputs, "", false});
      compare({type,
               {floats({2, 5, 4, 3}, 62), random_integers({2, 4, 3}, 5, 63), floats({5}, 64)},
               attributes,
               outputs,
               "",
               false});
    }
}

}  // namespace
}  // namespace tare
