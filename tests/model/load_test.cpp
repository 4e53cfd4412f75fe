// What the loader makes of well-formed models: order, names, constants, bodies, functions, element types, external
// data.
#include "tare/model.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>

#include "support/model_builder.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

using test::add_initializer;
using test::add_input;
using test::add_node;
using test::add_output;
using test::TemporaryFolder;

class Load : public testing::Test {
 protected:
  Graph load(const onnx::ModelProto& model) {
    return load_model(test::write_model(model, folder_ / "model.onnx")).graph;
  }
  static const Tensor& constant(const Graph& graph, const std::string& name) {
    const Tensor* tensor = graph.constant(graph.find(name));
    if (tensor == nullptr) throw std::runtime_error("no constant " + name);
    return *tensor;
  }
  static std::vector<std::string> node_names(const Graph& graph) {
    std::vector<std::string> names;
    for (const Node& node : graph.nodes) names.push_back(node.name);
    return names;
  }
  TemporaryFolder folder_;
};

TEST_F(Load, SortsNodesAndNamesNamelessOnes) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {-1, 3});
  add_output(graph, "z", {-1, 3});
  add_node(graph, "Relu", {"y"}, {"z"}, "last");
  add_node(graph, "Neg", {"x"}, {"y"});
  add_node(graph, "Abs", {"x"}, {"unused"}, "Neg_1");
  const Graph loaded = load(model);
  EXPECT_THAT(node_names(loaded), testing::ElementsAre("Neg_1_", "last", "Neg_1"));
  EXPECT_EQ(loaded.nodes[0].opset, 17);
  EXPECT_EQ(loaded.value(loaded.find("y")).type, DataType::float32);
  EXPECT_EQ(*loaded.value(loaded.find("x")).shape, (Shape{-1, 3}));
  EXPECT_FALSE(loaded.value(loaded.find("y")).shape.has_value());
}

TEST_F(Load, InitializersAmongTheInputsNeedNotBeFed) {
  onnx::ModelProto model = test::empty_model(7);
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "w", {2});
  add_input(graph, "x", {2});
  add_output(graph, "y", {2});
  add_initializer<float>(graph, "w", 1, {2}, {1, 2});
  add_node(graph, "Add", {"x", "w"}, {"y"});
  const Graph loaded = load(model);
  ASSERT_EQ(loaded.inputs.size(), 1u);
  EXPECT_EQ(loaded.value(loaded.inputs[0]).name, "x");
  EXPECT_EQ(constant(loaded, "w").data<float>()[1], 2.0f);
}

TEST_F(Load, ConstantNodesBecomeConstants) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  for (const auto* name : {"a", "b", "c", "d", "e"}) {
    add_node(graph, "Constant", {}, {name});
    add_output(graph, name, {});
  }
  graph.mutable_output(1)->mutable_type()->mutable_tensor_type()->set_elem_type(7);
  const auto attribute = [&](int node, const char* name,
                             onnx::AttributeProto::AttributeType type) -> onnx::AttributeProto& {
    return test::add_attribute(*graph.mutable_node(node), name, type);
  };
  attribute(0, "value_float", onnx::AttributeProto::FLOAT).set_f(1.5f);
  attribute(1, "value_ints", onnx::AttributeProto::INTS).add_ints(7);
  attribute(2, "value_floats", onnx::AttributeProto::FLOATS).add_floats(2.5f);
  attribute(3, "value_int", onnx::AttributeProto::INT).set_i(-3);
  onnx::SparseTensorProto& sparse =
      *attribute(4, "sparse_value", onnx::AttributeProto::SPARSE_TENSOR).mutable_sparse_tensor();
  test::set_tensor(*sparse.mutable_values(), "", 1, {2});
  test::set_raw<float>(*sparse.mutable_values(), {5, 6});
  test::set_tensor(*sparse.mutable_indices(), "", 7, {2, 2});
  test::set_raw<std::int64_t>(*sparse.mutable_indices(), {0, 1, 1, 0});
  sparse.add_dims(2);
  sparse.add_dims(2);
  const Graph loaded = load(model);
  EXPECT_TRUE(loaded.nodes.empty());
  EXPECT_EQ(constant(loaded, "a").rank(), 0u);
  EXPECT_EQ(*constant(loaded, "a").data<float>(), 1.5f);
  EXPECT_EQ(*constant(loaded, "b").data<std::int64_t>(), 7);
  EXPECT_EQ(constant(loaded, "b").shape(), (Shape{1}));
  EXPECT_EQ(*constant(loaded, "c").data<float>(), 2.5f);
  EXPECT_EQ(*constant(loaded, "d").data<std::int64_t>(), -3);
  EXPECT_THAT(
      std::vector<float>(constant(loaded, "e").span<float>().begin(), constant(loaded, "e").span<float>().end()),
      testing::ElementsAre(0, 5, 6, 0));
}

