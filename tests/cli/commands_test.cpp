// Every command on a real model: what it writes, what it prints, and that it agrees with the library.
#include <algorithm>
#include <cmath>

#include "cli/command.hpp"
#include "support/golden.hpp"
#include "tare/dataset.hpp"
#include "tare/export.hpp"
#include "tare/session.hpp"

namespace tare::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr GoldenModel classifier{"ppocr_cls", "ch_ppocr_mobile_v2.0_cls_infer.onnx"};
const std::string output_name = "save_infer_model/scale_0.tmp_1";

/// One calibration serves most tests.
class Commands : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder();
    calibration_ = tare({"calibrate", model(), "--data", data(), "--samples", "4", "--output", at("out"), "--prefix",
                         "cls", "--save-stats", at("cls.stats"), "--json"});
  }
  static void TearDownTestSuite() { delete folder_; }
  static std::string model() { return classifier.model().string(); }
  static std::string data() { return classifier.data("inputs.npz").string(); }
  static std::string at(const std::string& name) { return (*folder_ / name).string(); }
  static std::string encodings() { return at("out/cls.encodings"); }

  static TemporaryFolder* folder_;
  static CommandResult calibration_;
};
TemporaryFolder* Commands::folder_ = nullptr;
CommandResult Commands::calibration_;

TEST_F(Commands, CalibrateWritesEncodingsModelAndQdqModel) {
  ASSERT_EQ(calibration_.exit_code, 0) << calibration_.errors;
  EXPECT_THAT(names_in(at("out")), ElementsAre("cls.encodings", "cls.onnx", "cls.qdq.onnx"));
  const nlohmann::json report = calibration_.json();
  EXPECT_EQ(report["samples"], 4);
  EXPECT_EQ(report["quantizers"], 401);
  EXPECT_EQ(report["files"].size(), 4u);
  const EncodingSet set = load_encodings(encodings());
  EXPECT_EQ(set.tensors.size(), 401u);
  // The clean model runs as the original does, and the QDQ model loads.
  EXPECT_EQ(load_model(at("out/cls.onnx")).graph.nodes.size(), load_model(model()).graph.nodes.size());
  EXPECT_GT(load_model(at("out/cls.qdq.onnx")).graph.nodes.size(), load_model(model()).graph.nodes.size());

  Session session(model());
  DataOptions options;
  options.samples = 4;
  const auto dataset = open_dataset(data(), session.graph(), options);
  const CalibrationResult expected = session.calibrate(*dataset, {});
  for (const TensorEncodings& wanted : expected.encodings.tensors) {
    const TensorEncodings* found = set.find(wanted.tensor, wanted.role);
    ASSERT_NE(found, nullptr) << wanted.tensor;
    ASSERT_EQ(found->encodings.size(), wanted.encodings.size());
    for (std::size_t i = 0; i < wanted.encodings.size(); ++i)
      EXPECT_NEAR(found->encodings[i].scale, wanted.encodings[i].scale, 1e-5 * wanted.encodings[i].scale)
          << wanted.tensor;
  }
}

TEST_F(Commands, SummaryIsShortAndNamesTheFiles) {
  const CommandResult result = tare({"calibrate", model(), "--data", data(), "--samples=2", "--scheme", "min_max",
                                     "--output", at("second"), "--no-qdq"});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(result.errors, "");
  EXPECT_THAT(result.output, HasSubstr("2 of 16 samples in 2 batches"));
  EXPECT_THAT(result.output, HasSubstr("quantizers  401"));
  EXPECT_THAT(result.output, HasSubstr(at("second/ch_ppocr_mobile_v2.0_cls_infer.encodings")));
  EXPECT_LT(std::count(result.output.begin(), result.output.end(), '\n'), 25);
  EXPECT_THAT(names_in(at("second")),
              ElementsAre("ch_ppocr_mobile_v2.0_cls_infer.encodings", "ch_ppocr_mobile_v2.0_cls_infer.onnx"));
}

