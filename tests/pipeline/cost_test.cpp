// What the search promises, measured on the tensors of eight real models: by the true cost (rounding noise + 3 times
// saturation noise) `sqnr` is never worse than AIMET's tf_enhanced, and measuring candidates never makes it worse.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "batches.hpp"

namespace tare {
namespace {

CalibrationOptions options_of(Scheme scheme) {
  CalibrationOptions options;
  options.search.scheme = scheme;
  options.observe_quantized_weights = false;  // the same tensors for every scheme
  return options;
}

bool marks_something(const CalibrationResult& result, const std::string& tensor) {
  return std::any_of(result.statistics.tensors.begin(), result.statistics.tensors.end(), [&](const NamedStatistics& named) {
    return named.tensor == tensor && (named.statistics.max <= -1e4f || find_sentinels(named.statistics));
  });
}

class TrueCost : public testing::TestWithParam<test::GoldenModel> {};

TEST_P(TrueCost, SqnrCostsNoMoreThanTfEnhanced) {
  Session session(GetParam().model());
  const std::vector<Batch> batches = test::first_batches(GetParam(), session.graph(), 2);
  test::MemoryDataset data(batches);
  const CalibrationResult sqnr = session.calibrate(data, options_of(Scheme::sqnr));
  const CalibrationResult aimets = session.calibrate(data, options_of(Scheme::tf_enhanced));
  const auto costs = test::true_costs(session, batches, sqnr.sites, {&sqnr.encodings, &aimets.encodings});
  double worst = 0;
  std::size_t compared = 0;
  for (const auto& [tensor, cost] : costs) {
    if (marks_something(sqnr, tensor)) continue;  // the mask's own magnitude is given up on purpose
    ++compared;
    if (cost[1] > 0) worst = std::max(worst, cost[0] / cost[1] - 1);
    EXPECT_LE(cost[0], 1.003 * cost[1] + 1e-30) << tensor;
  }
  EXPECT_GT(compared, 10u);
  fmt::print("{:12} {} quantizers, worst excess {:.3f} %\n", GetParam().name, compared, 100 * worst);
}

INSTANTIATE_TEST_SUITE_P(Models, TrueCost, testing::ValuesIn(test::golden_models),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Refinement, NeverCostsMoreThanTheSearch) {
  for (const char* name : {"ppocr_cls", "silero_vad"}) {
    Session session(test::golden_model(name).model());
    const std::vector<Batch> batches = test::first_batches(test::golden_model(name), session.graph(), 2);
    test::MemoryDataset data(batches);
    CalibrationOptions options = options_of(Scheme::sqnr);
    const CalibrationResult searched = session.calibrate(data, options);
    options.refine = true;
    const CalibrationResult measured = session.calibrate(data, options);
    double gain = 0;
    for (const auto& [tensor, cost] : test::true_costs(session, batches, searched.sites, {&searched.encodings, &measured.encodings})) {
      EXPECT_LE(cost[1], cost[0] * (1 + 1e-4) + 1e-30) << name << " " << tensor;  // refining adds up in float32
      gain = std::max(gain, cost[0] - cost[1]);
    }
    EXPECT_GT(gain, 0) << name;
  }
}

}  // namespace
}  // namespace tare
