// Flags that change nothing beside the others are refused: a result would look as if they had.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/command.hpp"

namespace tare::test {
namespace {

struct Case {
  std::vector<std::string> line;
  std::string flag;
  std::string why;
};

class IdleFlags : public testing::Test {
 protected:
  IdleFlags() {
    write_model(small_model(), folder_ / "m.onnx");
    write_samples(folder_ / "x.npz", 2);
    options_.folder = folder_.path();
  }
  void expect_refused(const std::vector<Case>& cases) const {
    for (const auto& [line, flag, why] : cases) {
      SCOPED_TRACE(fmt::to_string(fmt::join(line, " ")));
      expect_error(tare(line, options_), 2, fmt::format("{} does nothing here: {}", flag, why));
    }
  }
  void expect_taken(const std::vector<std::vector<std::string>>& lines) const {
    for (const std::vector<std::string>& line : lines)
      EXPECT_EQ(tare(line, options_).exit_code, 0) << fmt::to_string(fmt::join(line, " "));
  }
  /// `flags` behind the same beginning.
  static std::vector<std::string> calibrate(const std::vector<std::string>& flags) {
    std::vector<std::string> line = {"calibrate", "m.onnx", "--data", "x.npz"};
    line.insert(line.end(), flags.begin(), flags.end());
    return line;
  }

