// The structure of QDQ models: where the quantizers stand, their types, zero points and bounds, and what raising the
// opset does to older nodes. tests/onnxruntime runs them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "support/model_builder.hpp"
#include "tare/export.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

using test::add_initializer;
using test::add_input;
using test::add_node;
using test::add_output;

TensorEncodings encodings_of(const std::string& tensor, int bitwidth, bool symmetric, std::vector<double> scales,
                             std::optional<int> axis = {}, SiteRole role = SiteRole::activation) {
  TensorEncodings result{tensor, role, {}, {}};
  result.spec.bitwidth = bitwidth;
  result.spec.symmetric = symmetric;
  result.spec.channel_axis = axis;
  const double offset = symmetric ? -std::ldexp(1.0, bitwidth - 1) : -3;
  for (const double scale : scales)
    result.encodings.push_back(
        {scale * offset, scale * (offset + static_cast<double>(result.spec.steps())), scale, offset});
  return result;
}

class Qdq : public testing::Test {
 protected:
  /// x · w → relu → y, with w an initializer of shape [2, 3].
  static onnx::ModelProto linear(std::int64_t opset = 17) {
    onnx::ModelProto model = test::empty_model(opset);
    onnx::GraphProto& graph = *model.mutable_graph();
    add_input(graph, "x", {-1, 2});
    add_output(graph, "y", {-1, 3});
    add_initializer<float>(graph, "w", 1, {2, 3}, {0.5f, -1, 2, 100, -100, 0.25f});
    add_node(graph, "MatMul", {"x", "w"}, {"h"}, "mm");
    add_node(graph, "Relu", {"h"}, {"y"}, "relu");
    return model;
  }

  onnx::ModelProto export_model(const onnx::ModelProto& model, const EncodingSet& set, const QdqOptions& options = {}) {
    test::write_model(model, folder_ / "in.onnx");
    save_qdq_model(load_model(folder_ / "in.onnx"), set, folder_ / "out.onnx", options);
    loaded_ = load_model(folder_ / "out.onnx").graph;  // it must hold together, too
    onnx::ModelProto result;
    if (!result.ParseFromString(test::read_bytes(folder_ / "out.onnx"))) throw std::runtime_error("unreadable");
    return result;
  }
  void expect_error(const onnx::ModelProto& model, const EncodingSet& set, const std::string& text) {
    try {
      export_model(model, set);
      ADD_FAILURE() << "written; expected: " << text;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(text));
    }
    EXPECT_FALSE(std::filesystem::exists(folder_ / "out.onnx"));
  }
  static std::vector<std::string> operators(const onnx::ModelProto& model) {
    std::vector<std::string> result;
    for (const onnx::NodeProto& node : model.graph().node()) result.push_back(node.op_type());
    return result;
  }
  static const onnx::NodeProto& producer(const onnx::ModelProto& model, const std::string& value) {
    for (const onnx::NodeProto& node : model.graph().node())
      for (const std::string& output : node.output())
        if (output == value) return node;
    throw std::runtime_error("nothing produces " + value);
  }
  const Tensor& constant(const std::string& name) const {
    const Tensor* tensor = loaded_.constant(loaded_.find(name));
    if (tensor == nullptr) throw std::runtime_error("no constant " + name);
    return *tensor;
  }
  test::TemporaryFolder folder_;
  Graph loaded_;
};

TEST_F(Qdq, WithoutEncodingsTheModelStaysAsItWas) {
  const onnx::ModelProto model = linear(9);
  EXPECT_EQ(export_model(model, {}).SerializeAsString(), model.SerializeAsString());
}

/// What is added needs an opset, also where the model itself has no operator of that domain.
TEST_F(Qdq, ModelsOfOtherDomainsAlone) {
  onnx::ModelProto model = test::empty_model(1);
  model.mutable_opset_import(0)->set_domain("ai.onnx.ml");
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {-1, 2});
  add_output(graph, "y", {-1, 2});
  add_node(graph, "Binarizer", {"x"}, {"y"}).set_domain("ai.onnx.ml");
  const onnx::ModelProto result = export_model(model, {{encodings_of("x", 8, false, {0.1})}});
  ASSERT_EQ(result.opset_import_size(), 2);
  EXPECT_EQ(result.opset_import(1).domain(), "");
  EXPECT_GE(result.opset_import(1).version(), 13);
}

