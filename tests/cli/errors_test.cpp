// Every way to hand the command something bad: one line that says what and where, the exit code that was promised, and
// nothing half-written.
#include <fmt/format.h>
#include <sys/stat.h>

#include "cli/command.hpp"
#include "support/golden.hpp"
#include "tare/dataset.hpp"

namespace tare::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class Errors : public testing::Test {
 protected:
  void SetUp() override {
    write_model(small_model(), folder_ / "model.onnx");
    write_samples(folder_ / "x.npz", 8);
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string model() const { return at("model.onnx"); }
  std::string data() const { return at("x.npz"); }
  CommandResult calibrate(const std::vector<std::string>& more, const CommandOptions& options = {}) const {
    std::vector<std::string> arguments = {"calibrate", model(), "--output", at("out")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return tare(arguments, options);
  }
  /// Data for the small model that is not as it should be.
  void expect_data_error(const std::string& file, const std::string& part) const {
    for (const char* command : {"calibrate", "run"}) {
      std::vector<std::string> arguments = {command,  model(),    "--data",
                                            at(file), "--output", at(command == std::string("run") ? "o.npz" : "out")};
      expect_error(tare(arguments), 4, part);
    }
    EXPECT_FALSE(std::filesystem::exists(at("out")));
    EXPECT_FALSE(std::filesystem::exists(at("o.npz")));
  }

  TemporaryFolder folder_;
};

TEST_F(Errors, UsageErrorsAreTwo) {
  expect_error(tare({}), 2, "a command is needed; commands: calibrate, simulate, run, evaluate, inspect, diff");
  expect_error(tare({"bogus"}), 2, "'bogus' is no command; commands: calibrate, simulate");
  expect_error(tare({"bogus", "--help"}), 2, "see 'tare --help'");
  expect_error(tare({"--bogus"}), 2, "a command is needed");
  expect_error(tare({"diff", "a", "b", "--rtol", "-1"}), 2, "--rtol: '-1' is no number of at least 0");
  expect_error(tare({"run", model()}), 2, "--data is required; see 'tare run --help'");
  expect_error(tare({"run", model(), "--data", data(), "--bogus"}), 2, "--bogus");
  expect_error(tare({"run", model(), "--data", data(), "--samples", "many"}), 2, "many");
  expect_error(tare({"run", model(), "--data", data(), "--samples", "0"}), 2, "--samples");
  expect_error(tare({"run", model(), "--data", data(), "--isa", "sse9"}), 2, "baseline");
  expect_error(tare({"run", model(), "--data", data(), "--graphs", "some"}), 2, "'some' is not one of on|off");
  expect_error(tare({"run", model(), "--data", data(), "--device", "tpu"}), 2, "tpu");
  expect_error(tare({"run", model(), "--data", data(), "--math", "tf32"}), 2, "--math tf32 is for --device cuda:N");
  expect_error(tare({"run", model(), "--data", data(), "--math", "fp64", "--device", "cuda:0"}), 2, "--device cpu");
  for (const char* command : {"calibrate", "run", "bench"})
    expect_error(tare({command, model(), "--data", data(), "--convolutions", at("c.json")}), 2,
                 "--convolutions is for --device cuda:N");
  expect_error(tare({"run", model(), "--data", data(), "--size", "big"}), 2, "--size");
  expect_error(calibrate({}), 2, "--data or --from-stats");
  expect_error(calibrate({"--data", data(), "--from-stats", at("x.stats")}), 2, "--data or --from-stats");
  expect_error(calibrate({"--data", data(), "--scheme", "best"}), 2, "'best'");
  expect_error(calibrate({"--data", data(), "--scheme", "tf_enhanced", "--save-stats", at("s")}), 2, "cannot be saved");
  const auto shard = [&](const char* which, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"calibrate", model(), "--data", data(), "--shard", which};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return tare(arguments);
  };
  const std::vector<std::string> save = {"--save-stats", at("s")};
  expect_error(shard("1/2", {}), 2, "--save-stats for what it finds");
  for (const char* which : {"3/2", "0/2", "1", "a/b", "1/2x"}) expect_error(shard(which, save), 2, "is not I/N");
  expect_error(shard("1/2", save), 2, "1 batches cannot be cut into 2 shards");
  expect_error(shard("1/2", {"--scheme", "tf_enhanced"}), 2, "--shard: tf_enhanced depends on the user's batches");
  expect_error(shard("1/2", {"--refine", "--save-stats", at("s")}), 2, "--refine needs all the data");
  EXPECT_FALSE(std::filesystem::exists(at("s")));
  expect_error(calibrate({"--data", data(), "--override", "w:bits=99"}), 2, "'w:bits=99'");
  expect_error(calibrate({"--data", data(), "--override", "nothing:bits=4"}), 2, "'nothing'");
  expect_error(calibrate({"--data", data(), "--override", "(x{1000}){1000}:bits=4"}), 2, "{1000}': it is too large");
  expect_error(calibrate({"--data", data(), "--op-types-to-quantize", "Gemm"}), 2, "'Gemm'");
  expect_error(calibrate({"--data", data(), "--freeze-params"}), 2, "--encodings-in");
  expect_error(calibrate({"--data", data(), "--encodings-in", at("no.encodings")}), 5, "no.encodings");
  expect_error(calibrate({"--data", data(), "--encoding-version", "9"}), 2, "'9'");
  expect_error(calibrate({"--data", data(), "--param-type", "int99"}), 2, "int99");
  expect_error(calibrate({"--data", data(), "--prefix", "a/b"}), 2, "--output");
  expect_error(calibrate({"--data", data(), "--output", folder_.path().string(), "--prefix", "model"}), 2, "replace");
  for (const char* prefix : {".", ".."}) expect_error(calibrate({"--data", data(), "--prefix", prefix}), 2, "--prefix");
  expect_error(tare({"evaluate", model(), "--data", data()}), 2, "--labels");
  expect_error(tare({"evaluate", model(), "--data", data(), "--metric", "cosine"}), 2, "--encodings");
  expect_error(tare({"evaluate", model(), "--data", data(), "--metric", "taste"}), 2, "taste");
  expect_error(tare({"bench", model()}), 2, "--data is required; see 'tare bench --help'");
  expect_error(tare({"bench", model(), "--data", data(), "--repetitions", "0"}), 2, "--repetitions");
  expect_error(tare({"bench", model(), "--data", data(), "--profile", "all"}), 2, "--profile");
  expect_error(tare({"bench", model(), "--data", data(), "--scheme", "best"}), 2, "'best'");
  expect_error(tare({"bench", model(), "--data", data(), "--device", "tpu"}), 2, "tpu");
  EXPECT_FALSE(std::filesystem::exists(at("out")));
}

TEST_F(Errors, ModelsThatAreMissingTruncatedOrNoModels) {
  expect_error(tare({"run", at("missing.onnx"), "--data", data()}), 5, "missing.onnx");
  expect_error(tare({"inspect", at("missing.onnx")}), 5, "missing.onnx");
  const std::string whole = read_bytes(model());
  for (const std::size_t length : {std::size_t{1}, whole.size() / 3, whole.size() - 5}) {
    write_bytes(at("cut.onnx"), whole.substr(0, length));
    expect_error(tare({"calibrate", at("cut.onnx"), "--data", data(), "--output", at("out")}), 3, "cut.onnx");
    EXPECT_THAT(tare({"run", at("cut.onnx"), "--data", data()}).errors, HasSubstr("copy or export it again"));
  }
  write_bytes(at("empty.onnx"), "");
  expect_error(tare({"run", at("empty.onnx"), "--data", data()}), 3, "empty.onnx");
  write_bytes(at("text.onnx"), "This is a text and no model, whatever its name says.\n");
  expect_error(tare({"run", at("text.onnx"), "--data", data()}), 3, "text.onnx");
  EXPECT_FALSE(std::filesystem::exists(at("out")));
}

TEST_F(Errors, UnsupportedOperatorsAreListedBeforeAnyDataIsRead) {
  onnx::ModelProto bad = small_model();
  for (const char* name : {"first", "second"}) {
    onnx::NodeProto& node = add_node(*bad.mutable_graph(), "Frobnicate", {"y"}, {std::string("z_") + name}, name);
    node.set_domain("example");
    add_output(*bad.mutable_graph(), std::string("z_") + name, {-1, 4, 8, 8});
  }
  bad.add_opset_import()->set_domain("example");
  bad.mutable_opset_import(1)->set_version(1);
  write_model(bad, at("bad.onnx"));
  const CommandResult result = tare({"run", at("bad.onnx"), "--data", at("does-not-exist.npz")});
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.errors, testing::StartsWith("tare: error: "));
  for (const char* part : {"Frobnicate", "first", "second"}) EXPECT_THAT(result.errors, HasSubstr(part));
  const CommandResult inspected = tare({"inspect", at("bad.onnx")});
  EXPECT_EQ(inspected.exit_code, 0);
  EXPECT_THAT(inspected.output, HasSubstr("Frobnicate"));
}

