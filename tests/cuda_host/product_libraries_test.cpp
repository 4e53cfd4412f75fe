// How cuBLASLt is called: in pieces that it takes, with the memory that it asks for, and with a bias where it adds one.
#include "cuda_host/library_tests.hpp"

namespace tare::test {
namespace {

using cuda::CudaOptions;
using cuda::Math;
using testing::HasSubstr;

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

TEST_F(CudaLibraries, BiasesAreAddedApartWhereNoProductAddsThem) {
  const Case c{"MatMul", {floats({3, 4}, 1), floats({4, 5}, 2), floats({5}, 3)}, {}, 1, "tare"};
  const Case gemm{"Gemm", {floats({3, 4}, 1), floats({4, 5}, 2), floats({5}, 3)}};
  for (const Case& product : {c, gemm}) {
    reset();
    const Tensor want = on_host(product);
    expect_near(on_device(product), want);
    EXPECT_EQ(cublas_stand_in().added, 1u);
    cublas_stand_in().adds_none = true;
    expect_near(on_device(product), want);
    EXPECT_EQ(cublas_stand_in().added, 1u);
    EXPECT_EQ(cublas_stand_in().batches.size(), 2u);
  }
  Case scaled = gemm;
  scaled.attributes = {{"beta", 0.5f}};
  expect_near(on_device(scaled), on_host(scaled));
  EXPECT_EQ(cublas_stand_in().added, 1u) << "a factor of its own";
}

TEST_F(CudaLibraries, ProductsAreDescribedOnceAndTakeTheMemoryThatTheyNeed) {
  const Case c{"MatMul", {floats({3, 4}, 1), floats({4, 5}, 2)}};
  Ledger ledger;
  ledger.most_at_once = 4 * kib;
  cublas_stand_in().needs = 3 * kib;
  const auto backend = cuda::make_cuda_backend(options_of(ledger));
  expect_near(run(*backend, c).at(0), on_host(c));
  const std::size_t described = cublas_stand_in().described;
  EXPECT_EQ(described, 4u);
  expect_near(run(*backend, c).at(0), on_host(c));
  EXPECT_EQ(cublas_stand_in().described, described);
  EXPECT_EQ(cublas_stand_in().batches.size(), 2u);
}

TEST_F(CudaLibraries, ProductsOfHalvesWithoutAnAlgorithmAreWidened) {
  for (const DataType type : {DataType::float16, DataType::bfloat16})
    for (const Case& c : {Case{"MatMul", {halves({2, 4, 70}, 5, type), halves({2, 70, 3}, 6, type)}},
                          Case{"MatMul", {halves({2, 1, 4, 6}, 5, type), halves({1, 3, 6, 3}, 6, type)}},
                          Case{"Gemm", {halves({4, 6}, 7, type), halves({6, 3}, 8, type), halves({3}, 9, type)}}}) {
      reset();
      const Tensor want = on_device(c);
      cublas_stand_in().has_none_for_halves = true;
      const Tensor have = on_device(c);
      ASSERT_EQ(have.type(), type);
      EXPECT_EQ(std::memcmp(have.data(), want.data(), want.bytes()), 0) << c.op_type;
    }
  cublas_stand_in().has_none = true;
  try {
    on_device({"MatMul", {halves({3, 4}, 1, DataType::float16), halves({4, 5}, 2, DataType::float16)}});
    ADD_FAILURE() << "there is no product";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("MatMul 'node'"));
    EXPECT_THAT(error.what(), HasSubstr("3 x 4 by 4 x 5"));
  }
}

}  // namespace
}  // namespace tare::test
