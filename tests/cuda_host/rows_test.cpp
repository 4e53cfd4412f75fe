// Rows in all the ways that teams take them: many short ones, few long ones that several teams share, columns that
// several threads share; and windows. Beside the CPU backend, unless what is right is known.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "cuda/device.hpp"
#include "cuda_host/one_node.hpp"
#include "row_chain.hpp"
#include "row_folds.hpp"
#include "support/backends.hpp"

namespace tare {
namespace {

using test::Case;
using test::floats;
using test::integers;
using test::run;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
using List = std::vector<std::int64_t>;
using Attributes = std::map<std::string, Attribute>;

class CudaRows : public testing::Test {
 protected:
  void compare(const Case& c) { test::compare(*host_, *device_, c); }
  void near(const char* type, std::vector<Tensor> inputs, Attributes attributes = {}, std::size_t outputs = 1) {
    compare({type, std::move(inputs), std::move(attributes), outputs, "", false});
  }
  std::vector<float> result(const Case& c) {
    const Tensor out = run(*device_, c).at(0);
    return {out.span<float>().begin(), out.span<float>().end()};
  }

  std::unique_ptr<Backend> host_ = make_cpu_backend({.threads = 2});
  std::unique_ptr<Backend> device_ = test::backends().at(0).make();
};

const char* const reductions[] = {"ReduceSum", "ReduceMean", "ReduceMax",       "ReduceMin",      "ReduceProd",
                                  "ReduceL1",  "ReduceL2",   "ReduceSumSquare", "ReduceLogSumExp"};

/// Close to 1, so that products of many stay in range.
Tensor factors(const Shape& shape, unsigned seed) {
  Tensor tensor = floats(shape, seed, 0.01f);
  for (float& x : tensor.mutable_span<float>()) x += 1.0f;
  return tensor;
}

TEST_F(CudaRows, Parts) {
  EXPECT_EQ(cuda::row_parts(1, 8191, 256), 1);
  EXPECT_EQ(cuda::row_parts(1, 24'576, 256), 3);
  EXPECT_EQ(cuda::row_parts(1, 100'000'000, 256), 1024);
  EXPECT_EQ(cuda::row_parts(32, 1'000'000, 256), 32);
  EXPECT_EQ(cuda::row_parts(4096, 1'000'000, 256), 1);
  EXPECT_EQ(cuda::row_parts(256, 200'000, 1), 1024);
  EXPECT_EQ(cuda::row_parts(1, 100'000'000, 1), 16'384);
  EXPECT_EQ(cuda::row_parts(0, 100, 256), 1);
}

TEST_F(CudaRows, ManyShort) {
  const Tensor x = floats({4101, 5}, 1);  // the last block is not full
  near("Softmax", {x});
  near("ReduceSum", {x, integers({1}, {1})});
  compare({"ArgMax", {x}, {{"axis", std::int64_t{1}}}});
  near("LayerNormalization", {x, floats({5}, 2), floats({5}, 3)}, {}, 3);
  compare({"CumSum", {x, integers({}, {1})}});
}

TEST_F(CudaRows, FewLong) {
  for (const char* type : reductions) {
    near(type, {factors({3, 40'001}, 4), integers({1}, {1})});
    near(type, {factors({300, 101}, 5)});
    near(type, {factors({5000, 3}, 6), integers({1}, {0})});
    near(type, {factors({2, 700, 5}, 7), integers({1}, {1})});
  }
  compare({"SumTo", {floats({3000, 7}, 8), floats({7}, 9)}, {}, 1, "tare", false});
  compare({"DynamicQuantizeLinear", {floats({50'000}, 10, 4.0f)}, {}, 3});
}

TEST_F(CudaRows, SharedSumsOfIntegersAreExact) {
  Tensor x = Tensor::host(DataType::float32, {2, 30'000});
  for (std::int64_t i = 0; i < x.elements(); ++i) x.mutable_data<float>()[i] = static_cast<float>(i % 7);
  const auto sum = [&](std::int64_t begin) {
    double all = 0;
    for (std::int64_t i = 0; i < 30'000; ++i) all += static_cast<double>((begin + i) % 7);
    return static_cast<float>(all);
  };
  const std::vector<float> want{sum(0), sum(30'000)};
  EXPECT_EQ(result({"ReduceSum", {x, integers({1}, {1})}}), want);
}

TEST_F(CudaRows, NanAndInfinityInShares) {
  Tensor x = floats({20'000}, 11);
  x.mutable_data<float>()[12'345] = INFINITY;
  EXPECT_EQ(result({"ReduceLogSumExp", {x}}), std::vector<float>{INFINITY});
  x.mutable_data<float>()[17'000] = nan;
  for (const char* type : {"ReduceMax", "ReduceMin", "ReduceSum", "ReduceLogSumExp"})
    EXPECT_TRUE(std::isnan(result({type, {x}}).at(0))) << type;
}

TEST_F(CudaRows, Extremes) {
  Tensor ties = Tensor::host(DataType::float32, {2, 20'000});
  for (std::int64_t i = 0; i < ties.elements(); ++i) ties.mutable_data<float>()[i] = static_cast<float>(i * i % 13 - 6);
  Tensor with_nan = Tensor::of<float>(ties.shape(), ties.span<float>());
  for (const std::int64_t i : {700, 9000, 19'000, 20'000, 39'999}) with_nan.mutable_data<float>()[i] = nan;
  Tensor special =
      Tensor::of<float>({6, 4}, std::vector<float>{0.0f,      -0.0f,     0.0f,      -0.0f, nan,       1,
                                                   nan,       2,         -INFINITY, nan,   -INFINITY, nan,  //
                                                   nan,       nan,       nan,       nan,   INFINITY,  INFINITY,
                                                   -INFINITY, -INFINITY, 1,         nan,   3,         3});
  const auto along = [&](std::int64_t axis, const Tensor& x) {
    for (const char* type : {"ArgMax", "ArgMin"})
      for (const std::int64_t last : {0, 1}) compare({type, {x}, {{"axis", axis}, {"select_last_index", last}}});
    compare({"Hardmax", {x}, {{"axis", axis}}});
  };
  for (const Tensor& x : {ties, with_nan}) {
    along(1, x);
    along(0, x.reshaped({x.elements() / 2, 2}));
  }
  for (const std::int64_t axis : {0, 1}) along(axis, special);
  compare({"Hardmax", {floats({3, 5, 7}, 12)}, {{"axis", std::int64_t{1}}}});
}

TEST_F(CudaRows, LongNormalizations) {
  near("GroupNormalization", {floats({1, 4, 200, 101}, 13), floats({4}, 14), floats({4}, 15)},
       {{"num_groups", std::int64_t{2}}});
  near("InstanceNormalization", {floats({1, 2, 200, 201}, 16), floats({2}, 17), floats({2}, 18)});
  near("LayerNormalization", {floats({2, 35'000}, 19), floats({35'000}, 20), floats({35'000}, 21)}, {}, 3);
  near("RMSNormalization", {floats({1, 35'000}, 22), floats({35'000}, 23)});
  near("MeanVarianceNormalization", {floats({2, 2, 100, 180}, 24)});
}

TEST_F(CudaRows, WhateverTheirLengthRowsComeNearTheHost) {
  for (const std::int64_t length : {1, 6, 128, 200, 1024, 1027, 5000, 12'000, 12'001}) {
    const Tensor x = floats({3, length}, 26);
    for (const char* type : {"Softmax", "LogSoftmax"}) near(type, {x});
    near("LayerNormalization", {x, floats({length}, 27), floats({length}, 28)});
    near("LayerNormalization", {x, floats({length}, 27)});
    near("RMSNormalization", {x, floats({length}, 29)});
  }
}

TEST_F(CudaRows, AddressesChangeNoBit) {
  using Kind = cpu::RowOperation::Kind;
  for (const std::int64_t length : {8, 9, 1200}) {
    const Tensor x = floats({3, length}, 30);
    const Tensor numbers = floats({length}, 31);
    for (const Kind kind : {Kind::layer_normalization, Kind::softmax, Kind::log_softmax}) {
      std::vector<std::uint8_t> first;
      for (const std::size_t shift : {0, 4, 8}) {
        const test::DeviceBytes in(x.data(), x.bytes(), shift);
        const test::DeviceBytes scales(numbers.data(), numbers.bytes(), shift);
        const test::DeviceBytes out(x.data(), x.bytes(), shift);
        cuda::ChainRows rows{kind, length, 1e-5, {}, {}};
        rows.scales.data = scales.data();
        cuda::FloatInput from;
        from.data = in.data();
        cuda::FloatOutput to;
        to.data = out.data();
        cuda::run_row_operation(rows, from, to, x.elements(), cuda::StreamView(nullptr));
        if (first.empty()) first = out.download();
        EXPECT_EQ(out.download(), first) << length << ", " << shift << " bytes further";
      }
    }
  }
}

TEST_F(CudaRows, RunningSums) {
  for (const char* type : {"CumSum", "CumProd"})
    for (const std::int64_t exclusive : {0, 1})
      for (const std::int64_t reverse : {0, 1})
        for (const std::int64_t length : {1, 31, 64, 1500})
          compare(
              {type, {floats({3, length}, 25), integers({}, {1})}, {{"exclusive", exclusive}, {"reverse", reverse}}});
}

TEST_F(CudaRows, Windows) {
  const auto pools = [&](const Tensor& x, Attributes attributes) {
    for (const std::int64_t counted : {0, 1}) {
      attributes["count_include_pad"] = counted;
      near("AveragePool", {x}, attributes);
    }
    attributes.erase("count_include_pad");
    compare({"MaxPool", {x}, attributes, 2});
    near("LpPool", {x}, attributes);
    attributes["storage_order"] = std::int64_t{1};
    compare({"MaxPool", {x}, attributes, 2});
  };
  pools(floats({2, 3, 31}, 26),
        {{"kernel_shape", List{4}}, {"strides", List{3}}, {"pads", List{2, 1}}, {"dilations", List{2}}});
  pools(floats({2, 3, 13, 17}, 27),
        {{"kernel_shape", List{3, 2}}, {"strides", List{2, 3}}, {"pads", List{1, 0, 2, 1}}, {"dilations", List{2, 3}}});
  pools(floats({1, 2, 10, 11}, 28),
        {{"kernel_shape", List{5, 5}}, {"strides", List{4, 4}}, {"ceil_mode", std::int64_t{1}}});
  pools(floats({1, 2, 7, 6, 5}, 29), {{"kernel_shape", List{2, 3, 2}}, {"pads", List{1, 1, 0, 0, 1, 1}}});
  // The largest numbers there are: one product stays below 2^31, and a sum of two does not.
  constexpr std::int64_t huge = std::int64_t{1} << 30;
  pools(floats({1, 1, 4, 4}, 30), {{"kernel_shape", List{2, 2}}, {"strides", List{huge, huge}}});
  pools(floats({1, 1, 4, 4}, 31),
        {{"kernel_shape", List{1, 1}}, {"strides", List{huge, huge}}, {"dilations", List{huge, huge}}});
}

/// The first NaN of a window is its maximum.
TEST_F(CudaRows, NanIsTheMaximumOfItsWindow) {
  for (const Shape& shape : {Shape{1, 1, 6}, Shape{1, 1, 1, 6}, Shape{1, 1, 1, 1, 6}}) {
    const Tensor x = Tensor::of<float>(shape, std::vector<float>{nan, 1, 2, nan, nan, 3});
    List kernel(shape.rank() - 2, 1);
    kernel.back() = 2;
    const std::vector<Tensor> out = run(*device_, {"MaxPool", {x}, {{"kernel_shape", kernel}}, 2});
    const float* best = out[0].data<float>();
    EXPECT_TRUE(std::isnan(best[0]) && best[1] == 2 && std::isnan(best[2]) && std::isnan(best[3]) &&
                std::isnan(best[4]));
    const std::vector<std::int64_t> where(out[1].span<std::int64_t>().begin(), out[1].span<std::int64_t>().end());
    EXPECT_EQ(where, (List{0, 2, 3, 3, 4}));
    EXPECT_TRUE(std::isnan(result({"GlobalMaxPool", {x}}).at(0)));
  }
}

}  // namespace
}  // namespace tare
