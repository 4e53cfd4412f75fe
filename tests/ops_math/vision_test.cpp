#include <gtest/gtest.h>

#include "run.hpp"

namespace tare::test {
namespace {

using Ints = std::vector<std::int64_t>;

TEST(GridSample, TheIdentityGridGivesTheImage) {
  const Tensor image = random_floats({1, 3, 5, 7});
  const Tensor theta = floats({1, 2, 3}, {1, 0, 0, 0, 1, 0});
  for (const std::int64_t corners : {0, 1}) {
    const Tensor grid = run_one({"AffineGrid", 20, {{"align_corners", corners}}}, {theta, integers({1, 3, 5, 7})});
    for (const std::string mode : {"nearest", "linear", "cubic"})
      for (const std::string padding : {"zeros", "border", "reflection"})
        expect_near(run_one({"GridSample", 20, {{"mode", mode}, {"padding_mode", padding}, {"align_corners", corners}}},
                            {image, grid}),
                    image.shape(), values_of(image), 1e-4, 1e-4);
  }
}

TEST(GridSample, PadsOutsideTheImageAndSurvivesAnyGrid) {
  const Tensor image = floats({1, 1, 1, 3}, {1, 2, 3});
  const Tensor grid = floats({1, 1, 2, 2}, {-5.0f / 3.0f, 0, 5.0f / 3.0f, 0});  // one and a half pixels beyond the ends
  const auto sample = [&](const std::string& padding) {
    return run_one({"GridSample", 16, {{"mode", std::string("nearest")}, {"padding_mode", padding}}}, {image, grid});
  };
  expect_near(sample("zeros"), {1, 1, 1, 2}, {0, 0});
  expect_near(sample("border"), {1, 1, 1, 2}, {1, 3});
  const float nan = std::nanf("");
  for (const std::string mode : {"nearest", "linear", "cubic"})
    for (const std::string padding : {"zeros", "border", "reflection"})
      EXPECT_NO_THROW(run_one({"GridSample", 20, {{"mode", mode}, {"padding_mode", padding}}},
                              {image, floats({1, 1, 2, 2}, {nan, 1e30f, -1e30f, INFINITY})}));
  EXPECT_THROW(run_one({"GridSample", 16}, {image, floats({1, 1, 1, 3}, {0, 0, 0})}), Error);
}

TEST(RoiAlign, AveragesOfALinearImageAreTheirCentres) {
  Tensor image = Tensor::host(DataType::float32, {1, 1, 8, 8});
  for (int i = 0; i < 64; ++i) image.mutable_data<float>()[i] = static_cast<float>(i % 8 + 10 * (i / 8));
  const Tensor rois = floats({1, 4}, {1, 2, 5, 6});
  const Operation operation{
      "RoiAlign",
      16,
      {{"output_height", std::int64_t{2}}, {"output_width", std::int64_t{2}}, {"sampling_ratio", std::int64_t{2}}}};
  expect_near(run_one(operation, {image, rois, integers({0})}), {1, 1, 2, 2}, {26.5, 28.5, 46.5, 48.5});
  EXPECT_THROW(run_one(operation, {image, rois, integers({1})}), Error);
  EXPECT_THROW(run_one(operation, {image, floats({1, 4}, {NAN, 0, 1, 1}), integers({0})}), Error);
}

TEST(MaxRoiPool, TakesTheMaximumOfEveryBin) {
  Tensor image = Tensor::host(DataType::float32, {1, 1, 4, 4});
  for (int i = 0; i < 16; ++i) image.mutable_data<float>()[i] = static_cast<float>(i);
  const Operation operation{"MaxRoiPool", 1, {{"pooled_shape", Ints{2, 2}}}};
  expect_near(run_one(operation, {image, floats({1, 5}, {0, 0, 0, 3, 3})}), {1, 1, 2, 2}, {5, 7, 13, 15});
  EXPECT_THROW(run_one(operation, {image, floats({1, 5}, {1, 0, 0, 3, 3})}), Error);
}

TEST(DeformConv, WithoutOffsetsIsAConvolution) {
  const Tensor image = random_floats({2, 4, 6, 5}), weights = random_floats({6, 2, 3, 2}, 2),
               bias = random_floats({6}, 3);
  Tensor offsets = Tensor::host(DataType::float32, {2, 2 * 6 * 2, 3, 4});
  std::fill_n(offsets.mutable_data<float>(), offsets.elements(), 0.0f);
  const Operation operation{"DeformConv",
                            19,
                            {{"group", std::int64_t{2}},
                             {"offset_group", std::int64_t{2}},
                             {"pads", Ints{1, 0, 1, 1}},
                             {"strides", Ints{2, 1}},
                             {"dilations", Ints{1, 2}}}};
  std::vector<double> expected;
  for_each_index({2, 6, 3, 4}, [&](const Shape& o) {
    double sum = static_cast<double>(bias.data<float>()[o[1]]);
    for (std::int64_t c = 0; c < 2; ++c)
      for (std::int64_t i = 0; i < 3; ++i)
        for (std::int64_t j = 0; j < 2; ++j) {
          const std::int64_t y = o[2] * 2 - 1 + i, x = o[3] + 2 * j;
          if (y < 0 || y >= 6 || x < 0 || x >= 5) continue;
          sum += static_cast<double>(weights.data<float>()[offset_of(weights.shape(), {o[1], c, i, j})]) *
                 static_cast<double>(image.data<float>()[offset_of(image.shape(), {o[0], o[1] / 3 * 2 + c, y, x})]);
        }
    expected.push_back(sum);
  });
  expect_near(run_one(operation, {image, weights, offsets, bias}), {2, 6, 3, 4}, expected);
  EXPECT_THROW(run_one(operation, {image, weights, random_floats({2, 24, 3, 3}), bias}), Error);
}

TEST(Col2Im, AddsOverlappingBlocks) {
  const Tensor blocks = floats({1, 2, 3}, {1, 2, 3, 10, 20, 30});
  expect_near(run_one({"Col2Im", 18}, {blocks, integers({4}), integers({2})}), {1, 1, 4}, {1, 12, 23, 30});
  EXPECT_THROW(run_one({"Col2Im", 18}, {blocks, integers({5}), integers({2})}), Error);
}

TEST(MaxUnpool, PutsValuesBack) {
  const Tensor in = floats({1, 1, 2, 2}, {1, 2, 3, 4});
  const Tensor indices = Tensor::of<std::int64_t>({1, 1, 2, 2}, Ints{5, 7, 13, 15});
  const Operation operation{"MaxUnpool", 11, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}}};
  expect_near(run_one(operation, {in, indices}), {1, 1, 4, 4}, {0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 4});
  EXPECT_THROW(run_one(operation, {in, Tensor::of<std::int64_t>({1, 1, 2, 2}, Ints{5, 7, 13, 16})}), Error);
}

}  // namespace
}  // namespace tare::test
