// Transpose, Concat, Split, Expand, Tile, depth and space: against index arithmetic written out.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "ops_movement/node.hpp"

namespace tare::test {
namespace {

using Integers = std::vector<std::int64_t>;

template <class T>
void expect_transposed(const Tensor& in, const Tensor& reference, const Integers& permutation) {
  const Tensor out = run_plain({"Transpose", {{"perm", permutation}}}, {in});
  Shape shape;
  for (const std::int64_t axis : permutation) shape.push_back(in.shape()[static_cast<std::size_t>(axis)]);
  ASSERT_EQ(out.shape(), shape);
  std::int64_t wrong = 0;
  for_each_index(shape, [&](const Shape& index) {
    Shape source(shape.rank(), 0);
    for (std::size_t d = 0; d < shape.rank(); ++d) source[static_cast<std::size_t>(permutation[d])] = index[d];
    wrong += out.data<T>()[position(shape, index)] != reference.data<T>()[position(in.shape(), source)];
  });
  EXPECT_EQ(wrong, 0) << in.shape().text() << " by " << text_of(permutation);
}

TEST(Transpose, EveryPermutationOfRandomShapes) {
  std::mt19937 random(20240501);
  for (std::size_t rank = 0; rank <= 5; ++rank) {
    Integers permutation(rank);
    std::iota(permutation.begin(), permutation.end(), 0);
    do {
      const Shape shape = random_shape(random, rank, 7);
      expect_transposed<float>(counting(shape), counting(shape), permutation);
    } while (std::next_permutation(permutation.begin(), permutation.end()));
  }
}

TEST(Transpose, LargeEnoughForTilesAndThreads) {
  for (const Shape& shape : {Shape{3, 129, 12, 67}, Shape{1, 515, 1030, 1}, Shape{2, 31, 1025, 17}}) {
    const Tensor in = counting(shape);
    for (const Integers& permutation :
         {Integers{0, 2, 1, 3}, Integers{0, 2, 3, 1}, Integers{0, 3, 1, 2}, Integers{3, 2, 1, 0}})
      expect_transposed<float>(in, in, permutation);
  }
}

TEST(Transpose, EveryElementSize) {
  const Shape shape{2, 37, 3, 19};
  expect_transposed<std::uint8_t>(counting<std::uint8_t>(shape), counting<std::uint8_t>(shape), {0, 2, 3, 1});
  expect_transposed<std::int16_t>(counting<std::int16_t>(shape), counting<std::int16_t>(shape), {0, 3, 2, 1});
  expect_transposed<double>(counting<double>(shape), counting<double>(shape), {3, 2, 0, 1});
  const Tensor half = counting<std::uint16_t>(shape).retyped(DataType::float16);
  EXPECT_EQ(run_plain({"Transpose", {{"perm", Integers{0, 2, 3, 1}}}}, {half}).type(), DataType::float16);
  expect_transposed<std::uint16_t>(half, half, {0, 2, 3, 1});
}

TEST(Transpose, ChannelsLastIsReadInPlace) {
  const Tensor in = counting({2, 5, 3, 7});
  expect_transposed<float>(channels_last(in), in, {0, 2, 3, 1});
  expect_transposed<float>(channels_last(in), in, {0, 1, 3, 2});
  const Tensor last = channels_last(in);
  EXPECT_EQ(run({"Transpose", {{"perm", Integers{0, 2, 3, 1}}}}, {last})[0].storage(), last.storage());
}

TEST(Transpose, MovingOnesSharesTheStorage) {
  const Tensor in = counting({1, 6, 1, 4});
  EXPECT_EQ(run({"Transpose", {{"perm", Integers{2, 1, 3, 0}}}}, {in})[0].storage(), in.storage());
  EXPECT_EQ(run({"Transpose", {}}, {counting({0, 3})})[0].shape(), (Shape{3, 0}));
}

TEST(Transpose, RefusesWhatIsNoPermutation) {
  EXPECT_THROW(run({"Transpose", {{"perm", Integers{0, 0}}}}, {counting({2, 3})}), Error);
  EXPECT_THROW(run({"Transpose", {{"perm", Integers{0}}}}, {counting({2, 3})}), Error);
  EXPECT_THROW(run({"Transpose", {{"perm", Integers{0, 2}}}}, {counting({2, 3})}), Error);
  EXPECT_THROW(run({"Transpose", {}}, {}), Error);
}

Tensor reference_concat(const std::vector<Tensor>& inputs, std::size_t axis) {
  Shape shape = inputs[0].shape();
  shape[axis] = 0;
  for (const Tensor& in : inputs) shape[axis] += in.shape()[axis];
  Tensor out = Tensor::host(DataType::float32, shape);
  std::int64_t offset = 0;
  for (const Tensor& in : inputs) {
    for_each_index(in.shape(), [&](Shape index) {
      const float value = in.data<float>()[position(in.shape(), index)];
      index[axis] += offset;
      out.mutable_data<float>()[position(shape, index)] = value;
    });
    offset += in.shape()[axis];
  }
  return out;
}

TEST(Concat, RandomShapesAxesAndLayouts) {
  std::mt19937 random(20240502);
  for (int trial = 0; trial < 60; ++trial) {
    const std::size_t rank = 1 + random() % 4;
    const std::size_t axis = random() % rank;
    Shape shape = random_shape(random, rank, 9);
    std::vector<Tensor> inputs;
    std::vector<Tensor> fed;
    for (std::size_t i = 0; i <= random() % 4; ++i) {
      shape[axis] = static_cast<std::int64_t>(random() % 5);
      inputs.push_back(counting(shape));
      fed.push_back(rank == 4 && trial % 3 == 1 ? channels_last(inputs.back()) : inputs.back());
      if (rank == 4 && trial % 3 == 2 && i % 2 == 0) fed.back() = channels_last(inputs.back());
    }
    const auto signed_axis = static_cast<std::int64_t>(axis) - (trial % 2 == 0 ? 0 : static_cast<std::int64_t>(rank));
    const Tensor expected = reference_concat(inputs, axis);
    const std::vector<Tensor> out = run({"Concat", {{"axis", signed_axis}}}, fed);
    if (rank == 4 && trial % 3 == 1) {
      if (expected.elements() > 0) {
        EXPECT_EQ(out[0].layout(), Layout::channels_last);
      }
    }
    EXPECT_EQ(out[0].shape(), expected.shape());
    EXPECT_EQ(values<float>(plain(out[0])), values<float>(expected)) << trial;
  }
}

TEST(Concat, RefusesWhatDoesNotFit) {
  EXPECT_THROW(run({"Concat", {{"axis", std::int64_t{0}}}}, {counting({2, 3}), counting({2, 4})}), Error);
  EXPECT_THROW(run({"Concat", {{"axis", std::int64_t{0}}}}, {counting({2, 3}), counting({2})}), Error);
  EXPECT_THROW(run({"Concat", {{"axis", std::int64_t{0}}}}, {counting({2}), counting<double>({2})}), Error);
  EXPECT_THROW(run({"Concat", {{"axis", std::int64_t{0}}}}, {scalar(1.0f)}), Error);
}

TEST(Split, PartsJoinedAreTheWhole) {
  std::mt19937 random(20240503);
  for (int trial = 0; trial < 40; ++trial) {
    const std::size_t rank = 1 + random() % 4;
    const std::size_t axis = random() % rank;
    const Tensor in = counting(random_shape(random, rank, 9));
    const Tensor fed = rank == 4 && trial % 2 == 0 ? channels_last(in) : in;
    const std::int64_t first = static_cast<std::int64_t>(random()) % (in.shape()[axis] + 1);
    const NodeCase node{"Split", {{"axis", static_cast<std::int64_t>(axis)}}, 18, 2};
    std::vector<Tensor> parts = run(node, {fed, integers({first, in.shape()[axis] - first})});
    for (Tensor& part : parts) {
      EXPECT_EQ(part.layout(), fed.layout());
      part = plain(part);
    }
    EXPECT_EQ(parts[0].shape()[axis], first);
    EXPECT_EQ(values<float>(reference_concat(parts, axis)), values<float>(in)) << trial;
  }
}

TEST(Split, OldAndNewForms) {
  const Tensor in = counting({7});
  const auto by_attribute = run({"Split", {{"split", Integers{2, 5}}}, 7, 2}, {in});
  EXPECT_EQ(values<float>(by_attribute[0]), (std::vector<float>{0, 1}));
  EXPECT_EQ(by_attribute[1].shape(), Shape{5});
  const auto uneven = run({"Split", {{"num_outputs", std::int64_t{3}}}, 18, 3}, {in});
  EXPECT_EQ(uneven[0].shape(), Shape{3});
  EXPECT_EQ(values<float>(uneven[2]), (std::vector<float>{6}));
  EXPECT_THROW(run({"Split", {}, 13, 2}, {in}), Error);
  EXPECT_THROW(run({"Split", {}, 13, 2}, {in, integers({3, 3})}), Error);
  EXPECT_THROW(run({"Split", {}, 13, 2}, {in, integers({8, -1})}), Error);
  EXPECT_THROW(run({"Split", {}, 13, 2}, {in, integers({7})}), Error);
}

TEST(Expand, BroadcastsBothWays) {
  std::mt19937 random(20240504);
  for (int trial = 0; trial < 40; ++trial) {
    const Shape target = random_shape(random, random() % 5, 6);
    Shape from;
    for (std::size_t d = random() % (target.rank() + 1); d < target.rank(); ++d)
      from.push_back(random() % 2 == 0 ? 1 : target[d]);
    const Tensor in = counting(from);
    const Tensor out = run_plain({"Expand", {}}, {in, integers({target.begin(), target.end()})});
    ASSERT_EQ(out.shape(), target);
    for_each_index(target, [&](const Shape& index) {
      Shape source;
      for (std::size_t d = 0; d < from.rank(); ++d)
        source.push_back(from[d] == 1 ? 0 : index[target.rank() - from.rank() + d]);
      EXPECT_EQ(out.data<float>()[position(target, index)], in.data<float>()[position(from, source)]);
    });
  }
  EXPECT_EQ(run_plain({"Expand", {}}, {counting({3, 1}), integers({1, 4})}).shape(), (Shape{3, 4}));
  EXPECT_EQ(run_plain({"Expand", {}}, {counting({3, 1}), integers({0})}).shape(), (Shape{3, 0}));
  EXPECT_THROW(run({"Expand", {}}, {counting({3}), integers({4})}), Error);
  EXPECT_THROW(run({"Expand", {}}, {counting({1}), integers({-4})}), Error);
}

TEST(Tile, RepeatsEveryDimension) {
  std::mt19937 random(20240505);
  for (int trial = 0; trial < 40; ++trial) {
    const Tensor in = counting(random_shape(random, random() % 5, 5));
    Integers repeats;
    Shape shape;
    for (std::size_t d = 0; d < in.rank(); ++d) {
      repeats.push_back(1 + static_cast<std::int64_t>(random() % 3));
      shape.push_back(repeats[d] * in.shape()[d]);
    }
    const Tensor out = run_plain({"Tile", {}}, {in, integers(repeats)});
    ASSERT_EQ(out.shape(), shape);
    for_each_index(shape, [&](const Shape& index) {
      Shape source = index;
      for (std::size_t d = 0; d < in.rank(); ++d) source[d] %= in.shape()[d];
      EXPECT_EQ(out.data<float>()[position(shape, index)], in.data<float>()[position(in.shape(), source)]);
    });
  }
  EXPECT_EQ(run_plain({"Tile", {}}, {counting({2}), integers({0})}).shape(), Shape{0});
  EXPECT_THROW(run({"Tile", {}}, {counting({2}), integers({-1})}), Error);
  EXPECT_THROW(run({"Tile", {}}, {counting({2}), integers({std::int64_t{1} << 62})}), Error);
}

TEST(DepthToSpace, BothModesAndBack) {
  const Tensor in = counting({2, 12, 3, 5});
  for (const bool last : {false, true}) {
    const Tensor fed = last ? channels_last(in) : in;
    for (const char* mode : {"DCR", "CRD"}) {
      const auto out = run({"DepthToSpace", {{"blocksize", std::int64_t{2}}, {"mode", std::string(mode)}}}, {fed});
      EXPECT_EQ(out[0].layout(), fed.layout());
      const Tensor space = plain(out[0]);
      ASSERT_EQ(space.shape(), (Shape{2, 3, 6, 10}));
      for_each_index(space.shape(), [&](const Shape& i) {
        const std::int64_t within = i[2] % 2 * 2 + i[3] % 2;
        const std::int64_t channel = mode[0] == 'D' ? within * 3 + i[1] : i[1] * 4 + within;
        EXPECT_EQ(space.data<float>()[position(space.shape(), i)],
                  in.data<float>()[position(in.shape(), {i[0], channel, i[2] / 2, i[3] / 2})]);
      });
    }
    const Tensor space = run({"DepthToSpace", {{"blocksize", std::int64_t{2}}}}, {fed})[0];
    const Tensor back = run_plain({"SpaceToDepth", {{"blocksize", std::int64_t{2}}}}, {space});
    EXPECT_EQ(values<float>(back), values<float>(in));
  }
  EXPECT_THROW(run({"DepthToSpace", {{"blocksize", std::int64_t{5}}}}, {in}), Error);
  EXPECT_THROW(run({"DepthToSpace", {{"blocksize", std::int64_t{0}}}}, {in}), Error);
  EXPECT_THROW(run({"SpaceToDepth", {{"blocksize", std::int64_t{2}}}}, {in}), Error);
}

}  // namespace
}  // namespace tare::test
