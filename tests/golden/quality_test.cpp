// What calibration is worth: output SQNR of the simulated model on eight real models, beside AIMET's tf_enhanced.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/golden.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

/// Mean over the batches of 10 log10(signal / noise), one figure a float output.
std::vector<double> output_sqnr(Session& session, const std::vector<Batch>& batches) {
  std::vector<double> sum;
  for (const Batch& batch : batches) {
    const std::vector<Tensor> reference = session.run(batch.inputs);
    const std::vector<Tensor> simulated = session.simulate(batch.inputs);
    std::size_t figure = 0;
    for (std::size_t o = 0; o < reference.size(); ++o) {
      if (reference[o].type() != DataType::float32) continue;
      if (figure == sum.size()) sum.push_back(0.0);
      sum[figure++] -= 10 * std::log10(test::nmse(simulated[o], reference[o]));
    }
  }
  for (double& s : sum) s /= static_cast<double>(batches.size());
  return sum;
}

std::vector<double> calibrated_sqnr(const test::GoldenModel& model, Scheme scheme,
                                    std::vector<std::string>* warnings = nullptr) {
  Session session(model.model());
  const std::vector<Batch> batches = test::golden_batches(model, session.graph());
  CalibrationOptions options;
  options.search.scheme = scheme;
  Calibration calibration = session.start_calibration(options);
  for (const Batch& batch : batches) calibration.add(batch.inputs, batch.samples);
  const CalibrationResult result = calibration.finish();
  if (warnings != nullptr) *warnings = result.warnings;
  session.set_encodings(result.encodings);
  return output_sqnr(session, batches);
}

TEST(Quality, SqnrBeatsAimetsTfEnhanced) {
  double gain = 0;
  for (const test::GoldenModel& model : test::golden_models) {
    std::vector<std::string> warnings;
    const double ours = calibrated_sqnr(model, Scheme::sqnr, &warnings)[0];
    const double aimets = test::aimet_output_sqnr(model, "tf_enhanced.default.a8").at(0);
    fmt::print("{:12} output SQNR {:7.2f} dB, AIMET tf_enhanced {:7.2f} dB, {:+.2f}\n", model.name, ours, aimets,
               ours - aimets);
    gain += ours - aimets;
    EXPECT_GE(ours, aimets - 4.0) << model.name;
    if (std::string_view(model.name) == "minilm_l3") {
      EXPECT_GE(ours, aimets + 3.0);
      EXPECT_EQ(
          std::count_if(warnings.begin(), warnings.end(),
                        [](const std::string& line) { return line.find("only mark something") != std::string::npos; }),
          5);
      for (const std::string& line : warnings) fmt::print("  {}\n", line);
    }
  }
  EXPECT_GE(gain / static_cast<double>(test::golden_models.size()), 5.0);
}

class EveryScheme : public testing::TestWithParam<test::GoldenModel> {};

TEST_P(EveryScheme, CalibratesAndSimulates) {
  for (const Scheme scheme : {Scheme::min_max, Scheme::mse, Scheme::percentile, Scheme::entropy, Scheme::tf_enhanced}) {
    const std::vector<double> sqnr = calibrated_sqnr(GetParam(), scheme);
    for (const double figure : sqnr) EXPECT_TRUE(std::isfinite(figure));
    fmt::print("{:12} scheme {}: first output {:.2f} dB\n", GetParam().name, static_cast<int>(scheme), sqnr[0]);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EveryScheme, testing::ValuesIn(test::golden_models),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace tare
