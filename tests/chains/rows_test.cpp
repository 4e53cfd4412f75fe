// Chains through softmax and normalizations of the last dimension: one node where a device takes rows along, and the
// bits of the operators one by one on every backend.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chains/graphs.hpp"
#include "plan/chains.hpp"
#include "run/executor.hpp"
#include "support/halves.hpp"

namespace tare::test {
namespace {

constexpr const char* operations[] = {"LayerNormalization", "RMSNormalization", "Softmax", "LogSoftmax"};

ValueId operation(Builder& b, const std::string& type, ValueId x, std::int64_t length) {
  std::vector<ValueId> inputs = {x};
  const std::size_t parameters = type == "LayerNormalization" ? 2 : type == "RMSNormalization" ? 1 : 0;
  for (unsigned i = 0; i < parameters; ++i) inputs.push_back(b.constant(random_numbers({length}, i + 10)));
  const ValueId made = b.node(type, inputs);
  b.graph.nodes.back().opset = 23;
  return made;
}

/// (x + bias + other) through an operation; quantized, and times another tensor of that shape; what goes in comes out,
/// too.
Graph model(const std::string& type, std::int64_t length) {
  Builder b;
  const ValueId bias = b.constant(random_numbers({length}, 3));
  const ValueId sum = b.node("Add", {b.node("Add", {b.input("x"), bias}), b.input("other")});
  const ValueId made = operation(b, type, sum, length);
  b.output(b.node("Mul", {b.quantizer(made), b.input("factor")}));
  b.output(sum);
  return b.graph;
}

class Rows : public Chain {
 protected:
  void SetUp() override {
    Chain::SetUp();
    if (GetParam().missing.empty()) backend_ = GetParam().make();
  }
  Graph joined(const Graph& graph, std::vector<ValueId> visible = {}, Visible what = Visible::replaced) const {
    std::vector<bool> is_visible(graph.values.size());
    for (const ValueId value : visible) is_visible[static_cast<std::size_t>(value)] = true;
    return join_chains(graph, is_visible, *backend_, what);
  }
  /// Nodes of the graph when its chains go through rows, or end there.
  void expect_nodes(const Graph& graph, std::size_t through, std::size_t apart) const {
    EXPECT_EQ(joined(graph).nodes.size(), backend_->chains_take_rows() ? through : apart);
  }
  void expect_same(const Graph& graph, const std::vector<Tensor>& inputs, const std::string& where) {
    expect_same_bits(*backend_, Executor(joined(graph), *backend_).run(inputs), Executor(graph, *backend_).run(inputs),
                     where);
  }

