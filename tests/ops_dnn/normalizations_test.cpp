// Layer norms that are spelled out become one node, with the same values, where nobody looks inside.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "chains/graphs.hpp"
#include "plan/fuse.hpp"
#include "plan/normalizations.hpp"
#include "run/executor.hpp"

namespace tare::test {
namespace {

constexpr std::int64_t width = 24;

struct Spelling {
  bool squares_by_product = false;
  enum { divides, times_reciprocal, times_inverse_root } division = divides;
  bool axes_as_input = false;
  std::int64_t axis = -1;
  bool has_bias = true;
  Shape weights = {width};
  Shape epsilon = {};
  Shape exponent = {};
  std::optional<Shape> input = Shape{-1, -1, width};
};

struct Model {
  Builder b;
  std::vector<ValueId> inside;
  ValueId result = absent;

  explicit Model(const Spelling& spelling) {
    const ValueId x = b.input("x");
    b.graph.value(x).shape = spelling.input;
    const ValueId two = b.constant(spelling.exponent, {2});
    const auto mean = [&](ValueId of) {
      std::vector<ValueId> inputs = {of};
      if (spelling.axes_as_input) {
        inputs.push_back(b.graph.add_value({"axes", DataType::int64, Shape{1}}));
        b.graph.constants.emplace(inputs[1], Tensor::of<std::int64_t>({1}, std::vector{spelling.axis}));
      }
      const ValueId made = b.node("ReduceMean", inputs);
      b.graph.nodes.back().opset = spelling.axes_as_input ? 18 : 13;
      if (!spelling.axes_as_input) b.graph.nodes.back().attributes.emplace("axes", std::vector{spelling.axis});
      return made;
    };
    const ValueId centred = b.node("Sub", {x, mean(x)});
    const ValueId square =
        spelling.squares_by_product ? b.node("Mul", {centred, centred}) : b.node("Pow", {centred, two});
    const ValueId epsilon =
        b.constant(spelling.epsilon, std::vector<float>(static_cast<std::size_t>(spelling.epsilon.elements()), 0.01f));
    const ValueId sum = b.node("Add", {mean(square), epsilon});
    ValueId normal = absent;
    if (spelling.division == Spelling::divides)
      normal = b.node("Div", {centred, b.node("Sqrt", {sum})});
    else if (spelling.division == Spelling::times_reciprocal)
      normal = b.node("Mul", {b.node("Reciprocal", {b.node("Sqrt", {sum})}), centred});
    else
      normal = b.node("Mul", {centred, b.node("Pow", {sum, b.number(-0.5f)})});
    result = b.node("Mul", {normal, b.constant(random_numbers(spelling.weights, 2, 1, 0.5f))});
    if (spelling.has_bias) result = b.node("Add", {result, b.constant(random_numbers({width}, 3))});
    for (const Node& node : b.graph.nodes)
      if (node.outputs[0] != result) inside.push_back(node.outputs[0]);
    b.output(result);
  }
};

class Normalizations : public testing::Test {
 protected:
  Graph joined(const Graph& graph, std::vector<ValueId> visible = {}) {
    std::vector<bool> is_visible(graph.values.size());
    for (const ValueId value : visible) is_visible[static_cast<std::size_t>(value)] = true;
    return join_normalizations(graph, is_visible, *backend_);
  }
  void expect_apart(const Graph& graph, const char* why) {
    EXPECT_EQ(joined(graph).nodes.size(), graph.nodes.size()) << why;
  }
  /// As near as moments in float32 are to moments in float64.
  void expect_near(const Graph& graph, const Graph& plan) {
    const std::vector<Tensor> inputs{random_numbers({2, 5, width}, 1, 3)};
    const Tensor have = Executor(plan, *backend_).run(inputs).at(0);
    const Tensor want = Executor(graph, *backend_).run(inputs).at(0);
    ASSERT_EQ(have.shape(), want.shape());
    for (std::int64_t i = 0; i < want.elements(); ++i)
      ASSERT_NEAR(have.data<float>()[i], want.data<float>()[i], 1e-5f * (1 + std::abs(want.data<float>()[i]))) << i;
  }

