// Fusion: fewer nodes, the same values, and nothing that somebody looks at disappears.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "plan/fuse.hpp"
#include "run/executor.hpp"
#include "tare/backend.hpp"

namespace tare {
namespace {

/// A graph by names.
struct Builder {
  Graph graph;

  ValueId value(const std::string& name, DataType type = DataType::float32) {
    return graph.add_value({name, type, std::nullopt});
  }
  ValueId constant(const std::string& name, Tensor tensor) {
    const ValueId id = value(name, tensor.type());
    graph.constants.emplace(id, std::move(tensor));
    return id;
  }
  ValueId random(const std::string& name, const Shape& shape, unsigned seed) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal(0.0f, 1.0f);
    Tensor tensor = Tensor::host(DataType::float32, shape);
    for (float& x : tensor.mutable_span<float>()) x = normal(engine);
    return constant(name, std::move(tensor));
  }
  ValueId node(const std::string& op_type, std::vector<ValueId> inputs, const std::string& output) {
    Node made;
    made.name = output;
    made.op_type = op_type;
    made.opset = 13;
    made.inputs = std::move(inputs);
    made.outputs = {value(output)};
    graph.nodes.push_back(made);
    return made.outputs[0];
  }
};

struct HardSwishModel {
  Graph graph;
  ValueId x, convolved, shifted, clipped, result;
};

/// Conv, then x clip(x + 3, 0, 6) / 6 in four operators.
HardSwishModel spelled_out(bool division_first, std::size_t constant_rank = 0) {
  Builder g;
  HardSwishModel m;
  const auto number = [&](const char* name, float x, std::size_t rank) {
    return g.constant(name, Tensor::of<float>(Shape(rank, 1), std::span<const float>(&x, 1)));
  };
  m.x = g.value("x");
  g.graph.inputs = {m.x};
  const ValueId w = g.random("w", {4, 3, 3, 3}, 3);
  const ValueId three = number("three", 3, constant_rank), divisor = number("divisor", 6, constant_rank);
  const ValueId zero = number("zero", 0, 0), six = number("six", 6, 0);
  m.convolved = g.node("Conv", {m.x, w}, "convolved");
  m.shifted = g.node("Add", {m.convolved, three}, "shifted");
  m.clipped = g.node("Clip", {m.shifted, zero, six}, "clipped");
  if (division_first)
    m.result = g.node("Mul", {m.convolved, g.node("Div", {m.clipped, divisor}, "sixth")}, "y");
  else
    m.result = g.node("Div", {g.node("Mul", {m.clipped, m.convolved}, "product"), divisor}, "y");
  g.graph.outputs = {m.result};
  m.graph = std::move(g.graph);
  return m;
}

Tensor run(const Graph& graph, Backend& backend) {
  std::vector<float> values(2 * 3 * 9 * 7);
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  for (float& v : values) v = normal(random);
  const std::vector<Tensor> inputs = {Tensor::of<float>({2, 3, 9, 7}, std::span<const float>(values))};
  return Executor(graph, backend).run(inputs)[0];
}

TEST(Fuse, HardSwishInFourOperatorsBecomesPartOfItsConvolution) {
  const auto backend = make_cpu_backend({.threads = 2});
  for (const bool division_first : {false, true})
    for (const std::size_t rank : {std::size_t{0}, std::size_t{1}}) {
      const HardSwishModel model = spelled_out(division_first, rank);
      const Graph fused = fuse(model.graph, std::vector<bool>(model.graph.values.size(), false), *backend);
      ASSERT_EQ(fused.nodes.size(), 1u);
      const Tensor expected = run(model.graph, *backend);
      const Tensor actual = run(fused, *backend);
      ASSERT_EQ(actual.shape(), expected.shape());
      for (std::int64_t i = 0; i < expected.elements(); ++i)
        ASSERT_NEAR(actual.data<float>()[i], expected.data<float>()[i],
                    1e-5f * (1 + std::abs(expected.data<float>()[i])));
    }
}

/// Conv of five channels and columns, with a bias or none, then `type` with a constant of this shape.
Graph conv_and(const char* type, const Shape& shape, bool constant_first, bool has_bias) {
  Builder g;
  g.graph.inputs = {g.value("x")};
  std::vector<ValueId> inputs = {g.graph.inputs[0], g.random("w", {5, 3, 3, 3}, 7)};
  if (has_bias) inputs.push_back(g.random("b", {5}, 8));
  const ValueId convolved = g.node("Conv", inputs, "convolved");
  const ValueId operand = g.random("operand", shape, 9);
  g.graph.outputs = {
      g.node(type, constant_first ? std::vector{operand, convolved} : std::vector{convolved, operand}, "y")};
  return std::move(g.graph);
}

TEST(Fuse, OldNormalizationsThatTrainAreRefusedWhereverTheyStand) {
  const auto backend = make_cpu_backend({.threads = 2});
  for (const bool inference : {true, false}) {
    Builder g;
    g.graph.inputs = {g.value("x")};
    const ValueId convolved = g.node("Conv", {g.graph.inputs[0], g.random("w", {5, 3, 3, 3}, 7)}, "convolved");
    std::vector<ValueId> inputs = {convolved};
    for (const char* name : {"scale", "bias", "mean", "variance"}) {
      Tensor ones = Tensor::host(DataType::float32, {5});
      std::fill_n(ones.mutable_data<float>(), 5, 1.0f);
      inputs.push_back(g.constant(name, ones));
    }
    g.graph.outputs = {g.node("BatchNormalization", inputs, "y")};
    g.graph.nodes.back().opset = 6;
    if (inference) g.graph.nodes.back().attributes["is_test"] = std::int64_t{1};
    const Graph fused = fuse(g.graph, std::vector<bool>(g.graph.values.size(), false), *backend);
    EXPECT_EQ(fused.nodes.size(), inference ? 1u : 2u);
  }
}

TEST(Fuse, SumsAndProductsOfChannelsBecomePartOfTheirConvolution) {
  const auto backend = make_cpu_backend({.threads = 2});
  const auto check = [&](const Graph& graph, std::size_t nodes) {
    const Graph fused = fuse(graph, std::vector<bool>(graph.values.size(), false), *backend);
    EXPECT_EQ(fused.nodes.size(), nodes);
    const Tensor expected = run(graph, *backend);
    const Tensor actual = run(fused, *backend);
    ASSERT_EQ(actual.shape(), expected.shape());
    for (std::int64_t i = 0; i < expected.elements(); ++i)
      ASSERT_NEAR(actual.data<float>()[i], expected.data<float>()[i],
                  1e-5f * (1 + std::abs(expected.data<float>()[i])));
  };
  for (const char* type : {"Add", "Mul"})
    for (const bool constant_first : {false, true})
      for (const bool has_bias : {false, true}) {
        for (const Shape& shape : {Shape{5, 1, 1}, Shape{1, 5, 1, 1}, Shape{}, Shape{1}, Shape{1, 1, 1, 1}})
          check(conv_and(type, shape, constant_first, has_bias), 1);
        // Along the columns, along another axis, and of more dimensions than the convolution has.
        for (const Shape& shape :
             {Shape{5}, Shape{1, 1, 1, 5}, Shape{7, 1}, Shape{1, 1, 5, 1, 1}, Shape{1, 1, 1, 1, 1}})
          check(conv_and(type, shape, constant_first, has_bias), 2);
      }
  for (const char* type : {"Sub", "Div"}) check(conv_and(type, {5, 1, 1}, true, true), 2);
}

/// Reshape, exchange of the second and third dimension, Reshape; of the input [2, 3, 9, 7], or of six channels
/// convolved from it, [2, 6, 7, 5].
Graph shuffle(bool convolved, const std::vector<std::int64_t>& split, const std::vector<std::int64_t>& joined) {
  Builder g;
  const auto target = [&](const char* name, const std::vector<std::int64_t>& dims) {
    return g.constant(name, Tensor::of<std::int64_t>({static_cast<std::int64_t>(dims.size())}, dims));
  };
  ValueId channels = g.value("x");
  g.graph.inputs = {channels};
  if (convolved) channels = g.node("Conv", {channels, g.random("w", {6, 3, 3, 3}, 9)}, "convolved");
  const ValueId groups = g.node("Reshape", {channels, target("split", split)}, "groups");
  const ValueId members = g.node("Transpose", {groups}, "members");
  g.graph.nodes.back().attributes = {{"perm", std::vector<std::int64_t>{0, 2, 1, 3, 4}}};
  g.graph.outputs = {g.node("Reshape", {members, target("joined", joined)}, "y")};
  return std::move(g.graph);
}

TEST(Fuse, ThreeMovementsBecomeAChannelShuffle) {
  const auto backend = make_cpu_backend({.threads = 2});
  const auto check = [&](bool convolved, const std::vector<std::int64_t>& split,
                         const std::vector<std::int64_t>& joined) {
    const Graph graph = shuffle(convolved, split, joined);
    const Graph fused = fuse(graph, std::vector<bool>(graph.values.size(), false), *backend);
    ASSERT_EQ(fused.nodes.size(), convolved ? 2u : 1u);
    EXPECT_EQ(fused.nodes.back().op_type, "ChannelShuffle");
    const Tensor expected = run(graph, *backend);
    const Tensor actual = run(fused, *backend);
    ASSERT_EQ(actual.shape().text(), expected.shape().text());
    EXPECT_EQ(std::memcmp(actual.data(), expected.data(), expected.bytes()), 0) << expected.shape().text();
  };
  check(true, {2, 3, 2, 7, 5}, {2, 6, 7, 5});
  check(true, {0, 2, 3, 7, 5}, {0, 6, 7, 5});
  check(true, {-1, 2, 3, 7, 5}, {2, -1, 7, 5});
  check(false, {2, 1, 3, 9, 7}, {2, 3, 9, 7});
  check(false, {2, 3, 1, 9, 7}, {2, 3, 9, 7});
  // Other movements that are spelled so: not within the channels.
  check(true, {2, 2, 3, 5, 7}, {2, 6, 5, 7});
  check(true, {1, 2, 6, 7, 5}, {1, 12, 7, 5});
  check(true, {1, 2, 6, 7, 5}, {2, 6, 7, 5});
  check(true, {2, 6, 7, 5, 1}, {2, 7, 6, 5});
  check(false, {2, 3, 9, 7, 1}, {2, 9, 3, 7});
}

TEST(Fuse, ChannelShufflesThatDoNotFitOrAreVisibleStay) {
  const auto backend = make_cpu_backend({.threads = 2});
  const Graph graph = shuffle(true, {2, 3, 2, 7, 5}, {2, 6, 7, 5});
  for (const char* name : {"groups", "members"}) {
    std::vector<bool> visible(graph.values.size(), false);
    visible[static_cast<std::size_t>(graph.find(name))] = true;
    EXPECT_EQ(fuse(graph, visible, *backend).nodes.size(), 4u) << name;
  }
  const Graph wrong = shuffle(true, {2, 3, 3, 7, 5}, {2, 9, 7, 5});
  EXPECT_THROW(run(fuse(wrong, std::vector<bool>(wrong.values.size(), false), *backend), *backend), Error);
}

TEST(Fuse, ASumOfTwoIsAnAdd) {
  const auto backend = make_cpu_backend({.threads = 2});
  for (const std::size_t operands : {std::size_t{1}, std::size_t{2}, std::size_t{3}}) {
    Builder g;
    g.graph.inputs = {g.value("x")};
    std::vector<ValueId> inputs(operands, g.graph.inputs[0]);
    inputs.back() = g.random("row", {7}, 1);
    g.graph.outputs = {g.node("Sum", inputs, "y")};
    const Graph fused = fuse(g.graph, std::vector<bool>(g.graph.values.size(), false), *backend);
    EXPECT_EQ(fused.nodes.at(0).op_type, operands == 2 ? "Add" : "Sum");
    const Tensor expected = run(g.graph, *backend);
    const Tensor actual = run(fused, *backend);
    ASSERT_EQ(actual.shape().text(), expected.shape().text());
    EXPECT_EQ(std::memcmp(actual.data(), expected.data(), expected.bytes()), 0);
  }
}

TEST(Fuse, WhatIsVisibleStays) {
  const auto backend = make_cpu_backend({.threads = 2});
  const HardSwishModel model = spelled_out(false);
  for (const ValueId seen : {model.convolved, model.shifted, model.clipped}) {
    std::vector<bool> visible(model.graph.values.size(), false);
    visible[static_cast<std::size_t>(seen)] = true;
    const Graph fused = fuse(model.graph, visible, *backend);
    const auto makers = producers(fused);
    EXPECT_GE(makers[static_cast<std::size_t>(seen)], 0) << model.graph.value(seen).name;
    // Seeing what goes in does not keep the four operators from becoming one.
    EXPECT_EQ(fused.nodes.size(), seen == model.convolved ? 2u : 5u);
  }
}

}  // namespace
}  // namespace tare
