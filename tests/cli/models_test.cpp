// Kinds of models through the whole command: bodies, weights in files of their own, old and new opsets, images.
#include <fmt/format.h>

#include "cli/command.hpp"
#include "support/bitmap.hpp"
#include "tare/dataset.hpp"
#include "tare/export.hpp"
#include "tare/model.hpp"

namespace tare::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Models : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  /// Calibrates and simulates m.onnx; what simulate says of the first output.
  double simulated_sqnr(const std::string& data, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"calibrate", at("m.onnx"), "--data", data, "--output", at("out")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult calibrated = tare(arguments);
    EXPECT_EQ(calibrated.exit_code, 0) << calibrated.errors;
    const CommandResult simulated =
        tare({"simulate", at("m.onnx"), "--encodings", at("out/m.encodings"), "--data", data, "--json"});
    EXPECT_EQ(simulated.exit_code, 0) << simulated.errors;
    return simulated.exit_code == 0 ? simulated.json()["outputs"][0]["sqnr_db"].get<double>() : 0;
  }
  std::vector<float> outputs_of(const std::string& model, const std::string& data, const std::string& key) const {
    const CommandResult result = tare({"run", model, "--data", data, "--output", at("o.npz")});
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    if (result.exit_code != 0) return {};
    const Tensor values = NpzFile(at("o.npz")).read(key);
    return {values.span<float>().begin(), values.span<float>().end()};
  }

  /// output = positive ? first(x) : second(x).
  static void add_choice(onnx::GraphProto& graph, const char* output, const char* x, const char* first,
                         const char* second) {
    onnx::NodeProto& choice = add_node(graph, "If", {"positive"}, {output}, "choice");
    for (const auto& [branch, op] : {std::pair{"then_branch", first}, {"else_branch", second}}) {
      onnx::GraphProto& taken = *add_attribute(choice, branch, onnx::AttributeProto::GRAPH).mutable_g();
      taken.set_name(branch);
      add_node(taken, op, {x}, {"b"}, branch);
      add_output(taken, "b", {-1, 4, 8, 8});
    }
  }

  TemporaryFolder folder_;
};

/// Behind the convolution: three turns of a loop that doubles, then a branch by the sign of the sum.
TEST_F(Models, WithBodies) {
  onnx::ModelProto model = small_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_initializer(graph, "turns", 7, {}, std::vector<std::int64_t>{3});
  add_initializer(graph, "go", 9, {}, std::vector<std::uint8_t>{1});
  add_initializer(graph, "zero", 1, {}, std::vector<float>{0});
  onnx::NodeProto& loop = add_node(graph, "Loop", {"turns", "go", "y"}, {"grown"}, "loop");
  onnx::GraphProto& body = *add_attribute(loop, "body", onnx::AttributeProto::GRAPH).mutable_g();
  body.set_name("body");
  add_input(body, "i", {}, 7);
  add_input(body, "on", {}, 9);
  add_input(body, "before", {-1, 4, 8, 8});
  add_node(body, "Identity", {"on"}, {"still_on"});
  add_node(body, "Add", {"before", "before"}, {"after"}, "double");
  add_output(body, "still_on", {}, 9);
  add_output(body, "after", {-1, 4, 8, 8});
  add_integer(add_node(graph, "ReduceSum", {"grown"}, {"sum"}), "keepdims", 0);
  add_node(graph, "Greater", {"sum", "zero"}, {"positive"});
  add_choice(graph, "z", "grown", "Neg", "Abs");
  graph.mutable_output()->Clear();
  add_output(graph, "z", {-1, 4, 8, 8});
  write_model(model, folder_ / "m.onnx");
  write_model(small_model(), folder_ / "plain.onnx");
  write_samples(folder_ / "x.npz", 8);
  const std::vector<float> plain = outputs_of(at("plain.onnx"), at("x.npz"), "000/y");
  const std::vector<float> grown = outputs_of(at("m.onnx"), at("x.npz"), "000/z");
  ASSERT_EQ(plain.size(), grown.size());
  for (std::size_t i = 0; i < plain.size(); ++i) ASSERT_FLOAT_EQ(grown[i], -8 * plain[i]);
  EXPECT_GT(simulated_sqnr(at("x.npz")), 25);
  const EncodingSet found = load_encodings(at("out/m.encodings"));
  for (const char* tensor : {"x", "y"}) EXPECT_NE(found.find(tensor, SiteRole::activation), nullptr) << tensor;
  EXPECT_NE(found.find("w", SiteRole::parameter), nullptr);
  EXPECT_EQ(outputs_of(at("out/m.onnx"), at("x.npz"), "000/z"), grown);
}

