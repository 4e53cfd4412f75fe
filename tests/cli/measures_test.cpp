// What simulate and evaluate measure on outputs that are no plain scores: classes, truth values, texts, boxes as many
// as there are in the data; and on data that the model's batches do not use up.
#include "cli/command.hpp"
#include "tare/dataset.hpp"

namespace tare::test {
namespace {

using testing::HasSubstr;

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

}  // namespace
}  // namespace tare::test
