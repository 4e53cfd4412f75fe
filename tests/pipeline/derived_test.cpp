// A calibration that derives the statistics of some tensors from others gives what reading every tensor gives.
#include <gtest/gtest.h>

#include <algorithm>

#include "batches.hpp"
#include "plan/derived_values.hpp"
#include "plan/fuse.hpp"
#include "run/executor.hpp"
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

TEST(Derived, StatisticsAreThoseOfReadingEveryTensor) {
  for (const char* name : {"ppocr_cls", "ppocr_rec", "basic_pitch"}) {
    Session session(test::golden_model(name).model());
    const Graph& graph = session.graph();
    const std::vector<Batch> batches = test::first_batches(test::golden_model(name), graph, 2);
    CalibrationOptions options;
    options.observe_quantized_weights = false;
    options.keep_histograms = true;
    test::MemoryDataset data(batches);
    const CalibrationResult result = session.calibrate(data, options);

    std::vector<std::int32_t> site_of_value(graph.values.size(), -1);
    std::vector<std::string> names;
    for (const QuantSite& site : result.sites) {
      if (!site.enabled || site.role != SiteRole::activation || graph.constant(site.value) != nullptr) continue;
      site_of_value[static_cast<std::size_t>(site.value)] = static_cast<std::int32_t>(names.size());
      names.push_back(site.tensor);
    }
    std::vector<bool> visible;
    for (const std::int32_t site : site_of_value) visible.push_back(site >= 0);
    EXPECT_FALSE(derived_values(graph, visible).empty()) << name;
    const auto observer = session.backend().make_observer(ObserverKind::histogram, names.size());
    Executor executor(make_runnable(graph, visible, session.backend()), session.backend(), site_of_value);
    ReadEverything hook(*observer);
    for (const Batch& batch : batches) executor.run(batch.inputs, &hook);
    const std::vector<TensorStatistics> read = observer->collect();
    for (std::size_t s = 0; s < names.size(); ++s) {
      const auto found = std::find_if(result.statistics.tensors.begin(), result.statistics.tensors.end(),
                                      [&](const NamedStatistics& entry) { return entry.tensor == names[s]; });
      ASSERT_NE(found, result.statistics.tensors.end()) << names[s];
      EXPECT_EQ(found->statistics, read[s]) << name << ": " << names[s];
    }
  }
}

}  // namespace
}  // namespace tare
