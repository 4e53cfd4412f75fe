#include <gtest/gtest.h>

#include "run.hpp"

namespace tare::test {
namespace {

using Ints = std::vector<std::int64_t>;

double half_pixel(std::int64_t o, double scale) { return (static_cast<double>(o) + 0.5) / scale - 0.5; }

/// Bilinear, half_pixel, edges repeated, one output pixel at a time.
std::vector<double> bilinear(const Tensor& in, const Shape& out) {
  const std::vector<double> x = values_of(in);
  std::vector<double> result;
  for_each_index(out, [&](const Shape& index) {
    double sum = 0;
    const auto along = [&](std::size_t d, int k, double& weight) {
      const double at = half_pixel(index[d], static_cast<double>(out[d]) / static_cast<double>(in.shape()[d]));
      const double base = std::floor(at);
      weight = k == 0 ? 1 - (at - base) : at - base;
      return std::clamp<std::int64_t>(static_cast<std::int64_t>(base) + k, 0, in.shape()[d] - 1);
    };
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j) {
        double wi = 0, wj = 0;
        Shape from = index;
        from[2] = along(2, i, wi);
        from[3] = along(3, j, wj);
        sum += wi * wj * x[static_cast<std::size_t>(offset_of(in.shape(), from))];
      }
    result.push_back(sum);
  });
  return result;
}

Tensor sizes_of(const Shape& shape) { return integers(Ints(shape.begin(), shape.end())); }

TEST(Resize, BilinearInBothLayoutsOnAnyThreadsAndInstructionSet) {
  const Tensor in = random_floats({2, 19, 9, 13});
  for (const Shape& out : {Shape{2, 19, 18, 26}, Shape{2, 19, 5, 31}, Shape{2, 19, 9, 7}, Shape{2, 19, 1, 1}}) {
    const Operation operation{"Resize", 19, {{"mode", std::string("linear")}}};
    const Tensor plain = run_one(operation, {in, Tensor(), Tensor(), sizes_of(out)});
    expect_near(plain, out, bilinear(in, out));
    const Tensor moved = run(operation, {to_channels_last(in), Tensor(), Tensor(), sizes_of(out)}).at(0);
    EXPECT_EQ(moved.layout(), Layout::channels_last);
    expect_same_bits(make_cpu_backend()->to_plain(moved), plain);
    for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
      Operation other = operation;
      other.options = {.threads = 3, .isa = isa};
      expect_same_bits(run_one(other, {in, Tensor(), Tensor(), sizes_of(out)}), plain);
    }
  }
}

TEST(Resize, NearestInBothLayoutsAndOldForms) {
  const Tensor in = random_floats({2, 5, 3, 4});
  const Tensor scales = floats({4}, {1, 1, 2, 3});
  std::vector<double> expected;
  const Shape out{2, 5, 6, 12};
  for_each_index(out, [&](const Shape& i) {
    expected.push_back(
        values_of(in)[static_cast<std::size_t>(offset_of(in.shape(), {i[0], i[1], i[2] / 2, i[3] / 3}))]);
  });
  const Tensor plain = run_one({"Resize", 13}, {in, Tensor(), scales});
  expect_near(plain, out, expected, 0, 0);
  expect_same_bits(run_one({"Resize", 13}, {to_channels_last(in), Tensor(), scales}), plain);
  expect_same_bits(run_one({"Resize", 10}, {in, scales}), plain);
  expect_same_bits(run_one({"Upsample", 9}, {in, scales}), plain);
  expect_same_bits(run_one({"Upsample", 7, {{"scales", std::vector<float>{1, 1, 2, 3}}}}, {in}), plain);
  expect_same_bits(run_one({"Upsample", 9}, {to_channels_last(in), scales}), plain);
  const Tensor bytes = Tensor::of<std::uint8_t>({1, 3}, std::vector<std::uint8_t>{1, 2, 250});
  expect_near(run_one({"Resize", 18, {{"axes", Ints{-1}}}}, {bytes, Tensor(), floats({1}, {2})}), {1, 6},
              {1, 1, 2, 2, 250, 250});
}

TEST(Resize, AConstantStaysConstantInEveryMode) {
  const Tensor in = Tensor::of<float>({1, 2, 6, 7}, std::vector<float>(84, 3.5f));
  for (const std::string mode : {"nearest", "linear", "cubic"})
    for (const std::string coordinates :
         {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"})
      for (const std::int64_t flag : {0, 1, 2})
        for (const Shape& out : {Shape{1, 2, 3, 15}, Shape{1, 3, 11, 2}, Shape{2, 2, 1, 1}}) {
          if (mode == "nearest" && flag == 2) continue;
          const Operation operation{"Resize",
                                    19,
                                    {{"mode", mode},
                                     {"coordinate_transformation_mode", coordinates},
                                     {"exclude_outside", std::int64_t{flag == 1}},
                                     {"antialias", std::int64_t{flag == 2}}}};
          expect_near(run_one(operation, {in, Tensor(), Tensor(), sizes_of(out)}), out,
                      std::vector<double>(static_cast<std::size_t>(out.elements()), 3.5));
        }
}

TEST(Resize, CropsAndExtrapolates) {
  const Tensor in = floats({1, 1, 1, 4}, {1, 2, 3, 4});
  const Operation operation{"Resize",
                            13,
                            {{"mode", std::string("linear")},
                             {"extrapolation_value", 10.0f},
                             {"coordinate_transformation_mode", std::string("tf_crop_and_resize")}}};
  const Tensor roi = floats({8}, {0, 0, 0, 0.5f, 1, 1, 1, 1.5f});
  expect_near(run_one(operation, {in, roi, Tensor(), integers({1, 1, 1, 3})}), {1, 1, 1, 3}, {2.5, 4.0, 10.0});
}

TEST(Resize, RefusesWhatCannotBe) {
  const Tensor in = random_floats({1, 1, 4, 4});
  EXPECT_THROW(run_one({"Resize", 13}, {in}), Error);
  EXPECT_THROW(run_one({"Resize", 13}, {in, Tensor(), floats({3}, {1, 1, 2})}), Error);
  EXPECT_THROW(run_one({"Resize", 13}, {in, Tensor(), floats({4}, {1, 1, 0, 2})}), Error);
  EXPECT_THROW(run_one({"Resize", 13}, {in, Tensor(), floats({4}, {1, 1, 1e30f, 2})}), Error);
  EXPECT_THROW(run_one({"Resize", 13}, {in, Tensor(), Tensor(), integers({1, 1, -2, 4})}), Error);
  EXPECT_THROW(run_one({"Resize", 18, {{"axes", Ints{2, -2}}}}, {in, Tensor(), floats({2}, {2, 2})}), Error);
  EXPECT_THROW(run_one({"Resize", 13, {{"mode", std::string("quintic")}}}, {in, Tensor(), floats({4}, {1, 1, 2, 2})}),
               Error);
  const Tensor empty = Tensor::host(DataType::float32, {0, 1, 4, 4});
  EXPECT_EQ(run_one({"Resize", 13}, {empty, Tensor(), floats({4}, {1, 1, 2, 2})}).shape().text(),
            Shape({0, 1, 8, 8}).text());
  EXPECT_THROW(run_one({"Resize", 13}, {empty, Tensor(), Tensor(), integers({1, 1, 8, 8})}), Error);
}

}  // namespace
}  // namespace tare::test