/// 8-bit floats stay floats, whose nodes are told of the blocks.
TEST_F(Qdq, WeightsOfSmallFloatsInBlocks) {
  const onnx::ModelProto model = linear(21);
  TensorEncodings weights = encodings_of("w", 8, true, {});
  weights.role = SiteRole::parameter;
  weights.spec.format = NumberFormat::float8e4m3fn;
  weights.spec.block_size = 2;
  weights.spec.block_axis = 0;
  weights.spec.channel_axis = 1;
  weights.encodings.assign(3, {-448 * 0.25, 448 * 0.25, 0.25, 0});
  const onnx::ModelProto result = export_model(model, {{weights}});
  for (const char* value : {"w_quantized", "w"}) {
    const onnx::NodeProto& node = producer(result, value);
    std::map<std::string, std::int64_t> attributes;
    for (const onnx::AttributeProto& attribute : node.attribute()) attributes[attribute.name()] = attribute.i();
    EXPECT_EQ(attributes, (std::map<std::string, std::int64_t>{{"axis", 0}, {"block_size", 2}})) << value;
  }
  EXPECT_EQ(constant("w_scale").shape(), (Shape{1, 3}));
}

TEST_F(Qdq, ActivationsKeepTheirNames) {
  const onnx::ModelProto result = export_model(
      linear(),
      {{encodings_of("x", 8, false, {0.1}), encodings_of("h", 8, true, {0.2}), encodings_of("y", 8, false, {0.3})}});
  EXPECT_THAT(operators(result),
              testing::ElementsAre("QuantizeLinear", "DequantizeLinear", "MatMul", "QuantizeLinear", "DequantizeLinear",
                                   "Relu", "QuantizeLinear", "DequantizeLinear"));
  EXPECT_EQ(result.graph().input(0).name(), "x");
  EXPECT_EQ(result.graph().output(0).name(), "y");
  EXPECT_EQ(producer(result, "y").op_type(), "DequantizeLinear");
  EXPECT_EQ(producer(result, "h_unquantized").name(), "mm");
  EXPECT_EQ(producer(result, "h_unquantized").input(0), "x_dequantized");
  EXPECT_EQ(producer(result, "y_unquantized").input(0), "h");
  EXPECT_EQ(*constant("x_scale").data<float>(), 0.1f);
}

TEST_F(Qdq, ActivationsAreUnsignedSignedOrAsTheyAre) {
  const EncodingSet set{{encodings_of("x", 8, false, {0.1}), encodings_of("h", 8, true, {0.2})}};
  const auto zero_point = [&](const std::string& tensor) {
    const Tensor& stored = constant(tensor + "_zero_point");
    return stored.type() == DataType::uint8 ? fmt::format("uint8 {}", *stored.data<std::uint8_t>())
                                            : fmt::format("int8 {}", *stored.data<std::int8_t>());
  };
  export_model(linear(), set);
  EXPECT_EQ(zero_point("x"), "uint8 3");
  EXPECT_EQ(zero_point("h"), "uint8 128");
  export_model(linear(), set, {.activations = ActivationCodes::as_signed});
  EXPECT_EQ(zero_point("x"), "int8 -125");
  EXPECT_EQ(zero_point("h"), "int8 0");
  export_model(linear(), set, {.activations = ActivationCodes::as_is});
  EXPECT_EQ(zero_point("x"), "uint8 3");
  EXPECT_EQ(zero_point("h"), "int8 0");
}

