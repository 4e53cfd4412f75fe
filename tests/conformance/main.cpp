// The ONNX project's own backend tests: every directory of the onnx wheel is one test, judged as its runner does
// (relative tolerance 1e-3, absolute 1e-7). Directories that are not run stand in skipped.txt with the reason.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>

#include "plan/fuse.hpp"
#include "plan/simplify.hpp"
#include "run/executor.hpp"
#include "support/backends.hpp"
#include "support/paths.hpp"
#include "tare/backend.hpp"
#include "tare/model.hpp"

namespace tare {
namespace {

namespace fs = std::filesystem;

std::vector<double> as_doubles(Backend& backend, const Tensor& tensor) {
  // Cast is an operator under test itself, but one with more tests than any other.
  Graph graph;
  const ValueId in = graph.add_value({"in", tensor.type(), std::nullopt});
  const ValueId out = graph.add_value({"out", DataType::float64, std::nullopt});
  Node cast{
      .name = "cast", .domain = "", .op_type = "Cast", .opset = 21, .inputs = {in}, .outputs = {out}, .attributes = {}};
  cast.attributes["to"] = std::int64_t{static_cast<std::int32_t>(DataType::float64)};
  graph.nodes.push_back(cast);
  graph.inputs = {in};
  graph.outputs = {out};
  const Tensor wide = Executor(graph, backend).run(std::array{tensor}).at(0);
  const std::span<const double> values = wide.span<double>();
  return {values.begin(), values.end()};
}

bool close(double actual, double expected) {
  if (std::isnan(expected) || std::isnan(actual)) return std::isnan(expected) && std::isnan(actual);
  if (std::isinf(expected) || std::isinf(actual)) return actual == expected;
  return std::abs(actual - expected) <= 1e-7 + 1e-3 * std::abs(expected);
}

/// The files kind_0.pb, kind_1.pb, … of the values a graph declares.
std::vector<Tensor> load_numbered(const fs::path& folder, const std::string& kind, const Graph& graph,
                                  const std::vector<ValueId>& values) {
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; fs::exists(folder / fmt::format("{}_{}.pb", kind, i)); ++i) {
    const DataType declared = i < values.size() ? graph.value(values[i]).type : DataType::undefined;
    tensors.push_back(load_value(folder / fmt::format("{}_{}.pb", kind, i), declared));
  }
  return tensors;
}

/// What ONNX's runner feeds the light models: a ramp from 0 to 1.
std::vector<Tensor> ramps(const Graph& graph) {
  std::vector<Tensor> inputs;
  for (const ValueId input : graph.inputs) {
    Shape shape = graph.value(input).shape.value_or(Shape());
    for (std::int64_t& dim : shape) dim = std::max<std::int64_t>(dim, 1);
    Tensor ramp = Tensor::host(DataType::float32, shape);
    const double count = static_cast<double>(ramp.elements());
    for (std::int64_t i = 0; i < ramp.elements(); ++i)
      ramp.mutable_data<float>()[i] = static_cast<float>(static_cast<double>(i) / count);
    inputs.push_back(ramp);
  }
  return inputs;
}

/// `path`: a folder with model.onnx and test_data_set_* folders, or a light model with its output beside it.
class BackendTest : public testing::Test {
 public:
  BackendTest(fs::path path, std::string reason, const test::NamedBackend& device)
      : folder_(std::move(path)), reason_(std::move(reason)), device_(device) {}

  void TestBody() override {
    if (!reason_.empty()) GTEST_SKIP() << reason_;
    if (!device_.missing.empty()) GTEST_SKIP() << device_.missing;
    const auto backend = device_.make();
    const Model model = load_model(is_light() ? folder_ : folder_ / "model.onnx");
    // Another device than the host may lack an operator, as long as it says so.
    if (device_.name != "cpu") {
      try {
        check_supported(model.graph, *backend);
      } catch (const Error& error) {
        GTEST_SKIP() << error.what();
      }
    }
    check_supported(model.graph, *backend);
    const std::vector<bool> nothing_visible(model.graph.values.size(), false);
    // One by one, and as nodes are joined where nobody looks at the values between them: those a device may record, and
    // then replay what it has seen before.
    run(*backend, model.graph, simplify(model.graph, nothing_visible, *backend), 1);
    run(*backend, model.graph, make_runnable(model.graph, nothing_visible, *backend, Visible::replaced),
        device_.name == "cpu" ? 1 : 3);
  }

 private:
  bool is_light() const { return folder_.extension() == ".onnx"; }

  void run(Backend& backend, const Graph& graph, Graph plan, int runs) const {
    Executor executor(std::move(plan), backend);
    if (is_light()) {
      const fs::path expected = folder_.parent_path() / (folder_.stem().string() + "_output_0.pb");
      compare(backend, 0, executor.run(ramps(graph)).at(0), load_tensor(expected));
      return;
    }
    int sets = 0;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (!entry.is_directory() || !entry.path().filename().string().starts_with("test_data_set_")) continue;
      ++sets;
      const std::vector<Tensor> inputs = load_numbered(entry.path(), "input", graph, graph.inputs);
      const std::vector<Tensor> expected = load_numbered(entry.path(), "output", graph, graph.outputs);
      for (int run = 0; run < runs; ++run) {
        const std::vector<Tensor> outputs = executor.run(inputs);
        ASSERT_GE(outputs.size(), expected.size());
        for (std::size_t i = 0; i < expected.size(); ++i) compare(backend, i, outputs[i], expected[i]);
      }
    }
    EXPECT_GT(sets, 0) << "no data";
  }

