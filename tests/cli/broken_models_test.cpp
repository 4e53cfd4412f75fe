// Models that load and cannot run: everything that is wrong in one message, before any data is opened.
#include <fmt/format.h>

#include <sstream>

#include "cli/command.hpp"
#include "tare/dataset.hpp"
#include "tare/session.hpp"

namespace tare::test {
namespace {

using testing::HasSubstr;
using testing::Not;

void add_text(onnx::NodeProto& node, const std::string& name, const std::string& value) {
  add_attribute(node, name, onnx::AttributeProto::STRING).set_s(value);
}

class BrokenModels : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string write(const onnx::ModelProto& model) const { return write_model(model, folder_ / "m.onnx").string(); }
  /// Data that does not exist is not what the message is about.
  std::vector<CommandResult> all_commands(const std::string& model) const {
    const std::string none = at("none.npz");
    return {tare({"run", model, "--data", none}), tare({"calibrate", model, "--data", none, "--output", at("out")}),
            tare({"evaluate", model, "--data", none, "--labels", write_labels()}),
            tare({"bench", model, "--data", none}),
            tare({"simulate", model, "--data", none, "--encodings", write_encodings()})};
  }
  std::string write_labels() const {
    write_bytes(folder_ / "labels.txt", "1\n");
    return at("labels.txt");
  }
  std::string write_encodings() const {
    write_bytes(folder_ / "e.encodings", R"({"version": "1.0.0", "activation_encodings": [], "param_encodings": []})");
    return at("e.encodings");
  }

  TemporaryFolder folder_;
};

TEST_F(BrokenModels, NodesThatCannotBeRightAreListedBeforeAnyDataIsOpened) {
  onnx::ModelProto model = small_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_text(*graph.mutable_node(0), "auto_pad", "NONSENSE");
  add_initializer(graph, "pads", 7, {8}, std::vector<std::int64_t>(8, 1));
  add_initializer(graph, "scales", 1, {4}, std::vector<float>{1, 1, 2, 2});
  add_initializer(graph, "w2", 1, {2, 5, 1, 1}, std::vector<float>(10, 0.5f));
  add_text(add_node(graph, "Pad", {"y", "pads"}, {"padded"}, "padding"), "mode", "weird");
  add_text(add_node(graph, "Resize", {"y", "", "scales"}, {"large"}, "growing"), "mode", "odd");
  add_node(graph, "Conv", {"y", "w2"}, {"narrow"}, "narrowing");
  for (const char* output : {"padded", "large", "narrow"}) add_output(graph, output, {-1, -1, -1, -1});
  for (const CommandResult& result : all_commands(write(model))) {
    expect_error(result, 3, "m.onnx: 4 nodes of this model cannot run");
    for (const char* part : {"Conv 'convolution': auto_pad is 'NONSENSE', not one of", "SAME_LOWER",
                             "Pad 'padding': mode is 'weird'", "Resize 'growing': mode is 'odd'",
                             "Conv 'narrowing': its weights [2,5,1,1] in 1 group take 5 channels, and 'y' has 4"})
      EXPECT_THAT(result.errors, HasSubstr(part));
  }
  EXPECT_FALSE(std::filesystem::exists(at("out")));
  const CommandResult inspected = tare({"inspect", at("m.onnx")});
  EXPECT_EQ(inspected.exit_code, 0);
  EXPECT_THAT(inspected.output, HasSubstr("Pad 'padding': mode is 'weird'"));
}

TEST_F(BrokenModels, NodesThatCannotBeMadeReadyAreListed) {
  onnx::ModelProto model = small_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  for (const char* name : {"first", "second"}) {
    onnx::NodeProto& node = add_node(graph, "MaxPool", {"y"}, {std::string(name) + "_out"}, name);
    add_integers(node, "kernel_shape", {2, 2});
    add_text(node, "strides", "two");
    add_output(graph, std::string(name) + "_out", {-1, 4, -1, -1});
  }
  for (const CommandResult& result : all_commands(write(model))) {
    expect_error(result, 3, "2 nodes of this model cannot run");
    EXPECT_THAT(result.errors, testing::AllOf(HasSubstr("'first'"), HasSubstr("'second'"), HasSubstr("strides")));
  }
  Session session(folder_ / "m.onnx");
  EXPECT_THROW(session.prepare(), Error);
}

/// Sizes that nobody means, and that would be walked for years.
TEST_F(BrokenModels, WindowsAndHeadsBeyondMeasure) {
  write_samples(folder_ / "x.npz", 1);
  const std::int64_t large = std::int64_t{1} << 30;
  for (const char* type : {"AveragePool", "MaxPool", "LpPool"}) {
    onnx::ModelProto model = small_model();
    onnx::NodeProto& pool = add_node(*model.mutable_graph(), type, {"y"}, {"p"}, "pool");
    for (const char* key : {"kernel_shape", "strides"}) add_integers(pool, key, {large, large});
    add_integers(pool, "pads", {large, large, large, large});
    add_output(*model.mutable_graph(), "p", {-1, 4, -1, -1});
    expect_error(tare({"run", write(model), "--data", at("x.npz")}), 4, "a window of shape [1073741824,1073741824]");
  }
  onnx::ModelProto model = empty_model(23);
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {1, 1, 0});
  add_output(graph, "y", {1, 1, 0});
  for (const char* cache : {"cos", "sin"}) add_initializer<float>(graph, cache, 1, {1, 1, 0}, {});
  add_integer(add_node(graph, "RotaryEmbedding", {"x", "cos", "sin"}, {"y"}, "turn"), "num_heads",
              std::int64_t{1} << 62);
  NpzWriter writer(folder_ / "none.npz");
  writer.add("000/x", Tensor::host(DataType::float32, {1, 1, 0}));
  writer.commit();
  expect_error(tare({"run", write(model), "--data", at("none.npz")}), 4,
               "0 features are not 4611686018427387904 heads");
}

