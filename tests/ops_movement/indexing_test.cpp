// Gathering and scattering, and the search and sort operators, against loops written out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "ops_movement/node.hpp"

namespace tare::test {
namespace {

using Integers = std::vector<std::int64_t>;

Tensor random_indices(std::mt19937& random, const Shape& shape, std::int64_t dim) {
  Tensor result = Tensor::host(DataType::int64, shape);
  for (std::int64_t& index : result.mutable_span<std::int64_t>())
    index = static_cast<std::int64_t>(random() % static_cast<std::uint32_t>(2 * dim)) - dim;
  return result;
}

std::int64_t wrapped(std::int64_t index, std::int64_t dim) { return index < 0 ? index + dim : index; }

TEST(Gather, RandomShapesAndAxes) {
  std::mt19937 random(20240701);
  for (int trial = 0; trial < 60; ++trial) {
    const Tensor in = counting(random_shape(random, 1 + random() % 4, 6));
    const std::size_t axis = random() % in.rank();
    const Tensor indices = random_indices(random, random_shape(random, random() % 3, 4), in.shape()[axis]);
    const Tensor out = run_plain({"Gather", {{"axis", static_cast<std::int64_t>(axis)}}}, {in, indices});
    ASSERT_EQ(out.rank(), in.rank() + indices.rank() - 1);
    for_each_index(out.shape(), [&](const Shape& i) {
      Shape source;
      Shape at;
      for (std::size_t d = 0; d < axis; ++d) source.push_back(i[d]);
      for (std::size_t d = 0; d < indices.rank(); ++d) at.push_back(i[axis + d]);
      source.push_back(wrapped(indices.data<std::int64_t>()[position(indices.shape(), at)], in.shape()[axis]));
      for (std::size_t d = axis + indices.rank(); d < i.rank(); ++d) source.push_back(i[d]);
      EXPECT_EQ(out.data<float>()[position(out.shape(), i)], in.data<float>()[position(in.shape(), source)]);
    });
  }
}

TEST(Gather, NamesTheIndexThatIsOutOfRange) {
  try {
    run({"Gather", {}}, {counting({3}), integers({1, 17})});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("17"), std::string::npos);
  }
  EXPECT_THROW(run({"Gather", {}}, {counting({3}), integers({-4})}), Error);
  EXPECT_THROW(run({"Gather", {}}, {counting({0, 2}), integers({0})}), Error);
  EXPECT_THROW(run({"Gather", {}}, {counting({3}), counting({1})}), Error);
  EXPECT_EQ(run({"Gather", {}}, {counting({3, 2}), integers({})})[0].shape(), (Shape{0, 2}));
}

TEST(GatherElements, ScatterElementsPutsBackWhatItTook) {
  std::mt19937 random(20240702);
  for (int trial = 0; trial < 40; ++trial) {
    const Tensor in = counting(random_shape(random, 1 + random() % 4, 6));
    const std::size_t axis = random() % in.rank();
    Shape shape;
    for (std::size_t d = 0; d < in.rank(); ++d)
      shape.push_back(1 + static_cast<std::int64_t>(random()) % in.shape()[d]);
    const Tensor indices = random_indices(random, shape, in.shape()[axis]);
    const Attribute axis_attribute = static_cast<std::int64_t>(axis);
    const Tensor taken = run_plain({"GatherElements", {{"axis", axis_attribute}}}, {in, indices});
    for_each_index(shape, [&](const Shape& i) {
      Shape source = i;
      source[axis] = wrapped(indices.data<std::int64_t>()[position(shape, i)], in.shape()[axis]);
      EXPECT_EQ(taken.data<float>()[position(shape, i)], in.data<float>()[position(in.shape(), source)]);
    });
    const Tensor back = run_plain({"ScatterElements", {{"axis", axis_attribute}}}, {in, indices, taken});
    EXPECT_EQ(values<float>(back), values<float>(in));
    EXPECT_EQ(values<float>(run_plain({"Scatter", {{"axis", axis_attribute}}, 9}, {in, indices, taken})),
              values<float>(in));
  }
  EXPECT_THROW(run({"GatherElements", {}}, {counting({2, 2}), tensor<std::int64_t>({1, 3}, {0, 0, 0})}), Error);
  EXPECT_THROW(run({"GatherElements", {}}, {counting({2, 2}), integers({0})}), Error);
}

TEST(Scatter, Reductions) {
  const auto reduce = [](const char* name, const auto& data, const auto& updates) {
    return run({"ScatterElements", {{"reduction", std::string(name)}}}, {data, integers({1, 1, -2}), updates})[0];
  };
  const Tensor data = tensor<float>({3}, {1, 5, 3});
  const Tensor updates = tensor<float>({3}, {2, 7, 4});
  EXPECT_EQ(values<float>(reduce("none", data, updates)), (std::vector<float>{1, 4, 3}));
  EXPECT_EQ(values<float>(reduce("add", data, updates)), (std::vector<float>{1, 18, 3}));
  EXPECT_EQ(values<float>(reduce("mul", data, updates)), (std::vector<float>{1, 280, 3}));
  EXPECT_EQ(values<float>(reduce("min", data, updates)), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(values<float>(reduce("max", data, updates)), (std::vector<float>{1, 7, 3}));
  EXPECT_THROW(reduce("sum", data, updates), Error);
  // 1.0, 2.0 and 3.0 as float16.
  const Tensor half = tensor<std::uint16_t>({2}, {0x3c00, 0x4000}).retyped(DataType::float16);
  const Tensor one_more = tensor<std::uint16_t>({1}, {0x3c00}).retyped(DataType::float16);
  const Tensor sum = run({"ScatterElements", {{"reduction", std::string("add")}}}, {half, integers({1}), one_more})[0];
  EXPECT_EQ(sum.type(), DataType::float16);
  EXPECT_EQ(values<std::uint16_t>(sum), (std::vector<std::uint16_t>{0x3c00, 0x4200}));
}

TEST(GatherND, TuplesAndBatches) {
  const Tensor in = counting({2, 3, 4});
  const Tensor tuples = tensor<std::int64_t>({2, 2}, {0, 1, -1, 2});
  EXPECT_EQ(values<float>(run({"GatherND", {}}, {in, tuples})[0]), (std::vector<float>{4, 5, 6, 7, 20, 21, 22, 23}));
  const Tensor one_each = tensor<std::int64_t>({2, 1}, {2, 0});
  EXPECT_EQ(values<float>(run({"GatherND", {{"batch_dims", std::int64_t{1}}}}, {in, one_each})[0]),
            (std::vector<float>{8, 9, 10, 11, 12, 13, 14, 15}));
  EXPECT_THROW(run({"GatherND", {}}, {in, tensor<std::int64_t>({1, 4}, {0, 0, 0, 0})}), Error);
  EXPECT_THROW(run({"GatherND", {}}, {in, tensor<std::int64_t>({1, 2}, {0, 3})}), Error);
  EXPECT_THROW(run({"GatherND", {}}, {in, scalar<std::int64_t>(0)}), Error);
  EXPECT_THROW(run({"GatherND", {{"batch_dims", std::int64_t{2}}}}, {in, tuples}), Error);
  EXPECT_EQ(run({"GatherND", {}}, {in, Tensor::host(DataType::int64, {0, 2})})[0].shape(), (Shape{0, 4}));
}

TEST(ScatterND, WritesSlices) {
  const Tensor rows = tensor<std::int64_t>({2, 1}, {2, -3});
  EXPECT_EQ(values<float>(run({"ScatterND", {}}, {counting({3, 2}), rows, tensor<float>({2, 2}, {9, 8, 7, 6})})[0]),
            (std::vector<float>{7, 6, 2, 3, 9, 8}));
  EXPECT_EQ(values<float>(run({"ScatterND", {{"reduction", std::string("add")}}},
                              {counting({3}), tensor<std::int64_t>({2, 1}, {1, 1}), tensor<float>({2}, {10, 100})})[0]),
            (std::vector<float>{0, 111, 2}));
  EXPECT_THROW(run({"ScatterND", {}}, {counting({3, 2}), rows, counting({2})}), Error);
  EXPECT_THROW(run({"ScatterND", {}}, {counting({2, 2}), rows, counting({2, 2})}), Error);
}

TEST(OneHot, NegativeAndOutOfRange) {
  const Tensor out = run({"OneHot", {{"axis", std::int64_t{0}}}},
                         {integers({0, -1, 3}), scalar(3.0f), tensor<std::int32_t>({2}, {5, 6})})[0];
  EXPECT_EQ(out.shape(), (Shape{3, 3}));
  EXPECT_EQ(values<std::int32_t>(out), (std::vector<std::int32_t>{6, 5, 5, 5, 5, 5, 5, 6, 5}));
  EXPECT_THROW(run({"OneHot", {}}, {integers({0}), scalar(-3.0f), tensor<float>({2}, {0, 1})}), Error);
  EXPECT_THROW(run({"OneHot", {}}, {integers({0}), scalar(NAN), tensor<float>({2}, {0, 1})}), Error);
}

TEST(TensorScatter, WritesTheUpdateOfEachSampleAtItsIndex) {
  std::mt19937 random(20240705);
  for (int trial = 0; trial < 60; ++trial) {
    const bool circular = trial % 2 != 0;
    const Shape shape = random_shape(random, 2 + random() % 3, 5);
    const std::size_t axis = 1 + random() % (shape.rank() - 1);
    Shape smaller = shape;
    smaller[axis] = static_cast<std::int64_t>(random() % static_cast<std::uint32_t>(shape[axis] + 1));
    const Tensor cache = counting(shape);
    Tensor update = counting(smaller);
    for (float& value : update.mutable_span<float>()) value = -1 - value;
    Integers starts;
    for (std::int64_t sample = 0; sample < shape[0]; ++sample)
      starts.push_back(
          circular ? static_cast<std::int64_t>(random() % 20) - 10
                   : static_cast<std::int64_t>(random() % static_cast<std::uint32_t>(shape[axis] - smaller[axis] + 1)));
    const auto negative = static_cast<std::int64_t>(axis) - static_cast<std::int64_t>(shape.rank());
    const NodeCase node{
        "TensorScatter", {{"axis", negative}, {"mode", std::string(circular ? "circular" : "linear")}}, 24};
    const Tensor out = run_plain(node, {cache, update, integers(starts)});
    Tensor expected = counting(shape);
    for_each_index(smaller, [&](const Shape& i) {
      Shape to = i;
      const std::int64_t at = starts[static_cast<std::size_t>(i[0])] + i[axis];
      to[axis] = (at % shape[axis] + shape[axis]) % shape[axis];
      expected.mutable_data<float>()[position(shape, to)] = update.data<float>()[position(smaller, i)];
    });
    ASSERT_EQ(values<float>(out), values<float>(expected)) << trial;
    EXPECT_EQ(values<float>(cache), values<float>(counting(shape)));  // a model may read the old cache, too
  }
  EXPECT_EQ(values<float>(run_plain({"TensorScatter", {}, 24}, {counting({1, 3, 1}), tensor<float>({1, 1, 1}, {9})})),
            (std::vector<float>{9, 1, 2}));
}

TEST(TensorScatter, RefusesWhatDoesNotFit) {
  const auto attempt = [](const Shape& update, const Integers& starts, const char* mode = "linear",
                          std::int64_t axis = 1) {
    return run({"TensorScatter", {{"axis", axis}, {"mode", std::string(mode)}}, 24},
               {counting({2, 4, 3}), counting(update), integers(starts)});
  };
  EXPECT_EQ(attempt({2, 2, 3}, {0, 2})[0].shape(), (Shape{2, 4, 3}));
  EXPECT_THROW(attempt({2, 2, 3}, {0, 3}), Error);
  EXPECT_THROW(attempt({2, 2, 3}, {-1, 0}), Error);
  EXPECT_THROW(attempt({2, 2, 3}, {0}), Error);
  EXPECT_THROW(attempt({2, 5, 3}, {0, 0}, "circular"), Error);
  EXPECT_THROW(attempt({2, 2, 2}, {0, 0}), Error);
  EXPECT_THROW(attempt({2, 3}, {0, 0}), Error);
  EXPECT_THROW(attempt({2, 2, 3}, {0, 0}, "spiral"), Error);
  EXPECT_THROW(attempt({2, 4, 3}, {0, 0}, "linear", 0), Error);
  EXPECT_THROW(
      run({"TensorScatter", {}, 24}, {counting({2, 4, 3}), tensor<std::int64_t>({2, 1, 3}, Integers(6)), Tensor()}),
      Error);
}

TEST(TopK, AgreesWithAStableSort) {
  std::mt19937 random(20240703);
  for (int trial = 0; trial < 60; ++trial) {
    Tensor in = counting(random_shape(random, 1 + random() % 3, 9));
    for (float& value : in.mutable_span<float>()) value = static_cast<float>(random() % 5);
    const std::size_t axis = random() % in.rank();
    const std::int64_t dim = in.shape()[axis];
    const std::int64_t k = static_cast<std::int64_t>(random()) % (dim + 1);
    const bool largest = random() % 2 == 0;
    const auto out =
        run({"TopK", {{"axis", static_cast<std::int64_t>(axis)}, {"largest", std::int64_t{largest}}}, 11, 2},
            {in, integers({k})});
    Shape shape = in.shape();
    shape[axis] = k;
    ASSERT_EQ(out[0].shape(), shape);
    for_each_index(shape, [&](const Shape& i) {
      Integers order;
      const auto value = [&](std::int64_t at) {
        Shape source = i;
        source[axis] = at;
        return in.data<float>()[position(in.shape(), source)];
      };
      for (std::int64_t at = 0; at < dim; ++at) order.push_back(at);
      std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        return largest ? value(a) > value(b) : value(a) < value(b);
      });
      const std::int64_t expected = order[static_cast<std::size_t>(i[axis])];
      EXPECT_EQ(out[1].data<std::int64_t>()[position(shape, i)], expected);
      EXPECT_EQ(out[0].data<float>()[position(shape, i)], value(expected));
    });
  }
  EXPECT_EQ(values<float>(run({"TopK", {{"k", std::int64_t{1}}}, 9, 2}, {counting({3})})[0]), std::vector<float>{2});
  EXPECT_THROW(run({"TopK", {}, 11, 2}, {counting({3}), integers({4})}), Error);
  EXPECT_THROW(run({"TopK", {}, 11, 2}, {scalar(1.0f), integers({1})}), Error);
  const auto nan = run({"TopK", {}, 11, 2}, {tensor<float>({4}, {1, NAN, 3, NAN}), integers({3})});
  EXPECT_EQ(values<std::int64_t>(nan[1]), (Integers{1, 3, 2}));
}

