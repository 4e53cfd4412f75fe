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
#include "support/model_builder.hpp"
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

/// The addresses are looked at, nobody goes there.
TEST_F(CudaLibraries, LargeConvolutionsAreTakenInPieces) {
  cudnn_stand_in().computes = false;
  cuda::Device device(CudaOptions{});
  const auto at = [](std::size_t address) { return reinterpret_cast<std::byte*>(address << 40); };
  const Shape three{3, 3};
  const Shape none{1, 1};
  constexpr std::int64_t side = 20'000;
  const auto sizes = [] {
    List batches;
    for (const auto& run : cudnn_stand_in().runs) batches.push_back(run.x.at(0));
    return batches;
  };

  // 5 samples: 2 of them have 2.4 billion elements of the result.
  cuda::Convolution c{DataType::float16, {5, 1, side, side}, {3, 1, 3, 3}, {5, 3, side, side}, none, none, none};
  ASSERT_TRUE(device.products().convolve(c, at(1), at(2), at(3)));
  ASSERT_THAT(sizes(), ElementsAre(1, 1, 1, 1, 1));
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(cudnn_stand_in().runs[i].from, at(1) + i * side * side * 2);
    EXPECT_EQ(cudnn_stand_in().runs[i].to, at(3) + i * 3 * side * side * 2);
  }

  cudnn_stand_in().runs.clear();
  c.transposed = true;
  c.type = DataType::float32;
  c.w = {1, 1, 3, 3};
  c.x[0] = c.y[0] = 12;
  c.y[1] = 1;
  ASSERT_TRUE(device.products().convolve(c, at(1), at(2), at(3)));
  ASSERT_THAT(sizes(), ElementsAre(4, 4, 4));  // of 5 that would do
  EXPECT_EQ(cudnn_stand_in().runs[2].from, at(1) + std::size_t{8} * side * side * 4);
  EXPECT_EQ(cudnn_stand_in().runs[2].to, at(3) + std::size_t{8} * side * side * 4);

  cudnn_stand_in().runs.clear();
  c = {DataType::float32, {2, 6, side, side}, {1, 6, 3, 3}, {2, 1, side, side}, none, none, none};
  try {
    device.products().convolve(c, at(1), at(2), at(3));
    ADD_FAILURE() << "a sample of 2.4 billion elements";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("[2,6,20000,20000]"));
    EXPECT_THAT(error.what(), HasSubstr("one sample"));
  }
  EXPECT_TRUE(cudnn_stand_in().runs.empty());
}

