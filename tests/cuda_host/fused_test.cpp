// What the plan makes of products and what follows them, where chains read what broadcasts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chains/graphs.hpp"
#include "cuda_host/one_node.hpp"
#include "plan/fuse.hpp"
#include "plan/row_operation.hpp"
#include "run/executor.hpp"
#include "support/golden.hpp"
#include "support/halves.hpp"
#include "tare/cuda.hpp"
#include "tare/session.hpp"

namespace tare::test {
namespace {

using testing::ElementsAre;

class FusedProducts : public testing::Test {
 protected:
  /// A product of x by constants, and what follows it.
  struct Model {
    Builder b;
    ValueId sum = absent;

    Model(const Case& product, std::initializer_list<const char*> activations) {
      std::vector<ValueId> inputs = {b.input("x")};
      for (std::size_t i = 1; i < product.inputs.size(); ++i) {
        inputs.push_back(b.value(fmt::format("c{}", i)));
        b.graph.constants.emplace(inputs.back(), product.inputs[i]);
      }
      sum = b.node(product.op_type, inputs);
      b.graph.nodes.back().attributes.insert(product.attributes.begin(), product.attributes.end());
      ValueId last = sum;
      for (const char* activation : activations) last = b.node(activation, {last});
      b.output(last);
      for (Value& value : b.graph.values) value.type = product.inputs[0].type();
    }
  };

  std::vector<std::string> operators(const Graph& graph) const {
    std::vector<std::string> types;
    for (const Node& node : graph.nodes) types.push_back(node.op_type);
    return types;
  }
  Graph planned(const Model& model, bool observed) {
    std::vector<bool> visible(model.b.graph.values.size());
    if (observed) visible[static_cast<std::size_t>(model.sum)] = true;
    return make_runnable(model.b.graph, visible, *device_, observed ? Visible::observed : Visible::replaced);
  }
  Tensor result(Backend& backend, const Graph& graph, const Tensor& x) {
    return Executor(graph, backend, {}).run(std::vector{x}, nullptr).at(0);
  }