TEST(ArgMax, TiesAxesAndLanes) {
  std::mt19937 random(20240704);
  for (int trial = 0; trial < 60; ++trial) {
    Shape shape = random_shape(random, 1 + random() % 3, 9);
    if (trial % 5 == 0) shape.back() = 300 + static_cast<std::int64_t>(random() % 9);
    Tensor in = counting(shape);
    for (float& value : in.mutable_span<float>()) value = static_cast<float>(random() % 4);
    const std::size_t axis = random() % in.rank();
    const bool last = random() % 2 == 0;
    const bool largest = random() % 2 == 0;
    const Tensor out = run({largest ? "ArgMax" : "ArgMin",
                            {{"axis", static_cast<std::int64_t>(axis)}, {"select_last_index", std::int64_t{last}}}},
                           {in})[0];
    Shape reduced = shape;
    reduced[axis] = 1;
    ASSERT_EQ(out.shape(), reduced);
    for_each_index(reduced, [&](const Shape& i) {
      std::int64_t best = 0;
      const auto value = [&](std::int64_t at) {
        Shape source = i;
        source[axis] = at;
        const float v = in.data<float>()[position(shape, source)];
        return largest ? v : -v;
      };
      for (std::int64_t at = 1; at < shape[axis]; ++at)
        if (value(at) > value(best) || (last && value(at) == value(best))) best = at;
      EXPECT_EQ(out.data<std::int64_t>()[position(reduced, i)], best);
    });
  }
  EXPECT_EQ(run({"ArgMax", {{"keepdims", std::int64_t{0}}}}, {counting({3, 2})})[0].shape(), Shape{2});
  EXPECT_EQ(run({"ArgMax", {}}, {scalar(2.0f)})[0].shape(), Shape{});
  EXPECT_EQ(run({"ArgMax", {}}, {counting({3, 0})})[0].shape(), (Shape{1, 0}));
  EXPECT_THROW(run({"ArgMax", {}}, {counting({0, 3})}), Error);
}

