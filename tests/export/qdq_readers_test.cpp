// Quantizers of QDQ models that not everybody who reads a tensor has, codes and scales that others read, too, and grids
// and clamps that are not what they look like: taking quantizers out changes nothing that the model computes.
#include "export/qdq_models.hpp"

namespace tare {
namespace {

using test::add_initializer;
using test::add_input;
using test::add_node;
using test::add_output;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class QdqReaders : public test::QdqModels {
 protected:
  /// x → pair → Relu → h, with grids a and b at hand; h is for the test to read.
  static onnx::ModelProto relu() {
    onnx::ModelProto model = test::empty_model(17);
    onnx::GraphProto& graph = *model.mutable_graph();
    add_input(graph, "x", {2, 3});
    add_output(graph, "y", {2, 3});
    add_grid(graph, "x", 0.01f, 100);
    add_grid(graph, "a", 0.3f, 0);
    add_grid(graph, "b", 0.17f, 0);
    add_pair(graph, "x", "x_codes", "x_after", "x");
    add_node(graph, "Relu", {"x_after"}, {"h"}, "relu");
    return model;
  }
  static std::vector<Tensor> values() {
    return {Tensor::of<float>({2, 3}, std::array{-0.5f, 0.11f, 0.26f, 0.5f, 1.04f, 1.4f})};
  }
  /// y = h_after where c, else what the body makes of tensors around it.
  static onnx::GraphProto& add_choice(onnx::GraphProto& graph, const std::string& otherwise) {
    add_initializer<std::uint8_t>(graph, "c", 9, {}, {0});
    onnx::NodeProto& node = add_node(graph, "If", {"c"}, {"y"}, "choice");
    onnx::GraphProto& taken = *test::add_attribute(node, "then_branch", onnx::AttributeProto::GRAPH).mutable_g();
    add_node(taken, "Neg", {"h_after"}, {"r"});
    taken.add_output()->set_name("r");
    onnx::GraphProto& other = *test::add_attribute(node, "else_branch", onnx::AttributeProto::GRAPH).mutable_g();
    other.add_output()->set_name(otherwise);
    return other;
  }
};

TEST_F(QdqReaders, AResidualKeepsItsPrecision) {
  onnx::ModelProto model = relu();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_pair(graph, "h", "codes", "h_after", "a");
  add_node(graph, "Neg", {"h_after"}, {"n"});
  add_node(graph, "Mul", {"n", "h"}, {"y"}, "residual");
  const UnquantizedModel parts = expect_computes_the_same(model, values());
  EXPECT_THAT(tensors(parts.encodings), ElementsAre("x"));
  EXPECT_THAT(parts.kept, ElementsAre("'h': QuantizeLinear 'to_codes' stays an operator, as Mul 'residual' reads the "
                                      "tensor, too"));
  SessionOptions taking;
  taking.take_quantizers = true;
  Session session(folder_ / "q.onnx", taking);
  EXPECT_EQ(session.kept_quantizers(), parts.kept);
  EXPECT_EQ(session.calibrate({}).warnings, parts.kept);
}

TEST_F(QdqReaders, GridsOfTwoBits) {
  onnx::ModelProto model = test::empty_model(25);
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {2, 3});
  add_output(graph, "y", {2, 3});
  add_initializer<float>(graph, "g_scale", 1, {}, {0.5f});
  onnx::TensorProto& zero_point = *graph.add_initializer();
  test::set_tensor(zero_point, "g_zero_point", 26, {});  // newer than some ONNX headers
  test::set_raw<std::uint8_t>(zero_point, {0});
  add_pair(graph, "x", "codes", "after", "g");
  add_node(graph, "Neg", {"after"}, {"y"});
  const UnquantizedModel parts = expect_computes_the_same(model, values());
  ASSERT_THAT(tensors(parts.encodings), ElementsAre("x"));
  EXPECT_EQ(parts.encodings.tensors[0].spec.bitwidth, 2);
  EXPECT_EQ(parts.encodings.tensors[0].encodings[0].offset, -2);
}

TEST_F(QdqReaders, TwoGridsOfOneTensor) {
  onnx::ModelProto model = relu();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_pair(graph, "h", "codes", "h_after", "a");
  add_pair(graph, "h", "codes_b", "h_after_b", "b");
  add_node(graph, "Neg", {"h_after"}, {"n"});
  add_node(graph, "Mul", {"n", "h_after_b"}, {"y"});
  const UnquantizedModel parts = expect_computes_the_same(model, values());
  EXPECT_THAT(tensors(parts.encodings), ElementsAre("x"));
  EXPECT_THAT(parts.kept, ElementsAre(HasSubstr("'to_codes_b' takes the tensor to another grid"),
                                      HasSubstr("'to_codes' takes the tensor to another grid")));
}

TEST_F(QdqReaders, PairsOfOneGridAreOneQuantizer) {
  onnx::ModelProto model = relu();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_pair(graph, "h", "codes", "h_after", "a");
  add_pair(graph, "h", "codes_2", "h_after_2", "a");
  add_node(graph, "DequantizeLinear", {"codes", "a_scale", "a_zero_point"}, {"h_after_3"});
  add_pair(graph, "h_after", "codes_4", "h_after_4", "a");
  add_node(graph, "Mul", {"h_after", "h_after_2"}, {"m"});
  add_node(graph, "Mul", {"h_after_3", "h_after_4"}, {"n"});
  add_node(graph, "Add", {"m", "n"}, {"sum"});
  add_node(graph, "Shape", {"h"}, {"shape"});  // reads no values
  add_node(graph, "Reshape", {"sum", "shape"}, {"y"});
  const UnquantizedModel parts = expect_computes_the_same(model, values());
  EXPECT_THAT(tensors(parts.encodings), ElementsAre("h", "x"));
  EXPECT_THAT(operators(parts.model.graph),
              testing::UnorderedElementsAre("Relu", "Mul", "Mul", "Add", "Shape", "Reshape"));
  EXPECT_THAT(parts.kept, IsEmpty());
}

TEST_F(QdqReaders, ACoarserGridBehindAFinerOneStays) {
  onnx::ModelProto model = relu();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_pair(graph, "h", "codes", "h_after", "b");
  add_pair(graph, "h_after", "coarse", "h_coarse", "a");
  add_node(graph, "Neg", {"h_coarse"}, {"y"});
  // In an order that is not theirs, as some tools write it.
  graph.mutable_node()->SwapElements(3, 5);
  graph.mutable_node()->SwapElements(4, 6);
  const UnquantizedModel parts = expect_computes_the_same(model, values());
  EXPECT_THAT(tensors(parts.encodings), ElementsAre("h", "x"));
  EXPECT_FLOAT_EQ(static_cast<float>(parts.encodings.tensors[0].encodings[0].scale), 0.17f);
  EXPECT_THAT(parts.kept, ElementsAre(HasSubstr("'to_coarse' stays an operator, as the tensor is on another grid")));
}

TEST_F(QdqReaders, OutputsKeepTheirPrecision) {
  onnx::ModelProto model = relu();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_output(graph, "h", {2, 3});
  add_pair(graph, "h", "codes", "h_after", "a");
  add_node(graph, "Neg", {"h_after"}, {"y"});
  const UnquantizedModel parts = expect_computes_the_same(model, values());
  EXPECT_THAT(tensors(parts.encodings), ElementsAre("x"));
  EXPECT_THAT(parts.kept, ElementsAre(HasSubstr("the tensor is an output of the model, too")));
}

TEST_F(QdqReaders, BodiesAreReaders) {
  onnx::ModelProto model = relu();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_pair(graph, "h", "codes", "h_after", "a");
  add_node(add_choice(graph, "s"), "Neg", {"h"}, {"s"});
  UnquantizedModel parts = expect_computes_the_same(model, values());
  EXPECT_THAT(tensors(parts.encodings), ElementsAre("x"));
  EXPECT_THAT(parts.kept, ElementsAre(HasSubstr("If 'choice' reads the tensor, too")));

  model = relu();
  add_pair(*model.mutable_graph(), "h", "codes", "h_after", "a");
  add_node(add_choice(*model.mutable_graph(), "s"), "Abs", {"h_after"}, {"s"});
  parts = expect_computes_the_same(model, values());
  EXPECT_THAT(tensors(parts.encodings), ElementsAre("h", "x"));
  EXPECT_THAT(operators(parts.model.graph), ElementsAre("Relu", "If"));
}

TEST_F(QdqReaders, ATensorReadBeforeItsClamp) {
  onnx::ModelProto model = relu();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_initializer<float>(graph, "low", 1, {}, {0});
  add_initializer<float>(graph, "high", 1, {}, {3 * 0.3f});
  add_node(graph, "Clip", {"h", "low", "high"}, {"h_clipped"});
  add_pair(graph, "h_clipped", "codes", "h_after", "a");
  add_node(graph, "Mul", {"h_after", "h"}, {"y"}, "residual");
  const UnquantizedModel parts = expect_computes_the_same(model, values());
  EXPECT_THAT(tensors(parts.encodings), ElementsAre("x"));
  EXPECT_THAT(parts.kept, ElementsAre(HasSubstr("Mul 'residual' reads the tensor, too")));
}

TEST_F(QdqReaders, CodesThatAreAnOutputStay) {
  onnx::ModelProto model = relu();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_output(graph, "codes", {2, 3}, 2);
  add_pair(graph, "h", "codes", "h_after", "a");
  add_node(graph, "Neg", {"h_after"}, {"y"});
  const UnquantizedModel parts = expect_computes_the_same(model, values());
  EXPECT_THAT(tensors(parts.encodings), ElementsAre("h", "x"));
  EXPECT_THAT(operators(parts.model.graph), testing::UnorderedElementsAre("Relu", "QuantizeLinear", "Neg"));
}

TEST_F(QdqReaders, CodesAndScalesThatBodiesReadStay) {
  onnx::ModelProto model = relu();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_initializer<std::int8_t>(graph, "w_quantized", 3, {3}, {1, -2, 3});
  add_node(graph, "DequantizeLinear", {"w_quantized", "b_scale"}, {"w"});
  add_node(graph, "Add", {"h", "w"}, {"k"});
  add_pair(graph, "k", "codes", "h_after", "a");
  onnx::GraphProto& body = add_choice(graph, "s");
  add_node(body, "DequantizeLinear", {"codes", "a_scale", "a_zero_point"}, {"u"});
  add_node(body, "DequantizeLinear", {"w_quantized", "b_scale"}, {"v"});
  add_node(body, "Mul", {"u", "v"}, {"s"});
  const UnquantizedModel parts = expect_computes_the_same(model, values());
  EXPECT_THAT(tensors(parts.encodings), ElementsAre("k", "x", "w"));
}

TEST_F(QdqReaders, CodesThatAreDequantizedTwice) {
  for (const bool same : {true, false}) {
    onnx::ModelProto model = relu();
    onnx::GraphProto& graph = *model.mutable_graph();
    add_initializer<std::int8_t>(graph, "w_quantized", 3, {3}, {1, -2, 3});
    add_node(graph, "DequantizeLinear", {"w_quantized", "b_scale"}, {"w_DequantizeLinear_Output"});
    add_node(graph, "DequantizeLinear", {"w_quantized", same ? "b_scale" : "a_scale"}, {"w_DequantizeLinear_Output_2"});
    add_node(graph, "Mul", {"h", "w_DequantizeLinear_Output"}, {"m"});
    add_node(graph, "Add", {"m", "w_DequantizeLinear_Output_2"}, {"y"});
    const UnquantizedModel parts = expect_computes_the_same(model, values());
    if (same)
      EXPECT_THAT(tensors(parts.encodings), ElementsAre("x", "w"));
    else
      EXPECT_THAT(tensors(parts.encodings), ElementsAre("x", "w", "w_DequantizeLinear_Output_2"));
  }
}

/// As exporters did before IR version 4, and on request later.
TEST_F(QdqReaders, InitializersListedAsInputsNeedNoData) {
  onnx::ModelProto model = relu();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_initializer<std::int8_t>(graph, "w_quantized", 3, {3}, {1, -2, 3});
  add_initializer<float>(graph, "k_unquantized", 1, {3}, {0.4f, 0.7f, 2});
  for (const auto* name : {"x_scale", "a_scale"}) add_input(graph, name, {});
  add_input(graph, "w_quantized", {3}, 3);
  add_input(graph, "k_unquantized", {3});
  add_node(graph, "DequantizeLinear", {"w_quantized", "b_scale"}, {"w"});
  add_pair(graph, "k_unquantized", "k_codes", "k", "a");
  add_node(graph, "Mul", {"h", "w"}, {"m"});
  add_node(graph, "Add", {"m", "k"}, {"y"});
  const UnquantizedModel parts = expect_computes_the_same(model, values());
  EXPECT_EQ(parts.model.graph.inputs.size(), 1u);
  EXPECT_EQ(parts.encodings.tensors.size(), 3u);
}

/// The codes' values, quantized again where they are the model's output.
TEST_F(QdqReaders, ValuesOfCodesMayGetTheNameOfAnOutput) {
  onnx::ModelProto model = relu();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_output(graph, "z", {3});
  add_initializer<std::int8_t>(graph, "w_quantized", 3, {3}, {1, 2, 3});
  add_node(graph, "DequantizeLinear", {"w_quantized", "b_scale"}, {"w"});
  add_initializer<std::int8_t>(graph, "zero", 3, {}, {0});
  add_node(graph, "QuantizeLinear", {"w", "b_scale", "zero"}, {"codes"});
  add_node(graph, "DequantizeLinear", {"codes", "b_scale", "zero"}, {"z"});
  add_node(graph, "Mul", {"h", "w"}, {"y"});
  expect_computes_the_same(model, values());
}

TEST_F(QdqReaders, APairThatChangesTheTypeStays) {
  onnx::ModelProto model = test::empty_model(17);
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {3}, 6);
  add_output(graph, "y", {3});
  add_grid(graph, "a", 0.5f, 3);
  add_pair(graph, "x", "codes", "x_after", "a");
  add_node(graph, "Neg", {"x_after"}, {"y"});
  EXPECT_THAT(tensors(take(model).encodings), IsEmpty());
}

