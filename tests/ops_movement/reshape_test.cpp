// Operators that reshape, cut and pad: old and new forms, negative values, empty tensors, both layouts.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "ops_movement/node.hpp"

namespace tare::test {
namespace {

using Integers = std::vector<std::int64_t>;
constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();

TEST(Reshape, SharesTheStorage) {
  const Tensor in = counting({2, 3, 4});
  const auto shape_after = [&](const Integers& shape, std::int64_t allow_zero = 0) {
    const Tensor out = run({"Reshape", {{"allowzero", allow_zero}}}, {in, integers(shape)})[0];
    EXPECT_EQ(out.storage(), in.storage());
    return out.shape();
  };
  EXPECT_EQ(shape_after({4, -1}), (Shape{4, 6}));
  EXPECT_EQ(shape_after({0, -1}), (Shape{2, 12}));
  EXPECT_EQ(shape_after({0, 0, 2, 2}), (Shape{2, 3, 2, 2}));
  for (const Integers& shape : {Integers{5, 5}, {-1, -1}, {-2, 12}, {7, -1}, {0, 0, 0, 0}, {highest, 3}})
    EXPECT_THROW(shape_after(shape), Error) << text_of(shape);
  EXPECT_THROW(shape_after({0, 24}, 1), Error);
}

TEST(Reshape, EmptyAndScalar) {
  const Tensor empty = counting({0, 3});
  EXPECT_EQ(run({"Reshape", {{"allowzero", std::int64_t{1}}}}, {empty, integers({3, 0, 7})})[0].shape(),
            (Shape{3, 0, 7}));
  EXPECT_EQ(run({"Reshape", {}}, {empty, integers({0, -1})})[0].shape(), (Shape{0, 0}));
  EXPECT_THROW(run({"Reshape", {{"allowzero", std::int64_t{1}}}}, {empty, integers({0, -1})}), Error);
  EXPECT_EQ(run({"Reshape", {}}, {counting({1, 1}), integers({})})[0].shape(), Shape{});
  EXPECT_EQ(run({"Reshape", {}}, {scalar(1.0f), integers({-1})})[0].shape(), Shape{1});
}

TEST(Flatten, Axes) {
  const Tensor in = counting({2, 3, 4});
  const auto shape_after = [&](std::int64_t axis) { return run({"Flatten", {{"axis", axis}}}, {in})[0].shape(); };
  EXPECT_EQ(shape_after(0), (Shape{1, 24}));
  EXPECT_EQ(shape_after(1), (Shape{2, 12}));
  EXPECT_EQ(shape_after(3), (Shape{24, 1}));
  EXPECT_EQ(shape_after(-1), (Shape{6, 4}));
  EXPECT_EQ(shape_after(-3), (Shape{1, 24}));
  EXPECT_THROW(shape_after(4), Error);
  EXPECT_THROW(shape_after(-4), Error);
  EXPECT_EQ(run({"Flatten", {{"axis", std::int64_t{0}}}}, {scalar(1.0f)})[0].shape(), (Shape{1, 1}));
}

TEST(Squeeze, OldAndNewForms) {
  const Tensor in = counting({1, 3, 1, 2});
  EXPECT_EQ(run({"Squeeze", {}}, {in})[0].shape(), (Shape{3, 2}));
  EXPECT_EQ(run({"Squeeze", {{"axes", Integers{0}}}, 11}, {in})[0].shape(), (Shape{3, 1, 2}));
  EXPECT_EQ(run({"Squeeze", {}}, {in, integers({-2})})[0].shape(), (Shape{1, 3, 2}));
  EXPECT_THROW(run({"Squeeze", {}}, {in, integers({1})}), Error);
  EXPECT_THROW(run({"Squeeze", {}}, {in, integers({4})}), Error);
  EXPECT_EQ(run({"Unsqueeze", {{"axes", Integers{0, 4}}}, 11}, {counting({3, 4, 5})})[0].shape(),
            (Shape{1, 3, 4, 5, 1}));
  EXPECT_EQ(run({"Unsqueeze", {}}, {counting({3, 4}), integers({-1, 0})})[0].shape(), (Shape{1, 3, 4, 1}));
  EXPECT_EQ(run({"Unsqueeze", {}}, {scalar(1.0f), integers({0})})[0].shape(), Shape{1});
  EXPECT_THROW(run({"Unsqueeze", {}}, {counting({3}), integers({0, 0})}), Error);
  EXPECT_THROW(run({"Unsqueeze", {}}, {counting({3}), integers({2})}), Error);
  EXPECT_THROW(run({"Unsqueeze", {}}, {counting({3}), integers(Integers(14, 0))}), Error);
}

/// Python's slice.indices, in steps that cannot overflow for the small values used here.
Integers python_slice(std::int64_t start, std::int64_t end, std::int64_t step, std::int64_t dim) {
  const auto bound = [&](std::int64_t at, std::int64_t low, std::int64_t high) {
    return at < 0 ? std::max(at + dim, low) : std::min(at, high);
  };
  Integers indices;
  if (step > 0)
    for (std::int64_t i = bound(start, 0, dim); i < bound(end, 0, dim); i += step) indices.push_back(i);
  else
    for (std::int64_t i = bound(start, -1, dim - 1); i > bound(end, -1, dim - 1); i += step) indices.push_back(i);
  return indices;
}

TEST(Slice, AsPythonDoes) {
  std::mt19937 random(20240601);
  for (int trial = 0; trial < 200; ++trial) {
    const Tensor in = counting(random_shape(random, 1 + random() % 4, 8));
    const bool last = in.rank() == 4 && trial % 2 == 0;
    Integers starts, ends, axes, steps;
    std::vector<Integers> kept;
    Shape shape;
    for (std::size_t d = 0; d < in.rank(); ++d) {
      starts.push_back(static_cast<std::int64_t>(random() % 24) - 12);
      ends.push_back(static_cast<std::int64_t>(random() % 24) - 12);
      const std::int64_t step = 1 + static_cast<std::int64_t>(random() % 3);
      steps.push_back(random() % 2 == 0 ? step : -step);
      axes.push_back(static_cast<std::int64_t>(d) - (random() % 2 == 0 ? 0 : static_cast<std::int64_t>(in.rank())));
      kept.push_back(python_slice(starts[d], ends[d], steps[d], in.shape()[d]));
      shape.push_back(static_cast<std::int64_t>(kept[d].size()));
    }
    const Tensor out = run_plain({"Slice", {}}, {last ? channels_last(in) : in, integers(starts), integers(ends),
                                                 integers(axes), integers(steps)});
    ASSERT_EQ(out.shape(), shape);
    for_each_index(shape, [&](const Shape& index) {
      Shape source = index;
      for (std::size_t d = 0; d < in.rank(); ++d) source[d] = kept[d][static_cast<std::size_t>(index[d])];
      EXPECT_EQ(out.data<float>()[position(shape, index)], in.data<float>()[position(in.shape(), source)]) << trial;
    });
  }
}

TEST(Slice, ExtremesAndOldForm) {
  const Tensor in = counting({5});
  const auto cut = [&](std::int64_t start, std::int64_t end, std::int64_t step) {
    return values<float>(
        run({"Slice", {}}, {in, integers({start}), integers({end}), integers({0}), integers({step})})[0]);
  };
  EXPECT_EQ(cut(highest, lowest, -1), (std::vector<float>{4, 3, 2, 1, 0}));
  EXPECT_EQ(cut(lowest, highest, 1), (std::vector<float>{0, 1, 2, 3, 4}));
  EXPECT_EQ(cut(0, highest, highest), (std::vector<float>{0}));
  EXPECT_EQ(cut(-1, lowest, lowest), (std::vector<float>{4}));
  EXPECT_THROW(cut(0, 1, 0), Error);
  const NodeCase old{"Slice", {{"starts", Integers{1}}, {"ends", Integers{-1}}, {"axes", Integers{0}}}, 9};
  EXPECT_EQ(values<float>(run(old, {in})[0]), (std::vector<float>{1, 2, 3}));
  EXPECT_THROW(run({"Slice", {}}, {in, integers({0, 0}), integers({1, 1})}), Error);
  EXPECT_THROW(run({"Slice", {}}, {in, integers({0}), integers({1, 1})}), Error);
  EXPECT_THROW(run({"Slice", {}}, {in, integers({0})}), Error);
  EXPECT_EQ(run({"Slice", {}}, {counting({0, 3}), integers({1}), integers({2}), integers({1})})[0].shape(),
            (Shape{0, 1}));
  EXPECT_EQ(values<std::int64_t>(run({"Slice", {}}, {integers({4, 5, 6}), integers({-1}), integers({highest})})[0]),
            Integers{6});
}

/// numpy.pad of one coordinate; -1 stands for the constant.
std::int64_t padded_source(const std::string& mode, std::int64_t at, std::int64_t dim) {
  if (at >= 0 && at < dim) return at;
  if (mode == "constant") return -1;
  if (mode == "edge") return at < 0 ? 0 : dim - 1;
  while (at < 0 || at >= dim) {
    if (mode == "wrap")
      at += at < 0 ? dim : -dim;
    else if (dim == 1)
      at = 0;
    else
      at = at < 0 ? -at : 2 * (dim - 1) - at;
  }
  return at;
}

TEST(Pad, EveryModeAndLayout) {
  std::mt19937 random(20240602);
  for (int trial = 0; trial < 160; ++trial) {
    const std::string mode = std::vector<std::string>{"constant", "reflect", "edge", "wrap"}[trial % 4];
    const Tensor in = counting(random_shape(random, 1 + random() % 4, 6));
    const bool last = in.rank() == 4 && trial % 8 < 4;
    Integers pads(2 * in.rank());
    Shape shape = in.shape();
    for (std::size_t i = 0; i < pads.size(); ++i) {
      pads[i] = static_cast<std::int64_t>(random() % 8) - (mode == "constant" ? in.shape()[i % in.rank()] / 2 : 0);
      shape[i % in.rank()] += pads[i];
    }
    const std::vector<Tensor> out =
        run({"Pad", {{"mode", mode}}}, {last ? channels_last(in) : in, integers(pads), scalar(-7.0f)});
    EXPECT_EQ(out[0].layout(), last ? Layout::channels_last : Layout::plain);
    const Tensor result = plain(out[0]);
    ASSERT_EQ(result.shape(), shape);
    for_each_index(shape, [&](const Shape& index) {
      Shape source = index;
      bool inside = true;
      for (std::size_t d = 0; d < in.rank(); ++d) {
        source[d] = padded_source(mode, index[d] - pads[d], in.shape()[d]);
        inside = inside && source[d] >= 0;
      }
      const float expected = inside ? in.data<float>()[position(in.shape(), source)] : -7.0f;
      EXPECT_EQ(result.data<float>()[position(shape, index)], expected) << mode << index.text();
    });
  }
}

TEST(Pad, FormsAndTypes) {
  const Tensor in = counting<std::int32_t>({2, 2});
  EXPECT_EQ(values<std::int32_t>(run({"Pad", {}}, {in, integers({1, 0}), Tensor(), integers({-1})})[0]),
            (std::vector<std::int32_t>{0, 0, 1, 0, 2, 3}));
  const NodeCase old{"Pad", {{"pads", Integers{0, 1}}, {"value", 2.5f}}, 10};
  EXPECT_EQ(values<float>(run(old, {counting({2})})[0]), (std::vector<float>{0, 1, 2.5f}));
  EXPECT_EQ(run({"Pad", {}}, {scalar(1.0f), integers({})})[0].shape(), Shape{});
  EXPECT_EQ(values<float>(run({"Pad", {}}, {counting({0}), integers({1, 1})})[0]), (std::vector<float>{0, 0}));
  EXPECT_EQ(values<float>(run({"Pad", {}}, {counting({3}), integers({-1, 2})})[0]), (std::vector<float>{1, 2, 0, 0}));
  EXPECT_THROW(run({"Pad", {{"mode", std::string("edge")}}}, {counting({0}), integers({1, 1})}), Error);
  EXPECT_THROW(run({"Pad", {{"mode", std::string("mirror")}}}, {counting({1}), integers({1, 1})}), Error);
  EXPECT_THROW(run({"Pad", {}}, {counting({3}), integers({-2, -2})}), Error);
  EXPECT_THROW(run({"Pad", {}}, {counting({3}), integers({1})}), Error);
  EXPECT_THROW(run({"Pad", {}}, {counting({3}), integers({highest, 1})}), Error);
  EXPECT_THROW(run({"Pad", {}}, {counting({3}), integers({1, 1}), scalar(1.0)}), Error);
}

TEST(CenterCropPad, CropsAndPadsAboutTheMiddle) {
  const Tensor out = run_plain({"CenterCropPad", {{"axes", Integers{1}}}}, {counting({1, 5}), integers({2})});
  EXPECT_EQ(values<float>(out), (std::vector<float>{1, 2}));
  EXPECT_EQ(values<float>(run_plain({"CenterCropPad", {}}, {counting({3}), integers({6})})),
            (std::vector<float>{0, 0, 1, 2, 0, 0}));
  EXPECT_THROW(run({"CenterCropPad", {}}, {counting({3}), integers({-1})}), Error);
}

TEST(Trilu, BothTrianglesAnyDiagonal) {
  const Shape shape{2, 4, 6};
  const Tensor in = counting(shape);
  for (const std::int64_t upper : {0, 1})
    for (const std::int64_t k :
         {lowest, std::int64_t{-5}, std::int64_t{-2}, std::int64_t{0}, std::int64_t{3}, highest}) {
      const Tensor out = run_plain({"Trilu", {{"upper", upper}}}, {in, scalar(k)});
      for_each_index(shape, [&](const Shape& i) {
        const bool keep = upper != 0 ? i[2] - i[1] >= k : i[2] - i[1] <= k;
        EXPECT_EQ(out.data<float>()[position(shape, i)], keep ? in.data<float>()[position(shape, i)] : 0.0f) << k;
      });
    }
  EXPECT_EQ(run({"Trilu", {}}, {counting({0, 3})})[0].shape(), (Shape{0, 3}));
  EXPECT_THROW(run({"Trilu", {}}, {counting({3})}), Error);
}

TEST(ReverseSequence, BothOrders) {
  const Tensor in = counting({2, 3});
  const NodeCase batch_first{"ReverseSequence", {{"batch_axis", std::int64_t{0}}, {"time_axis", std::int64_t{1}}}};
  EXPECT_EQ(values<float>(run(batch_first, {in, integers({3, 1})})[0]), (std::vector<float>{2, 1, 0, 3, 4, 5}));
  EXPECT_EQ(values<float>(run({"ReverseSequence", {}}, {in, integers({2, 1, 0})})[0]),
            (std::vector<float>{3, 1, 2, 0, 4, 5}));
  EXPECT_THROW(run({"ReverseSequence", {}}, {in, integers({3, 1, 1})}), Error);
  EXPECT_THROW(run({"ReverseSequence", {}}, {in, integers({1})}), Error);
}

TEST(Compress, AlongAnAxisAndFlat) {
  const Tensor in = counting({2, 3});
  const Tensor flags = tensor<bool>({3}, {false, true, true});
  EXPECT_EQ(values<float>(run({"Compress", {{"axis", std::int64_t{1}}}}, {in, flags})[0]),
            (std::vector<float>{1, 2, 4, 5}));
  EXPECT_EQ(values<float>(run({"Compress", {}}, {in, flags})[0]), (std::vector<float>{1, 2}));
  EXPECT_THROW(run({"Compress", {{"axis", std::int64_t{0}}}}, {in, flags}), Error);
}

TEST(ShapeMakers, ShapeSizeConstantEyeRange) {
  EXPECT_EQ(values<std::int64_t>(run({"Shape", {}}, {channels_last(counting({2, 3, 4, 5}))})[0]),
            (Integers{2, 3, 4, 5}));
  EXPECT_EQ(values<std::int64_t>(
                run({"Shape", {{"start", std::int64_t{-3}}, {"end", std::int64_t{-1}}}}, {counting({2, 3, 4})})[0]),
            (Integers{2, 3}));
  EXPECT_EQ(run({"Shape", {{"start", std::int64_t{2}}, {"end", std::int64_t{1}}}}, {counting({2, 3, 4})})[0].shape(),
            Shape{0});
  EXPECT_EQ(run({"Shape", {}}, {scalar(1.0f)})[0].shape(), Shape{0});
  EXPECT_EQ(values<std::int64_t>(run({"Size", {}}, {counting({2, 0})})[0]), Integers{0});
  EXPECT_EQ(values<float>(run({"ConstantOfShape", {}}, {integers({3})})[0]), (std::vector<float>{0, 0, 0}));
  EXPECT_EQ(values<std::int64_t>(run({"ConstantOfShape", {{"value", integers({9})}}}, {integers({})})[0]), Integers{9});
  EXPECT_THROW(run({"ConstantOfShape", {}}, {integers({-1})}), Error);
  EXPECT_EQ(values<float>(run({"EyeLike", {{"k", std::int64_t{-1}}}}, {counting({3, 2})})[0]),
            (std::vector<float>{0, 0, 1, 0, 0, 1}));
  EXPECT_EQ(values<std::int64_t>(
                run({"Range", {}}, {scalar<std::int64_t>(10), scalar<std::int64_t>(3), scalar<std::int64_t>(-3)})[0]),
            (Integers{10, 7, 4}));
  EXPECT_EQ(values<std::int64_t>(run({"Range", {}}, {scalar(lowest), scalar(highest), scalar(highest)})[0]),
            (Integers{lowest, -1, highest - 1}));
  EXPECT_EQ(values<float>(run({"Range", {}}, {scalar(1.0f), scalar(2.0f), scalar(0.25f)})[0]),
            (std::vector<float>{1, 1.25f, 1.5f, 1.75f}));
  EXPECT_EQ(run({"Range", {}}, {scalar(1.0f), scalar(0.0f), scalar(1.0f)})[0].shape(), Shape{0});
  EXPECT_THROW(run({"Range", {}}, {scalar(1.0f), scalar(0.0f), scalar(0.0f)}), Error);
  EXPECT_THROW(run({"Range", {}}, {scalar(0.0f), scalar(std::numeric_limits<float>::infinity()), scalar(1.0f)}), Error);
}

}  // namespace
}  // namespace tare::test