TEST(Unique, CountsAddUpAndInverseRebuilds) {
  std::mt19937 random(20240705);
  for (int trial = 0; trial < 60; ++trial) {
    Tensor in = Tensor::host(DataType::int64, random_shape(random, 1 + random() % 3, 5));
    for (std::int64_t& value : in.mutable_span<std::int64_t>()) value = static_cast<std::int64_t>(random() % 3);
    const bool sorted = trial % 2 == 0;
    const bool flat = trial % 3 == 0;
    const std::size_t axis = flat ? 0 : random() % in.rank();
    NodeCase node{"Unique", {{"sorted", std::int64_t{sorted}}}, 11, 4};
    if (!flat) node.attributes["axis"] = static_cast<std::int64_t>(axis);
    const auto out = run(node, {in});
    const Tensor whole = flat ? in.reshaped({in.elements()}) : in;
    const Tensor rebuilt = run_plain({"Gather", {{"axis", static_cast<std::int64_t>(axis)}}}, {out[0], out[2]});
    EXPECT_EQ(values<std::int64_t>(rebuilt), values<std::int64_t>(whole));
    const Tensor firsts = run_plain({"Gather", {{"axis", static_cast<std::int64_t>(axis)}}}, {whole, out[1]});
    EXPECT_EQ(values<std::int64_t>(firsts), values<std::int64_t>(out[0]));
    std::map<std::int64_t, std::int64_t> counts;
    for (const std::int64_t entry : values<std::int64_t>(out[2])) ++counts[entry];
    for (std::int64_t i = 0; i < out[3].elements(); ++i) EXPECT_EQ(out[3].data<std::int64_t>()[i], counts[i]);
    if (!sorted) {
      EXPECT_TRUE(std::is_sorted(out[1].span<std::int64_t>().begin(), out[1].span<std::int64_t>().end()));
    } else if (flat) {
      EXPECT_TRUE(std::is_sorted(out[0].span<std::int64_t>().begin(), out[0].span<std::int64_t>().end()));
    }
  }
  EXPECT_EQ(run({"Unique", {}, 11, 1}, {counting({0})})[0].shape(), Shape{0});
  EXPECT_EQ(run({"Unique", {{"axis", std::int64_t{0}}}, 11, 1}, {counting({3, 0})})[0].shape(), (Shape{1, 0}));
}

