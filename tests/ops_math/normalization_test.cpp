#include <gtest/gtest.h>

#include "run.hpp"

namespace tare::test {
namespace {

/// (x - mean) / sqrt(variance + epsilon) over rows of n elements.
std::vector<double> standardized(const std::vector<double>& x, std::int64_t n, double epsilon) {
  std::vector<double> y(x.size());
  for (std::size_t o = 0; o < x.size(); o += static_cast<std::size_t>(n)) {
    double mean = 0, variance = 0;
    for (std::size_t i = o; i < o + static_cast<std::size_t>(n); ++i) mean += x[i] / static_cast<double>(n);
    for (std::size_t i = o; i < o + static_cast<std::size_t>(n); ++i)
      variance += (x[i] - mean) * (x[i] - mean) / static_cast<double>(n);
    for (std::size_t i = o; i < o + static_cast<std::size_t>(n); ++i)
      y[i] = (x[i] - mean) / std::sqrt(variance + epsilon);
  }
  return y;
}

const CpuOptions one_thread_baseline{.threads = 1, .isa = Isa::baseline};

/// In both layouts, on every instruction set alike.
void check_batch_normalization(const Shape& shape) {
  const std::int64_t channels = shape[1];
  std::vector<float> variances;
  for (std::int64_t c = 0; c < channels; ++c) variances.push_back(0.1f + static_cast<float>(c % 7));
  const std::vector<Tensor> p = {random_floats({channels}, 2), random_floats({channels}, 3),
                                 random_floats({channels}, 4), floats({channels}, variances)};
  const Tensor in = random_floats(shape);
  std::vector<double> expected = values_of(in);
  const std::int64_t spatial = shape.elements(2, shape.rank());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::size_t c = static_cast<std::size_t>(static_cast<std::int64_t>(i) / spatial % channels);
    const auto at = [&](std::size_t k) { return static_cast<double>(p[k].data<float>()[c]); };
    expected[i] = (expected[i] - at(2)) / std::sqrt(at(3) + 1e-5) * at(0) + at(1);
  }
  for (const std::int64_t opset : {7, 9, 14, 15}) {
    const Tensor plain = run_one({"BatchNormalization", opset}, {in, p[0], p[1], p[2], p[3]});
    expect_near(plain, shape, expected);
    if (shape.rank() < 3) continue;
    const Tensor moved = run({"BatchNormalization", opset}, {to_channels_last(in), p[0], p[1], p[2], p[3]}).at(0);
    EXPECT_EQ(moved.layout(), Layout::channels_last);
    expect_same_bits(make_cpu_backend()->to_plain(moved), plain);
    expect_same_bits(run_one({"BatchNormalization", opset, {}, 1, one_thread_baseline}, {in, p[0], p[1], p[2], p[3]}),
                     plain);
  }
}

TEST(BatchNormalization, BothLayoutsAndEveryRank) {
  for (const Shape& shape : {Shape{3, 5}, Shape{2, 5, 7}, Shape{2, 5, 7, 33}, Shape{1, 5, 2, 3, 4}, Shape{0, 5, 2}})
    check_batch_normalization(shape);
}

TEST(BatchNormalization, AnyNumberOfChannels) {
  for (const std::int64_t channels : {1, 2, 4, 8, 12, 16, 24, 43, 64, 4099}) {
    SCOPED_TRACE(channels);
    check_batch_normalization({1, channels, 4, 6});
    check_batch_normalization({1, channels, 3});
  }
}

TEST(BatchNormalization, TrainingModeUpdatesTheRunningStatistics) {
  const Tensor in = floats({2, 1, 2}, {1, 2, 3, 6});
  const Operation operation{"BatchNormalization", 15, {{"training_mode", std::int64_t{1}}}, 3};
  const std::vector<Tensor> out =
      run(operation, {in, floats({1}, {2}), floats({1}, {1}), floats({1}, {10}), floats({1}, {4})});
  const double deviation = std::sqrt(3.5 + 1e-5);
  expect_near(out[0], in.shape(), {1 - 4 / deviation, 1 - 2 / deviation, 1, 1 + 6 / deviation});
  expect_near(out[1], {1}, {9.3});
  expect_near(out[2], {1}, {3.95});
}

/// Until opset 13 it is the further outputs that ask for the moments of the batch.
TEST(BatchNormalization, FurtherOutputsOfOldOpsetsTrain) {
  const Tensor in = floats({2, 1, 2}, {1, 2, 3, 6});
  const std::vector<Tensor> inputs = {in, floats({1}, {2}), floats({1}, {1}), floats({1}, {10}), floats({1}, {4})};
  const std::vector<Tensor> out = run({"BatchNormalization", 9, {}, 5}, inputs);
  const double deviation = std::sqrt(3.5 + 1e-5);
  expect_near(out[0], in.shape(), {1 - 4 / deviation, 1 - 2 / deviation, 1, 1 + 6 / deviation});
  expect_near(out[1], {1}, {9.3});
  expect_near(out[2], {1}, {3.95});
  expect_near(out[3], {1}, {3});
  expect_near(out[4], {1}, {3.5});
  EXPECT_THROW(run({"BatchNormalization", 14, {}, 3}, inputs), Error);
}

TEST(BatchNormalization, RefusesWhatDoesNotFit) {
  const Tensor in = random_floats({2, 3, 4});
  const Tensor three = random_floats({3}), four = random_floats({4});
  EXPECT_THROW(run_one({"BatchNormalization", 15}, {in, three, three, three, four}), Error);
  EXPECT_THROW(run_one({"BatchNormalization", 15}, {in, three, three, three}), Error);
  EXPECT_THROW(run_one({"BatchNormalization", 15}, {floats({}, {1}), three, three, three, three}), Error);
}

TEST(LayerNormalization, EveryAxisWithAndWithoutBias) {
  const Tensor in = random_floats({2, 3, 5, 77}, 1, 100.0f, 2.0f);
  for (std::int64_t axis = -4; axis < 4; ++axis) {
    const auto first = static_cast<std::size_t>(axis < 0 ? axis + 4 : axis);
    const Shape dims(in.shape().begin() + first, in.shape().end());
    const Tensor scale = random_floats(dims, 2), bias = random_floats(dims, 3);
    std::vector<double> expected = standardized(values_of(in), dims.elements(), 1e-5);
    const auto n = static_cast<std::size_t>(dims.elements());
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] *= static_cast<double>(scale.data<float>()[i % n]);
    const Operation operation{"LayerNormalization", 17, {{"axis", axis}}, 3};
    expect_near(run(operation, {in, scale}).at(0), in.shape(), expected, 1e-4, 1e-4);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += static_cast<double>(bias.data<float>()[i % n]);
    const std::vector<Tensor> out = run(operation, {in, scale, bias});
    expect_near(out[0], in.shape(), expected, 1e-4, 1e-4);
    EXPECT_EQ(out[1].shape().rank(), 4u);
    EXPECT_EQ(out[1].elements(), in.elements() / dims.elements());
    Operation other = operation;
    other.options = one_thread_baseline;
    expect_same_bits(run(other, {in, scale, bias}).at(0), out[0]);
  }
}

