// Nodes with fewer inputs or outputs than their operators have: no command may crash on them, and layers that leave out
// an output they may leave out must run.
#include <fmt/format.h>

#include <functional>

#include "cli/command.hpp"
#include "tare/session.hpp"

namespace tare::test {
namespace {

using Spoil = std::function<void(onnx::GraphProto&)>;

class Wiring : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  /// x [N,4] -> what `add` puts there -> y.
  std::string write(const Spoil& add, std::int64_t opset = 17) const {
    onnx::ModelProto model = empty_model(opset);
    onnx::GraphProto& graph = *model.mutable_graph();
    add_input(graph, "x", {-1, 4});
    add_output(graph, "y", {-1, -1});
    add(graph);
    Tensor x = Tensor::host(DataType::float32, {2, 4});
    std::fill_n(x.mutable_data<float>(), 8, 0.5f);
    write_npy(folder_ / "x.npy", x);
    return write_model(model, folder_ / "m.onnx").string();
  }
  void expect_no_crash(const std::string& model) const {
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"inspect", model},
          {"inspect", model, "--config", "htp_v81"},
          {"run", model, "--data", at("x.npy")},
          {"calibrate", model, "--data", at("x.npy"), "--output", at("out")}}) {
      const CommandResult result = tare(command);
      EXPECT_THAT(result.exit_code, testing::AnyOf(0, 3, 4, 6)) << command[0] << ": " << result.errors;
    }
  }

  TemporaryFolder folder_;
};

TEST_F(Wiring, NodesWithoutInputsOrOutputs) {
  const std::vector<std::pair<const char*, Spoil>> cases = {
      {"no output",
       [](onnx::GraphProto& graph) {
         add_node(graph, "Identity", {"x"}, {}, "lost");
         add_node(graph, "Relu", {"x"}, {"y"}, "relu");
       }},
      {"a Transpose of nothing before a MatMul",
       [](onnx::GraphProto& graph) {
         add_node(graph, "Transpose", {}, {"t"}, "transpose");
         add_node(graph, "MatMul", {"x", "t"}, {"y"}, "product");
       }},
      {"a Sqrt of nothing",
       [](onnx::GraphProto& graph) {
         add_node(graph, "Sqrt", {}, {"r"}, "root");
         add_node(graph, "Div", {"x", "r"}, {"y"}, "division");
       }},
      {"a Softmax of nothing", [](onnx::GraphProto& graph) { add_node(graph, "Softmax", {}, {"y"}, "softmax"); }},
      {"a Conv of an input alone",
       [](onnx::GraphProto& graph) { add_node(graph, "Conv", {"x"}, {"y"}, "convolution"); }},
      {"a Mean of squares of nothing",
       [](onnx::GraphProto& graph) {
         add_initializer(graph, "e", 1, {}, std::vector<float>{1e-5f});
         add_integers(add_node(graph, "ReduceMean", {}, {"m"}, "mean"), "axes", {-1});
         add_node(graph, "Add", {"m", "e"}, {"s"}, "sum");
         add_node(graph, "Sqrt", {"s"}, {"r"}, "root");
         add_node(graph, "Div", {"x", "r"}, {"y"}, "division");
       }},
  };
  for (const auto& [name, add] : cases) {
    SCOPED_TRACE(name);
    expect_no_crash(write(add));
  }
}

TEST_F(Wiring, ScansOfOpset8WithoutInputs) {
  const std::string model = write(
      [](onnx::GraphProto& graph) {
        onnx::NodeProto& scan = add_node(graph, "Scan", {}, {"y"}, "scan");
        add_integer(scan, "num_scan_inputs", 1);
        onnx::GraphProto& body = *add_attribute(scan, "body", onnx::AttributeProto::GRAPH).mutable_g();
        body.set_name("body");
        add_input(body, "element", {4});
        add_output(body, "out", {4});
        add_node(body, "Identity", {"element"}, {"out"}, "same");
      },
      8);
  expect_no_crash(model);
}

TEST_F(Wiring, RecurrentLayersMayLeaveOutTheirFirstOutput) {
  for (const auto& [op, gates] : {std::pair{"LSTM", 4}, {"GRU", 3}, {"RNN", 1}}) {
    const int count = gates;
    const std::string model = write([&, type = op](onnx::GraphProto& graph) {
      add_initializer(graph, "axis", 7, {1}, std::vector<std::int64_t>{0});
      add_initializer(graph, "w", 1, {1, count * 3, 4}, std::vector<float>(static_cast<std::size_t>(count) * 12, 0.1f));
      add_initializer(graph, "r", 1, {1, count * 3, 3}, std::vector<float>(static_cast<std::size_t>(count) * 9, 0.1f));
      add_node(graph, "Unsqueeze", {"x", "axis"}, {"steps"}, "steps");
      add_integer(add_node(graph, type, {"steps", "w", "r"}, {"", "last"}, "layer"), "hidden_size", 3);
      add_node(graph, "Squeeze", {"last", "axis"}, {"y"}, "squeeze");
    });
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"run", model, "--data", at("x.npy")},
          {"calibrate", model, "--data", at("x.npy"), "--output", at("out")},
          {"calibrate", model, "--data", at("x.npy"), "--output", at("out"), "--config", "htp_v81"}})
      EXPECT_EQ(tare(command).exit_code, 0) << op << ", " << command[0];
  }
}

TEST_F(Wiring, BlocksOfAnySizeThatAModelAsksFor) {
  for (const std::int64_t size : {std::int64_t{1} << 32, (std::int64_t{1} << 32) + 1, std::int64_t{-1}}) {
    const std::string model = write(
        [&](onnx::GraphProto& graph) {
          add_initializer(graph, "codes", 3, {2, 4}, std::vector<std::int8_t>(8, 3));
          add_initializer(graph, "scale", 1, {1, 4}, std::vector<float>(4, 0.5f));
          onnx::NodeProto& node = add_node(graph, "DequantizeLinear", {"codes", "scale"}, {"w"}, "weights");
          add_integer(node, "axis", 0);
          add_integer(node, "block_size", size);
          add_node(graph, "MatMul", {"x", "w"}, {"y"}, "product");
        },
        21);
    expect_no_crash(model);
  }
}

}  // namespace
}  // namespace tare::test
