// Biases of products of matrices: the product's own where no chain takes them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chains/graphs.hpp"
#include "plan/fuse.hpp"
#include "run/executor.hpp"
#include "support/halves.hpp"

namespace tare::test {
namespace {

using testing::ElementsAre;

/// A product with constant weights, and an Add of a vector.
struct Model {
  Builder b;
  ValueId product = absent;
  ValueId sum = absent;

  Model(const std::string& type, const Shape& weights, const Shape& bias, bool bias_first = false) {
    const ValueId x = b.input("x");
    product = b.node(type, {x, b.constant(random_numbers(weights, 2, 0, 1))});
    const ValueId vector = b.constant(random_numbers(bias, 3));
    sum = b.node("Add", bias_first ? std::vector{vector, product} : std::vector{product, vector});
  }
};

std::vector<std::string> operators(const Graph& graph) {
  std::vector<std::string> types;
  for (const Node& node : graph.nodes) types.push_back(node.op_type);
  return types;
}

class Bias : public Chain {
 protected:
  Graph planned(const Graph& graph, std::vector<ValueId> visible = {}, Visible what = Visible::replaced) {
    std::vector<bool> is_visible(graph.values.size());
    for (const ValueId value : visible) is_visible[static_cast<std::size_t>(value)] = true;
    return make_runnable(graph, is_visible, *backend_, what);
  }
  /// As near as sums in another order: a library may take another kernel where it adds a bias.
  void expect_near(const Graph& graph, const Graph& plan, const Shape& input) {
    const std::vector<Tensor> inputs{random_numbers(input, 1, 0, 1)};
    const Tensor have = Executor(plan, *backend_).run(inputs).at(0);
    const Tensor want = Executor(graph, *backend_).run(inputs).at(0);
    ASSERT_EQ(have.shape(), want.shape());
    for (std::int64_t i = 0; i < want.elements(); ++i)
      ASSERT_NEAR(have.data<float>()[i], want.data<float>()[i], 1e-6f * static_cast<float>(input.back() + 1)) << i;
  }