TEST_F(Load, StringConstants) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {1});
  add_output(graph, "y", {1});
  add_node(graph, "Relu", {"x"}, {"y"}, "relu");
  test::add_attribute(add_node(graph, "Constant", {}, {"s"}, "words"), "value_string", onnx::AttributeProto::STRING)
      .set_s("hello");
  onnx::TensorProto& words_proto = *graph.add_initializer();
  test::set_tensor(words_proto, "w", onnx::TensorProto::STRING, {2, 1});
  words_proto.add_string_data("well");
  words_proto.add_string_data("there");
  const Graph loaded = load(model);
  ASSERT_EQ(loaded.nodes.size(), 1u);
  EXPECT_EQ(loaded.value(loaded.find("s")).type, DataType::string);
  EXPECT_EQ(constant(loaded, "s").shape(), Shape());
  EXPECT_EQ(*constant(loaded, "s").data<std::string>(), "hello");
  const Tensor words = constant(loaded, "w");
  ASSERT_EQ(words.shape(), (Shape{2, 1}));
  EXPECT_EQ(words.data<std::string>()[1], "there");
}

/// The same numbers through every way of storing them.
TEST_F(Load, ElementTypesFromRawAndTypedLists) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  const auto add = [&](const std::string& name, int type, const std::vector<std::int64_t>& dims) -> onnx::TensorProto& {
    onnx::TensorProto& tensor = *graph.add_initializer();
    test::set_tensor(tensor, name, type, dims);
    add_output(graph, name, dims, type);
    return tensor;
  };
  add("f16", 10, {2}).add_int32_data(0x3c00);
  graph.mutable_initializer(0)->add_int32_data(0xbc00);
  add("bf16", 16, {1}).add_int32_data(0x3f80);
  add("fp8", 17, {1}).add_int32_data(0x38);
  add("u32", 12, {1}).add_uint64_data(4000000000u);
  add("i8", 3, {2}).add_int32_data(-5);
  graph.mutable_initializer(4)->add_int32_data(7);
  add("truth", 9, {1}).add_int32_data(1);
  add("c64", 14, {1}).add_float_data(1.0f);
  graph.mutable_initializer(6)->add_float_data(2.0f);
  test::set_raw<std::uint8_t>(add("i4", 22, {3}), {0xf1, 0x08});
  add("u4", 21, {3}).add_int32_data(0xf1);
  graph.mutable_initializer(8)->add_int32_data(0x08);
  add("scalar", 11, {}).add_double_data(0.25);
  add("nothing", 1, {0, 3});
  test::set_raw<std::uint8_t>(add("odd", 9, {3}), {0, 2, 255});
  test::set_raw<std::uint8_t>(add("i2", 26, {5}), {0xe4, 0x02});
  add("u2", 25, {5}).add_int32_data(0xe4);
  graph.mutable_initializer(13)->add_int32_data(0x02);
  add("e8m0", 24, {1}).add_int32_data(0x80);
  const Graph loaded = load(model);
  EXPECT_EQ(constant(loaded, "f16").data<std::uint16_t>()[1], 0xbc00);
  EXPECT_EQ(*constant(loaded, "bf16").data<std::uint16_t>(), 0x3f80);
  EXPECT_EQ(*constant(loaded, "fp8").data<std::uint8_t>(), 0x38);
  EXPECT_EQ(*constant(loaded, "u32").data<std::uint32_t>(), 4000000000u);
  EXPECT_EQ(*constant(loaded, "i8").data<std::int8_t>(), -5);
  EXPECT_TRUE(*constant(loaded, "truth").data<bool>());
  EXPECT_EQ(constant(loaded, "c64").data<float>()[1], 2.0f);
  const auto list = [](const auto& span) { return std::vector<int>(span.begin(), span.end()); };
  EXPECT_THAT(list(constant(loaded, "i4").span<std::int8_t>()), testing::ElementsAre(1, -1, -8));
  EXPECT_THAT(list(constant(loaded, "u4").span<std::uint8_t>()), testing::ElementsAre(1, 15, 8));
  EXPECT_THAT(list(constant(loaded, "i2").span<std::int8_t>()), testing::ElementsAre(0, 1, -2, -1, -2));
  EXPECT_THAT(list(constant(loaded, "u2").span<std::uint8_t>()), testing::ElementsAre(0, 1, 2, 3, 2));
  EXPECT_EQ(constant(loaded, "e8m0").type(), DataType::float8e8m0);
  EXPECT_EQ(*constant(loaded, "e8m0").data<std::uint8_t>(), 0x80);
  EXPECT_EQ(*constant(loaded, "scalar").data<double>(), 0.25);
  EXPECT_EQ(constant(loaded, "nothing").elements(), 0);
  EXPECT_THAT(list(constant(loaded, "odd").span<std::uint8_t>()), testing::ElementsAre(0, 1, 1));
}

