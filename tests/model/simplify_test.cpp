// What simplify() takes out of a graph, and what it must not: values that are looked at, outputs, chance.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "plan/simplify.hpp"
#include "run/executor.hpp"
#include "support/model_builder.hpp"
#include "tare/backend.hpp"
#include "tare/model.hpp"

namespace tare {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class Simplify : public testing::Test {
 protected:
  Simplify() {
    test::add_input(graph_, "x", {2});
    test::add_output(graph_, "y", {2});
  }
  Graph load() {
    test::write_model(model_, folder_ / "m.onnx");
    return load_model(folder_ / "m.onnx").graph;
  }
  /// Simplified, with these values looked at.
  Graph simplified(const std::vector<std::string>& looked_at = {}) {
    Graph graph = load();
    std::vector<bool> visible(graph.values.size(), false);
    for (const std::string& name : looked_at) visible[static_cast<std::size_t>(graph.find(name))] = true;
    return simplify(std::move(graph), visible, *backend_);
  }
  static std::vector<std::string> nodes(const Graph& graph) {
    std::vector<std::string> names;
    for (const Node& node : graph.nodes) names.push_back(node.name);
    return names;
  }
  std::vector<float> run(const Graph& graph, const std::vector<float>& x) {
    const std::vector<Tensor> inputs{Tensor::of<float>({2}, x)};
    const Tensor y = Executor(graph, *backend_).run(inputs).at(0);
    return {y.span<float>().begin(), y.span<float>().end()};
  }