/// A branch that nobody reads is not looked into, neither when quantizers are placed nor when the file is checked.
TEST_F(Models, WithDeadBodies) {
  onnx::ModelProto model = small_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_node(graph, "ReduceMax", {"y"}, {"largest"});
  add_initializer(graph, "zero", 1, {}, std::vector<float>{0});
  add_node(graph, "Greater", {"largest", "zero"}, {"positive"});
  add_choice(graph, "unread", "y", "Erf", "Tanh");
  write_model(model, folder_ / "m.onnx");
  write_samples(folder_ / "x.npz", 8);
  EXPECT_GT(simulated_sqnr(at("x.npz")), 25);
  const CommandResult linted = tare({"lint", at("m.onnx"), at("out/m.encodings")});
  EXPECT_EQ(linted.exit_code, 0) << linted.output << linted.errors;
}

TEST_F(Models, WithExternalData) {
  onnx::ModelProto model = small_model();
  move_outside(*model.mutable_graph()->mutable_initializer(0), folder_ / "weights.bin");
  write_model(model, folder_ / "m.onnx");
  write_samples(folder_ / "x.npz", 8);
  const std::vector<float> exact = outputs_of(at("m.onnx"), at("x.npz"), "000/y");
  EXPECT_GT(simulated_sqnr(at("x.npz")), 25);
  EXPECT_THAT(names_in(at("out")), ElementsAre("m.data", "m.encodings", "m.onnx", "m.qdq.data", "m.qdq.onnx"));
  // What was written stands by itself, elsewhere and without the model that it came from.
  std::filesystem::remove(folder_ / "weights.bin");
  std::filesystem::rename(folder_ / "out", folder_ / "elsewhere");
  EXPECT_EQ(outputs_of(at("elsewhere/m.onnx"), at("x.npz"), "000/y"), exact);
  const CommandResult quantized = tare({"simulate", at("elsewhere/m.qdq.onnx"), "--data", at("x.npz"), "--json"});
  ASSERT_EQ(quantized.exit_code, 0) << quantized.errors;
  EXPECT_GT(quantized.json()["outputs"][0]["sqnr_db"].get<double>(), 25);
}

/// The weights' file is as much the user's as the model.
TEST_F(Models, ExternalDataIsNeverReplaced) {
  onnx::ModelProto model = small_model();
  move_outside(*model.mutable_graph()->mutable_initializer(0), folder_ / "other.data");
  write_model(model, folder_ / "m.onnx");
  write_samples(folder_ / "x.npz", 8);
  const std::string before = read_bytes(folder_ / "other.data");
  expect_error(tare({"calibrate", at("m.onnx"), "--data", at("x.npz"), "--output", folder_.path().string(), "--prefix",
                     "other"}),
               2, "other.data', which is read; give the output another name or folder");
  EXPECT_EQ(read_bytes(folder_ / "other.data"), before);
}

TEST_F(Models, OfOldAndNewOpsets) {
  write_samples(folder_ / "x.npz", 4);
  for (const int opset : {6, 7, 17, 22, 26}) {
    onnx::ModelProto model = small_model();
    model.mutable_opset_import(0)->set_version(opset);
    write_model(model, folder_ / "m.onnx");
    EXPECT_FALSE(outputs_of(at("m.onnx"), at("x.npz"), "000/y").empty()) << opset;
  }
  for (const int opset : {27, 99}) {
    onnx::ModelProto model = small_model();
    model.mutable_opset_import(0)->set_version(opset);
    write_model(model, folder_ / "m.onnx");
    expect_error(tare({"run", at("m.onnx"), "--data", at("x.npz")}), 6,
                 fmt::format("m.onnx: opset {} is newer than 26", opset));
  }
}