  std::unique_ptr<Backend> backend_ = GetParam().missing.empty() ? GetParam().make() : nullptr;
};

TEST_P(Bias, IsTheProductsOwn) {
  struct Case {
    std::string type;
    Shape input, weights;
    std::int64_t columns;
  };
  for (const Case& c :
       {Case{"MatMul", {5, 8}, {8, 6}, 6}, Case{"MatMul", {2, 3, 5, 8}, {8, 6}, 6}, Case{"MatMul", {8}, {8, 6}, 6},
        Case{"MatMul", {3, 5, 8}, {3, 8, 6}, 6}, Case{"MatMul", {2, 1, 5, 8}, {3, 8, 6}, 6},
        Case{"MatMul", {5, 70}, {70, 1}, 1}, Case{"MatMul", {0, 5, 8}, {8, 6}, 6}, Case{"MatMul", {5, 0}, {0, 6}, 6},
        Case{"MatMul", {64, 300}, {300, 129}, 129}, Case{"Gemm", {5, 8}, {8, 6}, 6}})
    for (const bool bias_first : {false, true}) {
      SCOPED_TRACE(c.type + " of " + c.input.text() + " by " + c.weights.text());
      Model model(c.type, c.weights, {c.columns}, bias_first);
      model.b.output(model.sum);
      const Graph plan = planned(model.b.graph);
      ASSERT_THAT(operators(plan), ElementsAre(c.type));
      EXPECT_EQ(plan.nodes[0].inputs.size(), 3u);
      expect_near(model.b.graph, plan, c.input);
    }
}

TEST_P(Bias, OfTransposedWeights) {
  Model model("Gemm", {6, 8}, {6});
  model.b.graph.nodes[0].attributes.emplace("transB", std::int64_t{1});
  model.b.graph.nodes[0].attributes.emplace("beta", 0.5f);  // of a C that is not there
  model.b.output(model.sum);
  const Graph plan = planned(model.b.graph);
  EXPECT_THAT(operators(plan), ElementsAre("Gemm"));
  expect_near(model.b.graph, plan, {5, 8});
}

TEST_P(Bias, IsPartOfAChainWhereChainsReadIt) {
  Model model("MatMul", {8, 6}, {6});
  model.b.output(model.b.node("Sigmoid", {model.b.node("Erf", {model.sum})}));
  const Graph plan = planned(model.b.graph);
  EXPECT_THAT(operators(plan), ElementsAre("MatMul", "Chain"));
  EXPECT_EQ(plan.nodes[0].inputs.size(), backend_->chains_broadcast() ? 2u : 3u);
  expect_near(model.b.graph, plan, {5, 8});
}

/// A library may keep the numbers of one operation of a kind alone.
TEST_P(Bias, ActivationsBehindOneAnotherKeepTheirNumbers) {
  using Attributes = std::map<std::string, Attribute>;
  const std::vector<std::pair<std::string, Attributes>> activations = {
      {"Relu", {}},
      {"Tanh", {}},
      {"LeakyRelu", {{"alpha", 0.5f}}},
      {"LeakyRelu", {{"alpha", 0.125f}}},
      {"HardSigmoid", {{"alpha", 0.25f}, {"beta", 0.25f}}},
      {"Clip", {{"min", -3.0f}, {"max", -0.25f}}},
      {"Clip", {{"min", -0.5f}, {"max", 0.125f}}}};
  for (const auto& first : activations)
    for (const auto& second : activations)
      for (const auto& third : activations) {
        Model model("MatMul", {8, 6}, {6});
        ValueId last = model.sum;
        for (const auto& [type, attributes] : {first, second, third}) {
          last = model.b.node(type, {last});
          model.b.graph.nodes.back().opset = 6;
          model.b.graph.nodes.back().attributes.insert(attributes.begin(), attributes.end());
        }
        model.b.output(last);
        SCOPED_TRACE(first.first + " " + second.first + " " + third.first);
        expect_near(model.b.graph, planned(model.b.graph), {5, 8});
        if (HasFailure()) return;
      }
}

/// As opset 6 has it, a vector may be one for every row.
TEST_P(Bias, AlongAnotherAxisStays) {
  Model model("MatMul", {6, 6}, {6});
  model.b.output(model.sum);
  model.b.graph.nodes.back().opset = 6;
  model.b.graph.nodes.back().attributes = {{"broadcast", std::int64_t{1}}, {"axis", std::int64_t{0}}};
  const Graph plan = planned(model.b.graph);
  EXPECT_THAT(operators(plan), ElementsAre("MatMul", "Add"));
  expect_near(model.b.graph, plan, {6, 6});
}

TEST_P(Bias, StaysWhereItDoesNotFitOrSomebodyLooksAtTheProduct) {
  for (const Shape& bias : {Shape{1}, Shape{5, 6}, Shape{1, 6}}) {
    Model model("MatMul", {8, 6}, bias);
    model.b.output(model.sum);
    EXPECT_THAT(operators(planned(model.b.graph)), ElementsAre("MatMul", "Add")) << bias.text();
  }
  Model seen("MatMul", {8, 6}, {6});
  seen.b.output(seen.sum);
  EXPECT_THAT(operators(planned(seen.b.graph, {seen.product})), ElementsAre("MatMul", "Add"));
  EXPECT_THAT(operators(planned(seen.b.graph, {seen.sum})), ElementsAre("MatMul"));
  Model output("MatMul", {8, 6}, {6});
  output.b.output(output.sum);
  output.b.output(output.product);
  EXPECT_EQ(planned(output.b.graph).nodes.at(0).inputs.size(), 2u);
  Model again("MatMul", {8, 6}, {6});
  again.b.output(again.sum);
  again.b.output(again.b.node("Softmax", {again.product}));
  EXPECT_EQ(planned(again.b.graph).nodes.at(0).inputs.size(), 2u);
  Model twice("MatMul", {8, 6}, {6});
  twice.b.output(twice.b.node("Add", {twice.sum, twice.b.constant(random_numbers({6}, 4))}));
  const Graph plan = planned(twice.b.graph);
  EXPECT_EQ(plan.nodes.size(), 2u);
  expect_near(twice.b.graph, plan, {5, 8});
  Model half("MatMul", {8, 6}, {6});
  half.b.output(half.sum);
  for (auto& [value, tensor] : half.b.graph.constants) tensor = narrowed(tensor, DataType::float16);
  for (Value& value : half.b.graph.values) value.type = DataType::float16;
  EXPECT_THAT(operators(planned(half.b.graph)), ElementsAre("MatMul", "Add"));
}

INSTANTIATE_TEST_SUITE_P(Backends, Bias, testing::ValuesIn(backends()),
                         [](const auto& backend) { return backend.param.name; });

}  // namespace
}  // namespace tare::test