TEST(CumSum, Variants) {
  const Tensor in = tensor<float>({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto sum = [&](std::int64_t axis, std::int64_t exclusive, std::int64_t reverse) {
    return values<float>(run({"CumSum", {{"exclusive", exclusive}, {"reverse", reverse}}}, {in, scalar(axis)})[0]);
  };
  EXPECT_EQ(sum(1, 0, 0), (std::vector<float>{1, 3, 6, 4, 9, 15}));
  EXPECT_EQ(sum(-1, 1, 0), (std::vector<float>{0, 1, 3, 0, 4, 9}));
  EXPECT_EQ(sum(1, 0, 1), (std::vector<float>{6, 5, 3, 15, 11, 6}));
  EXPECT_EQ(sum(1, 1, 1), (std::vector<float>{5, 3, 0, 11, 6, 0}));
  EXPECT_EQ(sum(0, 0, 0), (std::vector<float>{1, 2, 3, 5, 7, 9}));
  EXPECT_THROW(sum(2, 0, 0), Error);
  EXPECT_EQ(values<std::int32_t>(
                run({"CumProd", {}}, {tensor<std::int32_t>({4}, {2, 3, -4, 5}), scalar<std::int64_t>(0)})[0]),
            (std::vector<std::int32_t>{2, 6, -24, -120}));
}

TEST(NonZero, CoordinatesByDimension) {
  EXPECT_EQ(values<std::int64_t>(run({"NonZero", {}}, {tensor<float>({2, 2}, {1, 0, NAN, 3})})[0]),
            (Integers{0, 1, 1, 0, 0, 1}));
  EXPECT_EQ(run({"NonZero", {}}, {scalar(1.0f)})[0].shape(), (Shape{0, 1}));
  EXPECT_EQ(run({"NonZero", {}}, {counting({0, 2})})[0].shape(), (Shape{2, 0}));
}

TEST(NonMaxSuppression, KeepsTheBestOfOverlappingBoxes) {
  const Tensor boxes = tensor<float>({1, 4, 4}, {0, 0, 1, 1, 0, 0.1f, 1, 1.1f, 0, 10, 1, 11, 1, 11, 0, 10});
  const Tensor centers =
      tensor<float>({1, 4, 4}, {0.5f, 0.5f, 1, 1, 0.6f, 0.5f, 1, 1, 10.5f, 0.5f, 1, 1, 10.5f, 0.5f, 1, 1});
  const Tensor scores = tensor<float>({1, 1, 4}, {0.9f, 0.95f, 0.5f, 0.5f});
  for (const std::int64_t center : {0, 1}) {
    const NodeCase node{"NonMaxSuppression", {{"center_point_box", center}}};
    const Tensor& in = center != 0 ? centers : boxes;
    EXPECT_EQ(values<std::int64_t>(run(node, {in, scores, integers({3}), scalar(0.5f)})[0]),
              (Integers{0, 0, 1, 0, 0, 2}));
    EXPECT_EQ(values<std::int64_t>(run(node, {in, scores, integers({1}), scalar(0.5f)})[0]), (Integers{0, 0, 1}));
    EXPECT_EQ(values<std::int64_t>(run(node, {in, scores, integers({3}), scalar(0.5f), scalar(0.92f)})[0]),
              (Integers{0, 0, 1}));
    EXPECT_EQ(run(node, {in, scores})[0].shape(), (Shape{0, 3}));
  }
  EXPECT_THROW(run({"NonMaxSuppression", {}}, {boxes, counting({1, 1, 3})}), Error);
}

}  // namespace
}  // namespace tare::test