  TemporaryFolder folder_;
  CommandOptions options_;
};

TEST_F(IdleFlags, SettingsOfSchemesThatAreNotChosen) {
  expect_refused({
      {calibrate({"--gamma", "2", "--scheme", "mse"}), "--gamma", "it is a setting of sqnr"},
      {calibrate({"--percentile", "99"}), "--percentile", "it is a setting of percentile"},
      {calibrate({"--percentile", "99", "--param-scheme", "percentile"}), "--percentile", "it is a setting of"},
      {calibrate({"--sentinels", "keep", "--scheme", "min_max"}), "--sentinels", "min_max and tf_enhanced take all"},
      {calibrate({"--refine", "--scheme", "percentile"}), "--refine", "only sqnr and mse have candidates"},
  });
  expect_taken({calibrate({"--gamma", "2", "--scheme", "mse", "--param-scheme", "sqnr"}),
                calibrate({"--gamma", "2", "--scheme", "min_max", "--override", "y:scheme=sqnr"}),
                calibrate({"--percentile", "99", "--override", "w:scheme=percentile"}),
                calibrate({"--sentinels", "keep", "--scheme", "min_max", "--param-scheme", "mse"}),
                calibrate({"--refine", "--scheme", "min_max", "--override", "x:scheme=mse"})});
}

TEST_F(IdleFlags, WhatIsAboutFilesThatAreNotWritten) {
  std::vector<Case> cases;
  for (const char* flag : {"--qdq-int32-bias", "--no-qdq-derived", "--qdq-weights=integer"})
    cases.push_back({calibrate({"--no-qdq", flag}), std::string(flag).substr(0, std::string(flag).find('=')),
                     "--no-qdq leaves that model out"});
  cases.push_back({calibrate({"--no-qdq", "--activations-as", "signed"}), "--activations-as", "it is for the QDQ"});
  for (const char* flag :
       {"--no-qdq", "--also=tensorrt", "--output=o", "--prefix=a", "--encoding-version=2.0.0", "--int32-bias"})
    cases.push_back({calibrate({"--shard", "1/1", "--save-stats", "s.stats", flag}),
                     std::string(flag).substr(0, std::string(flag).find('=')), "--shard writes only statistics"});
  expect_refused(cases);
  expect_taken({calibrate({"--no-qdq", "--encoding-version", "2.0.0", "--activations-as", "signed"})});
}

TEST_F(IdleFlags, WhatIsAboutDataThatIsNotRead) {
  expect_taken({calibrate({"--save-stats", "x.stats"})});
  const std::string encodings = "out/m.encodings";
  expect_refused({
      {{"calibrate", "m.onnx", "--from-stats", "x.stats", "--samples", "2"}, "--samples", "there is no --data to read"},
      {{"calibrate", "m.onnx", "--from-stats", "x.stats", "--mean", "0.5"}, "--mean", "there is no --data to read"},
      {{"calibrate", "m.onnx", "--from-stats", "x.stats", "--resize-shorter", "9"},
       "--resize-shorter",
       "there is no --data to read"},
      {{"calibrate", "m.onnx", "--encodings-in", encodings, "--refine"}, "--refine", "there is no --data to observe"},
      {{"calibrate", "m.onnx", "--encodings-in", encodings, "--save-stats", "no.stats"},
       "--save-stats",
       "there is no --data to observe"},
      {{"run", "m.onnx", "--data", "x.npz", "--reproducible", "--batch-size", "2"},
       "--batch-size",
       "--reproducible takes batches of one"},
  });
  EXPECT_FALSE(std::filesystem::exists(folder_ / "no.stats"));
  expect_taken({{"run", "m.onnx", "--data", "x.npz", "--reproducible", "--batch-size", "1"},
                {"calibrate", "m.onnx", "--from-stats", "x.stats", "--save-stats", "sum.stats"}});
}

TEST_F(IdleFlags, WhatIsAboutQuantizersThatTheModelHolds) {
  expect_taken({calibrate({"--scheme", "min_max"})});
  const std::string own = "out/m.qdq.onnx";
  const auto calibrate_own = [&](const std::vector<std::string>& flags) {
    std::vector<std::string> line = {"calibrate", own, "--data", "x.npz", "--output", "again"};
    line.insert(line.end(), flags.begin(), flags.end());
    return line;
  };
  expect_refused({
      {calibrate({"--recalibrate"}), "--recalibrate", "the model holds no quantizers"},
      {calibrate_own({"--scheme", "sqnr"}), "--scheme", "the encodings of the model's own quantizers are kept"},
      {calibrate_own({"--gamma", "2"}), "--gamma", "the encodings of the model's own quantizers are kept"},
      {{"inspect", own, "--config", "default"}, "--config", "the model holds quantizers, and there are no others"},
      {{"bench", own, "--data", "x.npz", "--scheme", "mse"}, "--scheme", "the model's own quantizers are taken"},
  });
  expect_taken({calibrate_own({"--scheme", "mse", "--recalibrate"}), calibrate_own({}), {"inspect", own}});
}

TEST_F(IdleFlags, OfOtherCommands) {
  expect_taken({calibrate({})});
  const std::string encodings = "out/m.encodings";
  write_bytes(folder_ / "labels.txt", "0\n0\n");
  const auto bench = [](const std::string& profile, const std::string& flag, const std::string& value) {
    return std::vector<std::string>{"bench", "m.onnx", "--data", "x.npz", "--profile", profile, flag, value};
  };
  expect_refused({
      {{"run", "m.onnx", "--data", "x.npz", "--rounding", "aimet"}, "--rounding", "run takes every operator as ONNX"},
      {{"evaluate", "m.onnx", "--data", "x.npz", "--labels", "labels.txt", "--rounding", "aimet"},
       "--rounding",
       "without --encodings there is no quantized model"},
      {bench("plain", "--scheme", "mse"), "--scheme", "--profile plain runs the float model alone"},
      {bench("observe", "--rounding", "aimet"), "--rounding", "--profile observe quantizes nothing"},
      {{"diff", encodings, encodings, "--json", "--show", "3"}, "--show", "--json lists all tensors"},
      {{"inspect", encodings, "--all"}, "--all", "it is for models"},
      {{"inspect", encodings, "--config", "default"}, "--config", "it is for models"},
  });
  for (const auto& [flag, value] : {std::pair{"--fallback", "cpu"}, {"--graphs", "off"}})
    expect_error(tare({"run", "m.onnx", "--data", "x.npz", flag, value}, options_), 2,
                 fmt::format("{} is for --device cuda:N", flag));
}

}  // namespace
}  // namespace tare::test
