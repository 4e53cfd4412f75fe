// QDQ models in: their quantizers become encodings and leave the graph. Round trips of our own exports, and the names
// that other tools give.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "export/qdq_models.hpp"
#include "support/golden.hpp"

namespace tare {
namespace {

using test::add_initializer;
using test::add_input;
using test::add_node;
using test::add_output;

const TensorEncodings* find(const EncodingSet& set, const std::string& tensor) {
  const auto it = std::find_if(set.tensors.begin(), set.tensors.end(),
                               [&](const TensorEncodings& candidate) { return candidate.tensor == tensor; });
  return it == set.tensors.end() ? nullptr : &*it;
}

void expect_same(const EncodingSet& found, const EncodingSet& wanted) {
  EXPECT_EQ(found.tensors.size(), wanted.tensors.size());
  for (const TensorEncodings& tensor : wanted.tensors) {
    const TensorEncodings* same = find(found, tensor.tensor);
    ASSERT_NE(same, nullptr) << tensor.tensor;
    EXPECT_EQ(same->spec.bitwidth, tensor.spec.bitwidth) << tensor.tensor;
    EXPECT_EQ(same->spec.symmetric, tensor.spec.symmetric && tensor.encodings[0].offset < 0) << tensor.tensor;
    EXPECT_EQ(same->spec.channel_axis, tensor.spec.channel_axis) << tensor.tensor;
    EXPECT_EQ(same->spec.block_size, tensor.spec.block_size) << tensor.tensor;
    ASSERT_EQ(same->encodings.size(), tensor.encodings.size()) << tensor.tensor;
    for (std::size_t i = 0; i < tensor.encodings.size(); ++i) {
      EXPECT_EQ(static_cast<float>(same->encodings[i].scale), static_cast<float>(tensor.encodings[i].scale))
          << tensor.tensor;
      EXPECT_EQ(same->encodings[i].offset, tensor.encodings[i].offset) << tensor.tensor;
    }
  }
}

class QdqRoundTrip : public testing::TestWithParam<test::GoldenModel> {};

TEST_P(QdqRoundTrip, KeepsEncodingsAndValues) {
  const test::TemporaryFolder folder;
  Session original(GetParam().model());
  DataOptions few;
  few.samples = few.batch_size = 1;
  const auto data = open_dataset(GetParam().data("inputs.npz"), original.graph(), few);
  CalibrationOptions options;
  options.search.scheme = Scheme::min_max;
  const EncodingSet encodings = original.calibrate(*data, options).encodings;
  original.set_encodings(encodings);
  data->rewind();
  const Batch batch = *data->next();
  const std::vector<Tensor> expected = original.simulate(batch.inputs);
  SessionOptions taking;
  taking.take_quantizers = true;
  for (const bool integers : {false, true}) {
    save_qdq_model(original.model(), encodings, folder / "qdq.onnx",
                   {.prequantize_constants = integers, .activations = ActivationCodes::as_is});
    Session again(folder / "qdq.onnx", taking);
    expect_same(again.held_encodings(), encodings);
    for (const Node& node : again.graph().nodes) {
      EXPECT_NE(node.op_type, "QuantizeLinear");
      EXPECT_NE(node.op_type, "DequantizeLinear");
    }
    // Its quantizers are the sites: no data is needed, and nothing is added.
    const CalibrationResult result = again.calibrate({});
    expect_same(result.encodings, encodings);
    again.set_encodings(again.held_encodings());
    const std::vector<Tensor> simulated = again.simulate(batch.inputs);
    ASSERT_EQ(simulated.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(simulated[i].shape(), expected[i].shape());
      EXPECT_TRUE(std::equal(simulated[i].data(), simulated[i].data() + simulated[i].bytes(), expected[i].data()))
          << "output " << i << ": NMSE " << test::nmse(simulated[i], expected[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, QdqRoundTrip, testing::ValuesIn(test::golden_models),
                         [](const auto& test) { return std::string(test.param.name); });

using QdqRead = test::QdqModels;

/// x → Relu → h → Neg → y with every tensor quantized, and w added; names as the tools make them.
TEST_F(QdqRead, NamesOfOtherTools) {
  struct Names {
    const char *x_codes, *x_after, *h, *h_after, *y_before, *y;
    const char *w_codes, *w_after;
  };
  for (const Names& n :
       {Names{"x_q", "x_updated", "h", "h_updated", "y_updated", "y", "w_quantized", "w"},
        Names{"x_QuantizeLinear_Output", "x_DequantizeLinear_Output", "h", "h_DequantizeLinear_Output",
              "y_QuantizeLinear_Input", "y", "w_quantized", "w_DequantizeLinear_Output"},
        Names{"x_quantized", "x_dequantized", "h_unquantized", "h", "y_unquantized", "y", "w_quantized", "w"}}) {
    onnx::ModelProto model = test::empty_model(17);
    onnx::GraphProto& graph = *model.mutable_graph();
    add_input(graph, "x", {2, 3});
    add_output(graph, "y", {2, 3});
    add_grid(graph, "x", 0.5f, 3);
    add_grid(graph, "h", 0.25f, 0);
    add_grid(graph, "y", 0.125f, 128);
    add_initializer<float>(graph, "w_scale", 1, {3}, {0.5f, 1, 2});
    add_initializer<std::int8_t>(graph, "w_zero_point", 3, {3}, {0, 0, 0});
    add_initializer<std::int8_t>(graph, n.w_codes, 3, {2, 3}, {1, -2, 3, 4, 5, -128});
    add_pair(graph, "x", n.x_codes, n.x_after, "x");
    test::add_integer(add_node(graph, "DequantizeLinear", {n.w_codes, "w_scale", "w_zero_point"}, {n.w_after}), "axis",
                      1);
    add_node(graph, "Add", {n.x_after, n.w_after}, {n.h}, "sum");
    add_pair(graph, n.h, "h_codes", n.h_after, "h");
    add_node(graph, "Neg", {n.h_after}, {n.y_before}, "minus");
    add_pair(graph, n.y_before, "y_codes", n.y, "y");
    const UnquantizedModel parts = take(model);
    EXPECT_THAT(operators(parts.model.graph), testing::ElementsAre("Add", "Neg"));
    std::vector<std::string> names;
    for (const TensorEncodings& tensor : parts.encodings.tensors) names.push_back(tensor.tensor);
    EXPECT_THAT(names, testing::ElementsAre("h", "x", "y", "w"));
    EXPECT_EQ(find(parts.encodings, "x")->encodings[0].offset, -3);
    EXPECT_EQ(find(parts.encodings, "w")->spec.channel_axis, 1);
    EXPECT_TRUE(find(parts.encodings, "w")->spec.symmetric);
    const Graph& graph_of = parts.model.graph;
    const Tensor* weights = graph_of.constant(graph_of.find("w"));
    ASSERT_NE(weights, nullptr);
    EXPECT_THAT(std::vector<float>(weights->span<float>().begin(), weights->span<float>().end()),
                testing::ElementsAre(0.5f, -2, 6, 2, 5, -256));
    EXPECT_EQ(graph_of.value(graph_of.outputs[0]).name, "y");
    EXPECT_EQ(graph_of.find("x_scale"), absent);
    save_model(parts.model, folder_ / "float.onnx");
    EXPECT_THAT(operators(load_model(folder_ / "float.onnx").graph), testing::ElementsAre("Add", "Neg"));
  }
}

TEST_F(QdqRead, ClampsNarrowTheGrid) {
  onnx::ModelProto model = test::empty_model(17);
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {-1, 3});
  add_output(graph, "y", {-1, 3});
  add_node(graph, "Relu", {"x"}, {"y"}, "relu");
  test::write_model(model, folder_ / "m.onnx");
  for (const int bits : {2, 5, 7, 8, 12, 16})
    for (const bool strict : {false, true})
      for (const bool channels : {false, true}) {
        TensorEncodings tensor{"y", SiteRole::activation, {}, {}};
        tensor.spec.bitwidth = bits;
        tensor.spec.symmetric = tensor.spec.strict_symmetric = strict;
        if (channels) tensor.spec.channel_axis = 1;
        const double offset = strict ? 1 - std::ldexp(1.0, bits - 1) : -1;
        for (int i = 0; i < (channels ? 3 : 1); ++i) tensor.encodings.push_back({0, 0, 0.3 + 0.1 * i, offset});
        for (const ActivationCodes codes : {ActivationCodes::as_unsigned, ActivationCodes::as_signed}) {
          save_qdq_model(load_model(folder_ / "m.onnx"), {{tensor}}, folder_ / "q.onnx", {.activations = codes});
          const UnquantizedModel parts = take_quantizers(load_model(folder_ / "q.onnx"));
          expect_same(parts.encodings, {{tensor}});
          EXPECT_EQ(parts.encodings.tensors.at(0).spec.strict_symmetric, strict) << bits;
          EXPECT_THAT(operators(parts.model.graph), testing::ElementsAre("Relu"));
        }
      }
}

/// x → Add w → y, both in float8.
TEST_F(QdqRead, Float8ComesBack) {
  onnx::ModelProto model = test::empty_model(17);
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {2, 3});
  add_output(graph, "y", {2, 3});
  add_initializer<float>(graph, "w", 1, {2, 3}, {1, -2, 3, 0.1f, 0, -0.6f});
  add_node(graph, "Add", {"x", "w"}, {"y"}, "sum");
  test::write_model(model, folder_ / "m.onnx");
  Session session(folder_ / "m.onnx");
  const Tensor x = Tensor::of<float>({2, 3}, std::array{0.3f, 1e-3f, -5.0f, 70.0f, -1e4f, 0.0f});
  SessionOptions taking;
  taking.take_quantizers = true;
  for (const NumberFormat format : {NumberFormat::float8e4m3fn, NumberFormat::float8e5m2}) {
    TensorEncodings activation{"x", SiteRole::activation, {}, {{-4.48, 4.48, 0.01, 0}}};
    TensorEncodings weight{"w", SiteRole::parameter, {}, {{0, 0, 0.01, 0}, {0, 0, 0.02, 0}, {0, 0, 0.005, 0}}};
    activation.spec.format = weight.spec.format = format;
    weight.spec.channel_axis = 1;
    const EncodingSet set{{activation, weight}};
    session.set_encodings(set);
    const Tensor expected = session.simulate(std::array{x}).at(0);
    save_qdq_model(session.model(), set, folder_ / "q.onnx");
    Session again(folder_ / "q.onnx", taking);
    EXPECT_THAT(operators(again.graph()), testing::ElementsAre("Add"));
    ASSERT_EQ(again.held_encodings().tensors.size(), 2u);
    for (const TensorEncodings& tensor : again.held_encodings().tensors) EXPECT_EQ(tensor.spec.format, format);
    EXPECT_EQ(find(again.held_encodings(), "w")->spec.channel_axis, 1);
    again.set_encodings(again.held_encodings());
    const Tensor simulated = again.simulate(std::array{x}).at(0);
    // As operators of their own, they give the same.
    Session plain(folder_ / "q.onnx");
    const Tensor computed = plain.run(std::array{x}).at(0);
    for (std::int64_t i = 0; i < x.elements(); ++i) {
      EXPECT_EQ(simulated.data<float>()[i], expected.data<float>()[i]) << i;
      EXPECT_EQ(computed.data<float>()[i], expected.data<float>()[i]) << i;
    }
  }
}

TEST_F(QdqRead, Float8CodesBecomeValues) {
  onnx::ModelProto model = test::empty_model(19);
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {3});
  add_output(graph, "y", {3});
  add_initializer<float>(graph, "scale", 1, {}, {0.5f});
  add_initializer<std::uint8_t>(graph, "w_quantized", 17, {3}, {0x38, 0xb8, 0x7e});  // 1, -1, 448
  add_node(graph, "DequantizeLinear", {"w_quantized", "scale"}, {"w"});
  add_node(graph, "Add", {"x", "w"}, {"y"}, "sum");
  const UnquantizedModel parts = take(model);
  ASSERT_EQ(parts.encodings.tensors.size(), 1u);
  EXPECT_EQ(parts.encodings.tensors[0].spec.format, NumberFormat::float8e4m3fn);
  const Tensor* weights = parts.model.graph.constant(parts.model.graph.find("w"));
  ASSERT_NE(weights, nullptr);
  EXPECT_THAT(std::vector<float>(weights->span<float>().begin(), weights->span<float>().end()),
              testing::ElementsAre(0.5f, -0.5f, 224));
}

/// A convolution's weights in blocks along its inputs, and a transposed one's.
TEST_F(QdqRead, BlocksOfMoreThanTwoDimensions) {
  for (const bool transposed : {false, true}) {
    onnx::ModelProto model = test::empty_model(17);
    onnx::GraphProto& graph = *model.mutable_graph();
    add_input(graph, "x", {1, 4, 5, 5});
    add_output(graph, "y", {1, 3, -1, -1});
    std::vector<float> values(3 * 4 * 2 * 2);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
    const std::vector<std::int64_t> shape =
        transposed ? std::vector<std::int64_t>{4, 3, 2, 2} : std::vector<std::int64_t>{3, 4, 2, 2};
    add_initializer<float>(graph, "w", 1, shape, values);
    add_node(graph, transposed ? "ConvTranspose" : "Conv", {"x", "w"}, {"y"}, "product");
    test::write_model(model, folder_ / "m.onnx");
    TensorEncodings tensor{"w", SiteRole::parameter, {}, {}};
    tensor.spec.symmetric = true;
    tensor.spec.bitwidth = 4;
    tensor.spec.channel_axis = transposed ? 1 : 0;
    tensor.spec.block_axis = transposed ? 0 : 1;
    tensor.spec.block_size = 2;
    for (int i = 0; i < 6; ++i) tensor.encodings.push_back({0, 0, 0.1 + 0.02 * i, -8});
    save_qdq_model(load_model(folder_ / "m.onnx"), {{tensor}}, folder_ / "q.onnx");
    const UnquantizedModel parts = take_quantizers(load_model(folder_ / "q.onnx"));
    expect_same(parts.encodings, {{tensor}});
    EXPECT_EQ(parts.encodings.tensors.at(0).spec.block_axis, tensor.spec.block_axis);
    EXPECT_EQ(operators(parts.model.graph).size(), 1u);
  }
}

/// Five rows in blocks of two.
TEST_F(QdqRead, TheLastBlockMayBeShorter) {
  onnx::ModelProto model = test::empty_model(21);
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {5, 2});
  add_output(graph, "y", {5, 2});
  add_initializer<float>(graph, "scale", 1, {3, 2}, {1, 2, 4, 8, 16, 32});
  add_initializer<std::int8_t>(graph, "w_quantized", 3, {5, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  onnx::NodeProto& node = add_node(graph, "DequantizeLinear", {"w_quantized", "scale"}, {"w"});
  test::add_integer(node, "axis", 0);
  test::add_integer(node, "block_size", 2);
  add_node(graph, "Add", {"x", "w"}, {"y"}, "sum");
  SessionOptions taking;
  taking.take_quantizers = true;
  Session session(test::write_model(model, folder_ / "q.onnx"), taking);
  ASSERT_EQ(session.held_encodings().tensors.size(), 1u);
  session.set_encodings(session.held_encodings());
  const Tensor x = Tensor::of<float>({5, 2}, std::vector<float>(10, 0.0f));
  const Tensor y = session.simulate(std::array{x}).at(0);
  EXPECT_THAT(y.span<float>(), testing::ElementsAre(1, 4, 3, 8, 20, 48, 28, 64, 144, 320));
}

/// One block along axis 1, with scales along one or two other axes.
TEST_F(QdqRead, BlocksThatDifferAlongThreeAxesStay) {
  for (const bool two_axes : {false, true}) {
    onnx::ModelProto model = test::empty_model(21);
    onnx::GraphProto& graph = *model.mutable_graph();
    add_input(graph, "x", {2, 2, 2});
    add_output(graph, "y", {2, 2, 2});
    add_initializer<float>(graph, "scale", 1, {2, 1, 2}, {1, two_axes ? 2.0f : 1.0f, 3, two_axes ? 4.0f : 3.0f});
    add_initializer<std::int8_t>(graph, "w_quantized", 3, {2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
    onnx::NodeProto& node = add_node(graph, "DequantizeLinear", {"w_quantized", "scale"}, {"w"});
    test::add_integer(node, "axis", 1);
    test::add_integer(node, "block_size", 2);
    add_node(graph, "Add", {"x", "w"}, {"y"}, "sum");
    EXPECT_EQ(take(model).encodings.tensors.size(), two_axes ? 0u : 1u);
  }
}

TEST_F(QdqRead, WhatIsNoQuantizerStays) {
  onnx::ModelProto model = test::empty_model(17);
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {2, 3});
  add_input(graph, "scale", {});
  add_output(graph, "y", {2, 3});
  add_output(graph, "z", {2, 3});
  add_grid(graph, "a", 0.5f, 3);
  add_grid(graph, "b", 0.25f, 3);
  // Another grid on the way back; and a scale that is only known at run time.
  add_node(graph, "QuantizeLinear", {"x", "a_scale", "a_zero_point"}, {"codes"});
  add_node(graph, "DequantizeLinear", {"codes", "b_scale", "b_zero_point"}, {"y"});
  add_node(graph, "QuantizeLinear", {"x", "scale", "a_zero_point"}, {"c"});
  add_node(graph, "DequantizeLinear", {"c", "scale", "a_zero_point"}, {"z"});
  const UnquantizedModel parts = take(model);
  EXPECT_TRUE(parts.encodings.tensors.empty());
  EXPECT_EQ(parts.model.graph.nodes.size(), 4u);
}

TEST_F(QdqRead, NewDataFindsNewEncodings) {
  onnx::ModelProto model = test::empty_model(17);
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {-1, 3});
  add_output(graph, "y", {-1, 3});
  add_grid(graph, "x", 0.5f, 3);
  add_pair(graph, "x", "x_q", "x_dq", "x");
  add_node(graph, "Neg", {"x_dq"}, {"y"}, "minus");
  test::write_model(model, folder_ / "q.onnx");
  SessionOptions taking;
  taking.take_quantizers = true;
  Session session(folder_ / "q.onnx", taking);
  Tensor x = Tensor::host(DataType::float32, {1, 3});
  std::copy_n(std::array{-1.0f, 0.5f, 2.0f}.data(), 3, x.mutable_data<float>());
  CalibrationOptions options;
  EXPECT_EQ(session.calibrate(options).encodings.tensors.size(), 1u) << "x alone had a quantizer";
  options.recalibrate = true;
  Calibration calibration = session.start_calibration(options);
  calibration.add(std::array{x});
  const EncodingSet found = calibration.finish().encodings;
  EXPECT_EQ(found.tensors.size(), 2u);
  EXPECT_LT(find(found, "x")->encodings[0].scale, 0.02);
  // As operators, they run like any other.
  Session plain(folder_ / "q.onnx");
  EXPECT_EQ(plain.run(std::array{x}).at(0).data<float>()[0], 1.0f);
  EXPECT_TRUE(plain.held_encodings().tensors.empty());
}

}  // namespace
}  // namespace tare