  std::unique_ptr<Backend> device_ = cuda::make_cuda_backend();
  std::unique_ptr<Backend> host_ = make_cpu_backend({.threads = 1});
};

const std::map<std::string, Attribute> grouped{{"group", std::int64_t{2}}};
const std::map<std::string, Attribute> transposed{{"transB", std::int64_t{1}}};

TEST_F(FusedProducts, BiasesAreStepsOfTheChain) {
  const std::vector<Case> products = {
      {"Conv", {floats({2, 4, 6, 5}, 1), floats({6, 4, 3, 3}, 2), floats({6}, 3)}},
      {"Conv", {floats({2, 4, 9}, 1), floats({6, 2, 3}, 2), floats({6}, 3)}, grouped},
      {"Conv", {floats({1, 2, 3, 4, 5}, 1), floats({3, 2, 1, 2, 1}, 2), floats({3}, 3)}},
      {"ConvTranspose", {floats({2, 4, 5, 4}, 1), floats({4, 3, 3, 3}, 2), floats({6}, 3)}, grouped},
      {"Gemm", {floats({5, 8}, 1), floats({8, 6}, 2), floats({6}, 3)}},
      {"Gemm", {floats({5, 8}, 1), floats({6, 8}, 2), floats({6}, 3)}, transposed}};
  for (const Case& product : products)
    for (const bool observed : {false, true}) {
      SCOPED_TRACE(fmt::format("{} {} {}", product.op_type, product.inputs[1].shape().text(), observed));
      const Model model(product, {"Relu", "Sigmoid"});
      const Graph graph = planned(model, observed);
      EXPECT_THAT(operators(graph), ElementsAre(product.op_type, "Chain"));
      EXPECT_EQ(graph.nodes.at(0).inputs.size(), 2u);
      const Tensor have = result(*device_, graph, product.inputs[0]);
      const Tensor want = result(*host_, model.b.graph, product.inputs[0]);
      ASSERT_EQ(have.shape(), want.shape());
      for (std::int64_t i = 0; i < want.elements(); ++i)
        ASSERT_NEAR(have.data<float>()[i], want.data<float>()[i], 2e-6f) << i;
    }
}

/// In halves every operator rounds: a convolution before its bias, as the library does; a Gemm once, behind it.
TEST_F(FusedProducts, BiasesOfHalves) {
  for (const DataType type : {DataType::float16, DataType::bfloat16}) {
    const auto half = [&](const Shape& shape, unsigned seed) { return narrowed(floats(shape, seed), type); };
    const Model conv({"Conv", {half({2, 4, 6, 5}, 1), half({6, 4, 3, 3}, 2), half({6}, 3)}}, {"Relu"});
    const Graph planned_conv = planned(conv, false);
    EXPECT_THAT(operators(planned_conv), ElementsAre("Conv", "Chain"));
    const Tensor x = half({2, 4, 6, 5}, 1);
    const Tensor have = result(*device_, planned_conv, x);
    const Tensor want = result(*device_, conv.b.graph, x);
    ASSERT_EQ(have.bytes(), want.bytes());
    EXPECT_EQ(std::memcmp(have.data(), want.data(), want.bytes()), 0) << name_of(type);

    const Model gemm({"Gemm", {half({5, 8}, 1), half({8, 6}, 2), half({6}, 3)}}, {"Relu"});
    EXPECT_THAT(operators(planned(gemm, false)), ElementsAre("Gemm", "Relu"));
  }
}

TEST_F(FusedProducts, WhatDoesNotFitStaysForTheOperatorToRefuse) {
  const std::map<std::string, Attribute> scaled{{"beta", 0.5f}};
  for (const Case& product : {Case{"Conv", {floats({2, 4, 6, 5}, 1), floats({6, 4, 3, 3}, 2), floats({1}, 3)}},
                              Case{"ConvTranspose", {floats({2, 4, 6, 5}, 1), floats({4, 3, 3, 3}, 2), floats({6}, 3)}},
                              Case{"Gemm", {floats({1, 8}, 1), floats({8, 6}, 2), floats({7}, 3)}},
                              Case{"Gemm", {floats({1, 8}, 1), floats({8, 6}, 2), floats({6}, 3)}, scaled}}) {
    const Graph graph = planned(Model(product, {"Relu"}), false);
    EXPECT_THAT(operators(graph), ElementsAre(product.op_type, "Relu"));
    EXPECT_EQ(graph.nodes.at(0).inputs.size(), 3u);
  }
}

/// An activation alone behind a product: one pass, no chain.
TEST_F(FusedProducts, ActivationsWithoutABias) {
  for (const Case& product :
       {Case{"Conv", {floats({2, 4, 6, 5}, 1), floats({6, 4, 3, 3}, 2)}},
        Case{"MatMul", {floats({5, 8}, 1), floats({8, 6}, 2)}}, Case{"Gemm", {floats({5, 8}, 1), floats({8, 6}, 2)}}}) {
    const Model model(product, {"Relu"});
    const Graph graph = planned(model, false);
    EXPECT_THAT(operators(graph), ElementsAre(product.op_type, "Relu"));
    const Tensor have = result(*device_, graph, product.inputs[0]);
    const Tensor want = result(*host_, model.b.graph, product.inputs[0]);
    for (std::int64_t i = 0; i < want.elements(); ++i)
      ASSERT_NEAR(have.data<float>()[i], want.data<float>()[i], 2e-6f) << product.op_type << " " << i;
  }
}

/// A transformer's biases, masks, residuals, softmax and norms: none of them has a pass of its own.
TEST_F(FusedProducts, OfATransformerLeaveNoLonelySums) {
  const GoldenModel& model = golden_models[7];
  ASSERT_EQ(std::string(model.name), "minilm_l3");
  Session session(model.model());
  const Graph& graph = session.graph();
  const Graph plan = make_runnable(graph, std::vector<bool>(graph.values.size()), *device_);
  std::map<std::string, int> count;
  for (const Node& node : plan.nodes) ++count[node.op_type];
  for (const char* lonely : {"Div", "Erf", "LayerNormalization", "Softmax"}) EXPECT_EQ(count[lonely], 0) << lonely;
  EXPECT_EQ(count["Add"], 1) << "of two embeddings, before the third one is there";
  std::size_t through_rows = 0;
  for (const Node& node : plan.nodes)
    if (node.op_type == "Chain")
      for (const Node& step : node.subgraph("steps").graph->nodes) through_rows += is_row_operation(step) ? 1 : 0;
  EXPECT_EQ(through_rows, 7u) << "two norms a layer and one in front";
  EXPECT_EQ(count["Attention"], 3);
  EXPECT_EQ(count["Transpose"], 0) << "they are within attention";
}

}  // namespace
}  // namespace tare::test