TEST_F(Load, BodiesListWhatTheyCapture) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {2});
  add_input(graph, "c", {}, 9);
  add_output(graph, "y", {2});
  onnx::NodeProto& outer = add_node(graph, "If", {"c"}, {"y"}, "outer");
  for (const auto* branch : {"then_branch", "else_branch"}) {
    onnx::GraphProto& body = *test::add_attribute(outer, branch, onnx::AttributeProto::GRAPH).mutable_g();
    onnx::NodeProto& inner = add_node(body, "If", {"c"}, {"r"}, "inner");
    for (const auto* nested : {"then_branch", "else_branch"}) {
      onnx::GraphProto& leaf = *test::add_attribute(inner, nested, onnx::AttributeProto::GRAPH).mutable_g();
      add_node(leaf, "Neg", {"h"}, {"r2"}, "leaf");
      leaf.add_output()->set_name("r2");
    }
    body.add_output()->set_name("r");
  }
  // The captured value is provided after its reader in the file.
  add_node(graph, "Relu", {"x"}, {"h"}, "relu");
  const Graph loaded = load(model);
  EXPECT_THAT(node_names(loaded), testing::ElementsAre("relu", "outer"));
  const Subgraph& body = loaded.nodes[1].subgraph("then_branch");
  ASSERT_EQ(body.captures.size(), 2u);
  EXPECT_EQ(loaded.value(body.captures[0]).name, "c");
  EXPECT_EQ(loaded.value(body.captures[1]).name, "h");
  const Subgraph& leaf = body.graph->nodes[0].subgraph("else_branch");
  ASSERT_EQ(leaf.captures.size(), 1u);
  EXPECT_EQ(leaf.captures[0], body.graph->captures[1]);
  EXPECT_EQ(leaf.graph->value(leaf.graph->outputs[0]).type, DataType::float32);
}

onnx::FunctionProto& add_function(onnx::ModelProto& model, const std::string& name,
                                  const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                                  std::int64_t opset = 13) {
  onnx::FunctionProto& function = *model.add_functions();
  function.set_name(name);
  function.set_domain("mine");
  for (const std::string& input : inputs) function.add_input(input);
  for (const std::string& output : outputs) function.add_output(output);
  onnx::OperatorSetIdProto& standard = *function.add_opset_import();
  standard.set_version(opset);
  onnx::OperatorSetIdProto& own = *function.add_opset_import();
  own.set_domain("mine");
  own.set_version(1);
  return function;
}

onnx::NodeProto& add_call(google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes, const std::string& function,
                          const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                          const std::string& name) {
  onnx::NodeProto& node = add_node(nodes, function, inputs, outputs, name);
  node.set_domain("mine");
  return node;
}

onnx::AttributeProto& refer(onnx::NodeProto& node, const std::string& name, const std::string& outer,
                            onnx::AttributeProto::AttributeType type) {
  onnx::AttributeProto& attribute = test::add_attribute(node, name, type);
  attribute.set_ref_attr_name(outer);
  return attribute;
}