  static void compare(Backend& backend, std::size_t output, const Tensor& actual, const Tensor& expected) {
    ASSERT_EQ(name_of(actual.type()), name_of(expected.type())) << "output " << output;
    ASSERT_EQ(actual.shape().text(), expected.shape().text()) << "output " << output;
    if (expected.type() == DataType::optional) return;
    if (expected.type() == DataType::sequence) {
      ASSERT_EQ(actual.items().size(), expected.items().size()) << "output " << output;
      for (std::size_t i = 0; i < expected.items().size(); ++i)
        compare(backend, output, actual.items()[i], expected.items()[i]);
      return;
    }
    if (expected.type() == DataType::string) {
      for (std::size_t i = 0; i < expected.span<std::string>().size(); ++i)
        ASSERT_EQ(actual.span<std::string>()[i], expected.span<std::string>()[i]) << "output " << output;
      return;
    }
    const std::vector<double> a = as_doubles(backend, actual);
    const std::vector<double> e = as_doubles(backend, expected);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < e.size(); ++i)
      if (!close(a[i], e[i]) && wrong++ == 0)
        ADD_FAILURE() << fmt::format("output {}: element {} is {}, expected {}", output, i, a[i], e[i]);
    if (wrong > 1) ADD_FAILURE() << fmt::format("output {}: {} of {} elements differ", output, wrong, e.size());
  }

  fs::path folder_;
  std::string reason_;
  test::NamedBackend device_;
};

/// Lines "category/directory reason…"; '#' starts a comment.
std::map<std::string, std::string> read_skipped(const fs::path& file) {
  std::map<std::string, std::string> skipped;
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    const std::size_t space = line.find(' ');
    if (line.empty() || line[0] == '#' || space == std::string::npos) continue;
    skipped[line.substr(0, space)] = line.substr(line.find_first_not_of(' ', space));
  }
  return skipped;
}

/// What has to pass at least, by category: all of the models, and most of the directories of single operators.
constexpr std::pair<const char*, int> floors[] = {
    {"node", 1644}, {"simple", 23}, {"pytorch-operator", 35}, {"pytorch-converted", 82}, {"light", 9}};

/// Counts per category, printed at the end.
class Tally : public testing::EmptyTestEventListener {
 public:
  void OnTestEnd(const testing::TestInfo& test) override {
    auto& [passed, skipped, failed] = counts_[test.test_suite_name()];
    const testing::TestResult& result = *test.result();
    ++(result.Skipped() ? skipped : result.Passed() ? passed : failed);
  }
  void OnTestProgramEnd(const testing::UnitTest&) override {
    for (const auto& [category, count] : counts_)
      fmt::print("{}: {} passed, {} skipped, {} failed of {}\n",
                 category == "node" ? "conformance" : "conformance " + category, count[0], count[1], count[2],
                 count[0] + count[1] + count[2]);
  }

  /// Only of a run of everything: says which floors were not reached. They are the CPU's; other devices bring their own
  /// suites.
  bool reached_floors() const {
    bool reached = true;
    for (const auto& [category, least] : floors) {
      const auto count = counts_.find(category);
      if (count == counts_.end()) continue;
      const int passed = count->second[0];
      if (passed >= least) continue;
      fmt::print(stderr, "conformance: {} of {} passed, {} have to\n", passed, category, least);
      reached = false;
    }
    return reached;
  }

 private:
  std::map<std::string, std::array<int, 3>> counts_;
};

}  // namespace
}  // namespace tare

int main(int argc, char** argv) {
  using namespace tare;
  testing::InitGoogleTest(&argc, argv);
  const fs::path root = test::onnx_tests_folder();
  const std::vector<test::NamedBackend> devices = test::backends();
  const auto skipped = read_skipped(test::source_folder() / "tests/conformance/skipped.txt");
  for (const auto& [name, reason] : skipped)
    if (!fs::exists(root / name)) {
      fmt::print(stderr, "skipped.txt: '{}' is no directory of the ONNX backend tests; take the line out\n", name);
      return 1;
    }
  for (const char* category : {"node", "simple", "pytorch-operator", "pytorch-converted", "light"}) {
    std::vector<std::string> names;
    std::error_code missing;
    for (const auto& entry : fs::directory_iterator(root / category, missing))
      if (entry.path().extension() == ".onnx" || fs::exists(entry.path() / "model.onnx"))
        names.push_back(entry.path().filename().string());
    if (missing || names.empty()) {
      fmt::print(stderr, "{}: no ONNX backend tests here; run `make data`\n", (root / category).string());
      return 1;
    }
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      const auto reason = skipped.find(fmt::format("{}/{}", category, name));
      const std::string why = reason == skipped.end() ? "" : reason->second;
      for (const test::NamedBackend& device : devices) {
        const std::string suite = device.name == "cpu" ? category : device.name + "_" + category;
        testing::RegisterTest(
            suite.c_str(), name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
            [folder = root / category / name, why, device] { return new BackendTest(folder, why, device); });
      }
    }
  }
  testing::UnitTest& tests = *testing::UnitTest::GetInstance();
  auto tally = std::make_unique<Tally>();
  const Tally& counts = *tally;
  tests.listeners().Append(tally.release());  // the list owns it
  const int status = RUN_ALL_TESTS();
  const bool all_run = tests.test_to_run_count() == tests.total_test_count();
  return status == 0 && all_run && !counts.reached_floors() ? 1 : status;
}
