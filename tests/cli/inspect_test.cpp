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
}

TEST_F(Inspect, APipeCannotBeLookedAtTwice) {
  const CommandResult result = run_command({"/bin/bash", "-c", tare_binary().string() + " inspect <(echo '{}')"});
  expect_error(result, 5, "it is no regular file; give a model, .encodings or .stats file");
}

}  // namespace
}  // namespace tare::test