TEST_F(Load, FunctionsAreInlined) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {2});
  add_output(graph, "y", {2});
  add_output(graph, "same", {2});
  onnx::FunctionProto& inner = add_function(model, "Inner", {"a"}, {"b"});
  refer(add_node(*inner.mutable_node(), "LeakyRelu", {"a"}, {"b"}), "alpha", "slope", onnx::AttributeProto::FLOAT);
  inner.add_attribute("slope");
  onnx::FunctionProto& outer = add_function(model, "Outer", {"x", "bias"}, {"y", "x"}, 14);
  add_node(*outer.mutable_node(), "Neg", {"x"}, {"t"}, "neg");
  refer(add_call(*outer.mutable_node(), "Inner", {"t"}, {"u"}, "inner"), "slope", "steep", onnx::AttributeProto::FLOAT);
  add_node(*outer.mutable_node(), "Clip", {"u", "bias"}, {"y"}, "clip");
  test::add_attribute(add_call(*graph.mutable_node(), "Outer", {"x"}, {"y", "same"}, "call"), "steep",
                      onnx::AttributeProto::FLOAT)
      .set_f(0.25f);
  const Graph loaded = load(model);
  EXPECT_THAT(node_names(loaded), testing::ElementsAre("call/neg", "call/inner/LeakyRelu_0", "call/clip", "call/x"));
  EXPECT_EQ(loaded.nodes[0].opset, 14);
  EXPECT_EQ(loaded.nodes[1].opset, 13);
  EXPECT_EQ(loaded.nodes[1].real("alpha"), 0.25f);
  EXPECT_THAT(loaded.nodes[2].inputs, testing::ElementsAre(loaded.nodes[1].outputs[0], absent));
  EXPECT_EQ(loaded.value(loaded.nodes[0].outputs[0]).name, "call/t");
  EXPECT_EQ(loaded.nodes[2].outputs[0], loaded.outputs[0]);
  EXPECT_EQ(loaded.nodes[3].op_type, "Identity");
}

TEST_F(Load, FunctionAttributeDefaultsHold) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {2});
  add_output(graph, "y", {2});
  onnx::FunctionProto& function = add_function(model, "F", {"a"}, {"b"});
  refer(add_node(*function.mutable_node(), "LeakyRelu", {"a"}, {"b"}, "n"), "alpha", "slope",
        onnx::AttributeProto::FLOAT);
  add_call(*graph.mutable_node(), "F", {"x"}, {"y"}, "call");
  EXPECT_FALSE(load(model).nodes[0].has("alpha"));
  // attribute_proto (field 11) is newer than some ONNX headers: written by hand.
  onnx::AttributeProto standard;
  standard.set_name("slope");
  standard.set_type(onnx::AttributeProto::FLOAT);
  standard.set_f(0.75f);
  function.MergeFromString("\x5a" + std::string(1, static_cast<char>(standard.ByteSizeLong())) +
                           standard.SerializeAsString());
  EXPECT_EQ(load(model).nodes[0].real("alpha"), 0.75f);
}

class ExternalData : public Load {
 protected:
  onnx::ModelProto external(const std::string& location, const std::string& offset = "0",
                            const std::string& length = "16") {
    onnx::ModelProto model = test::empty_model();
    onnx::TensorProto& tensor = *model.mutable_graph()->add_initializer();
    test::set_tensor(tensor, "w", 1, {4});
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    const auto set = [&](const std::string& key, const std::string& value) {
      onnx::StringStringEntryProto& entry = *tensor.add_external_data();
      entry.set_key(key);
      entry.set_value(value);
    };
    set("location", location);
    if (!offset.empty()) set("offset", offset);
    if (!length.empty()) set("length", length);
    add_output(*model.mutable_graph(), "w", {4});
    return model;
  }
  void expect_error(const onnx::ModelProto& model, const std::string& text) {
    try {
      load(model);
      ADD_FAILURE() << "loaded; expected: " << text;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(text));
      EXPECT_THAT(error.what(), testing::HasSubstr("model.onnx"));
    }
  }
};