TEST(LayerNormalization, BroadcastsItsScaleAndRefusesOthers) {
  const Tensor in = random_floats({2, 3, 4});
  const std::vector<double> expected = standardized(values_of(in), 12, 1e-5);
  const Operation operation{"LayerNormalization", 17, {{"axis", std::int64_t{1}}}};
  expect_near(run_one(operation, {in, floats({1}, {1.0f})}), in.shape(), expected);
  expect_near(run_one(operation, {in, floats({3, 1}, {1.0f, 1.0f, 1.0f})}), in.shape(), expected);
  EXPECT_THROW(run_one(operation, {in, random_floats({4, 3})}), Error);
  EXPECT_THROW(run_one(operation, {in, random_floats({2, 3, 4})}), Error);
  EXPECT_THROW(run_one(operation, {in}), Error);
}

TEST(RMSNormalization, DividesByTheRootMeanSquare) {
  const Tensor in = random_floats({3, 70}), scale = random_floats({70}, 2);
  std::vector<double> expected = values_of(in);
  for (std::size_t o = 0; o < 3; ++o) {
    double sum = 0;
    for (std::size_t i = 0; i < 70; ++i) sum += expected[o * 70 + i] * expected[o * 70 + i];
    for (std::size_t i = 0; i < 70; ++i)
      expected[o * 70 + i] *= static_cast<double>(scale.data<float>()[i]) / std::sqrt(sum / 70 + 1e-5);
  }
  expect_near(run_one({"RMSNormalization", 23}, {in, scale}), in.shape(), expected);
}

