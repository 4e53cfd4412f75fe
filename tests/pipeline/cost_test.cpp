// What refining promises, measured on the tensors of real models: by the true cost (rounding noise + 3 times saturation
// noise) the encodings measured on the data are never worse than those searched from the histogram.
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

}  // namespace
}  // namespace tare
