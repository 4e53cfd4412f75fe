// What inspect takes a file for, and how it says what a quantizer is.
#include "cli/command.hpp"

namespace tare::test {
namespace {

using testing::HasSubstr;

class Inspect : public testing::Test {
 protected:
  Inspect() {
    write_model(small_model(), folder_ / "m.onnx");
    write_samples(folder_ / "x.npz", 2);
    options_.folder = folder_.path();
  }
  nlohmann::json calibrated(std::vector<std::string> flags = {}) const {
    flags.insert(flags.begin(), {"calibrate", "m.onnx", "--data", "x.npz", "--quiet"});
    const CommandResult result = tare(flags, options_);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return nlohmann::json::parse(read_bytes(folder_ / "out/m.encodings"));
  }
  CommandResult inspect(const std::string& file) const { return tare({"inspect", file}, options_); }

  TemporaryFolder folder_;
  CommandOptions options_;
};

/// AIMET's AdaRound leaves the parameters alone: a list, or in the old version an object.
TEST_F(Inspect, ParametersAloneByTheirContentWhateverTheirName) {
  for (const char* version : {"0.6.1", "1.0.0"}) {
    const nlohmann::json parameters = calibrated({"--encoding-version", version})["param_encodings"];
    for (const char* name : {"adaround.json", "adaround", "adaround.encodings"}) {
      write_bytes(folder_ / name, "\n " + parameters.dump(4));
      const CommandResult result = inspect(name);
      EXPECT_EQ(result.exit_code, 0) << name << ": " << result.errors;
      EXPECT_THAT(result.output, HasSubstr("1 tensors: 0 activations, 1 parameters")) << name;
    }
  }
}

/// The words of lint and of the mismatches that calibrate lists.
TEST_F(Inspect, KindsInTheWordsOfOtherCommands) {
  calibrated({"--param-type", "int4"});
  EXPECT_THAT(inspect("out/m.encodings").output,
              testing::AllOf(HasSubstr("activation, 8 bits asymmetric\n"), HasSubstr("parameter, 4 bits symmetric")));
  EXPECT_THAT(tare({"lint", "m.onnx", "out/m.encodings"}, options_).output, HasSubstr("4 bits symmetric"));
  calibrated({"--activation-type", "float8e5m2", "--encoding-version", "2.0.0"});
  EXPECT_THAT(inspect("out/m.encodings").output, HasSubstr("activation, float8e5m2\n"));
  const nlohmann::json listed = tare({"inspect", "out/m.encodings", "--json"}, options_).json()["tensors"];
  EXPECT_EQ(listed[0]["kind"], "float8e5m2");
  // Floats of two types are no integers.
  std::filesystem::rename(folder_ / "out", folder_ / "before");
  calibrated({"--activation-type", "float8e4m3fn", "--encoding-version", "2.0.0"});
  EXPECT_THAT(tare({"diff", "before/m.encodings", "out/m.encodings"}, options_).output,
              HasSubstr("y  float8e5m2 and float8e4m3fn\n"));
}

/// A residual reads the tensor as it is, beside those who read it quantized.
TEST_F(Inspect, PairsThatStayOperatorsAreListed) {
  onnx::ModelProto model = empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {-1, 4});
  add_output(graph, "y", {-1, 4});
  add_initializer<float>(graph, "scale", 1, {}, {0.5f});
  add_initializer<std::uint8_t>(graph, "zero", 2, {}, {3});
  std::string sum = "x";
  for (int i = 0; i < 11; ++i) {
    const std::string n = std::to_string(i);
    add_node(graph, "Relu", {sum}, {"h" + n});
    add_node(graph, "QuantizeLinear", {"h" + n, "scale", "zero"}, {"codes" + n}, "to_codes" + n);
    add_node(graph, "DequantizeLinear", {"codes" + n, "scale", "zero"}, {"after" + n});
    sum = i == 10 ? "y" : "sum" + n;
    add_node(graph, "Add", {"after" + n, "h" + n}, {sum}, "residual" + n);
  }
  write_model(model, folder_ / "m.onnx");
  const std::string first = "'h0': QuantizeLinear 'to_codes0' stays an operator, as Add 'residual0' reads the tensor";
  const std::string last = "'h10': QuantizeLinear 'to_codes10' stays";
  const std::string some = inspect("m.onnx").output;
  EXPECT_THAT(some, testing::AllOf(HasSubstr("11  left as operators:\n"), HasSubstr(first), HasSubstr("… and 1 more")));
  EXPECT_THAT(some, testing::Not(HasSubstr(last)));
  EXPECT_THAT(tare({"inspect", "m.onnx", "--all"}, options_).output, testing::AllOf(HasSubstr(first), HasSubstr(last)));
  const nlohmann::json kept = tare({"inspect", "m.onnx", "--json"}, options_).json()["quantizers"]["kept"];
  ASSERT_EQ(kept.size(), 11u);
  EXPECT_THAT(kept[10].get<std::string>(), HasSubstr(last));
}

TEST_F(Inspect, APipeCannotBeLookedAtTwice) {
  const CommandResult result = run_command({"/bin/bash", "-c", tare_binary().string() + " inspect <(echo '{}')"});
  expect_error(result, 5, "it is no regular file; give a model, .encodings or .stats file");
}

}  // namespace
}  // namespace tare::test
