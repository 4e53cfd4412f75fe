// tare bench: what it times, and where it says the time goes.
#include <algorithm>

#include "cli/command.hpp"
#include "support/golden.hpp"

namespace tare::test {
namespace {

using testing::HasSubstr;

constexpr GoldenModel classifier{"ppocr_cls", "ch_ppocr_mobile_v2.0_cls_infer.onnx"};
const std::string model = classifier.model().string();
const std::string data = classifier.data("inputs.npz").string();

TEST(Bench, TimesThreeRunsAndSaysWhatMemoryGives) {
  const std::vector<std::string> line = {"bench",  model,           "--data", data,        "--samples", "3",
                                         "--json", "--repetitions", "2",      "--threads", "1"};
  const CommandResult result = tare(line);
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const nlohmann::json report = result.json();
  EXPECT_EQ(report["samples"], 3);
  EXPECT_EQ(report["batches"], 3);
  EXPECT_EQ(report["samples_left_out"], 0);
  EXPECT_EQ(report["threads"], 1);
  EXPECT_EQ(report["quantizers"], 401);
  for (const char* key : {"plain_ms", "observe_ms", "simulate_ms", "plain_best_ms", "observe_ratio", "simulate_ratio",
                          "search_ms", "observer_ms", "observer_gbs", "read_gbs", "copy_gbs", "peak_memory_bytes"})
    EXPECT_GT(report[key].get<double>(), 0) << key;
  EXPECT_LE(report["plain_best_ms"], report["plain_ms"]);
  // What depends on the order of values follows from no other tensor's: every activation is read.
  std::vector<std::string> ordered = line;
  ordered.insert(ordered.end(), {"--scheme", "tf_enhanced"});
  EXPECT_GT(tare(ordered).json()["observed_elements"], report["observed_elements"]);
  const CommandResult text = tare({"bench", model, "--data", data, "--samples", "1", "--repetitions", "1"});
  for (const char* part : {"1 of 16 samples in 1 batch from inputs.npz, on cpu, ", "plain ", "observe ", "simulate ",
                           "for 401 quantizers (sqnr)", "bandwidth ", "memory "})
    EXPECT_THAT(text.output, HasSubstr(part));
}

TEST(Bench, ListsWhereTheTimeGoes) {
  const std::vector<std::string> line = {"bench",     model,     "--data",        data, "--samples", "1",
                                         "--profile", "observe", "--repetitions", "1"};
  std::vector<std::string> as_json = line;
  as_json.emplace_back("--json");
  const nlohmann::json nodes = tare(as_json).json()["nodes"];
  const auto convolutions =
      std::count_if(nodes.begin(), nodes.end(), [](const nlohmann::json& node) { return node["operator"] == "Conv"; });
  EXPECT_EQ(convolutions, 53);
  double observing = 0;
  for (const nlohmann::json& node : nodes) observing += node["observe_ms"].get<double>();
  EXPECT_GT(observing, 0);
  EXPECT_THAT(tare(line).output, testing::AllOf(HasSubstr("Conv "), HasSubstr("slowest nodes")));
}

TEST(Bench, ListsWhereTheTimeOfTheSimulatedModelGoes) {
  // One grid a tensor is part of the graph; an 8-bit float has no grid that a node could hold.
  for (const char* type : {"int8", "float8e4m3fn"}) {
    const nlohmann::json nodes = tare({"bench", model, "--data", data, "--samples", "1", "--profile", "simulate",
                                       "--repetitions", "1", "--activation-type", type, "--json"})
                                     .json()["nodes"];
    double quantizing = 0;
    for (const nlohmann::json& node : nodes) quantizing += node["quantize_ms"].get<double>();
    const auto chains = std::count_if(nodes.begin(), nodes.end(),
                                      [](const nlohmann::json& node) { return node["operator"] == "Chain"; });
    EXPECT_EQ(quantizing > 0, type == std::string("float8e4m3fn")) << type;
    EXPECT_EQ(chains > 40, type == std::string("int8")) << type << ": " << chains;
  }
}

}  // namespace
}  // namespace tare::test
