// How the libraries are called: in pieces that they take, with the memory that they ask for, and with the next
// algorithm where one fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cuda_host/ledger.hpp"
#include "cuda_host/library_stand_ins.hpp"
#include "cuda_host/one_node.hpp"
#include "cuda_host/stand_in.hpp"
#include "device.hpp"
#include "model/real_element.hpp"
#include "tare/cuda.hpp"

namespace tare {
namespace {

using cuda::CudaOptions;
using cuda::Math;
using test::Case;
using test::cublas_stand_in;
using test::cudnn_stand_in;
using test::floats;
using test::halves;
using test::Ledger;
using test::options_of;
using testing::ElementsAre;
using testing::HasSubstr;

using List = std::vector<std::int64_t>;

constexpr int standard = 0, tensor_cores = 1, fma = 3;
constexpr std::size_t kib = 1024;

void expect_near(const Tensor& have, const Tensor& want) {
  ASSERT_EQ(have.type(), want.type());
  ASSERT_EQ(have.shape().text(), want.shape().text());
  for (std::int64_t i = 0; i < want.elements(); ++i)
    ASSERT_NEAR(real_element(have, i), real_element(want, i), 1e-5f * (1.0f + std::abs(real_element(want, i)))) << i;
}

Tensor on_host(const Case& c) { return run(*make_cpu_backend({.threads = 2}), c).at(0); }
Tensor on_device(const Case& c, const CudaOptions& options = {}) {
  return run(*cuda::make_cuda_backend(options), c).at(0);
}

class CudaLibraries : public testing::Test {
 protected:
  void SetUp() override { reset(); }
  void TearDown() override { reset(); }
  static void reset() {
    cublas_stand_in() = {};
    cudnn_stand_in() = {};
    test::stand_in().poisons = false;
  }
  static std::vector<int> algorithms() {
    std::vector<int> numbers;
    for (const auto& run : cudnn_stand_in().runs) numbers.push_back(run.number);
    return numbers;
  }
};

Tensor ones(DataType type, const Shape& shape) {
  Tensor tensor = Tensor::host(DataType::float32, shape);
  for (float& x : tensor.mutable_span<float>()) x = 1.0f;
  return type == DataType::float32 ? tensor : test::narrowed(tensor, type);
}

TEST_F(CudaLibraries, NoTermOfASumIsLost) {
  const auto expect_all = [](DataType type, Math math, std::int64_t inner) {
    CudaOptions options;
    options.math = math;
    const Tensor sums = on_device({"MatMul", {ones(type, {1, inner}), ones(type, {inner, 8})}}, options);
    for (std::int64_t i = 0; i < 8; ++i) EXPECT_EQ(real_element(sums, i), static_cast<float>(inner)) << name_of(type);
  };
  for (const std::int64_t inner : {11528, 11560, 2047}) expect_all(DataType::float16, Math::float32, inner);
  expect_all(DataType::bfloat16, Math::float32, 248);
  for (const Math math : {Math::tf32, Math::bf16}) expect_all(DataType::float32, math, 11529);
  EXPECT_EQ(cublas_stand_in().schemes, 0u);
  // Elsewhere sums may be split, and added up in float32.
  expect_all(DataType::float16, Math::float32, 128);
  EXPECT_EQ(cublas_stand_in().schemes, 2u);
  expect_all(DataType::float32, Math::float32, 11529);
  EXPECT_EQ(cublas_stand_in().schemes, 2u);
}

TEST_F(CudaLibraries, BatchesOfProductsAreTakenInPieces) {
  const auto check = [](const Case& c, const std::vector<std::int32_t>& batches) {
    cublas_stand_in() = {};
    expect_near(on_device(c), on_host(c));
    EXPECT_EQ(cublas_stand_in().batches, batches) << c.op_type;
  };
  const std::map<std::string, Attribute> equation{{"equation", std::string("bij,bjk->bik")}};
  check({"Einsum", {floats({70'000, 1, 3}, 1), floats({70'000, 3, 2}, 2)}, equation}, {35'000, 35'000});
  check({"MatMul", {floats({140'000, 1, 2}, 3), floats({140'000, 2, 2}, 4)}}, {46'667, 46'667, 46'666});
  check({"MatMul", {floats({1, 1, 2}, 5), floats({65'536, 2, 1}, 6)}}, {32'768, 32'768});
  check({"MatMul", {floats({65'535, 1, 2}, 7), floats({65'535, 2, 1}, 8)}}, {65'535});
}

}  // namespace
}  // namespace tare