  std::unique_ptr<Backend> backend_;
};

TEST_P(Rows, OneByOneAndTogetherAreTheSameBits) {
  for (const char* type : operations)
    for (const std::int64_t length : {1, 2, 4, 31, 128, 197, 384, 1024, 1025, 1028, 12'000, 12'001}) {
      const Graph graph = model(type, length);
      expect_nodes(graph, 1, backend_->chains_broadcast() || length == 1 ? 3 : 4);
      for (const Shape& outer : {Shape{}, Shape{2, 3}, Shape{2, 4100}, Shape{0}}) {
        Shape shape = outer;
        shape.push_back(length);
        if (shape.elements() > 300'000) continue;
        expect_same(graph, {random_tensor(shape, Layout::plain, 1), random_numbers(shape, 2), random_numbers(shape, 3)},
                    std::string(type) + " of " + shape.text());
      }
    }
}

TEST_P(Rows, MasksBroadcast) {
  Builder b;
  const ValueId scores = b.node("Div", {b.input("scores"), b.number(8)});
  b.output(operation(b, "Softmax", b.node("Add", {scores, b.input("mask")}), 12));
  expect_nodes(b.graph, 1, 2);
  for (const std::int64_t length : {12, 13}) {
    Tensor mask = Tensor::host(DataType::float32, {2, 1, 1, length});
    for (std::int64_t i = 0; i < mask.elements(); ++i) mask.mutable_data<float>()[i] = i % 5 == 3 ? -1e4f : 0.0f;
    expect_same(b.graph, {random_numbers({2, 3, 5, length}, 4), mask}, std::to_string(length));
  }
}

TEST_P(Rows, HalvesAreRoundedAfterEveryStep) {
  for (const DataType half : {DataType::float16, DataType::bfloat16}) {
    if (!backend_->joins(half)) GTEST_SKIP() << "its halves are widened around every operator";
    for (const char* type : operations)
      for (const std::int64_t length : {16, 21}) {
        Graph graph = model(type, length);
        for (Value& value : graph.values) value.type = half;
        for (auto& [value, constant] : graph.constants) constant = narrowed(constant, half);
        expect_nodes(graph, 1, 3);
        std::vector<Tensor> inputs;
        for (unsigned i = 0; i < 3; ++i) inputs.push_back(narrowed(random_numbers({5, length}, i), half));
        const std::vector<Tensor> want = Executor(graph, *backend_).run(inputs);
        const std::vector<Tensor> have = Executor(joined(graph), *backend_).run(inputs);
        for (std::size_t o = 0; o < want.size(); ++o) {
          ASSERT_EQ(have[o].type(), half);
          EXPECT_EQ(std::memcmp(have[o].data(), want[o].data(), want[o].bytes()), 0) << type << ' ' << length;
        }
      }
  }
}

/// A chain has one operation on rows, and nothing behind it reads what was made before it.
TEST_P(Rows, WhatDoesNotFitRunsApart) {
  const std::vector<Tensor> inputs = {random_numbers({3, 5, 8}, 1)};
  Builder twice;
  const ValueId first = operation(twice, "Softmax", twice.node("Neg", {twice.input("x")}), 8);
  twice.output(twice.node("Exp", {operation(twice, "LayerNormalization", twice.node("Abs", {first}), 8)}));
  expect_nodes(twice.graph, 2, 5);
  expect_same(twice.graph, inputs, "twice");

  Builder around;
  const ValueId before = around.node("Tanh", {around.input("x")});
  around.output(around.node("Mul", {operation(around, "Softmax", before, 8), before}));
  expect_nodes(around.graph, 2, 3);
  expect_same(around.graph, inputs, "around");

  Builder beside;
  const ValueId shared = beside.node("Neg", {beside.input("x")});
  beside.output(operation(beside, "Softmax", shared, 8));
  beside.output(beside.node("Sqrt", {beside.node("Abs", {shared})}));
  expect_same(beside.graph, inputs, "beside");

  Builder alone;
  alone.output(operation(alone, "Softmax", alone.input("x"), 8));
  EXPECT_EQ(joined(alone.graph).nodes.at(0).op_type, "Softmax");

  for (const std::int64_t axis : {0, 1, 2, -2, -1}) {
    Builder b;
    b.output(b.node("Neg", {operation(b, "Softmax", b.node("Abs", {b.input("x")}), 8)}));
    b.graph.nodes.at(1).attributes.emplace("axis", axis);
    expect_nodes(b.graph, axis == -1 ? 1 : 3, 3);
    expect_same(b.graph, inputs, std::to_string(axis));
    for (Value& value : b.graph.values) value.shape = Shape{-1, 5, 8};
    expect_nodes(b.graph, axis == -1 || axis == 2 ? 1 : 3, 3);
    expect_same(b.graph, inputs, std::to_string(axis));
  }

  Builder moments;
  const ValueId normal = operation(moments, "LayerNormalization", moments.node("Abs", {moments.input("x")}), 8);
  moments.graph.nodes.back().outputs.push_back(moments.value("mean"));
  moments.output(moments.node("Neg", {normal}));
  moments.output(moments.graph.nodes.at(1).outputs[1]);
  expect_nodes(moments.graph, 3, 3);
  expect_same(moments.graph, inputs, "moments");
}

TEST_P(Rows, ChainsEndWhereSomebodyLooks) {
  const Graph graph = model("Softmax", 8);
  const ValueId sum = graph.outputs.at(1);
  const ValueId made = graph.nodes.at(2).outputs.at(0);
  if (!backend_->chains_take_rows()) GTEST_SKIP() << "its chains end at rows";
  EXPECT_EQ(joined(graph, {sum}).nodes.size(), 2u);
  EXPECT_EQ(joined(graph, {made}).nodes.size(), 2u);
  EXPECT_EQ(joined(graph, {made}, Visible::observed).nodes.size(), 3u) << "chains that observe count, rows do not";
}

/// Parameters that the operator refuses.
TEST_P(Rows, ErrorsNameTheOperator) {
  Graph graph = model("LayerNormalization", 8);
  const std::vector<Tensor> inputs(3, random_numbers({3, 8}, 1));
  graph.constants.at(graph.nodes.at(2).inputs.at(1)) = random_numbers({7}, 1);
  try {
    Executor(joined(graph), *backend_).run(inputs);
    ADD_FAILURE() << "a scale of 7 for rows of 8";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::data);
    EXPECT_THAT(error.what(), testing::HasSubstr("LayerNormalization"));
    EXPECT_THAT(error.what(), testing::HasSubstr("[7]"));
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Rows, testing::ValuesIn(backends()),
                         [](const auto& backend) { return backend.param.name; });

}  // namespace
}  // namespace tare::test