/// Behind and in front of what only moves: there a pair changes nothing. A Clip may cut between two codes.
TEST_F(Qdq, MovedTensorsHavePairsToo) {
  onnx::ModelProto model = test::empty_model(17);
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {2, 3});
  add_output(graph, "y", {3, 4});
  add_initializer<float>(graph, "limit", 1, {}, {0.25f});
  add_initializer<std::int64_t>(graph, "pads", 7, {4}, {0, 0, 0, 2});
  add_initializer<float>(graph, "one", 1, {}, {1});
  add_node(graph, "Relu", {"x"}, {"r"});
  add_node(graph, "Transpose", {"r"}, {"t"});
  add_node(graph, "Pad", {"t", "pads"}, {"zeros"});
  add_node(graph, "Clip", {"zeros", "limit"}, {"c"});
  add_node(graph, "Identity", {"c"}, {"i"});
  add_node(graph, "Pad", {"r", "pads", "one"}, {"ones"});
  add_node(graph, "Neg", {"i"}, {"n"});
  add_node(graph, "Transpose", {"n"}, {"back"});
  add_node(graph, "Transpose", {"back"}, {"y"});
  const EncodingSet set{{encodings_of("r", 8, false, {0.1}), encodings_of("y", 8, false, {0.2})}};
  const onnx::ModelProto result = export_model(model, set, {.moved_tensors = true});
  for (const auto* name : {"r", "t", "zeros", "n", "back", "y"})
    EXPECT_EQ(producer(result, name).op_type(), "DequantizeLinear") << name;
  for (const auto* name : {"c", "i", "ones"}) EXPECT_NE(producer(result, name).op_type(), "DequantizeLinear") << name;
  EXPECT_EQ(*constant("t_scale").data<float>(), 0.1f);
  EXPECT_EQ(*constant("n_scale").data<float>(), 0.2f);
  EXPECT_NE(producer(export_model(model, set), "t").op_type(), "DequantizeLinear");
}

TEST_F(Qdq, GridsThatDoNotFillTheirTypeAreClamped) {
  TensorEncodings seven = encodings_of("x", 7, false, {0.5});
  TensorEncodings strict = encodings_of("h", 8, true, {0.5});
  strict.spec.strict_symmetric = true;
  strict.encodings[0].offset = -127;
  const onnx::ModelProto result = export_model(linear(), {{seven, strict}});
  EXPECT_EQ(producer(result, "x_clipped").op_type(), "Clip");
  EXPECT_EQ(*constant("x_min").data<float>(), -1.5f);
  EXPECT_EQ(*constant("x_max").data<float>(), 62.0f);
  EXPECT_EQ(*constant("h_min").data<float>(), -63.5f);
  EXPECT_EQ(*constant("h_max").data<float>(), 63.5f);
}

TEST_F(Qdq, PerChannelParameters) {
  TensorEncodings weights = encodings_of("w", 8, true, {0.5, 0.25, 1}, 1, SiteRole::parameter);
  onnx::ModelProto result = export_model(linear(), {{weights}});
  EXPECT_EQ(producer(result, "w").op_type(), "DequantizeLinear");
  EXPECT_EQ(producer(result, producer(result, "w").input(0)).input(0), "w_unquantized");
  EXPECT_EQ(constant("w_scale").shape(), (Shape{3}));
  EXPECT_EQ(producer(result, "w").attribute(0).i(), 1);

  result = export_model(linear(), {{weights}}, {.prequantize_constants = true});
  EXPECT_EQ(producer(result, "w").input(0), "w_quantized");
  const auto codes = constant("w_quantized").span<std::int8_t>();
  EXPECT_THAT(std::vector<int>(codes.begin(), codes.end()), testing::ElementsAre(1, -4, 2, 127, -128, 0));
  EXPECT_EQ(loaded_.find("w_unquantized"), absent);

  weights.spec.strict_symmetric = true;
  for (Encoding& encoding : weights.encodings) encoding.offset = -127;
  result = export_model(linear(), {{weights}});
  EXPECT_EQ(producer(result, "w_clipped").op_type(), "Min");
  EXPECT_EQ(constant("w_min").shape(), (Shape{3}));
  EXPECT_EQ(constant("w_min").data<float>()[1], -31.75f);
}

TEST_F(Qdq, ConstantNodesBecomeIntegersToo) {
  onnx::ModelProto model = linear();
  onnx::GraphProto& graph = *model.mutable_graph();
  onnx::TensorProto weights = graph.initializer(0);
  graph.clear_initializer();
  google::protobuf::RepeatedPtrField<onnx::NodeProto> rest;
  rest.Swap(graph.mutable_node());
  test::add_attribute(add_node(graph, "Constant", {}, {"w"}, "constant"), "value", onnx::AttributeProto::TENSOR)
      .mutable_t()
      ->Swap(&weights);
  for (onnx::NodeProto& node : rest) graph.add_node()->Swap(&node);
  const TensorEncodings encodings = encodings_of("w", 8, true, {0.5, 0.25, 1}, 1, SiteRole::parameter);
  const onnx::ModelProto result = export_model(model, {{encodings}}, {.prequantize_constants = true});
  EXPECT_THAT(operators(result), testing::ElementsAre("DequantizeLinear", "MatMul", "Relu"));
  const auto codes = constant("w_quantized").span<std::int8_t>();
  EXPECT_THAT(std::vector<int>(codes.begin(), codes.end()), testing::ElementsAre(1, -4, 2, 127, -128, 0));
  EXPECT_THAT(operators(export_model(model, {{encodings}})),
              testing::ElementsAre("Constant", "QuantizeLinear", "DequantizeLinear", "MatMul", "Relu"));
}