TEST_F(Commands, StatisticsServeOtherSchemesAndTheSameOne) {
  const CommandResult same = tare(
      {"calibrate", model(), "--from-stats", at("cls.stats"), "--output", at("from"), "--prefix", "same", "--quiet"});
  ASSERT_EQ(same.exit_code, 0) << same.errors;
  EXPECT_EQ(same.output, "");
  EXPECT_EQ(read_bytes(at("from/same.encodings")), read_bytes(encodings()));
  const CommandResult other =
      tare({"calibrate", model(), "--from_stats", at("cls.stats"), "--scheme", "mse", "--param-scheme", "sqnr",
            "--encoding_version=2.0.0", "--output", at("from"), "--prefix", "mse", "--no_qdq"});
  ASSERT_EQ(other.exit_code, 0) << other.errors;
  EXPECT_THAT(other.output, HasSubstr("statistics of 4 samples"));
  EXPECT_EQ(tare({"diff", encodings(), at("from/mse.encodings")}).exit_code, 1);
}

TEST_F(Commands, ShardsAddUpToOneRun) {
  std::string files;
  for (const char* shard : {"3/3", "1/3", "2/3"}) {
    const std::string file = at(std::string("shard") + shard[0] + ".stats");
    const CommandResult part = tare(
        {"calibrate", model(), "--data", data(), "--samples", "4", "--shard", shard, "--save-stats", file, "--json"});
    ASSERT_EQ(part.exit_code, 0) << part.errors;
    EXPECT_EQ(part.json()["files"].size(), 1u) << "no encodings of a part of the data";
    files += (files.empty() ? "" : ",") + file;
  }
  const CommandResult sum = tare({"calibrate", model(), "--from-stats", files, "--save-stats", at("sum.stats"),
                                  "--output", at("sum"), "--prefix", "cls", "--quiet"});
  ASSERT_EQ(sum.exit_code, 0) << sum.errors;
  EXPECT_TRUE(read_bytes(at("sum.stats")) == read_bytes(at("cls.stats")));
  EXPECT_TRUE(read_bytes(at("sum/cls.encodings")) == read_bytes(encodings()));
  expect_error(tare({"calibrate", model(), "--from-stats", at("shard2.stats"), "--output", at("unused")}), 2,
               "shard2.stats' are not of all the data: shards 1, 3 of 3 are missing; give all");
  expect_error(
      tare({"calibrate", model(), "--from-stats", files, "--from-stats", at("shard2.stats"), "--output", at("unused")}),
      2, "shard2.stats': cannot merge statistics: some were taken from a shard");
  expect_error(tare({"calibrate", model(), "--from-stats", files, "--scheme", "tf_enhanced", "--output", at("unused")}),
               2, "tf_enhanced depends on the user's batches in their order: it cannot start from saved statistics");

  const CommandResult linted = tare({"lint", model(), encodings(), "--from-stats", files});
  EXPECT_EQ(linted.exit_code, 0) << linted.errors;
  EXPECT_THAT(linted.output, HasSubstr("ranges of 312 of 312 activations checked against data"));
  expect_error(tare({"lint", model(), encodings(), "--from-stats", at("shard2.stats")}), 2,
               "shard2.stats' are not of all the data: shards 1, 3 of 3 are missing; give all");
}