TEST_F(BrokenModels, OutputsThatTheOperatorDoesNotGive) {
  onnx::ModelProto model = small_model();
  add_node(*model.mutable_graph(), "Sigmoid", {"y"}, {"s", "second"}, "two");
  add_output(*model.mutable_graph(), "s", {-1, 4, 8, 8});
  write_samples(folder_ / "x.npz", 1);
  expect_error(tare({"run", write(model), "--data", at("x.npz")}), 3,
               "Sigmoid 'two': the operator gives no output 1 ('second') here; leave it out");
}

TEST_F(BrokenModels, NamesTooLongForAKey) {
  onnx::ModelProto model = small_model();
  const std::string name(70'000, 'n');
  add_node(*model.mutable_graph(), "Sigmoid", {"y"}, {name}, "s");
  add_output(*model.mutable_graph(), name, {-1, 4, 8, 8});
  write_samples(folder_ / "x.npz", 1);
  const CommandResult result = tare({"run", write(model), "--data", at("x.npz"), "--output", at("o.npz")});
  expect_error(result, 6, "of 70004 bytes is too long for a key");
  EXPECT_LT(result.errors.size(), 1000u);
  EXPECT_FALSE(std::filesystem::exists(at("o.npz")));
}

TEST_F(BrokenModels, BodiesAreLookedThrough) {
  onnx::ModelProto model = small_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_initializer(graph, "condition", 9, {}, std::vector<std::uint8_t>{1});
  onnx::NodeProto& choice = add_node(graph, "If", {"condition"}, {"chosen"}, "choice");
  for (const char* branch : {"then_branch", "else_branch"}) {
    onnx::GraphProto& body = *add_attribute(choice, branch, onnx::AttributeProto::GRAPH).mutable_g();
    body.set_name(branch);
    add_text(add_node(body, "DepthToSpace", {"y"}, {"b"}, branch), "mode", "diagonal");
    add_output(body, "b", {-1, 1, 16, 16});
  }
  add_output(graph, "chosen", {-1, 1, 16, 16});
  const CommandResult result = tare({"run", write(model), "--data", at("none.npz")});
  expect_error(result, 3, "DepthToSpace 'then_branch': mode is 'diagonal'");
  EXPECT_THAT(result.errors, HasSubstr("DepthToSpace 'else_branch'"));
}

TEST_F(BrokenModels, EveryUnsupportedNodeIsNamed) {
  onnx::ModelProto model = small_model();
  std::vector<std::string> names;
  for (int i = 0; i < 60; ++i) {
    const std::string output = fmt::format("z{}", i);
    names.push_back(fmt::format("blocks/stage_{}/frobnicate", i));
    add_node(*model.mutable_graph(), "Frobnicate", {"y"}, {output}, names.back()).set_domain("example");
    add_output(*model.mutable_graph(), output, {-1, 4, 8, 8});
  }
  onnx::OperatorSetIdProto& opset = *model.add_opset_import();
  opset.set_domain("example");
  opset.set_version(1);
  for (const CommandResult& result : all_commands(write(model))) {
    EXPECT_EQ(result.exit_code, 6);
    for (const std::string& name : names) EXPECT_THAT(result.errors, HasSubstr(" " + name));
    EXPECT_THAT(result.errors, Not(HasSubstr("more")));
    std::istringstream lines(result.errors);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 120u);
  }
}

/// Nobody asks for what a dead node computes.
TEST_F(BrokenModels, DeadNodesDoNotMatter) {
  onnx::ModelProto model = small_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_node(graph, "Frobnicate", {"y"}, {"dead"}, "dead").set_domain("example");
  add_node(graph, "Relu", {"dead"}, {"reads_dead"}, "reads_dead");
  add_text(add_node(graph, "DepthToSpace", {"y"}, {"also_dead"}, "also_dead"), "mode", "diagonal");
  add_node(graph, "Sigmoid", {"y"}, {"harmless"}, "harmless");
  onnx::OperatorSetIdProto& opset = *model.add_opset_import();
  opset.set_domain("example");
  opset.set_version(1);
  write(model);
  write_samples(folder_ / "x.npz", 4);
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"run", at("m.onnx"), "--data", at("x.npz")},
        {"calibrate", at("m.onnx"), "--data", at("x.npz"), "--output", at("out")},
        {"simulate", at("m.onnx"), "--encodings", at("out/m.encodings"), "--data", at("x.npz")}}) {
    const CommandResult result = tare(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
  }
  // The model that is written is the user's.
  EXPECT_THAT(read_bytes(at("out/m.onnx")), HasSubstr("Frobnicate"));
}

}  // namespace
}  // namespace tare::test
