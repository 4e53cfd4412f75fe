#include <gtest/gtest.h>

#include <limits>

#include "run.hpp"

namespace tare::test {
namespace {

/// Softmax over [outer, length, inner] in double.
std::vector<double> reference(const Tensor& in, std::int64_t outer, std::int64_t length, std::int64_t inner,
                              bool logarithm) {
  const std::vector<double> x = values_of(in);
  std::vector<double> y(x.size());
  for (std::int64_t o = 0; o < outer; ++o)
    for (std::int64_t i = 0; i < inner; ++i) {
      const auto at = [&](std::int64_t k) { return static_cast<std::size_t>((o * length + k) * inner + i); };
      double best = -1e300, sum = 0;
      for (std::int64_t k = 0; k < length; ++k) best = std::max(best, x[at(k)]);
      for (std::int64_t k = 0; k < length; ++k) sum += std::exp(x[at(k)] - best);
      for (std::int64_t k = 0; k < length; ++k) {
        y[at(k)] = logarithm ? x[at(k)] - best - std::log(sum) : std::exp(x[at(k)] - best) / sum;
      }
    }
  return y;
}

TEST(Softmax, EveryAxisBeforeAndAfterOpset13) {
  const Tensor in = random_floats({3, 5, 7, 300}, 2, 0.0f, 10.0f);
  const Shape& s = in.shape();
  for (const bool logarithm : {false, true})
    for (std::int64_t axis = -4; axis < 4; ++axis) {
      const auto positive = static_cast<std::size_t>(axis < 0 ? axis + 4 : axis);
      const std::string name = logarithm ? "LogSoftmax" : "Softmax";
      expect_near(run_one({name, 13, {{"axis", axis}}}, {in}), s,
                  reference(in, s.elements(0, positive), s[positive], s.elements(positive + 1, 4), logarithm), 1e-5,
                  1e-7);
      expect_near(run_one({name, 11, {{"axis", axis}}}, {in}), s,
                  reference(in, s.elements(0, positive), s.elements(positive, 4), 1, logarithm), 1e-5, 1e-7);
    }
  expect_near(run_one({"Softmax", 13}, {in}), s, reference(in, 105, 300, 1, false), 1e-5, 1e-7);
  expect_near(run_one({"Softmax", 9}, {in}), s, reference(in, 3, 10500, 1, false), 1e-5, 1e-7);
}

TEST(Softmax, LargeMaskedAndUndefinedValues) {
  const float infinity = std::numeric_limits<float>::infinity();
  expect_near(run_one({"Softmax", 13}, {floats({2, 3}, {1e4f, 1e4f, -infinity, -1e38f, 0.0f, -1e4f})}), {2, 3},
              {0.5, 0.5, 0, 0, 1, 0});
  const Tensor bad = run_one({"Softmax", 13}, {floats({2}, {std::numeric_limits<float>::quiet_NaN(), 1.0f})});
  EXPECT_TRUE(std::isnan(bad.data<float>()[0]) && std::isnan(bad.data<float>()[1]));
}

TEST(Softmax, SameBitsForAnyThreadsAndInstructionSet) {
  const Tensor in = random_floats({41, 67, 33}, 4, 0.0f, 5.0f);
  for (const std::string name : {"Softmax", "LogSoftmax"})
    for (std::int64_t axis = 1; axis < 3; ++axis) {
      const Operation one{name, 13, {{"axis", axis}}, 1, {.threads = 1, .isa = Isa::baseline}};
      for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
        for (const int threads : {1, 3}) {
          Operation other = one;
          other.options = {.threads = threads, .isa = isa};
          expect_same_bits(run_one(one, {in}), run_one(other, {in}));
        }
    }
}

TEST(Softmax, SmallShapesDoublesAndWrongAxes) {
  expect_near(run_one({"Softmax", 13}, {floats({}, {3.0f})}), {}, {1});
  EXPECT_EQ(run_one({"Softmax", 13}, {Tensor::host(DataType::float32, {2, 0})}).elements(), 0);
  EXPECT_EQ(
      run_one({"LogSoftmax", 13, {{"axis", std::int64_t{0}}}}, {Tensor::host(DataType::float32, {0, 3})}).elements(),
      0);
  const Tensor wide = Tensor::of<double>({2, 2}, std::vector<double>{1, 2, 3, 5});
  expect_near(run_one({"LogSoftmax", 13}, {wide}), {2, 2}, reference(wide, 2, 2, 1, true), 1e-14);
  EXPECT_THROW(run_one({"Softmax", 13, {{"axis", std::int64_t{2}}}}, {wide}), Error);
  EXPECT_THROW(run_one({"Softmax", 11, {{"axis", std::int64_t{-3}}}}, {wide}), Error);
}

TEST(Hardmax, MarksTheFirstMaximum) {
  const Tensor in = floats({2, 3}, {1, 5, 5, 2, 0, 1});
  expect_near(run_one({"Hardmax", 13}, {in}), {2, 3}, {0, 1, 0, 1, 0, 0});
  expect_near(run_one({"Hardmax", 13, {{"axis", std::int64_t{0}}}}, {in}), {2, 3}, {0, 1, 1, 1, 0, 0});
  expect_near(run_one({"Hardmax", 11, {{"axis", std::int64_t{0}}}}, {in}), {2, 3}, {0, 1, 0, 0, 0, 0});
}

}  // namespace
}  // namespace tare::test
