// Convolutions whose windows are single elements: products of matrices where these are faster.
#include "cuda_host/library_tests.hpp"
#include "support/model_builder.hpp"

namespace tare::test {
namespace {

using cuda::CudaOptions;
using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;

class PointwiseConvolutions : public CudaLibraries {
 protected:
  void SetUp() override { reset(); }
  void TearDown() override { reset(); }
  static void reset() {
    CudaLibraries::reset();
    stand_in().elapsed_ms.clear();
    options_ = {};
    options_.choices = cuda::make_convolution_choices();
  }

  /// What the library's best and the product take, by turns.
  static void times(float library, float product) {
    stand_in().elapsed_ms.clear();
    for (int i = 0; i < 5; ++i) stand_in().elapsed_ms.insert(stand_in().elapsed_ms.end(), {library, product});
  }
  static void expect_computed(const Case& c) { expect_near(on_device(c, options_), on_host(c), 2e-2f); }
  /// Those that run once all is chosen.
  static std::size_t products_of(const Case& c) {
    cublas_stand_in().batches.clear();
    cudnn_stand_in().runs.clear();
    expect_computed(c);
    EXPECT_EQ(cublas_stand_in().batches.size() + cudnn_stand_in().runs.size(), 1u);
    return cublas_stand_in().batches.size();
  }

  static inline CudaOptions options_;
};

Case pointwise(DataType type = DataType::float32) {
  return {"Conv", {halves({3, 4, 5, 7}, 1, type), halves({6, 4, 1, 1}, 2, type), halves({6}, 3, type)}};
}

TEST_F(PointwiseConvolutions, TheFasterWayIsTaken) {
  for (const DataType type : {DataType::float32, DataType::float16, DataType::bfloat16}) {
    const Case c = type == DataType::float32
                       ? Case{"Conv", {floats({3, 4, 5, 7}, 1), floats({6, 4, 1, 1}, 2), floats({6}, 3)}}
                       : pointwise(type);
    reset();
    times(2, 1);
    expect_computed(c);
    EXPECT_THAT(stand_in().elapsed_ms, IsEmpty());
    EXPECT_THAT(cublas_stand_in().batches, Each(3));
    EXPECT_EQ(products_of(c), 1u) << name_of(type);

    reset();
    times(1, 2);
    expect_computed(c);
    EXPECT_EQ(products_of(c), 0u) << name_of(type);
  }
}

TEST_F(PointwiseConvolutions, InOneAndThreeDimensions) {
  for (const Case& c : {Case{"Conv", {floats({2, 3, 9}, 1), floats({5, 3, 1}, 2)}},
                        Case{"Conv", {floats({1, 3, 2, 3, 4}, 1), floats({5, 3, 1, 1, 1}, 2)}}}) {
    reset();
    times(2, 1);
    expect_computed(c);
    EXPECT_EQ(products_of(c), 1u) << c.inputs[0].shape().text();
  }
}

TEST_F(PointwiseConvolutions, OthersAreNotTimed) {
  using Attributes = std::map<std::string, Attribute>;
  const Tensor x = floats({2, 4, 6, 6}, 1);
  const auto list = [](std::initializer_list<std::int64_t> values) { return std::vector<std::int64_t>(values); };
  for (const Case& c : {Case{"Conv", {x, floats({6, 4, 1, 3}, 2)}},
                        Case{"Conv", {x, floats({6, 2, 1, 1}, 2)}, {{"group", std::int64_t{2}}}},
                        Case{"Conv", {x, floats({6, 4, 1, 1}, 2)}, Attributes{{"strides", list({2, 2})}}},
                        Case{"Conv", {x, floats({6, 4, 1, 1}, 2)}, Attributes{{"pads", list({1, 1, 1, 1})}}},
                        Case{"ConvTranspose", {x, floats({4, 6, 1, 1}, 2)}}}) {
    reset();
    times(2, 1);
    expect_computed(c);
    EXPECT_EQ(stand_in().elapsed_ms.size(), 10u) << c.op_type;
    EXPECT_THAT(cublas_stand_in().batches, IsEmpty());
  }
}

/// All devices of a run compute alike, and those of the next, too.
TEST_F(PointwiseConvolutions, TheChoiceIsKept) {
  const Case c{"Conv", {floats({3, 4, 5, 7}, 1), floats({6, 4, 1, 1}, 2)}};
  times(2, 1);
  expect_computed(c);
  times(1, 2);
  EXPECT_EQ(products_of(c), 1u);
  const TemporaryFolder folder;
  save_convolution_choices(*options_.choices, folder / "choices.json");
  options_.choices = cuda::make_convolution_choices();
  load_convolution_choices(*options_.choices, folder / "choices.json");
  EXPECT_EQ(products_of(c), 1u);
  EXPECT_EQ(stand_in().elapsed_ms.size(), 10u);

  cublas_stand_in().has_none = true;  // of another version, say
  expect_computed(c);
  cublas_stand_in().has_none = false;
  EXPECT_EQ(products_of(c), 0u) << "what has not run once is not tried again";
}

TEST_F(PointwiseConvolutions, WithoutAProductTheLibraryServes) {
  const Case c{"Conv", {floats({3, 4, 5, 7}, 1), floats({6, 4, 1, 1}, 2)}};
  cublas_stand_in().has_none = true;
  times(2, 1);
  expect_computed(c);
  EXPECT_TRUE(has_unsaved(*options_.choices));
  cublas_stand_in().has_none = false;
  EXPECT_EQ(products_of(c), 0u);
}

TEST_F(PointwiseConvolutions, WhatHadNoMemoryIsNotSaved) {
  const Case c{"Conv", {floats({3, 4, 5, 7}, 1), floats({6, 4, 1, 1}, 2)}};
  Ledger ledger;
  ledger.most_at_once = 50 << 10;
  const auto choices = options_.choices;
  options_ = options_of(ledger);
  options_.choices = choices;
  cublas_stand_in().needs = 100 << 10;
  times(2, 1);
  expect_computed(c);
  EXPECT_EQ(products_of(c), 0u);
  EXPECT_FALSE(has_unsaved(*choices));
}

}  // namespace
}  // namespace tare::test