/// x [N,3,2,2] -> x * 2
TEST_F(Models, FedWithImages) {
  onnx::ModelProto model = empty_model();
  add_input(*model.mutable_graph(), "x", {-1, 3, 2, 2});
  add_output(*model.mutable_graph(), "y", {-1, 3, 2, 2});
  add_node(*model.mutable_graph(), "Add", {"x", "x"}, {"y"}, "double");
  write_model(model, folder_ / "m.onnx");
  std::filesystem::create_directory(folder_ / "images");
  const std::string flat = bitmap(2, 2, [](int, int) { return Pixel{255, 51, 0}; });
  write_bytes(folder_ / "images/a.bmp", flat);
  write_bytes(folder_ / "images/b.bmp", bitmap(4, 4, [](int, int) { return Pixel{255, 51, 0}; }));
  const auto channels = [&](const std::vector<std::string>& flags) {
    std::vector<std::string> arguments = {"run", at("m.onnx"), "--data", at("images"), "--output", at("o.npz")};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const CommandResult result = tare(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    const Tensor y = NpzFile(at("o.npz")).read("000/y");
    EXPECT_EQ(y.shape(), (Shape{2, 3, 2, 2}));
    return std::vector<float>{y.data<float>()[12], y.data<float>()[16], y.data<float>()[20]};  // of the second image
  };
  EXPECT_THAT(channels({}), testing::Pointwise(testing::FloatNear(1e-6f), {2.0f, 0.4f, 0.0f}));
  EXPECT_THAT(channels({"--channel-order", "bgr"}), testing::Pointwise(testing::FloatNear(1e-6f), {0.0f, 0.4f, 2.0f}));
  EXPECT_THAT(channels({"--mean", "0.5,0.2,0", "--std", "0.25", "--size", "2x2", "--layout", "nchw"}),
              testing::Pointwise(testing::FloatNear(1e-5f), {4.0f, 0.0f, 0.0f}));
  const auto refused = [&](const std::vector<std::string>& flags, int exit_code, const std::string& part) {
    for (const char* command : {"run", "calibrate"}) {
      std::vector<std::string> arguments = {command, at("m.onnx")};
      arguments.insert(arguments.end(), flags.begin(), flags.end());
      if (command == std::string("calibrate")) arguments.insert(arguments.end(), {"--output", at("out")});
      expect_error(tare(arguments), exit_code, part);
    }
  };
  refused({"--data", at("images"), "--mean", "1,2"}, 2, "--mean has 2 values; images of this model have 3 channels");
  refused({"--data", at("images"), "--std", "0"}, 2, "--std must be positive");
  refused({"--data", at("images"), "--size", "5x2"}, 4, "--size");
  // With other data they would change nothing, and the user would not know.
  NpzWriter writer(at("x.npz"));
  writer.add("x", Tensor::of<float>({1, 3, 2, 2}, std::vector<float>(12, 0.5f)));
  writer.commit();
  for (const auto& [flag, value] :
       {std::pair{"--mean", "0.5"}, {"--std", "2"}, {"--size", "2"}, {"--layout", "nchw"}, {"--channel-order", "rgb"}})
    refused({"--data", at("x.npz"), flag, value}, 2, "x.npz' holds no images");
  EXPECT_FALSE(std::filesystem::exists(at("out")));
}

TEST_F(Models, CalibrationTakesTwoThousandSamplesAndAllElseAll) {
  write_model(small_model(), folder_ / "m.onnx");
  write_samples(folder_ / "x.npz", 2050);
  const auto samples = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--data", at("x.npz"), "--json"});
    const auto report = tare(arguments).json();
    EXPECT_EQ(report["samples_available"], 2050);
    return report["samples"].get<int>();
  };
  EXPECT_EQ(samples({"run", at("m.onnx")}), 2050);
  EXPECT_EQ(samples({"calibrate", at("m.onnx"), "--output", at("out")}), 2000);
  EXPECT_EQ(samples({"calibrate", at("m.onnx"), "--output", at("out"), "--samples", "3000"}), 2050);
  EXPECT_EQ(samples({"simulate", at("m.onnx"), "--encodings", at("out/m.encodings")}), 2050);
  EXPECT_EQ(samples({"run", at("m.onnx"), "--samples", "20"}), 20);
  EXPECT_THAT(tare({"run", at("m.onnx"), "--samples", "20", "--data", at("x.npz")}).output,
              HasSubstr("20 of 2050 samples in 3 batches"));
}

}  // namespace
}  // namespace tare::test
