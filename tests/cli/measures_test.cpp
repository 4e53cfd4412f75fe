// What simulate and evaluate measure on outputs that are no plain scores: classes, truth values, texts, boxes as many
// as there are in the data; and on data that the model's batches do not use up.
#include "cli/command.hpp"
#include "support/bitmap.hpp"
#include "tare/dataset.hpp"

namespace tare::test {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int int64_type = 7, string_type = 8, bool_type = 9;

class Measures : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  /// x, in rows of four values.
  std::string write_x(const std::vector<float>& values) const {
    write_npy(folder_ / "x.npy",
              Tensor::of<float>({static_cast<std::int64_t>(values.size()) / 4, 4}, std::span<const float>(values)));
    return at("x.npy");
  }
  /// Encodings that round r = Relu(x) to 0, 1, 2 or 3.
  void calibrate(const onnx::ModelProto& model) const {
    write_model(model, folder_ / "m.onnx");
    write_x(std::vector<float>(8, 3.0f));
    const CommandResult result = tare({"calibrate", at("m.onnx"), "--data", at("x.npy"), "--output", at("out"),
                                       "--override", "[xr]:bits=2,min=0,max=3", "--no-qdq"});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
  }
  CommandResult simulate(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> line = {"simulate", at("m.onnx"), "--encodings", at("out/m.encodings"),
                                     "--data",   at("x.npy")};
    line.insert(line.end(), more.begin(), more.end());
    return tare(line);
  }
  CommandResult evaluate(const std::string& metric, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> line = {"evaluate", at("m.onnx"), "--metric",    metric,
                                     "--data",   at("x.npy"),  "--encodings", at("out/m.encodings")};
    line.insert(line.end(), more.begin(), more.end());
    return tare(line);
  }

  TemporaryFolder folder_;
};

/// r = Relu(x)
onnx::ModelProto relu_model(std::int64_t rows = -1) {
  onnx::ModelProto model = empty_model();
  add_input(*model.mutable_graph(), "x", {rows, 4});
  add_node(*model.mutable_graph(), "Relu", {"x"}, {"r"}, "relu");
  return model;
}

/// Of r: the class, whether each value is positive, the class as text.
onnx::ModelProto class_model(bool keep_axis) {
  onnx::ModelProto model = relu_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  onnx::NodeProto& node = add_node(graph, "ArgMax", {"r"}, {"class"}, "argmax");
  add_integer(node, "axis", 1);
  add_integer(node, "keepdims", keep_axis ? 1 : 0);
  add_output(graph, "class", keep_axis ? std::vector<std::int64_t>{-1, 1} : std::vector<std::int64_t>{-1}, int64_type);
  add_initializer(graph, "zero", 1, {1}, std::vector<float>{0});
  add_node(graph, "Greater", {"r", "zero"}, {"positive"}, "greater");
  add_output(graph, "positive", {-1, 4}, bool_type);
  add_integer(add_node(graph, "Cast", {"class"}, {"text"}, "cast"), "to", string_type);
  add_output(graph, "text", keep_axis ? std::vector<std::int64_t>{-1, 1} : std::vector<std::int64_t>{-1}, string_type);
  return model;
}

/// The values of r above 0.3, as many as there are.
onnx::ModelProto box_model() {
  onnx::ModelProto model = relu_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_initializer(graph, "all", int64_type, {1}, std::vector<std::int64_t>{-1});
  add_initializer(graph, "least", 1, {1}, std::vector<float>{0.3f});
  add_node(graph, "Reshape", {"r", "all"}, {"flat"}, "flatten");
  add_node(graph, "Greater", {"flat", "least"}, {"found"}, "greater");
  add_node(graph, "Compress", {"flat", "found"}, {"boxes"}, "compress");
  add_output(graph, "boxes", {-1});
  add_output(graph, "r", {-1, 4});
  return model;
}

