// How cuDNN is called: in pieces that it takes, with the memory that it asks for, and with the next algorithm where one
// fails.
#include "cuda_host/library_tests.hpp"
#include "device.hpp"
#include "support/model_builder.hpp"

namespace tare::test {
namespace {

using cuda::CudaOptions;
using cuda::Math;
using testing::ElementsAre;
using testing::HasSubstr;

using List = std::vector<std::int64_t>;

constexpr int standard = 0, tensor_cores = 1, fma = 3;

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
  return type == DataType::float32 ? c : Case{"Conv", {narrowed(c.inputs[0], type), narrowed(c.inputs[1], type)}};
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
}  // namespace tare::test