TEST_F(Errors, DataOfAnotherNameShapeOrType) {
  const auto write = [&](const std::string& file, const std::string& key, const Tensor& value) {
    NpzWriter writer(folder_ / file);
    writer.add(key, value);
    writer.commit();
  };
  const auto zeros = [](DataType type, const Shape& shape) {
    Tensor tensor = Tensor::host(type, shape);
    std::fill_n(tensor.mutable_data(), tensor.bytes(), std::byte{0});
    return tensor;
  };
  {  // one array alone would be taken for the only input, whatever its name
    NpzWriter writer(folder_ / "name.npz");
    writer.add("first", zeros(DataType::float32, {2, 3, 8, 8}));
    writer.add("second", zeros(DataType::float32, {2, 3, 8, 8}));
    writer.commit();
  }
  expect_data_error("name.npz", "'x'");
  write("shape.npz", "x", zeros(DataType::float32, {2, 3, 8, 9}));
  expect_data_error("shape.npz", "'x'");
  write("rank.npz", "x", zeros(DataType::float32, {2, 3}));
  expect_data_error("rank.npz", "'x'");
  write("type.npz", "x", zeros(DataType::int8, {2, 3, 8, 8}));
  expect_data_error("type.npz", "int8");
  write("none.npz", "x", zeros(DataType::float32, {0, 3, 8, 8}));
  expect_data_error("none.npz", "none.npz: holds arrays of 0 samples; give at least one");
}