TEST_F(Commands, RunGivesTheFloatOutputs) {
  const CommandResult result =
      tare({"run", model(), "--data", data(), "--samples", "2", "--output", at("float.npz"), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(result.json()["batches"], 2);
  const NpzFile ours(at("float.npz"));
  const NpzFile reference(classifier.data("float_outputs.npz"));
  EXPECT_THAT(ours.keys(), ElementsAre("000/" + output_name, "001/" + output_name));
  for (const std::string& key : ours.keys()) EXPECT_LT(nmse(ours.read(key), reference.read(key)), 1e-9);
}

TEST_F(Commands, SimulateReportsTheErrorOfWhatItWrites) {
  ASSERT_EQ(tare({"run", model(), "--data", data(), "--samples", "4", "--output", at("exact.npz")}).exit_code, 0);
  const CommandResult result = tare({"simulate", model(), "--encodings", encodings(), "--data", data(), "--samples",
                                     "4", "--output", at("simulated.npz"), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const NpzFile exact(at("exact.npz"));
  const NpzFile simulated(at("simulated.npz"));
  ASSERT_EQ(exact.keys(), simulated.keys());
  double decibels = 0;
  for (const std::string& key : exact.keys()) decibels -= 10 * std::log10(nmse(simulated.read(key), exact.read(key)));
  const nlohmann::json output = result.json()["outputs"][0];
  EXPECT_EQ(output["name"], output_name);
  EXPECT_NEAR(output["sqnr_db"].get<double>(), decibels / 4, 0.01);
  EXPECT_THAT(tare({"simulate", model(), "--encodings", encodings(), "--data", data(), "--samples", "1"}).output,
              HasSubstr(" dB"));
}

TEST_F(Commands, EvaluateCountsAgainstLabels) {
  ASSERT_EQ(tare({"run", model(), "--data", data(), "--samples", "4", "--output", at("labelled.npz")}).exit_code, 0);
  const NpzFile outputs(at("labelled.npz"));
  std::string labels;
  for (const std::string& key : outputs.keys()) {
    const Tensor scores = outputs.read(key);
    labels += scores.data<float>()[1] > scores.data<float>()[0] ? "1\n" : "0\n";
  }
  labels[0] = labels[0] == '1' ? '0' : '1';  // one of four is wrong
  write_bytes(at("labels.txt"), labels);
  const CommandResult result = tare({"evaluate", model(), "--encodings", encodings(), "--data", data(), "--samples",
                                     "4", "--labels", at("labels.txt"), "--metric", "top1", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const nlohmann::json report = result.json();
  EXPECT_EQ(report["float"], 0.75);
  EXPECT_EQ(report["difference"].get<double>(), report["simulated"].get<double>() - 0.75);
  const CommandResult text =
      tare({"evaluate", model(), "--data", data(), "--samples", "4", "--labels", at("labels.txt")});
  EXPECT_THAT(text.output, HasSubstr("75.00 %"));
  EXPECT_THAT(text.output, testing::Not(HasSubstr("simulated")));
  for (const char* metric : {"agreement", "cosine", "mse", "sqnr"}) {
    const CommandResult other = tare({"evaluate", model(), "--encodings", encodings(), "--data", data(), "--samples",
                                      "2", "--metric", metric, "--output-name", output_name, "--json"});
    ASSERT_EQ(other.exit_code, 0) << other.errors;
    EXPECT_TRUE(other.json()["value"].is_number()) << metric;
  }
}

TEST_F(Commands, InspectKnowsThreeKindsOfFiles) {
  const nlohmann::json of_model = tare({"inspect", model(), "--json"}).json();
  EXPECT_EQ(of_model["operators"]["Conv"], 53);
  EXPECT_EQ(of_model["quantizers"]["activations"], 312);
  EXPECT_TRUE(of_model["unsupported"].is_null());
  EXPECT_THAT(tare({"inspect", model(), "--all"}).output, HasSubstr("fused into Relu"));
  const CommandResult of_encodings = tare({"inspect", encodings()});
  EXPECT_THAT(of_encodings.output, HasSubstr("401 tensors: 312 activations, 89 parameters"));
  const nlohmann::json of_statistics = tare({"inspect", at("cls.stats"), "--json"}).json();
  EXPECT_EQ(of_statistics["samples"], 4);
  EXPECT_EQ(of_statistics["tensors"].size(), 243u);  // what was read: the others follow from it
  EXPECT_THAT(tare({"inspect", at("cls.stats")}).output, HasSubstr("observed behind quantized weights"));
}

TEST_F(Commands, DiffListsTheWorstFirst) {
  EXPECT_EQ(tare({"diff", encodings(), encodings()}).exit_code, 0);
  EncodingSet moved = load_encodings(encodings());
  for (const auto& [index, factor] : {std::pair{3, 1.01}, std::pair{5, 1.5}, std::pair{7, 1.00001}}) {
    Encoding& encoding = moved.tensors[static_cast<std::size_t>(index)].encodings[0];
    encoding.scale *= factor;
    encoding.min *= factor;
    encoding.max *= factor;
  }
  save_encodings(moved, EncodingVersion::v1_0_0, at("moved.encodings"));
  const CommandResult result = tare({"diff", encodings(), at("moved.encodings"), "--json"});
  EXPECT_EQ(result.exit_code, 1);
  const nlohmann::json report = result.json();
  EXPECT_EQ(report["different"], 2);
  EXPECT_EQ(report["differences"][0]["tensor"], moved.tensors[5].tensor);
  EXPECT_EQ(report["differences"][1]["tensor"], moved.tensors[3].tensor);
  EXPECT_EQ(tare({"diff", encodings(), at("moved.encodings"), "--rtol", "0.6"}).exit_code, 0);
  moved.tensors.pop_back();
  save_encodings(moved, EncodingVersion::v1_0_0, at("moved.encodings"));
  EXPECT_THAT(tare({"diff", encodings(), at("moved.encodings")}).output, HasSubstr("1 only in A"));
}

TEST_F(Commands, LintListsWhatToDo) {
  const CommandResult clean = tare({"lint", model(), encodings()});
  EXPECT_EQ(clean.exit_code, 0) << clean.output;
  EXPECT_THAT(clean.output, HasSubstr("ranges not checked against data"));
  const CommandResult checked = tare({"lint", model(), encodings(), "--from-stats", at("cls.stats")});
  EXPECT_EQ(checked.exit_code, 0) << checked.output;
  EXPECT_THAT(checked.output, HasSubstr("ranges of 312 of 312 activations checked against data"));

  EncodingSet changed = load_encodings(encodings());
  const std::string lost = changed.tensors.back().tensor;
  changed.tensors.pop_back();
  changed.tensors.front().tensor = "nowhere";
  save_encodings(changed, EncodingVersion::v1_0_0, at("changed.encodings"));
  const CommandResult text = tare({"lint", model(), at("changed.encodings")});
  EXPECT_EQ(text.exit_code, 1);
  EXPECT_THAT(text.output, HasSubstr("missing     " + lost));
  const nlohmann::json report = tare({"lint", model(), at("changed.encodings"), "--json"}).json();
  ASSERT_EQ(report["findings"].size(), 3u);
  EXPECT_EQ(report["findings"][2]["kind"], "unknown");
  EXPECT_EQ(report["findings"][2]["tensor"], "nowhere");
  // Another config wants other kinds.
  const nlohmann::json other = tare({"lint", model(), encodings(), "--config", "default_per_tensor", "--json"}).json();
  EXPECT_EQ(std::count_if(other["findings"].begin(), other["findings"].end(),
                          [](const nlohmann::json& finding) { return finding["kind"] == "mismatch"; }),
            54);
}

TEST_F(Commands, LintTakesTheFlagsThatAFileWasMadeWith) {
  const std::vector<std::string> made_with = {"--activation-type",     "int16",      "--override", ".*relu.*:bits=12",
                                              "--op-types-to-exclude", "HardSigmoid"};
  std::vector<std::string> calibrate = {"calibrate", model(),    "--data",  data(),     "--samples",
                                        "2",         "--scheme", "min_max", "--output", at("third"),
                                        "--prefix",  "other",    "--no-qdq"};
  std::vector<std::string> lint = {"lint", model(), at("third/other.encodings"), "--json"};
  calibrate.insert(calibrate.end(), made_with.begin(), made_with.end());
  ASSERT_EQ(tare(calibrate).exit_code, 0);
  EXPECT_GT(tare(lint).json()["findings"].size(), 100u);
  lint.insert(lint.end(), made_with.begin(), made_with.end());
  EXPECT_EQ(tare(lint).json()["findings"].size(), 0u);
}

TEST_F(Commands, EveryVersionSimulatesTheSame) {
  std::vector<double> figures;
  for (const char* version : {"0.6.1", "1.0.0", "2.0.0"}) {
    const std::string prefix = std::string("v") + version[0];
    ASSERT_EQ(tare({"calibrate", model(), "--from-stats", at("cls.stats"), "--encoding-version", version, "--output",
                    at("versions"), "--prefix", prefix, "--no-qdq"})
                  .exit_code,
              0);
    const CommandResult result = tare({"simulate", model(), "--encodings", at("versions/" + prefix + ".encodings"),
                                       "--data", data(), "--samples", "2", "--reproducible", "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    figures.push_back(result.json()["outputs"][0]["sqnr_db"]);
    EXPECT_EQ(result.json()["activation_quantizers"], 312) << version;
    EXPECT_EQ(result.json()["parameter_quantizers"], 89) << version;
  }
  EXPECT_EQ(figures[0], figures[1]);
  EXPECT_EQ(figures[0], figures[2]);
}

/// Quantizers changed from the command line: what is given stays, what is overridden changes, the rest is as it was.
TEST_F(Commands, OverridesAndGivenEncodings) {
  const CommandResult given = tare({"calibrate", model(), "--encodings-in", encodings(), "--strict", "--output",
                                    at("again"), "--prefix", "cls", "--encoding-version", "1.0.0", "--json"});
  ASSERT_EQ(given.exit_code, 0) << given.errors;
  EXPECT_EQ(given.json()["given_quantizers"], 401);
  EXPECT_EQ(given.json()["samples"], 0);
  EXPECT_EQ(given.json()["mismatches"].size(), 0u);
  const auto entries = [](const std::string& file) {
    nlohmann::json read = nlohmann::json::parse(read_bytes(file));
    return nlohmann::json{read["activation_encodings"], read["param_encodings"]};
  };
  EXPECT_EQ(entries(at("again/cls.encodings")), entries(encodings()));

  const CommandResult mixed =
      tare({"calibrate", model(), "--data", data(), "--samples", "4", "--encodings-in", encodings(), "--freeze-params",
            "--override", "Add@0:bits=16", "--op-types-to-exclude", "Softmax", "--output", at("mixed"), "--prefix",
            "cls", "--json"});
  ASSERT_EQ(mixed.exit_code, 0) << mixed.errors;
  EXPECT_EQ(mixed.json()["given_quantizers"], 89);
  const EncodingSet before = load_encodings(encodings());
  const EncodingSet after = load_encodings(at("mixed/cls.encodings"));
  EXPECT_EQ(after.find("Add@0", SiteRole::activation)->spec.bitwidth, 16);
  EXPECT_EQ(after.find("save_infer_model/scale_0.tmp_1", SiteRole::activation), nullptr);
  for (const TensorEncodings& tensor : before.tensors) {
    const TensorEncodings* same = after.find(tensor.tensor, tensor.role);
    if (tensor.tensor == "Add@0" || same == nullptr) continue;
    EXPECT_EQ(same->encodings, tensor.encodings) << tensor.tensor;
  }
}

TEST_F(Commands, QdqModelsBringTheirQuantizers) {
  const std::string qdq = at("out/cls.qdq.onnx");
  const auto agreement = [&](const std::vector<std::string>& which) {
    std::vector<std::string> arguments = {"evaluate", "--data", data(), "--samples", "4", "--metric", "mse", "--json"};
    arguments.insert(arguments.end(), which.begin(), which.end());
    const CommandResult result = tare(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return result.json()["value"].get<double>();
  };
  EXPECT_EQ(agreement({qdq}), agreement({model(), "--encodings", encodings()}));
  const nlohmann::json quantizers = tare({"inspect", qdq, "--json"}).json()["quantizers"];
  EXPECT_TRUE(quantizers["own"]);
  EXPECT_EQ(tare({"lint", qdq, encodings()}).exit_code, 0);
  EXPECT_EQ(quantizers["activations"].get<int>() + quantizers["parameters"].get<int>(), 401);
  EXPECT_THAT(tare({"inspect", qdq}).output, HasSubstr("quantizers  the model's own: "));
  EXPECT_THAT(tare({"inspect", model()}).output, HasSubstr("quantizers  config default: "));
}

TEST_F(Commands, LowPowerBlocksGoThroughEveryCommand) {
  const std::string override = "conv[345]_expand_weights:bits=4,block=4,decompressed_bits=8";
  const auto calibrate = [&](const std::string& out, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"calibrate", model(), "--output", at(out), "--prefix", "cls", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult result = tare(arguments);
    ASSERT_EQ(result.exit_code, 0) << result.errors;
  };
  calibrate("lp", {"--data", data(), "--samples", "2", "--override", override});
  calibrate("lp2", {"--encodings-in", at("lp/cls.encodings"), "--encoding-version", "2.0.0"});
  const CommandResult differ = tare({"diff", at("lp/cls.encodings"), at("lp2/cls.encodings"), "--ignore-missing"});
  EXPECT_EQ(differ.exit_code, 0) << differ.output;
  const CommandResult plain = tare({"diff", at("lp/cls.encodings"), encodings(), "--json"});
  EXPECT_EQ(plain.exit_code, 1);
  EXPECT_THAT(plain.json()["differences"].dump(), HasSubstr("conv3_expand_weights"));
  const auto outputs = [&](const std::string& file) {
    const CommandResult result =
        tare({"simulate", model(), "--encodings", at(file), "--data", data(), "--samples", "2", "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return result.json()["outputs"];
  };
  EXPECT_EQ(outputs("lp/cls.encodings"), outputs("lp2/cls.encodings"));
  EXPECT_EQ(tare({"lint", model(), at("lp/cls.encodings"), "--override", override}).exit_code, 0);
  const CommandResult lint = tare({"lint", model(), at("lp2/cls.encodings")});
  EXPECT_EQ(lint.exit_code, 1);
  EXPECT_THAT(lint.output, HasSubstr("per low-power block of 4, widened to 8 bits"));
  EXPECT_THAT(tare({"inspect", at("lp/cls.encodings")}).output,
              HasSubstr("per low-power block of 4, widened to 8 bits"));
}

TEST_F(Commands, CalibrateWritesForOtherReaders) {
  const CommandResult result =
      tare({"calibrate", model(), "--encodings-in", encodings(), "--qdq-weights", "integer", "--qdq-int32-bias",
            "--also", "tensorrt,ort-overrides", "--output", at("readers"), "--prefix", "cls", "--quiet"});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(names_in(at("readers")),
              ElementsAre("cls.encodings", "cls.onnx", "cls.ort-overrides.json", "cls.qdq.onnx", "cls.trt.cache"));
  EXPECT_THAT(read_bytes(at("readers/cls.trt.cache")), testing::StartsWith("TRT-"));
  EXPECT_EQ(nlohmann::json::parse(read_bytes(at("readers/cls.ort-overrides.json"))).size(), 401u);
  EXPECT_LT(std::filesystem::file_size(at("readers/cls.qdq.onnx")),
            std::filesystem::file_size(at("out/cls.qdq.onnx")) * 2 / 3);
}

}  // namespace
}  // namespace tare::test