TEST_F(Measures, ClassesAreCountedAgainstLabels) {
  for (const bool keep_axis : {false, true}) {
    calibrate(class_model(keep_axis));
    write_x({3, 0, 0, 0, 0.4f, 0.3f, 0, 0, 0, 0.4f, 0, 0, 0, 0, 0, 3});
    write_bytes(folder_ / "labels.txt", "0\n0\n1\n2\n");
    const CommandResult top1 = evaluate("top1", {"--labels", at("labels.txt"), "--json"});
    ASSERT_EQ(top1.exit_code, 0) << top1.errors;
    EXPECT_EQ(top1.json()["float"], 0.75);
    EXPECT_EQ(top1.json()["simulated"], 0.5);
    EXPECT_EQ(evaluate("agreement", {"--json"}).json()["value"], 0.75);
    const CommandResult alone =
        tare({"evaluate", at("m.onnx"), "--data", at("x.npy"), "--labels", at("labels.txt"), "--json"});
    ASSERT_EQ(alone.exit_code, 0) << alone.errors;
    EXPECT_EQ(alone.json()["float"], 0.75);
    expect_error(evaluate("top5", {"--labels", at("labels.txt")}), 6, "and --metric top5 takes floats; choose another");
    expect_error(evaluate("cosine"), 6, "output 'class' is int64 of shape");
    expect_error(evaluate("agreement", {"--output-name", "positive"}), 6, "floats, or one integer a sample");
  }
}

TEST_F(Measures, FiveOfFourClassesAreAllOfThem) {
  onnx::ModelProto model = relu_model();
  add_output(*model.mutable_graph(), "r", {-1, 4});
  write_model(model, folder_ / "m.onnx");
  write_x({3, 0, 0, 0});
  write_bytes(folder_ / "labels.txt", "0\n");
  expect_error(
      tare({"evaluate", at("m.onnx"), "--data", at("x.npy"), "--labels", at("labels.txt"), "--metric", "top5"}), 4,
      "output 'r' has 4 classes, so that every answer is among the first 5; use top1");
}

TEST_F(Measures, IntegersAndTruthValuesAreComparedAndTextsAreNot) {
  calibrate(class_model(false));
  write_x({3, 0, 0, 0, 0.4f, 0.3f, 0, 0, 0, 0.4f, 0, 0, 0, 0, 0, 3});
  const std::string shown = simulate().output;
  EXPECT_THAT(shown, HasSubstr("75.00 %  of 4 int64 values are equal\n"));
  EXPECT_THAT(shown, HasSubstr("81.25 %  of 16 bool values are equal\n"));
  EXPECT_THAT(shown, HasSubstr("not compared (string)\n"));
  EXPECT_THAT(shown, Not(HasSubstr(" equal  ")));
  const nlohmann::json outputs = simulate({"--json"}).json()["outputs"];
  EXPECT_EQ(outputs[0]["equal"], 0.75);
  EXPECT_EQ(outputs[1]["equal"], 0.8125);
  for (const nlohmann::json& output : outputs) {
    EXPECT_TRUE(output["mse"].is_null());
    EXPECT_TRUE(output["sqnr_db"].is_null());
  }
  EXPECT_TRUE(outputs[2]["equal"].is_null());
}

TEST_F(Measures, OutputsOfOtherShapesAreNotCompared) {
  calibrate(box_model());
  write_x({0.4f, 3, 2, 0, 0.4f, 3, 0, 0});
  for (const char* metric : {"cosine", "agreement", "mse", "sqnr"})
    expect_error(evaluate(metric), 4, "output 'boxes' has shape [5] in the float and [3] in the simulated model");
  EXPECT_EQ(evaluate("cosine", {"--output-name", "r"}).exit_code, 0);
  write_x({0.4f, 0, 0, 0});
  expect_error(evaluate("cosine"), 4, "shape [1] in the float and [0] in the simulated model for the 1 sample from");
  write_x({0, 0, 0, 0});
  expect_error(evaluate("cosine"), 4, "output 'boxes' is empty for every sample");

  // One sample of other shape, one with no box, one with boxes: the last one counts.
  write_x({0.4f, 3, 2, 0, 0, 0, 0, 0, 1, 2, 3, 1.25f});
  const std::vector<std::string> one_by_one = {"--batch-size", "1"};
  EXPECT_THAT(simulate(one_by_one).output,
              HasSubstr("(1 batch left out whose shape differs from the float model's, the first [2] for [3])\n"));
  const nlohmann::json boxes = simulate({"--batch-size", "1", "--json"}).json()["outputs"][0];
  EXPECT_EQ(boxes["batches_of_other_shape"], 1);
  EXPECT_NEAR(boxes["mse"].get<double>(), 0.0625 / 4, 1e-3);
  EXPECT_LT(boxes["sqnr_db"].get<double>(), 60) << "an empty batch is no perfect one";
  write_x({0.4f, 3, 2, 0});
  EXPECT_THAT(simulate().output, HasSubstr("not compared  (1 batch left out"));
}