TEST_F(Errors, DataThatIsMissingDamagedOrEmpty) {
  const CommandResult missing = tare({"run", model(), "--data", at("missing.npz")});
  EXPECT_TRUE(missing.exit_code == 4 || missing.exit_code == 5);
  expect_error(missing, missing.exit_code, "missing.npz");
  const std::string whole = read_bytes(data());
  write_bytes(at("cut.npz"), whole.substr(0, whole.size() / 2));
  expect_data_error("cut.npz", "cut.npz");
  write_bytes(at("text.npz"), "no archive");
  expect_data_error("text.npz", "text.npz");
  std::filesystem::create_directory(at("empty"));
  expect_data_error("empty", "empty");
}

TEST_F(Errors, NanAndInfinityAreNamedOrLeftOut) {
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    write_samples(at("nan.npz"), 8, value, 5 * 192 + 1 * 64 + 2 * 8 + 3);
    expect_data_error("nan.npz", fmt::format("input 'x' holds {} at index [1,2,3] of sample 5; mend", value));
    EXPECT_EQ(tare({"run", model(), "--data", at("nan.npz"), "--nonfinite", "skip"}).exit_code, 0);
    EXPECT_EQ(calibrate({"--data", at("nan.npz"), "--nonfinite", "skip"}).exit_code, 0);
    std::filesystem::remove_all(at("out"));
  }
}

/// The policy is about the data, not about which of its tensors happen to be observed.
TEST_F(Errors, NanIsFoundWhateverIsObserved) {
  ASSERT_EQ(calibrate({"--data", data()}).exit_code, 0);
  std::filesystem::rename(at("out/model.encodings"), at("all.encodings"));
  std::filesystem::remove_all(at("out"));
  write_samples(at("nan.npz"), 12, std::numeric_limits<float>::quiet_NaN(), 10 * 192 + 7);
  const std::vector<std::vector<std::string>> settings = {{},
                                                          {"--encodings-in", at("all.encodings")},
                                                          {"--activation-type", "float16"},
                                                          {"--activation-type", "float32"},
                                                          {"--override", "x:enabled=false"},
                                                          {"--scheme", "tf_enhanced"},
                                                          {"--batch-size", "3", "--scheme", "min_max"}};
  for (const std::vector<std::string>& flags : settings) {
    std::vector<std::string> arguments = {"--data", at("nan.npz")};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    expect_error(calibrate(arguments), 4, "input 'x' holds nan at index [0,0,7] of sample 10; mend the data");
    EXPECT_FALSE(std::filesystem::exists(at("out")));
  }
  expect_error(tare({"calibrate", model(), "--data", at("nan.npz"), "--batch-size", "2", "--shard", "2/2",
                     "--save-stats", at("s.stats")}),
               4, "index [0,0,7] of sample 10");
}