TEST(InstanceAndGroupNormalization, NormalizeTheirRows) {
  const Tensor in = random_floats({2, 6, 3, 5});
  const Tensor scale = random_floats({6}, 2), bias = random_floats({6}, 3);
  const auto channel = [&](const Tensor& t, std::size_t i) { return static_cast<double>(t.data<float>()[i / 15 % 6]); };
  std::vector<double> expected = standardized(values_of(in), 15, 1e-3);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = expected[i] * channel(scale, i) + channel(bias, i);
  expect_near(run_one({"InstanceNormalization", 6, {{"epsilon", 1e-3f}}}, {in, scale, bias}), in.shape(), expected);

  expected = standardized(values_of(in), 45, 1e-5);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = expected[i] * channel(scale, i) + channel(bias, i);
  expect_near(run_one({"GroupNormalization", 21, {{"num_groups", std::int64_t{2}}}}, {in, scale, bias}), in.shape(),
              expected);

  expected = standardized(values_of(in), 45, 1e-5);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = expected[i] * (i / 45 % 2 == 0 ? 2.0 : 3.0) - 1.0;
  expect_near(run_one({"GroupNormalization", 18, {{"num_groups", std::int64_t{2}}}},
                      {in, floats({2}, {2, 3}), floats({2}, {-1, -1})}),
              in.shape(), expected);
  EXPECT_THROW(run_one({"GroupNormalization", 21, {{"num_groups", std::int64_t{4}}}}, {in, scale, bias}), Error);
}

TEST(LRN, SumsSquaresOfNeighbouringChannels) {
  const Tensor in = random_floats({2, 7, 3});
  for (const std::int64_t size : {1, 2, 3, 4, 9}) {
    const std::vector<double> x = values_of(in);
    std::vector<double> expected(x.size());
    for (std::int64_t i = 0; i < in.elements(); ++i) {
      const std::int64_t c = i / 3 % 7;
      double sum = 0;
      for (std::int64_t k = std::max<std::int64_t>(0, c - (size - 1) / 2); k <= std::min<std::int64_t>(6, c + size / 2);
           ++k) {
        const double value = x[static_cast<std::size_t>(i + (k - c) * 3)];
        sum += value * value;
      }
      expected[static_cast<std::size_t>(i)] =
          x[static_cast<std::size_t>(i)] / std::pow(2.0 + 0.5 / static_cast<double>(size) * sum, 0.75);
    }
    expect_near(run_one({"LRN", 13, {{"size", size}, {"alpha", 0.5f}, {"bias", 2.0f}}}, {in}), in.shape(), expected);
  }
  EXPECT_THROW(run_one({"LRN", 13, {{"size", std::int64_t{0}}}}, {in}), Error);
}

TEST(LpNormalization, HasANormOfOneAndKeepsZeros) {
  const Tensor in = floats({2, 2}, {3, -4, 0, 0});
  expect_near(run_one({"LpNormalization", 1}, {in}), {2, 2}, {0.6, -0.8, 0, 0});
  expect_near(run_one({"LpNormalization", 1, {{"p", std::int64_t{1}}}}, {in}), {2, 2}, {3.0 / 7, -4.0 / 7, 0, 0});
  expect_near(run_one({"LpNormalization", 1, {{"axis", std::int64_t{0}}}}, {in}), {2, 2}, {1, -1, 0, 0});
}

TEST(MeanVarianceNormalization, StandardizesOverItsAxes) {
  const Tensor in = random_floats({1, 4, 3, 5});
  expect_near(run_one({"MeanVarianceNormalization", 13}, {in}), in.shape(), standardized(values_of(in), 15, 0.0));
  expect_near(run_one({"MeanVarianceNormalization", 13, {{"axes", std::vector<std::int64_t>{1, 2, 3}}}}, {in}),
              in.shape(), standardized(values_of(in), 60, 0.0));
}

}  // namespace
}  // namespace tare::test