TEST_F(Qdq, WideAndNarrowTypesRaiseTheOpset) {
  onnx::ModelProto result = export_model(linear(), {{encodings_of("x", 16, false, {0.1})}});
  EXPECT_EQ(result.opset_import(0).version(), 21);
  EXPECT_GE(result.ir_version(), 10);
  EXPECT_EQ(constant("x_zero_point").type(), DataType::uint16);
  EXPECT_EQ(export_model(linear(12), {{encodings_of("x", 8, false, {0.1})}}).opset_import(0).version(), 13);
  EXPECT_EQ(export_model(linear(), {{encodings_of("x", 8, false, {0.1})}}).opset_import(0).version(), 17);
  result = export_model(linear(), {{encodings_of("w", 4, true, {1}, {}, SiteRole::parameter)}},
                        {.prequantize_constants = true});
  EXPECT_EQ(constant("w_quantized").type(), DataType::int4);
  const auto codes = constant("w_quantized").span<std::int8_t>();
  EXPECT_THAT(std::vector<int>(codes.begin(), codes.end()), testing::ElementsAre(0, -1, 2, 7, -8, 0));
}

TEST_F(Qdq, BlocksHaveOneScaleEach) {
  TensorEncodings weights = encodings_of("w", 8, true, {1, 2, 4, 8, 16, 32}, 1, SiteRole::parameter);
  weights.spec.block_axis = 0;
  weights.spec.block_size = 1;
  const onnx::ModelProto result = export_model(linear(), {{weights}});
  EXPECT_EQ(result.opset_import(0).version(), 21);
  // Encodings are [channel, block], the scale has the tensor's axes: block first.
  const auto scales = constant("w_scale").span<float>();
  EXPECT_THAT(std::vector<float>(scales.begin(), scales.end()), testing::ElementsAre(1, 4, 16, 2, 8, 32));
  const auto codes = constant("w_quantized").span<std::int8_t>();
  EXPECT_THAT(std::vector<int>(codes.begin(), codes.end()), testing::ElementsAre(0, 0, 0, 50, -12, 0));
}

TEST_F(Qdq, WideBiasesBecomeIntegers) {
  const onnx::ModelProto result =
      export_model(linear(), {{encodings_of("w", 32, true, {1e-6}, {}, SiteRole::parameter)}});
  EXPECT_EQ(producer(result, "w").input_size(), 2);
  EXPECT_EQ(constant("w_quantized").data<std::int32_t>()[0], 500000);
  EXPECT_EQ(constant("w_quantized").data<std::int32_t>()[1], -1000000);
}

/// A scale of 1e-9 is zero in float16: the bias would be lost.
TEST_F(Qdq, WideBiasesOfHalfModelsHaveAScaleThatHalfHolds) {
  constexpr int half = 10;
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {2}, half);
  add_output(graph, "y", {2}, half);
  add_initializer<std::uint16_t>(graph, "b", half, {2}, {float_to_half(0.5f), float_to_half(-3.25f)});
  add_node(graph, "Add", {"x", "b"}, {"y"}, "sum");
  export_model(model, {{encodings_of("b", 32, true, {1e-9}, {}, SiteRole::parameter)}});
  EXPECT_EQ(half_to_float(constant("b_scale").data<std::uint16_t>()[0]), 0x1p-14f);
  EXPECT_EQ(constant("b_quantized").data<std::int32_t>()[0], 8192);
  EXPECT_EQ(constant("b_quantized").data<std::int32_t>()[1], -53248);
}

TEST_F(Qdq, ReadersInBodiesFollow) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {2});
  add_input(graph, "c", {}, 9);
  add_output(graph, "y", {2});
  onnx::NodeProto& node = add_node(graph, "If", {"c"}, {"y"}, "if");
  for (const auto* branch : {"then_branch", "else_branch"}) {
    onnx::GraphProto& body = *test::add_attribute(node, branch, onnx::AttributeProto::GRAPH).mutable_g();
    add_node(body, "Neg", {"x"}, {"r"}, "neg");
    body.add_output()->set_name("r");
  }
  export_model(model, {{encodings_of("x", 8, false, {0.1})}});
  const Subgraph& body = loaded_.nodes.back().subgraph("then_branch");
  EXPECT_EQ(loaded_.value(body.captures[0]).name, "x_dequantized");
}