class QdqClamps : public QdqReaders {
 protected:
  /// x → clamp → pair → Neg → y; the pair has one scale, or one a row.
  static onnx::ModelProto clamped(const std::vector<float>& low, const std::vector<float>& high,
                                  const std::vector<float>& scales = {0.5f}) {
    onnx::ModelProto model = test::empty_model(17);
    onnx::GraphProto& graph = *model.mutable_graph();
    add_input(graph, "x", {3, 3});
    add_output(graph, "y", {3, 3});
    test::set_type(*graph.add_value_info(), "clipped", 1, {3, 3});
    const auto shape = [](const std::vector<float>& list) {
      return list.size() == 1 ? std::vector<std::int64_t>{} : std::vector{static_cast<std::int64_t>(list.size())};
    };
    add_initializer(graph, "low", 1, shape(low), low);
    add_initializer(graph, "high", 1, shape(high), high);
    add_initializer(graph, "a_scale", 1, shape(scales), scales);
    add_initializer(graph, "a_zero_point", 2, shape(scales), std::vector<std::uint8_t>(scales.size(), 0));
    if (low.size() == 1) {
      add_node(graph, "Clip", {"x", "low", "high"}, {"clipped"});
    } else {
      add_node(graph, "Max", {"x", "low"}, {"raised"});
      add_node(graph, "Min", {"raised", "high"}, {"clipped"});
    }
    add_pair(graph, "clipped", "codes", "after", "a");
    if (scales.size() > 1)
      for (onnx::NodeProto& node : *graph.mutable_node())
        if (node.op_type().ends_with("Linear")) test::add_integer(node, "axis", 0);
    add_node(graph, "Neg", {"after"}, {"y"});
    return model;
  }
  static std::vector<Tensor> values() {
    return {Tensor::of<float>({3, 3}, std::array{-5.0f, -0.6f, 0.2f, 0.3f, 1.3f, 40.0f, 70.0f, 150.0f, 1e3f})};
  }
};

