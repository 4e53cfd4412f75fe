#include <gtest/gtest.h>

#include <limits>

#include "run.hpp"

namespace tare::test {
namespace {

using Fold = double (*)(const std::vector<double>&);

double sum_of(const std::vector<double>& v) {
  double s = 0;
  for (double x : v) s += x;
  return s;
}
const std::vector<std::pair<std::string, Fold>> folds = {
    {"ReduceSum", sum_of},
    {"ReduceMean", [](const std::vector<double>& v) { return sum_of(v) / static_cast<double>(v.size()); }},
    {"ReduceMax",
     [](const std::vector<double>& v) {
       double m = -std::numeric_limits<double>::infinity();
       for (double x : v) m = std::max(m, x);
       return m;
     }},
    {"ReduceMin",
     [](const std::vector<double>& v) {
       double m = std::numeric_limits<double>::infinity();
       for (double x : v) m = std::min(m, x);
       return m;
     }},
    {"ReduceProd",
     [](const std::vector<double>& v) {
       double p = 1;
       for (double x : v) p *= x;
       return p;
     }},
    {"ReduceL1",
     [](const std::vector<double>& v) {
       double s = 0;
       for (double x : v) s += std::abs(x);
       return s;
     }},
    {"ReduceL2",
     [](const std::vector<double>& v) {
       double s = 0;
       for (double x : v) s += x * x;
       return std::sqrt(s);
     }},
    {"ReduceLogSum", [](const std::vector<double>& v) { return std::log(sum_of(v)); }},
    {"ReduceLogSumExp",
     [](const std::vector<double>& v) {
       double s = 0;
       for (double x : v) s += std::exp(x);
       return std::log(s);
     }},
    {"ReduceSumSquare",
     [](const std::vector<double>& v) {
       double s = 0;
       for (double x : v) s += x * x;
       return s;
     }},
};

std::vector<double> reference(const Tensor& in, const std::vector<std::int64_t>& axes, Fold fold) {
  Shape kept = in.shape();
  for (std::size_t d = 0; d < in.rank(); ++d)
    for (std::int64_t a : axes)
      if ((a + static_cast<std::int64_t>(in.rank())) % static_cast<std::int64_t>(in.rank()) ==
          static_cast<std::int64_t>(d))
        kept[d] = 1;
  std::vector<std::vector<double>> groups(static_cast<std::size_t>(kept.elements()));
  const std::vector<double> values = values_of(in);
  for_each_index(in.shape(), [&](const Shape& index) {
    Shape to = index;
    for (std::size_t d = 0; d < to.rank(); ++d) to[d] = kept[d] == 1 ? 0 : to[d];
    groups[static_cast<std::size_t>(offset_of(kept, to))].push_back(
        values[static_cast<std::size_t>(offset_of(in.shape(), index))]);
  });
  std::vector<double> result;
  for (const auto& group : groups) result.push_back(fold(group));
  return result;
}

Shape shape_after(const Shape& shape, const std::vector<std::int64_t>& axes, bool keep) {
  Shape result;
  for (std::size_t d = 0; d < shape.rank(); ++d) {
    bool gone = false;
    for (std::int64_t a : axes)
      gone = gone || a == static_cast<std::int64_t>(d) ||
             a + static_cast<std::int64_t>(shape.rank()) == static_cast<std::int64_t>(d);
    if (!gone)
      result.push_back(shape[d]);
    else if (keep)
      result.push_back(1);
  }
  return result;
}

TEST(Reduction, EveryKindOverEveryKindOfAxes) {
  // Spread small enough that products neither vanish nor overflow, positive so that logarithms exist.
  const Tensor in = random_floats({3, 5, 7, 37}, 3, 1.0f, 0.05f);
  for (const auto& [name, fold] : folds)
    for (const std::vector<std::int64_t>& axes : std::vector<std::vector<std::int64_t>>{
             {0}, {1}, {2}, {3}, {-1}, {0, 1}, {2, 3}, {0, 3}, {1, 3}, {0, 2}, {-1, 0, 1}, {0, 1, 2, 3}})
      for (const bool keep : {true, false}) {
        SCOPED_TRACE(name);
        const std::vector<double> expected = reference(in, axes, fold);
        const Shape shape = shape_after(in.shape(), axes, keep);
        const std::int64_t keepdims = keep ? 1 : 0;
        expect_near(run_one({name, 18, {{"keepdims", keepdims}}}, {in, integers(axes)}), shape, expected);
        expect_near(run_one({name, 11, {{"keepdims", keepdims}, {"axes", axes}}}, {in}), shape, expected);
        expect_near(run_one({name, 18, {{"keepdims", keepdims}}}, {to_channels_last(in), integers(axes)}), shape,
                    expected);
      }
}

TEST(Reduction, SpatialMeanOfChannelsLastHasOneOrder) {
  const Tensor in = random_floats({2, 5, 7, 9});
  const Tensor plain = run({"ReduceMean", 18}, {in, integers({2, 3})}).at(0);
  const Tensor moved = run({"ReduceMean", 18}, {to_channels_last(in), integers({2, 3})}).at(0);
  EXPECT_EQ(moved.layout(), Layout::plain);
  expect_near(moved, plain.shape(), values_of(plain), 1e-7);
}

TEST(Reduction, SameBitsForAnyThreadsAndInstructionSet) {
  const Tensor in = random_floats({37, 129, 65}, 5, 0.1f, 3.0f);
  for (const auto& [name, fold] : folds)
    for (std::int64_t axis = 0; axis < 3; ++axis) {
      const Tensor one = run({name, 18, {}, 1, {.threads = 1, .isa = Isa::baseline}}, {in, integers({axis})}).at(0);
      for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
        for (const int threads : {1, 3})
          expect_same_bits(one, run({name, 18, {}, 1, {.threads = threads, .isa = isa}}, {in, integers({axis})}).at(0));
    }
}

TEST(Reduction, EmptySetsGiveTheIdentity) {
  const Tensor in = Tensor::host(DataType::float32, {2, 0, 4});
  const double infinity = std::numeric_limits<double>::infinity();
  const std::map<std::string, double> identities = {{"ReduceSum", 0},
                                                    {"ReduceMax", -infinity},
                                                    {"ReduceMin", infinity},
                                                    {"ReduceProd", 1},
                                                    {"ReduceL1", 0},
                                                    {"ReduceL2", 0},
                                                    {"ReduceLogSum", -infinity},
                                                    {"ReduceLogSumExp", -infinity},
                                                    {"ReduceSumSquare", 0},
                                                    {"ReduceMean", std::numeric_limits<double>::quiet_NaN()}};
  for (const auto& [name, identity] : identities) {
    SCOPED_TRACE(name);
    expect_near(run_one({name, 18}, {in, integers({1})}), {2, 1, 4}, std::vector<double>(8, identity));
    expect_near(run_one({name, 18}, {in, integers({0})}), {1, 0, 4}, {});
    expect_near(run_one({name, 18}, {Tensor::host(DataType::float32, {3, 0}), integers({1})}), {3, 1},
                std::vector<double>(3, identity));
  }
}

TEST(Reduction, OtherElementTypes) {
  const Shape shape{2, 3};
  const Tensor wide = Tensor::of<std::int32_t>(shape, std::vector<std::int32_t>{1, -7, 3, 100000, 100000, -5});
  expect_near(run_one({"ReduceSum", 13}, {wide, integers({1})}), {2, 1}, {-3, 199995});
  expect_near(run_one({"ReduceMean", 13, {{"axes", std::vector<std::int64_t>{1}}}}, {wide}), {2, 1}, {-1, 66665});
  expect_near(run_one({"ReduceL1", 13, {{"axes", std::vector<std::int64_t>{1}}}}, {wide}), {2, 1}, {11, 200005});
  const Tensor bytes = Tensor::of<std::uint8_t>(shape, std::vector<std::uint8_t>{1, 200, 3, 4, 255, 6});
  expect_near(run_one({"ReduceMax", 18}, {bytes, integers({0})}), {1, 3}, {4, 255, 6});
  const bool truth[] = {true, false, false, true, false, true};
  const Tensor flags = Tensor::of<bool>(shape, truth);
  expect_near(run_one({"ReduceMax", 20}, {flags, integers({0})}), {1, 3}, {1, 0, 1});
  expect_near(run_one({"ReduceMin", 20}, {flags, integers({0})}), {1, 3}, {1, 0, 0});
  EXPECT_THROW(run_one({"ReduceSum", 18}, {flags, integers({0})}), Error);
  const Tensor real = Tensor::of<double>(shape, std::vector<double>{1e15, 1, -1e15, 0.25, 0.5, 0.75});
  expect_near(run_one({"ReduceSum", 18}, {real}), {1, 1}, {2.5}, 1e-15);
}

TEST(Reduction, ScalarsNoopsAndWrongAxes) {
  const Tensor scalar = floats({}, {-2.5f});
  expect_near(run_one({"ReduceL1", 18}, {scalar}), {}, {2.5});
  const Tensor in = random_floats({2, 3});
  expect_same_bits(run_one({"ReduceSum", 18, {{"noop_with_empty_axes", std::int64_t{1}}}}, {in}), in);
  expect_near(run_one({"ReduceSum", 18}, {in, integers({})}), {1, 1}, {sum_of(values_of(in))});
  EXPECT_THROW(run_one({"ReduceSum", 18}, {in, integers({2})}), Error);
  EXPECT_THROW(run_one({"ReduceSum", 18}, {in, integers({-3})}), Error);
}

TEST(Reduction, NotANumberIsNotLost) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (std::int64_t axis = 0; axis < 2; ++axis) {
    Tensor in = random_floats({40, 40});
    in.mutable_data<float>()[40 * 17 + 17] = nan;
    EXPECT_TRUE(std::isnan(run_one({"ReduceMax", 18}, {in, integers({axis})}).data<float>()[17]));
    EXPECT_TRUE(std::isnan(run_one({"ReduceMin", 18}, {in, integers({axis})}).data<float>()[17]));
  }
}

TEST(Reduction, LargeExponentsDoNotOverflow) {
  const float infinity = std::numeric_limits<float>::infinity();
  expect_near(run_one({"ReduceLogSumExp", 18}, {floats({3}, {1000.0f, 1000.0f, -infinity})}), {1},
              {1000.0 + std::log(2.0)});
  expect_near(run_one({"ReduceLogSumExp", 18}, {floats({2}, {-infinity, -infinity})}), {1}, {-infinity});
}

}  // namespace
}  // namespace tare::test