TEST_F(CudaLibraries, PiecesOfConvolutionsBeginAtMultiplesOfSixteenBytes) {
  cudnn_stand_in().computes = false;
  cuda::Device device(CudaOptions{});
  const Shape none{1, 1};
  const auto sizes_of = [&](DataType type, std::int64_t batch, std::int64_t side) {
    cudnn_stand_in().runs.clear();
    const cuda::Convolution c{type, {batch, 1, side, side}, {1, 1, 3, 3}, {batch, 1, side, side}, none, none, none};
    auto* at = reinterpret_cast<std::byte*>(std::size_t{1} << 40);
    EXPECT_TRUE(device.products().convolve(c, at, at, at));
    List batches;
    for (const auto& run : cudnn_stand_in().runs) {
      EXPECT_EQ(run.from, at);
      EXPECT_EQ(run.from, run.to);
      batches.push_back(run.x.at(0));
      at += static_cast<std::size_t>(run.x.at(0) * side * side) * size_of(type);
    }
    return batches;
  };
  // 1001 x 1001 elements: 2143 samples are allowed; 8 of float16, 4 of float32 make a multiple of 16 bytes.
  EXPECT_THAT(sizes_of(DataType::float16, 5000, 1001), ElementsAre(1672, 1672, 1656));
  EXPECT_THAT(sizes_of(DataType::float32, 5000, 1001), ElementsAre(1668, 1668, 1664));
  EXPECT_THAT(sizes_of(DataType::float16, 2143, 1001), ElementsAre(2143));
  EXPECT_THAT(sizes_of(DataType::float32, 7, 20'001), ElementsAre(4, 3));
  EXPECT_THAT(sizes_of(DataType::float16, 7, 20'001), ElementsAre(4, 3)) << "8 are not allowed";
}

Case image(DataType type = DataType::float32) {
  const Case c{"Conv", {floats({2, 3, 9, 8}, 1), floats({4, 3, 3, 3}, 2)}};
  return type == DataType::float32
             ? c
             : Case{"Conv", {test::narrowed(c.inputs[0], type), test::narrowed(c.inputs[1], type)}};
}
Case image_back() { return {"ConvTranspose", {floats({2, 4, 5, 6}, 3), floats({4, 3, 3, 3}, 4)}}; }

TEST_F(CudaLibraries, AlgorithmsThatRoundLittleAreChosen) {
  cudnn_stand_in().ranking = {{7, fma}, {4, fma}, {5, fma}, {3, fma}, {0, fma, 0, false}, {2, fma}, {1, fma}};
  expect_near(on_device(image()), on_host(image()));
  cudnn_stand_in().ranking = {{4, fma}, {5, fma}, {2, fma}, {3, fma}, {0, fma, 0, false}, {1, fma}};
  expect_near(on_device(image_back()), on_host(image_back()));
  cudnn_stand_in().ranking = {{6, tensor_cores}, {7, tensor_cores}, {1, tensor_cores}};
  on_device(image(DataType::float16));
  CudaOptions options;
  options.math = Math::tf32;
  on_device(image(), options);
  cudnn_stand_in().ranking = {{6, fma}, {1, fma}};
  on_device(image());
  EXPECT_THAT(algorithms(), ElementsAre(2, 1, 1, 1, 6))
      << "Winograd's, for small tiles, where nothing is rounded before";
}

TEST_F(CudaLibraries, TheSecondOfTwoSearchesDecides) {
  cudnn_stand_in().searches = {{{0, fma}, {1, fma}}, {{1, fma}, {0, fma}}};
  on_device(image());
  EXPECT_EQ(cudnn_stand_in().timed, 2u);
  EXPECT_THAT(algorithms(), ElementsAre(1));
}

TEST_F(CudaLibraries, MemoryIsThatOfTheArithmetic) {
  // Found under the default arithmetic, but float32 is not rounded: it runs under FMA, which needs more.
  cudnn_stand_in().ranking = {{1, standard, 16}};
  cudnn_stand_in().needs = {{{1, fma}, 4 * kib}};
  expect_near(on_device(image()), on_host(image()));
  EXPECT_EQ(cudnn_stand_in().runs.at(0).math, fma);

  reset();
  cudnn_stand_in().ranking = {{1, standard}, {0, standard}, {2, fma}};  // its own time was measured for the last alone
  on_device(image());
  EXPECT_THAT(algorithms(), ElementsAre(2));

  reset();
  cudnn_stand_in().ranking = {{1, standard}, {0, standard}};
  cudnn_stand_in().apart = {{1, fma}};
  on_device(image());
  EXPECT_THAT(algorithms(), ElementsAre(0));

  reset();
  cudnn_stand_in().ranking = {{1, fma}, {0, fma}};
  cudnn_stand_in().needs = {{{1, fma}, (std::size_t{1} << 30) + 1}};  // more than any may take
  on_device(image());
  EXPECT_THAT(algorithms(), ElementsAre(0));

  reset();
  cudnn_stand_in().ranking = {{1, tensor_cores, 16}};
  cudnn_stand_in().needs = {{{1, tensor_cores}, 4 * kib}};
  on_device(image(DataType::bfloat16));
  EXPECT_EQ(cudnn_stand_in().runs.at(0).math, tensor_cores);
}

TEST_F(CudaLibraries, WhatDoesNotRunGivesWayToTheNext) {
  cudnn_stand_in().ranking = {{1, fma}, {2, fma}, {0, fma}};
  cudnn_stand_in().broken = {1, 2};
  CudaOptions options;
  options.choices = cuda::make_convolution_choices();
  expect_near(on_device(image(), options), on_host(image()));
  cudnn_stand_in().broken = {2};  // the choice has been made
  on_device(image(), options);
  EXPECT_THAT(algorithms(), ElementsAre(0, 0));

  cudnn_stand_in().broken = {0, 1, 2};
  try {
    on_device(image());
    ADD_FAILURE() << "nothing runs";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("Conv 'node'"));
    EXPECT_THAT(error.what(), HasSubstr("CUDNN_STATUS_EXECUTION_FAILED"));
  }
}

TEST_F(CudaLibraries, MemoryThatCannotBeHadIsDoneWithout) {
  cudnn_stand_in().ranking = {{1, fma}, {0, fma}};
  cudnn_stand_in().needs = {{{1, fma}, 100 * kib}};
  Ledger ledger;
  ledger.most_at_once = 50 * kib;
  expect_near(on_device(image(), options_of(ledger)), on_host(image()));
  EXPECT_EQ(cudnn_stand_in().timed, 2u);  // of what can be had
  EXPECT_THAT(algorithms(), ElementsAre(0));
}

TEST_F(CudaLibraries, WhatIsChosenWhileMemoryIsShortHoldsForTheProcessAlone) {
  cudnn_stand_in().ranking = {{1, fma}, {2, fma}, {0, fma}};
  cudnn_stand_in().needs = {{{1, fma}, 100 * kib}, {{2, fma}, 80 * kib}};
  Ledger ledger;
  ledger.most_at_once = 50 * kib;
  CudaOptions options = options_of(ledger);
  options.choices = cuda::make_convolution_choices();
  on_device(image(), options);
  ledger.most_at_once = 500 * kib;
  on_device(image(), options);
  EXPECT_THAT(algorithms(), ElementsAre(0, 0)) << "all devices compute alike";
  EXPECT_FALSE(has_unsaved(*options.choices));
  const test::TemporaryFolder folder;
  save_convolution_choices(*options.choices, folder / "choices.json");
  options.choices = cuda::make_convolution_choices();
  load_convolution_choices(*options.choices, folder / "choices.json");
  on_device(image(), options);
  EXPECT_THAT(algorithms(), ElementsAre(0, 0, 1));
  EXPECT_TRUE(has_unsaved(*options.choices));
}

TEST_F(CudaLibraries, LackOfMemorySaysNothingOfAnAlgorithm) {
  const auto expect_short_of_memory = [](DataType type, const CudaOptions& options) {
    try {
      on_device(image(type), options);
      ADD_FAILURE() << "there is no memory";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("Conv 'node'"));
      EXPECT_THAT(error.what(), HasSubstr("lower --batch-size or free device memory"));
    }
  };
  for (const DataType type : {DataType::float32, DataType::float16}) {
    reset();
    const int math = type == DataType::float32 ? fma : tensor_cores;
    cudnn_stand_in().ranking = {{1, math}, {0, math}};
    cudnn_stand_in().needs = {{{1, math}, 100 * kib}};
    Ledger ledger;
    CudaOptions options = options_of(ledger);
    options.choices = cuda::make_convolution_choices();
    on_device(image(type), options);
    ledger.most_at_once = 50 * kib;
    expect_short_of_memory(type, options);
    ledger.most_at_once = 500 * kib;
    cudnn_stand_in().starving = {1};
    expect_short_of_memory(type, options);
    cudnn_stand_in().starving = {};
    on_device(image(type), options);
    EXPECT_THAT(algorithms(), ElementsAre(1, 1)) << name_of(type);

    options.choices = cuda::make_convolution_choices();
    cudnn_stand_in().search_lacks_memory = true;
    expect_short_of_memory(type, options);
    EXPECT_FALSE(has_unsaved(*options.choices));
  }
}

TEST_F(CudaLibraries, AFailingSearchLeavesTheRanking) {
  cudnn_stand_in().search_fails = true;
  expect_near(on_device(image()), on_host(image()));
  expect_near(on_device(image_back()), on_host(image_back()));
  EXPECT_THAT(algorithms(), ElementsAre(1, 1));

  reset();
  cudnn_stand_in().ranking = {{7, fma}};
  try {
    on_device(image());
    ADD_FAILURE() << "only Winograd's algorithm for large tiles";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("Conv 'node'"));
    EXPECT_THAT(error.what(), HasSubstr("[2,3,9,8]"));
  }
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

TEST_F(CudaLibraries, HalvesWithoutAnAlgorithmAreWidened) {
  for (const DataType type : {DataType::float16, DataType::bfloat16})
    for (const char* op_type : {"Conv", "ConvTranspose"}) {
      const Case c{op_type, {halves({2, 4, 5, 7}, 5, type), halves({4, 4, 3, 3}, 6, type)}};
      reset();
      const Tensor want = on_device(c);
      cudnn_stand_in().has_none_for_halves = true;
      const Tensor have = on_device(c);
      ASSERT_EQ(have.type(), type);
      EXPECT_EQ(std::memcmp(have.data(), want.data(), want.bytes()), 0) << op_type;
      EXPECT_EQ(cudnn_stand_in().runs.back().math, fma);
    }
}

/// Transposed convolutions: what the library pads and what is cut out of the whole result give the same elements.
TEST_F(CudaLibraries, PaddingIsLeftToTheLibraryWhereItCan) {
  const auto check = [](const Shape& x, const Shape& w, const std::map<std::string, Attribute>& attributes,
                        const std::vector<int>& computed) {
    const Case c{"ConvTranspose", {floats(x, 7), floats(w, 8), floats({w[1]}, 9)}, attributes};
    cudnn_stand_in().runs.clear();
    on_device(c);
    expect_near(on_device(c), on_host(c));  // in memory that held something else
    EXPECT_EQ(cudnn_stand_in().runs.at(1).x, computed);
  };
  test::stand_in().poisons = true;
  const Shape x{2, 4, 5, 6};
  const Shape w{4, 3, 3, 3};
  const auto list = [](std::initializer_list<std::int64_t> values) { return List(values); };
  check(x, w, {}, {2, 3, 7, 8});
  check(x, w, {{"pads", list({1, 1, 1, 1})}}, {2, 3, 5, 6});
  check(x, w, {{"pads", list({1, 0, 1, 0})}, {"strides", list({2, 3})}}, {2, 3, 9, 18});
  check(x, w, {{"pads", list({1, 1, 1, 1})}, {"strides", list({2, 2})}, {"output_padding", list({1, 0})}},
        {2, 3, 10, 11});
  check(x, w, {{"pads", list({1, 0, 0, 0})}, {"strides", list({2, 2})}}, {2, 3, 10, 13});  // more before than behind
  check({1, 2, 9}, {2, 3, 4}, {{"pads", list({2, 2})}, {"strides", list({2})}}, {1, 3, 1, 16});
  check({1, 2, 3, 4, 5}, {2, 1, 2, 2, 2}, {{"strides", list({2, 2, 2})}}, {1, 1, 6, 8, 10});
  // Of the whole result, 11 x 13, a part: more behind than before.
  check(x, w, {{"pads", list({0, 0, 1, 1})}, {"strides", list({2, 2})}}, {2, 3, 11, 13});
  // It reaches beyond the whole result.
  check(x, w, {{"output_shape", list({14, 15})}, {"strides", list({2, 2})}}, {2, 3, 11, 13});
  check(x, w, {{"output_shape", list({13, 15})}, {"strides", list({2, 2})}}, {2, 3, 11, 13});
  check(x, w, {{"output_padding", list({2, 2})}, {"dilations", list({3, 3})}}, {2, 3, 11, 12});
}

}  // namespace
}  // namespace tare