TEST_F(Measures, SamplesThatFillNoBatchAreNamedAndHaveLabels) {
  onnx::ModelProto model = relu_model(2);
  add_output(*model.mutable_graph(), "r", {2, 4});
  calibrate(model);
  write_x({3, 0, 0, 0, 0, 3, 0, 0, 0, 0, 3, 0, 0, 0, 0, 3, 3, 0, 0, 0});
  const std::string source = "4 samples in 2 batches from x.npy (1 left out: no full batch of the model's fixed size)";
  write_bytes(folder_ / "labels.txt", "0\n1\n2\n3\n0\n");
  const std::vector<std::string> labelled = {"--labels", at("labels.txt")};
  EXPECT_THAT(evaluate("top1", labelled).output, HasSubstr("top1 of 'r' on " + source + "\n"));
  EXPECT_THAT(simulate().output, HasSubstr("simulated   " + source));
  EXPECT_THAT(tare({"run", at("m.onnx"), "--data", at("x.npy")}).output, HasSubstr("ran         " + source));
  EXPECT_EQ(tare({"run", at("m.onnx"), "--data", at("x.npy"), "--json"}).json()["samples_left_out"], 1);
  EXPECT_THAT(tare({"calibrate", at("m.onnx"), "--data", at("x.npy"), "--output", at("out")}).output,
              HasSubstr("calibrated  " + source));
  const nlohmann::json report = evaluate("top1", {"--labels", at("labels.txt"), "--json"}).json();
  EXPECT_EQ(report["samples"], 4);
  EXPECT_EQ(report["samples_left_out"], 1);
  EXPECT_EQ(report["float"], 1);
  EXPECT_EQ(evaluate("top1", {"--labels", at("labels.txt"), "--samples", "3", "--json"}).json()["samples"], 2);
  write_bytes(folder_ / "labels.txt", "0\n1\n2\n3\n");
  expect_error(evaluate("top1", labelled), 4, "4 labels for 5 samples");
}

TEST_F(Measures, TheShorterSideOfImagesIsScaledWhereAsked) {
  onnx::ModelProto model = empty_model();
  add_input(*model.mutable_graph(), "x", {1, 3, 4, 4});
  add_output(*model.mutable_graph(), "y", {1, 3, 4, 4});
  add_node(*model.mutable_graph(), "Relu", {"x"}, {"y"}, "relu");
  write_model(model, folder_ / "m.onnx");
  // White in the centre, which is all that remains of twice the size.
  write_bytes(folder_ / "x.bmp", bitmap(16, 8, [](int x, int) {
                return x >= 3 && x < 13 ? Pixel{255, 255, 255} : Pixel{0, 0, 0};
              }));
  const auto run = [&](const std::vector<std::string>& more) {
    std::vector<std::string> line = {"run", at("m.onnx"), "--data", at("x.bmp"), "--output", at("y.npz")};
    line.insert(line.end(), more.begin(), more.end());
    return tare(line);
  };
  const auto smallest = [&] {
    const Tensor y = NpzFile(at("y.npz")).read("000/y");
    return *std::min_element(y.span<float>().begin(), y.span<float>().end());
  };
  ASSERT_EQ(run({}).exit_code, 0);
  EXPECT_LT(smallest(), 0.5f);
  const CommandResult cut = run({"--resize-shorter", "4"});
  ASSERT_EQ(cut.exit_code, 0) << cut.errors;
  EXPECT_GT(smallest(), 0.8f);
  expect_error(run({"--resize-shorter", "3"}), 2, "--resize-shorter 3 leaves images smaller than the 4x4");
  expect_error(run({"--resize-shorter", "0"}), 2, "--resize-shorter");
}

}  // namespace
}  // namespace tare::test
