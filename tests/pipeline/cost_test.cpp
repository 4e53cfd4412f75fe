// The true cost of encodings (rounding noise + 3 times saturation noise), measured on the tensors of real models: those
// measured on the data are never worse than those searched from the histogram, and these cost less than tf_enhanced's,
// taken over a model. Tensor by tensor some cost more: a bin of the histogram does not say where in it a value lies
// that occurs very often (the white of a page), nor where the few values of a small tensor lie.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "batches.hpp"
#include "tare/calibration.hpp"

namespace tare {
namespace {

CalibrationOptions options_of(Scheme scheme) {
  CalibrationOptions options;
  options.search.scheme = scheme;
  options.observe_quantized_weights = false;  // the same tensors for every scheme
  return options;
}

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
    for (const auto& [tensor, cost] :
         test::true_costs(session, batches, searched.sites, {&searched.encodings, &measured.encodings})) {
      EXPECT_LE(cost[1], cost[0] * (1 + 1e-4) + 1e-30) << name << " " << tensor;  // refining adds up in float32
      gain = std::max(gain, cost[0] - cost[1]);
    }
    EXPECT_GT(gain, 0) << name;
  }
}

class TrueCost : public testing::TestWithParam<test::GoldenModel> {};

TEST_P(TrueCost, OfSqnrIsLowerThanThatOfTfEnhancedOverAModel) {
  Session session(GetParam().model());
  const std::vector<Batch> batches = test::golden_batches(GetParam(), session.graph());
  test::MemoryDataset data(batches);
  const CalibrationResult ours = session.calibrate(data, options_of(Scheme::sqnr));
  const CalibrationResult theirs = session.calibrate(data, options_of(Scheme::tf_enhanced));
  std::vector<std::string> others;  // sentinels are clamped, constants searched on their own values
  for (const auto* list : {&ours.statistics.tensors, &ours.statistics.derived})
    for (const NamedStatistics& entry : *list)
      if (find_sentinels(entry.statistics)) others.push_back(entry.tensor);
  for (const QuantSite& site : ours.sites)
    if (session.graph().constant(site.value) != nullptr) others.push_back(site.tensor);
  double logarithms = 0;
  std::size_t tensors = 0;
  std::size_t above = 0;
  double worst = 0;
  std::string worst_tensor;
  for (const auto& [tensor, cost] :
       test::true_costs(session, batches, ours.sites, {&ours.encodings, &theirs.encodings})) {
    if (cost[1] == 0 || cost[0] == 0 || std::find(others.begin(), others.end(), tensor) != others.end()) continue;
    const double ratio = cost[0] / cost[1];
    logarithms += std::log(ratio);
    ++tensors;
    above += ratio > 1.003 ? 1 : 0;
    if (ratio > worst) worst_tensor = tensor;
    worst = std::max(worst, ratio);
  }
  const double mean = std::exp(logarithms / static_cast<double>(tensors));
  fmt::print("{:12} {} quantizers: geometric mean {:.3f} of tf_enhanced's cost, {} above 1.003, worst {:.3f} ({})\n",
             GetParam().name, tensors, mean, above, worst, worst_tensor);
  EXPECT_LE(mean, 1.0);
  EXPECT_LE(static_cast<double>(above), 0.25 * static_cast<double>(tensors));
}

INSTANTIATE_TEST_SUITE_P(Models, TrueCost, testing::ValuesIn(test::golden_models),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace tare
