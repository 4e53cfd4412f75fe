// Replayed graphs against runs node by node, on a device: bits and statistics.
#include <fmt/format.h>

#include "cuda/device.hpp"
#include "support/golden.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

using CudaGraphs = test::CudaTest;

TEST_F(CudaGraphs, GiveTheBitsOfRunsNodeByNode) {
  const test::GoldenModel& golden = test::golden_models[1];
  cuda::CudaOptions options;
  options.choices = cuda::make_convolution_choices();  // both compute convolutions alike
  Session with(golden.model(), cuda::make_cuda_backend(options));
  options.graphs = false;
  Session without(golden.model(), cuda::make_cuda_backend(options));
  const Batch first = test::golden_batches(golden, with.graph()).at(0);
  std::vector<std::vector<Tensor>> batches;
  for (int b = 0; b < 5; ++b) {
    Tensor input = Tensor::host(DataType::float32, first.inputs.at(0).shape());
    for (std::int64_t i = 0; i < input.elements(); ++i)
      input.mutable_data<float>()[i] = first.inputs[0].data<float>()[i] * (1.0f - 0.125f * static_cast<float>(b));
    batches.push_back({input});
  }
  const auto expect_same = [](const std::vector<Tensor>& have, const std::vector<Tensor>& want, std::size_t batch) {
    ASSERT_EQ(have.size(), want.size());
    for (std::size_t o = 0; o < want.size(); ++o) {
      ASSERT_EQ(have[o].bytes(), want[o].bytes());
      EXPECT_EQ(std::memcmp(have[o].data(), want[o].data(), want[o].bytes()), 0) << "batch " << batch;
    }
  };
  for (std::size_t b = 0; b < batches.size(); ++b) expect_same(with.run(batches[b]), without.run(batches[b]), b);

  CalibrationOptions calibration;
  calibration.keep_histograms = true;
  const auto calibrate = [&](Session& session) {
    Calibration pushed = session.start_calibration(calibration);
    for (const std::vector<Tensor>& inputs : batches) pushed.add(inputs);
    return pushed.finish();
  };
  const CalibrationResult have = calibrate(with);
  const CalibrationResult want = calibrate(without);
  EXPECT_EQ(have.statistics, want.statistics);

  with.set_encodings(want.encodings);
  without.set_encodings(want.encodings);
  for (std::size_t b = 0; b < batches.size(); ++b)
    expect_same(with.simulate(batches[b]), without.simulate(batches[b]), b);
  const cuda::GraphUse use = cuda::graph_use(with.backend());
  EXPECT_EQ(use.refused, 0u) << use.why_refused;
  EXPECT_EQ(use.launched, 3 * (batches.size() - 1)) << use.why_refused;
  EXPECT_EQ(cuda::graph_use(without.backend()).recorded, 0u);
}

}  // namespace
}  // namespace tare