  test::TemporaryFolder folder_;
  onnx::ModelProto model_ = test::empty_model();
  onnx::GraphProto& graph_ = *model_.mutable_graph();
  std::unique_ptr<Backend> backend_ = make_cpu_backend();
};

TEST_F(Simplify, ConstantsAreFolded) {
  test::add_initializer(graph_, "a", 1, {2}, std::vector<float>{1, 2});
  test::add_initializer(graph_, "b", 1, {2}, std::vector<float>{10, 20});
  test::add_node(graph_, "Add", {"a", "b"}, {"sum"}, "add");
  test::add_node(graph_, "Mul", {"sum", "a"}, {"product"}, "multiply");
  test::add_node(graph_, "Sub", {"x", "product"}, {"y"}, "subtract");
  const Graph graph = simplified();
  EXPECT_THAT(nodes(graph), ElementsAre("subtract"));
  const Tensor* product = graph.constant(graph.find("product"));
  ASSERT_NE(product, nullptr);
  EXPECT_THAT(product->span<float>(), ElementsAre(11, 44));
  EXPECT_EQ(graph.constants.size(), 1u) << "what was folded is let go";
  EXPECT_THAT(run(graph, {100, 100}), ElementsAre(89, 56));
}

TEST_F(Simplify, DeadNodesAndConstantsGo) {
  test::add_initializer(graph_, "a", 1, {2}, std::vector<float>{1, 2});
  test::add_node(graph_, "Relu", {"x"}, {"y"}, "alive");
  test::add_node(graph_, "Add", {"x", "a"}, {"d"}, "dead");
  test::add_node(graph_, "Neg", {"d"}, {"e"}, "behind_dead");
  EXPECT_THAT(nodes(simplified()), ElementsAre("alive"));
  EXPECT_THAT(simplified().constants, IsEmpty());
  EXPECT_THAT(nodes(simplified({"d"})), testing::UnorderedElementsAre("alive", "dead"));
}

TEST_F(Simplify, IdentitiesAndDropoutsOfInferenceGo) {
  test::add_node(graph_, "Identity", {"x"}, {"i"}, "identity");
  test::add_node(graph_, "Dropout", {"i"}, {"d"}, "dropout");
  test::add_node(graph_, "Identity", {"d"}, {"j"}, "second");
  test::add_node(graph_, "Neg", {"j"}, {"y"}, "negate");
  const Graph graph = simplified();
  EXPECT_THAT(nodes(graph), ElementsAre("negate"));
  EXPECT_EQ(graph.nodes[0].inputs, graph.inputs);
  EXPECT_THAT(run(graph, {1, -2}), ElementsAre(-1, 2));
}

TEST_F(Simplify, DropoutsThatMayTrainOrGiveTheirMaskStay) {
  test::add_initializer(graph_, "ratio", 1, {}, std::vector<float>{0.5f});
  test::add_initializer(graph_, "training", 9, {}, std::vector<std::uint8_t>{0});
  test::add_node(graph_, "Dropout", {"x", "ratio", "training"}, {"d"}, "may_train");
  test::add_node(graph_, "Dropout", {"d"}, {"e", "mask"}, "gives_mask");
  test::add_node(graph_, "Neg", {"e"}, {"y"}, "negate");
  test::add_output(graph_, "mask", {2}, 9);
  EXPECT_THAT(nodes(simplified()), ElementsAre("may_train", "gives_mask", "negate"));
}

TEST_F(Simplify, VisibleValuesKeepTheirProducer) {
  test::add_initializer(graph_, "a", 1, {2}, std::vector<float>{1, 2});
  test::add_node(graph_, "Neg", {"a"}, {"folded"}, "constant");
  test::add_node(graph_, "Identity", {"x"}, {"i"}, "identity");
  test::add_node(graph_, "Add", {"i", "folded"}, {"y"}, "add");
  EXPECT_THAT(nodes(simplified()), ElementsAre("add"));
  EXPECT_THAT(nodes(simplified({"folded"})), ElementsAre("constant", "add"));
  EXPECT_THAT(nodes(simplified({"i"})), ElementsAre("identity", "add"));
  EXPECT_THAT(run(simplified({"i", "folded"}), {5, 5}), ElementsAre(4, 3));
}

TEST_F(Simplify, OutputsStay) {
  test::add_initializer(graph_, "a", 1, {2}, std::vector<float>{1, 2});
  test::add_node(graph_, "Identity", {"x"}, {"y"}, "copy_of_input");
  test::add_node(graph_, "Neg", {"a"}, {"z"}, "constant_output");
  test::add_output(graph_, "z", {2});
  const Graph graph = simplified();
  EXPECT_THAT(nodes(graph), testing::UnorderedElementsAre("copy_of_input", "constant_output"));
  EXPECT_THAT(run(graph, {7, 8}), ElementsAre(7, 8));
}

/// Runs everything: zeros in the shape of x. What is not folded on it is left alone on purpose.
class Willing final : public Backend {
 public:
  std::string name() const override { return "willing"; }
  Tensor allocate(DataType type, const Shape& shape, Layout layout) override {
    return Tensor::host(type, shape, layout);
  }
  Tensor upload(const Tensor& host) override { return host; }
  Tensor download(const Tensor& tensor) override { return tensor; }
  Tensor to_plain(const Tensor& tensor) override { return tensor; }
  std::string unsupported(const Graph&, const Node&) const override { return {}; }
  std::unique_ptr<Kernel> compile(const Graph&, const Node&, std::span<const Tensor* const>) override {
    class Zeros final : public Kernel {
      void run(std::span<Tensor>, std::span<Tensor> outputs) override {
        for (Tensor& output : outputs) output = Tensor::of<float>({2}, std::vector<float>{0, 0});
      }
    };
    return std::make_unique<Zeros>();
  }
  Tensor quantize_dequantize(Tensor tensor, const TensorEncodings&, Rounding) override { return tensor; }
  QuantizeGradient quantize_gradient(const Tensor&, const Tensor&, const TensorEncodings&, Rounding) override {
    return {};
  }
  std::unique_ptr<Observer> make_observer(ObserverKind, std::size_t) override { return nullptr; }
  void synchronize() override {}
};

/// Folding would draw once and for all.
TEST_F(Simplify, ChanceIsNotFolded) {
  backend_ = std::make_unique<Willing>();
  test::add_node(graph_, "Neg", {"p"}, {"no_chance"}, "negate");
  for (const char* op : {"RandomNormal", "RandomUniform"})
    test::add_integers(test::add_node(graph_, op, {}, {std::string(op) + "_out"}, op), "shape", {2});
  test::add_initializer(graph_, "p", 1, {2}, std::vector<float>{0.5f, 0.5f});
  test::add_node(graph_, "Bernoulli", {"p"}, {"drawn"}, "Bernoulli");
  test::add_node(graph_, "RandomNormalLike", {"p"}, {"like"}, "RandomNormalLike");
  test::add_node(graph_, "Sum", {"x", "RandomNormal_out", "RandomUniform_out", "drawn", "like", "no_chance"}, {"y"},
                 "sum");
  EXPECT_THAT(nodes(simplified()),
              testing::UnorderedElementsAre("RandomNormal", "RandomUniform", "Bernoulli", "RandomNormalLike", "sum"));
}

/// It may sit behind a condition that never holds.
TEST_F(Simplify, WhatFailsWhileFoldingIsLeftToTheRun) {
  test::add_initializer(graph_, "a", 1, {2}, std::vector<float>{1, 2});
  test::add_initializer(graph_, "b", 1, {3}, std::vector<float>{1, 2, 3});
  test::add_node(graph_, "Add", {"a", "b"}, {"sum"}, "misfit");
  test::add_node(graph_, "Add", {"x", "sum"}, {"y"}, "add");
  const Graph graph = simplified();
  EXPECT_THAT(nodes(graph), ElementsAre("misfit", "add"));
  EXPECT_THROW(run(graph, {1, 2}), Error);
}

TEST_F(Simplify, WhatBodiesReadIsKept) {
  test::add_initializer(graph_, "condition", 9, {}, std::vector<std::uint8_t>{1});
  test::add_node(graph_, "Neg", {"x"}, {"n"}, "captured");
  test::add_node(graph_, "Identity", {"n"}, {"i"}, "identity");
  onnx::NodeProto& choice = test::add_node(graph_, "If", {"condition"}, {"y"}, "choice");
  for (const auto& [branch, op] : {std::pair{"then_branch", "Abs"}, {"else_branch", "Neg"}}) {
    onnx::GraphProto& body = *test::add_attribute(choice, branch, onnx::AttributeProto::GRAPH).mutable_g();
    body.set_name(branch);
    test::add_node(body, op, {"i"}, {"b"}, branch);
    test::add_output(body, "b", {2});
  }
  const Graph graph = simplified();
  EXPECT_THAT(nodes(graph), ElementsAre("captured", "choice"));
  EXPECT_THAT(run(graph, {-3, 4}), ElementsAre(3, 4));
}

}  // namespace
}  // namespace tare