TEST_F(Errors, WhatBecomesInfiniteOnTheWayIsNamed) {
  onnx::ModelProto model = small_model();
  add_initializer(*model.mutable_graph(), "limit", 1, {}, std::vector<float>{-1e20f});
  for (const auto& [from, to] : {std::pair{"y", "far"}, {"far", "away"}}) {
    add_node(*model.mutable_graph(), "Sub", {from, "limit"}, {std::string(to) + "_"});
    add_node(*model.mutable_graph(), "Mul", {std::string(to) + "_", std::string(to) + "_"}, {to});
  }
  add_output(*model.mutable_graph(), "away", {-1, 4, 8, 8});
  write_model(model, at("model.onnx"));
  expect_error(calibrate({"--data", data()}), 4, "tensor 'far' holds inf at index [0,0,0] of sample 0; mend the data");
}

TEST_F(Errors, EncodingsConfigsAndStatisticsThatDoNotHoldTogether) {
  ASSERT_EQ(calibrate({"--data", data(), "--save-stats", at("x.stats")}).exit_code, 0);
  const std::string encodings = at("out/model.encodings");
  const auto simulate = [&](const std::string& file) {
    return tare({"simulate", model(), "--encodings", file, "--data", data()});
  };
  EXPECT_EQ(simulate(encodings).exit_code, 0);
  expect_error(simulate(at("missing.encodings")), 5, "missing.encodings");
  write_bytes(at("cut.encodings"), read_bytes(encodings).substr(0, 300));
  expect_error(simulate(at("cut.encodings")), 3, "cut.encodings");
  expect_error(tare({"diff", encodings, at("cut.encodings")}), 3, "cut.encodings");
  std::string renamed = read_bytes(encodings);
  renamed.replace(renamed.find("\"w\""), 3, "\"elsewhere\"");
  write_bytes(at("other.encodings"), renamed);
  expect_error(simulate(at("other.encodings")), 3, "elsewhere");
  nlohmann::json few = nlohmann::json::parse(read_bytes(encodings));
  for (nlohmann::json& entry : few["param_encodings"])
    if (entry["name"] == "w")
      for (const char* list : {"scale", "offset"})
        if (entry[list].is_array()) entry[list].erase(0);
  write_bytes(at("few.encodings"), few.dump());
  expect_error(simulate(at("few.encodings")), 3, "few.encodings: encodings of 'w': 3 given, its shape");

  write_bytes(at("config.json"), "{\"defaults\": 1}");
  expect_error(tare({"calibrate", model(), "--data", data(), "--config", at("config.json"), "--output", at("o")}), 3,
               "config.json");
  const CommandResult unknown =
      tare({"calibrate", model(), "--data", data(), "--config", "nonesuch", "--output", at("o")});
  expect_error(unknown, unknown.exit_code, "nonesuch");
  EXPECT_NE(unknown.exit_code, 0);

  const std::string statistics = read_bytes(at("x.stats"));
  write_bytes(at("cut.stats"), statistics.substr(0, statistics.size() / 2));
  expect_error(tare({"calibrate", model(), "--from-stats", at("cut.stats"), "--output", at("o")}), 3, "cut.stats");
  expect_error(tare({"inspect", at("cut.stats")}), 3, "cut.stats");
  onnx::ModelProto other = small_model();
  other.mutable_graph()->mutable_initializer(0)->mutable_raw_data()->at(1) ^= 1;
  write_model(other, at("other.onnx"));
  expect_error(tare({"calibrate", at("other.onnx"), "--from-stats", at("x.stats"), "--output", at("o")}), 2,
               "x.stats' were taken with another model");
  expect_error(tare({"lint", at("other.onnx"), at("out/model.encodings"), "--from-stats", at("x.stats")}), 2,
               "x.stats' were taken with another model");
  EXPECT_FALSE(std::filesystem::exists(at("o")));
}