TEST_F(Qdq, OldNodesAreRewritten) {
  onnx::ModelProto model = test::empty_model(9);
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {2, 3, 4});
  for (const auto* name : {"squeezed", "soft", "last", "clipped", "up"}) add_output(graph, name, {});
  test::add_integers(add_node(graph, "Unsqueeze", {"x"}, {"squeezed"}), "axes", {0});
  add_node(graph, "Softmax", {"x"}, {"soft"});
  add_node(graph, "Flatten", {"x"}, {"flat"});  // of a shape that only the output behind it tells
  add_node(graph, "Softmax", {"flat"}, {"declared"});
  add_output(graph, "declared", {2, 12});
  test::add_integer(add_node(graph, "Softmax", {"x"}, {"last"}), "axis", 2);
  test::add_attribute(add_node(graph, "Clip", {"x"}, {"clipped"}), "max", onnx::AttributeProto::FLOAT).set_f(6);
  add_initializer<float>(graph, "scales", 1, {3}, {1, 1, 2});
  add_node(graph, "Upsample", {"x", "scales"}, {"up"});
  test::add_attribute(add_node(graph, "Dropout", {"x"}, {"dropped", "mask"}), "ratio", onnx::AttributeProto::FLOAT)
      .set_f(0.5f);
  const onnx::ModelProto result = export_model(model, {{encodings_of("x", 16, false, {0.1})}});
  EXPECT_EQ(producer(result, "squeezed").attribute_size(), 0);
  EXPECT_EQ(*constant(producer(result, "squeezed").input(1)).data<std::int64_t>(), 0);
  // Softmax over the flattened rest, as before opset 13.
  EXPECT_EQ(producer(result, "soft").op_type(), "Reshape");
  EXPECT_EQ(producer(result, producer(result, "soft").input(0)).op_type(), "Softmax");
  EXPECT_EQ(producer(result, "last").op_type(), "Softmax");
  EXPECT_EQ(producer(result, "last").attribute(0).i(), -1);
  EXPECT_EQ(producer(result, "declared").op_type(), "Softmax");
  EXPECT_EQ(producer(result, "clipped").input(1), "");
  EXPECT_EQ(*constant(producer(result, "clipped").input(2)).data<float>(), 6.0f);
  EXPECT_EQ(producer(result, "dropped").output_size(), 1);
  EXPECT_EQ(producer(result, "dropped").attribute_size(), 0);
  EXPECT_EQ(producer(result, "up").op_type(), "Resize");
  EXPECT_EQ(producer(result, "up").input(2), "scales");
}

TEST_F(Qdq, WhatCannotBeWrittenIsNamed) {
  expect_error(linear(), {{encodings_of("ghost", 8, false, {0.1})}}, "tensor 'ghost'");
  expect_error(linear(), {{encodings_of("x", 8, false, {0.0})}}, "make no grid");
  expect_error(linear(), {{encodings_of("x", 8, false, {std::numeric_limits<double>::quiet_NaN()})}}, "make no grid");
  expect_error(linear(), {{encodings_of("x", 8, false, {})}}, "no encoding");
  expect_error(linear(), {{encodings_of("w", 8, true, {1, 1}, 1, SiteRole::parameter)}}, "3 channels");
  expect_error(linear(), {{encodings_of("w", 8, true, {1, 1}, 7, SiteRole::parameter)}}, "axis 7");
  expect_error(linear(), {{encodings_of("x", 40, false, {0.1})}}, "40 bits");
  expect_error(linear(6), {{encodings_of("x", 8, false, {0.1})}}, "opset 6");
  onnx::ModelProto grouped = test::empty_model(18);
  add_input(*grouped.mutable_graph(), "x", {1, 2, 3});
  add_output(*grouped.mutable_graph(), "y", {1, 2, 3});
  add_node(*grouped.mutable_graph(), "GroupNormalization", {"x", "x", "x"}, {"y"}, "group");
  expect_error(grouped, {{encodings_of("x", 16, false, {0.1})}}, "GroupNormalization 'group'");
}

}  // namespace
}  // namespace tare