  std::unique_ptr<Backend> backend_ = make_cpu_backend({.threads = 2});
};

TEST_F(Normalizations, InEverySpellingBecomeOneNode) {
  for (const bool by_product : {false, true})
    for (const auto division : {Spelling::divides, Spelling::times_reciprocal, Spelling::times_inverse_root})
      for (const bool axes_as_input : {false, true})
        for (const bool has_bias : {false, true}) {
          Spelling spelling;
          spelling.squares_by_product = by_product;
          spelling.division = division;
          spelling.axes_as_input = axes_as_input;
          spelling.has_bias = has_bias;
          const Model model(spelling);
          const Graph plan = joined(model.b.graph);
          ASSERT_EQ(plan.nodes.size(), 1u);
          EXPECT_EQ(plan.nodes[0].op_type, "LayerNormalization");
          EXPECT_EQ(plan.nodes[0].inputs.size(), has_bias ? 3u : 2u);
          expect_near(model.b.graph, plan);
          EXPECT_EQ(
              make_runnable(model.b.graph, std::vector<bool>(model.b.graph.values.size()), *backend_).nodes.size(), 1u);
        }
}

TEST_F(Normalizations, StayWhereSomebodyLooksInside) {
  const Model model({});
  EXPECT_EQ(joined(model.b.graph, {model.result}).nodes.size(), 1u);
  for (const ValueId value : model.inside)
    EXPECT_EQ(joined(model.b.graph, {value}).nodes.size(), model.b.graph.nodes.size()) << value;
}

/// Sums of a sum with itself, whose length nobody knows: looking for it must not double with every one.
TEST_F(Normalizations, BehindManySumsAreFoundOrLeft) {
  Spelling spelling;
  spelling.input = std::nullopt;
  Model model(spelling);
  Builder& b = model.b;
  ValueId sum = b.input("other");
  std::vector<Node> sums;
  for (int i = 0; i < 60; ++i) {
    sum = b.node("Add", {sum, sum});
    sums.push_back(b.graph.nodes.back());
    b.graph.nodes.pop_back();
  }
  const ValueId x = b.graph.inputs[0];
  for (Node& node : b.graph.nodes) std::replace(node.inputs.begin(), node.inputs.end(), x, sum);
  b.graph.nodes.insert(b.graph.nodes.begin(), sums.begin(), sums.end());
  expect_apart(b.graph, "rows of a length that is not known");
}

TEST_F(Normalizations, StayWhereTheyAreNoLayerNormalization) {
  Spelling other_axis;
  other_axis.axis = 1;
  expect_apart(Model(other_axis).b.graph, "another axis");
  Spelling last_axis;
  last_axis.axis = 2;
  Model counted(last_axis);
  expect_apart(counted.b.graph, "which dimension is the last is not known");
  for (Value& value : counted.b.graph.values) value.shape = Shape{-1, 5, width};
  EXPECT_EQ(joined(counted.b.graph).nodes.size(), 1u);
  Spelling matrix;
  matrix.weights = {5, width};
  expect_apart(Model(matrix).b.graph, "a weight for every row");
  Spelling epsilons;
  epsilons.epsilon = {5, 1};
  expect_apart(Model(epsilons).b.graph, "an epsilon for every row");
  epsilons.epsilon = {1, 1, 1, 1};
  expect_apart(Model(epsilons).b.graph, "an epsilon that adds a dimension");
  Spelling exponent;
  exponent.exponent = {1, 1, 1, 1};
  expect_apart(Model(exponent).b.graph, "an exponent that adds a dimension");
  Spelling column;
  column.input = Shape{-1, -1, 1};
  expect_apart(Model(column).b.graph, "weights that make rows of single values longer");
  column.input = std::nullopt;
  expect_apart(Model(column).b.graph, "rows may be shorter than their weights");
  Model passed_on({});
  Builder& b = passed_on.b;
  Node identity;
  identity.op_type = "Identity";
  identity.opset = 13;
  Node& product = b.graph.nodes[b.graph.nodes.size() - 2];
  identity.inputs = {product.inputs[1]};
  identity.outputs = {b.value("passed_on")};
  product.inputs[1] = identity.outputs[0];
  b.graph.nodes.insert(b.graph.nodes.begin(), identity);
  expect_apart(b.graph, "a weight that another node passes on");
}

}  // namespace
}  // namespace tare::test