/// What they do serve is named, and holds.
TEST_F(Errors, StatisticsThatDoNotServeTheScheme) {
  ASSERT_EQ(calibrate({"--data", data(), "--param-type", "int4", "--save-stats", at("x.stats")}).exit_code, 0);
  std::filesystem::remove_all(at("out"));
  const auto from = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"--from-stats", at("x.stats"), "--param-type", "int4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return calibrate(arguments);
  };
  expect_error(from({"--scheme", "tf_enhanced"}), 2,
               "tf_enhanced depends on the user's batches in their order: it cannot start from saved statistics, which "
               "serve min_max, sqnr, mse, percentile or entropy");
  expect_error(from({"--override", "y:scheme=tf_enhanced"}), 2, "single tensors take min_max, sqnr, mse, percentile");
  expect_error(from({"--scheme", "min_max"}), 2,
               "x.stats' were observed behind weights of the scheme sqnr: add --param-scheme sqnr");
  expect_error(from({"--param-scheme", "min_max"}), 2, "behind weights of the scheme sqnr: add --param-scheme sqnr");
  expect_error(calibrate({"--from-stats", at("x.stats")}), 2, "x.stats' were taken with other weight encodings; ");
  EXPECT_FALSE(std::filesystem::exists(at("out")));
  for (const char* scheme : {"min_max", "sqnr", "mse", "percentile", "entropy"})
    EXPECT_EQ(from({"--scheme", scheme, "--param-scheme", "sqnr"}).exit_code, 0) << scheme;
}

/// The weights are part of the model, wherever they lie.
TEST_F(Errors, StatisticsOfAModelWhoseExternalDataChanged) {
  onnx::ModelProto external = small_model();
  move_outside(*external.mutable_graph()->mutable_initializer(0), at("weights.bin"));
  write_model(external, at("external.onnx"));
  const auto from_statistics = [&] {
    return tare({"calibrate", at("external.onnx"), "--from-stats", at("x.stats"), "--output", at("out")});
  };
  ASSERT_EQ(tare({"calibrate", at("external.onnx"), "--data", data(), "--observe-weights", "float", "--save-stats",
                  at("x.stats"), "--output", at("out")})
                .exit_code,
            0);
  EXPECT_EQ(from_statistics().exit_code, 0);
  std::string weights = read_bytes(at("weights.bin"));
  weights[201] = static_cast<char>(weights[201] ^ 1);
  write_bytes(at("weights.bin"), weights);
  expect_error(from_statistics(), 2, "x.stats' were taken with another model; calibrate this model");
  expect_error(tare({"lint", at("external.onnx"), at("out/external.encodings"), "--from-stats", at("x.stats")}), 2,
               "x.stats' were taken with another model");
}

TEST_F(Errors, LabelsThatDoNotFit) {
  write_bytes(at("few.txt"), "1\n2\n");
  const std::vector<std::string> start = {"evaluate", model(), "--data", data(), "--labels"};
  const auto evaluate = [&](const std::string& labels) {
    std::vector<std::string> arguments = start;
    arguments.push_back(labels);
    return tare(arguments);
  };
  expect_error(evaluate(at("few.txt")), 4, "2 labels for 8 samples");
  write_bytes(at("large.txt"), "1\n2\n3\n4\n5\n6\n7\n9999\n");
  expect_error(evaluate(at("large.txt")), 4, "9999");
  write_bytes(at("words.txt"), "one\ntwo\n");
  expect_error(evaluate(at("words.txt")), 4, "words.txt");
}

