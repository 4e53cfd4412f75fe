// Grids and clamps of QDQ models that are not what they look like: taking quantizers out changes nothing that the model
// computes.
#include "export/qdq_models.hpp"

namespace tare {
namespace {

using test::add_initializer;
using test::add_input;
using test::add_node;
using test::add_output;
using testing::ElementsAre;

class QdqReaders : public test::QdqModels {
 protected:
  /// x → pair → Relu → h; h is for the test to read.
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
};

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