/// A ReLU6 in front of the grid that it was calibrated to.
TEST_F(QdqClamps, ThatLeaveTheWholeTypeAreTheModelsOwn) {
  const UnquantizedModel parts = expect_computes_the_same(clamped({0}, {127.5f}), values());
  EXPECT_THAT(tensors(parts.encodings), ElementsAre("clipped"));
  EXPECT_THAT(operators(parts.model.graph), ElementsAre("Clip", "Neg"));
}

TEST_F(QdqClamps, ThatReachBeyondTheTypeOrLeaveOutZeroAreTheModelsOwn) {
  for (const auto& [low, high] : {std::pair(-0.5f, 63.0f), std::pair(0.5f, 64.0f), std::pair(100.0f, 163.5f)}) {
    const UnquantizedModel parts = expect_computes_the_same(clamped({low}, {high}), values());
    EXPECT_THAT(operators(parts.model.graph), ElementsAre("Clip", "Neg")) << low;
    EXPECT_EQ(parts.encodings.tensors.at(0).spec.bitwidth, 8);
  }
}

/// Max and Min have a bound a column, the pair a scale a row.
TEST_F(QdqClamps, AlongAnotherAxisAreTheModelsOwn) {
  const UnquantizedModel parts =
      expect_computes_the_same(clamped({0, 0, 0}, {63.5f, 31.75f, 127}, {0.5f, 0.25f, 1}), values());
  EXPECT_THAT(operators(parts.model.graph), ElementsAre("Max", "Min", "Neg"));
  EXPECT_EQ(parts.encodings.tensors.at(0).spec.bitwidth, 8);
}

TEST_F(QdqReaders, AnAxisOfOneScaleMeansNothing) {
  onnx::ModelProto model = relu();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_initializer<float>(graph, "one_scale", 1, {1}, {0.4f});
  add_initializer<std::uint8_t>(graph, "one_zero_point", 2, {1}, {1});
  add_initializer<std::int8_t>(graph, "w_quantized", 3, {3}, {1, -2, 3});
  add_pair(graph, "h", "codes", "h_after", "one");
  add_node(graph, "DequantizeLinear", {"w_quantized", "one_scale"}, {"w"});
  for (onnx::NodeProto& node : *graph.mutable_node())
    if (node.input_size() > 1 && node.input(1) == "one_scale") test::add_integer(node, "axis", 0);
  test::set_type(*graph.add_value_info(), "h", 1, {2, 3});
  add_node(graph, "Mul", {"h_after", "w"}, {"y"});
  const UnquantizedModel parts = expect_computes_the_same(model, values());
  EXPECT_THAT(tensors(parts.encodings), ElementsAre("h", "x", "w"));
  for (const TensorEncodings& tensor : parts.encodings.tensors) EXPECT_EQ(tensor.spec.channel_axis, std::nullopt);
}

}  // namespace
}  // namespace tare