TEST_F(Errors, OutputsThatCannotBeWrittenLeaveNothing) {
  // A file where a folder is needed, and a file system that nobody may write to.
  for (const std::string& folder : {at("x.npz"), at("x.npz") + "/out", std::string("/proc/tare")})
    expect_error(tare({"calibrate", model(), "--data", data(), "--output", folder}), 5, folder);
  expect_error(tare({"run", model(), "--data", data(), "--output", "/proc/tare/o.npz"}), 5, "/proc/tare/o.npz");
  expect_error(tare({"run", model(), "--data", data(), "--output", at("missing/o.npz")}), 5,
               "missing/o.npz': create failed: No such file or directory; create the folder first");
  expect_error(calibrate({"--data", data(), "--save-stats", at("missing/x.stats")}), 5, "missing/x.stats");
  EXPECT_FALSE(std::filesystem::exists(at("out")));
  // Something that is no file stays what it is.
  ASSERT_EQ(::mkfifo(at("pipe.npz").c_str(), 0600), 0);
  expect_error(tare({"run", model(), "--data", data(), "--output", at("pipe.npz")}), 5,
               "pipe.npz': cannot be written: it is no regular file; give another name");
  EXPECT_TRUE(std::filesystem::is_fifo(at("pipe.npz")));
  // A folder that its owner may only read, for whoever runs this.
  std::filesystem::create_directory(at("locked"));
  std::filesystem::permissions(at("locked"), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  CommandOptions bound;
  bound.obeys_permissions = true;
  expect_error(calibrate({"--data", data(), "--output", at("locked")}, bound), 5, "locked': Permission denied; give");
  expect_error(calibrate({"--data", data(), "--output", at("locked/deeper")}, bound), 5, "locked/deeper");
  expect_error(calibrate({"--data", data(), "--save-stats", at("locked/x.stats")}, bound), 5, "locked/");
  expect_error(tare({"run", model(), "--data", data(), "--output", at("locked/o.npz")}, bound), 5,
               "locked/o.npz': create failed: Permission denied; check the path and its permissions");
  EXPECT_THAT(names_in(at("locked")), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(at("out")));
  // A folder that carries the name of a file to be.
  std::filesystem::create_directories(at("out/model.onnx"));
  expect_error(calibrate({"--data", data()}), 5, "model.onnx");
  EXPECT_THAT(names_in(at("out")), testing::ElementsAre("model.onnx"));
}

TEST_F(Errors, FullDiskLeavesNothing) {
  CommandOptions full;
  full.largest_file = 600;
  const CommandResult calibrated = calibrate({"--data", data()}, full);
  expect_error(calibrated, 5, "cannot write");
  EXPECT_FALSE(std::filesystem::exists(at("out")));
  expect_error(tare({"run", model(), "--data", data(), "--output", at("o.npz")}, full), 5, "o.npz");
  expect_error(calibrate({"--data", data(), "--save-stats", "/dev/full"}), 5, "/dev/full");
  EXPECT_FALSE(std::filesystem::exists(at("out")));
  EXPECT_THAT(names_in(folder_.path()), testing::ElementsAre("model.onnx", "x.npz"));
}

TEST_F(Errors, FullDiskKeepsTheFilesThatWereThere) {
  ASSERT_EQ(calibrate({"--data", data()}).exit_code, 0);
  const std::string before = read_bytes(at("out/model.encodings"));
  CommandOptions full;
  full.largest_file = 900;
  EXPECT_EQ(calibrate({"--data", data(), "--scheme", "min_max"}, full).exit_code, 5);
  EXPECT_EQ(read_bytes(at("out/model.encodings")), before);
  EXPECT_THAT(names_in(at("out")), testing::ElementsAre("model.encodings", "model.onnx", "model.qdq.onnx"));
}

TEST_F(Errors, InterruptStopsAtTheNextBatchAndLeavesNothing) {
  write_samples(at("many.npz"), 200000);
  CommandOptions options;
  const std::vector<std::string> all = {"--samples", "200000", "--batch-size", "1"};
  options.interrupt_when = [&] { return !names_in(at("out")).empty(); };  // the export's hidden folder is there
  std::vector<std::string> arguments = {"--data", at("many.npz"), "--save-stats", at("x.stats")};
  arguments.insert(arguments.end(), all.begin(), all.end());
  const CommandResult calibrated = calibrate(arguments, options);
  expect_error(calibrated, 130, "interrupted");
  EXPECT_FALSE(std::filesystem::exists(at("out")));

  options.interrupt_when = [&] { return names_in(folder_.path()).size() > 3; };  // the temporary file of the outputs
  arguments = {"run", model(), "--data", at("many.npz"), "--output", at("o.npz")};
  arguments.insert(arguments.end(), all.begin(), all.end());
  expect_error(tare(arguments, options), 130, "interrupted");
  EXPECT_THAT(names_in(folder_.path()), testing::ElementsAre("many.npz", "model.onnx", "x.npz"));
}

}  // namespace
}  // namespace tare::test