TEST_F(ExternalData, IsReadFromTheModelsFolder) {
  const std::vector<float> values = {1, 2, 3, 4, 5};
  std::filesystem::create_directory(folder_ / "sub");
  test::write_bytes(folder_ / "sub/w.bin", std::string(reinterpret_cast<const char*>(values.data()), 20));
  EXPECT_EQ(constant(load(external("sub/w.bin", "4")), "w").data<float>()[3], 5.0f);
  EXPECT_EQ(constant(load(external("sub/w.bin", "", "")), "w").data<float>()[0], 1.0f);
  // An offset that float32 cannot be read at is copied, not mapped.
  float expected;
  std::memcpy(&expected, reinterpret_cast<const char*>(values.data()) + 1, 4);
  EXPECT_EQ(constant(load(external("sub/w.bin", "1")), "w").data<float>()[0], expected);
}

/// Sizes and offsets beyond 32 bits, in a file that is mostly a hole.
TEST_F(ExternalData, LiesBeyondFourGigabytes) {
  constexpr std::uintmax_t offset = (std::uintmax_t{1} << 32) + (std::uintmax_t{1} << 30);
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {4});
  add_output(graph, "y", {4});
  const std::vector<float> values = {1, 2, 3, 4};
  test::move_outside(test::add_initializer(graph, "w", 1, {4}, values), folder_ / "w.bin", offset);
  add_node(graph, "Add", {"x", "w"}, {"y"});
  struct ::stat status {};
  ASSERT_EQ(::stat((folder_ / "w.bin").c_str(), &status), 0);
  if (status.st_blocks > 1 << 16) GTEST_SKIP() << "this file system has no holes";
  ASSERT_EQ(static_cast<std::uintmax_t>(status.st_size), offset + 16);
  const Graph loaded = load(model);
  EXPECT_THAT(loaded.constant(loaded.find("w"))->span<float>(), testing::ElementsAreArray(values));
  Session session(folder_ / "model.onnx");
  const std::vector<Tensor> inputs{Tensor::of<float>({4}, std::vector<float>{10, 20, 30, 40})};
  EXPECT_THAT(session.run(inputs).at(0).span<float>(), testing::ElementsAre(11, 22, 33, 44));
  expect_error(external("w.bin", std::to_string(offset + 1)), "beyond the end");
}

TEST_F(ExternalData, NothingOutsideOfTheFolderIsRead) {
  const TemporaryFolder elsewhere;
  test::write_bytes(elsewhere / "secret", std::string(16, 'x'));
  std::filesystem::create_symlink(elsewhere / "secret", folder_ / "link");
  std::filesystem::create_directory_symlink(elsewhere.path(), folder_ / "folder");
  std::filesystem::create_directory(folder_ / "real");
  expect_error(external((elsewhere / "secret").string()), "an absolute path");
  expect_error(external("../" + elsewhere.path().filename().string() + "/secret"), "leaves the folder");
  expect_error(external("link"), "leaves the folder");
  expect_error(external("folder/secret"), "leaves the folder");
  expect_error(external(""), "no file name");
  expect_error(external("missing"), "cannot be opened");
  EXPECT_THROW(load(external("real")), Error);
}

TEST_F(ExternalData, SizesAreChecked) {
  test::write_bytes(folder_ / "w.bin", std::string(20, 'x'));
  expect_error(external("w.bin", "8"), "beyond the end");
  expect_error(external("w.bin", "18446744073709551615"), "beyond the end");
  expect_error(external("w.bin", "-1"), "not a size");
  expect_error(external("w.bin", "0", "20"), "20 bytes where its shape needs 16");
  expect_error(external("w.bin", "0", "99999999999999999999999"), "not a size");
}

TEST_F(Load, TensorFiles) {
  onnx::TensorProto tensor;
  test::set_tensor(tensor, "t", 1, {2});
  test::set_raw<float>(tensor, {1, 2});
  test::write_bytes(folder_ / "t.pb", tensor.SerializeAsString());
  EXPECT_EQ(load_tensor(folder_ / "t.pb").data<float>()[1], 2.0f);
  test::write_bytes(folder_ / "t.pb", "nonsense");
  EXPECT_THROW(load_tensor(folder_ / "t.pb"), Error);
  EXPECT_THROW(load_tensor(folder_ / "missing.pb"), Error);
}

}  // namespace
}  // namespace tare
