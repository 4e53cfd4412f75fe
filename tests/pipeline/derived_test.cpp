// A calibration that derives the statistics of some tensors from others gives what reading every tensor gives: the same
// integers where values are moved, cut or joined, and nearly the same histogram for functions of others.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "batches.hpp"
#include "plan/derived_values.hpp"
#include "plan/fuse.hpp"
#include "run/executor.hpp"
#include "support/model_builder.hpp"
#include "tare/calibration.hpp"
#include "tare/numerics.hpp"
#include "tare/placement.hpp"

namespace tare {
namespace {

class ReadEverything final : public ValueHook {
 public:
  explicit ReadEverything(Observer& observer) : observer_(observer) {}
  Tensor on_value(std::size_t site, Tensor value) override {
    observer_.observe(site, value);
    return value;
  }

 private:
  Observer& observer_;
};

/// What a calibration derives, beside what reading every tensor of the same run gives.
struct Compared {
  std::string tensor;
  const TensorStatistics* derived;
  const TensorStatistics* read;
};

template <class Check>
void compare(const char* name, bool read_every_tensor, Check&& check) {
  Session session(test::golden_model(name).model());
  const Graph& graph = session.graph();
  const std::vector<Batch> batches = test::first_batches(test::golden_model(name), graph, 2);
  CalibrationOptions options;
  options.observe_quantized_weights = false;
  options.keep_histograms = true;
  options.read_every_tensor = read_every_tensor;
  test::MemoryDataset data(batches);
  const CalibrationResult result = session.calibrate(data, options);
  std::vector<NamedStatistics> all = result.statistics.derived;
  all.insert(all.end(), result.statistics.tensors.begin(), result.statistics.tensors.end());

  std::vector<std::int32_t> site_of_value(graph.values.size(), -1);
  std::vector<std::string> names;
  for (const QuantSite& site : result.sites) {
    if (!site.enabled || site.role != SiteRole::activation || graph.constant(site.value) != nullptr) continue;
    site_of_value[static_cast<std::size_t>(site.value)] = static_cast<std::int32_t>(names.size());
    names.push_back(site.tensor);
  }
  std::vector<bool> visible;
  for (const std::int32_t site : site_of_value) visible.push_back(site >= 0);
  const Derivation derivation = read_every_tensor ? Derivation::nothing : Derivation::histograms;
  EXPECT_FALSE(derived_values(graph, visible, derivation).empty()) << name;
  const auto observer = session.backend().make_observer(ObserverKind::histogram, names.size());
  Executor executor(make_runnable(graph, visible, session.backend()), session.backend(), site_of_value);
  ReadEverything hook(*observer);
  for (const Batch& batch : batches) executor.run(batch.inputs, &hook);
  const std::vector<TensorStatistics> read = observer->collect();
  for (std::size_t s = 0; s < names.size(); ++s) {
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const NamedStatistics& entry) { return entry.tensor == names[s]; });
    ASSERT_NE(found, all.end()) << names[s];
    check(fmt::format("{}: {}", name, names[s]), found->statistics, read[s]);
  }
}

TEST(Derived, StatisticsAreThoseOfReadingEveryTensor) {
  for (const char* name : {"ppocr_cls", "ppocr_rec", "basic_pitch"})
    compare(name, true, [](const std::string& tensor, const TensorStatistics& derived, const TensorStatistics& read) {
      EXPECT_EQ(derived, read) << tensor;
    });
}

// Looser than what mapped() itself is held to: joined hard-swishes round a little differently from their parts.
TEST(Derived, FunctionsAreCloseToReadingEveryTensor) {
  for (const char* name : {"ppocr_cls", "ppocr_rec", "minilm_l3"}) {
    std::size_t functions = 0;
    compare(name, false, [&](const std::string& tensor, const TensorStatistics& derived, const TensorStatistics& read) {
      functions += derived == read ? 0 : 1;
      EXPECT_EQ(derived.count, read.count) << tensor;
      const float range = std::max(read.max, 0.0f) - std::min(read.min, 0.0f);
      EXPECT_NEAR(derived.min, read.min, 1e-5f * range) << tensor;
      EXPECT_NEAR(derived.max, read.max, 1e-5f * range) << tensor;
      // What a quantizer makes of both.
      const auto mean_square = [](const TensorStatistics& statistics) {
        double sum = 0;
        for (const auto& [bin, count] : statistics.bins) {
          const double middle = (histogram_bin_lower(bin) + histogram_bin_upper(bin)) / 2;
          sum += static_cast<double>(count) * middle * middle;
        }
        return sum;
      };
      if (read.min > highest_sentinel) {
        EXPECT_NEAR(mean_square(derived), mean_square(read), 0.02 * mean_square(read)) << tensor;
      }
    });
    EXPECT_GT(functions, 0u) << name;
  }
}

TEST(Derived, ExtremesDoNotDependOnWhatIsRead) {
  for (const char* name : {"ppocr_cls", "minilm_l3"}) {
    Session session(test::golden_model(name).model());
    const std::vector<Batch> batches = test::first_batches(test::golden_model(name), session.graph(), 2);
    CalibrationOptions options;
    options.search.scheme = Scheme::min_max;
    EncodingSet found[2];
    for (const bool every : {false, true}) {
      options.read_every_tensor = every;
      test::MemoryDataset data(batches);
      found[every ? 1 : 0] = session.calibrate(data, options).encodings;
    }
    ASSERT_EQ(found[0].tensors.size(), found[1].tensors.size());
    for (std::size_t t = 0; t < found[0].tensors.size(); ++t)
      EXPECT_EQ(found[0].tensors[t].encodings, found[1].tensors[t].encodings) << found[0].tensors[t].tensor;
  }
}

/// A dead branch: its zeros have no histogram, what follows from them has.
TEST(Derived, AFunctionOfZerosIsFound) {
  const test::TemporaryFolder folder;
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  test::add_input(graph, "x", {-1, 4});
  test::add_output(graph, "y", {-1, 4});
  test::add_initializer<float>(graph, "w", 1, {4, 4}, std::vector<float>(16, 0.5f));
  test::add_node(graph, "MatMul", {"x", "w"}, {"zeros"});
  test::add_node(graph, "Sigmoid", {"zeros"}, {"y"});
  Session session(test::write_model(model, folder / "m.onnx"));
  Tensor zeros = Tensor::host(DataType::float32, {8, 4});
  std::fill_n(zeros.mutable_data<float>(), zeros.elements(), 0.0f);
  for (const Scheme scheme : {Scheme::sqnr, Scheme::mse, Scheme::percentile, Scheme::min_max}) {
    CalibrationOptions options;
    options.search.scheme = scheme;
    Calibration calibration = session.start_calibration(options);
    calibration.add(std::array{zeros});
    const CalibrationResult result = calibration.finish();
    const TensorEncodings* found = result.encodings.find("y", SiteRole::activation);
    ASSERT_NE(found, nullptr);
    EXPECT_NEAR(found->encodings.at(0).max, 0.5, 1e-6);
  }
}

}  // namespace
}  // namespace tare
