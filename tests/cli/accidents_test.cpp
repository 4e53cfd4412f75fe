// What happens by accident: outputs named like inputs, folders where files are meant, weights and outputs that are no
// numbers, readers that go away.
#include <fmt/format.h>
#include <sys/stat.h>

#include <cmath>

#include "cli/command.hpp"
#include "tare/dataset.hpp"
#include "tare/session.hpp"

namespace tare::test {
namespace {

using testing::HasSubstr;
using testing::Not;

class Accidents : public testing::Test {
 protected:
  Accidents() {
    write_model(small_model(), folder_ / "m.onnx");
    write_samples(folder_ / "x.npz", 2);
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  CommandResult calibrate(std::vector<std::string> more, const std::string& model = "m.onnx") const {
    more.insert(more.begin(), {"calibrate", at(model), "--data", at("x.npz"), "--output", at("out")});
    return tare(more);
  }
  /// y = Sqrt(x), NaN for what lies below zero.
  std::string write_root() const {
    onnx::ModelProto model = empty_model();
    add_input(*model.mutable_graph(), "x", {-1, 4});
    add_output(*model.mutable_graph(), "y", {-1, 4});
    add_node(*model.mutable_graph(), "Sqrt", {"x"}, {"y"}, "root");
    write_model(model, folder_ / "root.onnx");
    for (const float value : {4.0f, -4.0f}) {
      Tensor x = Tensor::host(DataType::float32, {2, 4});
      std::fill_n(x.mutable_data<float>(), 8, value);
      write_npy(folder_ / (value > 0 ? "above.npy" : "below.npy"), x);
    }
    return at("root.onnx");
  }

  TemporaryFolder folder_;
};

TEST_F(Accidents, OutputsReplaceNothingThatIsRead) {
  ASSERT_EQ(calibrate({}).exit_code, 0);
  const std::string encodings = at("out/m.encodings");
  const std::vector<std::string> read = {at("m.onnx"), at("x.npz"), encodings};
  std::vector<std::string> before;
  for (const std::string& file : read) before.push_back(read_bytes(file));
  for (const std::string& file : {at("m.onnx"), at("x.npz")}) {
    expect_error(tare({"run", at("m.onnx"), "--data", at("x.npz"), "--output", file}), 2, "which is read");
    expect_error(calibrate({"--save-stats", file}), 2, "which is read");
  }
  for (const std::string& file : read)
    expect_error(tare({"simulate", at("m.onnx"), "--data", at("x.npz"), "--encodings", encodings, "--output", file}), 2,
                 "which is read");
  for (std::size_t i = 0; i < read.size(); ++i) EXPECT_EQ(read_bytes(read[i]), before[i]) << read[i];
}

TEST_F(Accidents, FoldersAreNoFiles) {
  std::filesystem::create_directory(at("folder"));
  expect_error(tare({"calibrate", at("m.onnx"), "--from-stats", at("folder"), "--output", at("out")}), 5, "folder");
  expect_error(calibrate({"--config", at("folder")}), 5, "folder");
}

TEST_F(Accidents, WeightsThatAreNoNumbersAreNamed) {
  onnx::ModelProto model = small_model();
  onnx::TensorProto& weights = *model.mutable_graph()->mutable_initializer(0);
  std::vector<float> values(4 * 3 * 3 * 3, 0.5f);
  values[30] = NAN;
  set_raw(weights, values);
  write_model(model, folder_ / "nan.onnx");
  expect_error(calibrate({}, "nan.onnx"), 3, "weight 'w' of shape [4,3,3,3] holds NaN or infinity at element 30");
  EXPECT_EQ(calibrate({"--nonfinite", "skip"}, "nan.onnx").exit_code, 0);
}

TEST_F(Accidents, OutputsThatAreNoNumbersAreNoSuccess) {
  const std::string model = write_root();
  ASSERT_EQ(tare({"calibrate", model, "--data", at("above.npy"), "--output", at("out")}).exit_code, 0);
  const std::string encodings = at("out/root.encodings");
  for (const std::string metric : {"mse", "sqnr"})
    expect_error(tare({"evaluate", model, "--data", at("below.npy"), "--encodings", encodings, "--metric", metric}), 4,
                 "all 8 values of output 'y' are NaN or infinite");
  write_bytes(folder_ / "labels.txt", "0\n1\n");
  expect_error(tare({"evaluate", model, "--data", at("below.npy"), "--labels", at("labels.txt")}), 4,
               "all 8 values of output 'y' are NaN or infinite in the float model");
  const CommandResult shown = tare({"simulate", model, "--data", at("below.npy"), "--encodings", encodings});
  EXPECT_EQ(shown.exit_code, 0);
  EXPECT_THAT(shown.output, HasSubstr("none"));
  EXPECT_THAT(shown.output, Not(HasSubstr("equal")));
  const auto json =
      tare({"simulate", model, "--data", at("below.npy"), "--encodings", encodings, "--json"}).json()["outputs"][0];
  EXPECT_TRUE(json["mse"].is_null());
  EXPECT_EQ(json["nonfinite_left_out"], 8);
}

TEST_F(Accidents, SimulatingWithoutQuantizersCanBeSeen) {
  write_bytes(folder_ / "none.encodings", R"({"version": "1.0.0", "activation_encodings": [], "param_encodings": []})");
  const CommandResult result =
      tare({"simulate", at("m.onnx"), "--data", at("x.npz"), "--encodings", at("none.encodings")});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr("quantizers  0: 0 of activations, 0 of parameters\n"));
  ASSERT_EQ(calibrate({}).exit_code, 0);
  const auto json = tare({"evaluate", at("m.onnx"), "--data", at("x.npz"), "--encodings", at("out/m.encodings"),
                          "--metric", "mse", "--json"})
                        .json();
  EXPECT_EQ(json["parameter_quantizers"], 1);
  EXPECT_EQ(json["activation_quantizers"], 2);
}

TEST_F(Accidents, WhatWasLeftOutIsSaid) {
  write_samples(folder_ / "x.npz", 2, NAN, 7);
  const CommandResult some = calibrate({"--nonfinite", "skip"});
  EXPECT_THAT(some.output, HasSubstr("'x': 1 of 384 values are NaN or infinite; left out\n"));
  Tensor x = Tensor::host(DataType::float32, {1, 3, 8, 8});
  std::fill_n(x.mutable_data<float>(), x.elements(), NAN);
  write_npy(folder_ / "nan.npy", x);
  const CommandResult all =
      tare({"calibrate", at("m.onnx"), "--data", at("nan.npy"), "--output", at("out"), "--nonfinite", "skip"});
  EXPECT_THAT(all.output, HasSubstr("'x': 192 of 192 values are NaN or infinite; left out, so that no range is known"));
  EXPECT_THAT(all.output, Not(HasSubstr("mark something")));
}

TEST_F(Accidents, RefiningWithoutRangesFromDataTakesThemAllTheSame) {
  for (const char* threads : {"1", "2"}) {
    const CommandResult result =
        calibrate({"--refine", "--activation-type", "float32", "--threads", threads, "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_EQ(result.json()["samples"], 2);
    EXPECT_EQ(result.json()["activation_quantizers"], 0);
  }
}

TEST_F(Accidents, ImpossibleOverridesAreFoundAtOnce) {
  expect_error(calibrate({"--override", "y:min=1e9"}), 2, "min is above 0, which every range holds");
  expect_error(calibrate({"--override", "y:min=-2,max=-1"}), 2, "max is below 0, which every range holds");
  expect_error(calibrate({"--override", "y:bits=4,bits=8"}), 2, "bits is given twice");
  expect_error(calibrate({"--override", "y:bits=4,type=int8"}), 2, "type says the bits, too");
  expect_error(calibrate({"--override", "y:enabled=false,bits=4"}), 2, "enabled=false leaves nothing to set");
  expect_error(calibrate({"--override", "*y:bits=4"}), 2, "any text is '.*', not '*'");
  expect_error(calibrate({"--override", "y.+:bits=4"}), 2, "'tare inspect --all' lists them");
  expect_error(calibrate({"--override", "[^a-x]:bits=4", "--override", ":bits=4"}), 2, "REGEX:KEY=VALUE");
  expect_error(calibrate({"--param-type", "float32", "--activation-type", "float32"}), 2, "nothing would be quantized");
  expect_error(calibrate({"--override", "x:decompressed_bits=8"}), 2, "decompressed_bits goes with block");
  expect_error(calibrate({"--override", "x:foo=1"}), 2, "with keys of bits, block,");
  expect_error(calibrate({"--param-scheme", "foo"}), 2, "--param-scheme: 'foo'");
}

TEST_F(Accidents, NamesThatAreNotUtf8StillMakeJson) {
  const std::string model = at("m\xff.onnx");
  std::filesystem::copy(at("m.onnx"), model);
  for (const auto& [key, line] :
       {std::pair<const char*, std::vector<std::string>>{"file", {"inspect", model}},
        {"model", {"run", model, "--data", at("x.npz")}},
        {"model", {"calibrate", model, "--data", at("x.npz"), "--output", at("out")}},
        {"model", {"simulate", model, "--data", at("x.npz"), "--encodings", at("out/m\xff.encodings")}},
        {"encodings", {"lint", at("m.onnx"), at("out/m\xff.encodings")}},
        {"a", {"diff", at("out/m\xff.encodings"), at("out/m\xff.encodings")}}}) {
    std::vector<std::string> arguments = line;
    arguments.push_back("--json");
    EXPECT_THAT(tare(arguments).json()[key].get<std::string>(), HasSubstr("m\uFFFD.")) << line[0];
  }
}

/// What the user of the command is told to do differs from what a program can do.
TEST_F(Accidents, DevicesThatThereAreNot) {
  for (const std::string command : {"run", "bench", "calibrate"})
    expect_error(tare({command, at("m.onnx"), "--data", at("x.npz"), "--device", "tpu"}), 2,
                 "--device: 'tpu' is not a device; use auto, cpu or cuda:N");
  for (const std::string device : {"cuda:0", "tpu"}) {
    SessionOptions options;
    options.device = device;
    try {
      const Session session(at("m.onnx"), options);
      ADD_FAILURE() << device;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      EXPECT_THAT(error.what(), HasSubstr("'" + device + "' is neither auto nor cpu; for a GPU hand the Session what"));
    }
  }
}

TEST_F(Accidents, ValuesOfVariablesThatAreNotSet) {
  for (const std::string flag : {"--encodings-in", "--save-stats", "--shard", "--prefix", "--output", "--override"})
    for (const std::vector<std::string>& given : {std::vector<std::string>{flag, ""}, {flag + "="}})
      expect_error(calibrate(given), 2, flag + ": the value is empty; give one");
  expect_error(tare({"inspect", ""}), 2, "file: the value is empty; give one");
  EXPECT_FALSE(std::filesystem::exists(at("out")));
}

TEST_F(Accidents, IdleThreadsSleepSoonUnlessToldOtherwise) {
  const auto shown = [&](const std::string& settings) {
    return run_command({"/bin/bash", "-c",
                        fmt::format("unset GOMP_SPINCOUNT; {} OMP_DISPLAY_ENV=verbose {} --version 2>&1 | "
                                    "grep SPINCOUNT | tail -n 1",
                                    settings, tare_binary().string())})
        .output;
  };
  EXPECT_THAT(shown(""), HasSubstr("'12000'"));
  EXPECT_THAT(shown("GOMP_SPINCOUNT=77"), HasSubstr("'77'"));
  EXPECT_THAT(shown("OMP_WAIT_POLICY=passive"), HasSubstr("'0'"));
}

TEST_F(Accidents, ReadersMayGoAway) {
  const std::string command =
      fmt::format("{} inspect '{}' --all | true; echo ${{PIPESTATUS[0]}}", tare_binary().string(), at("m.onnx"));
  const CommandResult result = run_command({"/bin/bash", "-c", command});
  EXPECT_EQ(result.errors, "");
  EXPECT_THAT(result.output, testing::AnyOf("141\n", "0\n"));  // all of it may have gone into the pipe
}

/// Whoever writes into a pipe may never come, and a device may never end.
TEST_F(Accidents, WhatIsNoRegularFileIsNotWaitedFor) {
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  for (const std::string& file : {at("pipe"), std::string("/dev/zero")}) {
    const std::string message = file + "': is no regular file";
    expect_error(tare({"calibrate", at("m.onnx"), "--data", at("x.npz"), "--config", file}), 5, message);
    expect_error(tare({"simulate", at("m.onnx"), "--data", at("x.npz"), "--encodings", file}), 5, message);
    expect_error(tare({"lint", at("m.onnx"), file}), 5, message);
  }
}

/// What nohup and the background of a script ignore stays ignored.
TEST_F(Accidents, SignalsThatAreIgnoredDoNotInterrupt) {
  write_samples(folder_ / "x.npz", 2000);
  CommandOptions options;
  options.ignores_interrupts = true;
  options.interrupt_when = [&] { return names_in(folder_.path()).size() > 2; };  // the temporary file of the outputs
  const std::vector<std::string> run = {"run",      at("m.onnx"), "--data",       at("x.npz"),
                                        "--output", at("o.npz"),  "--batch-size", "1"};
  const CommandResult result = tare(run, options);
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_TRUE(std::filesystem::exists(at("o.npz")));
}

}  // namespace
}  // namespace tare::test
