// What every backend must share with the CPU's: from the same tensors the same statistics, encodings and quantized
// bits; end to end nearly the same ranges.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "plan/fuse.hpp"
#include "run/executor.hpp"
#include "support/backends.hpp"
#include "support/golden.hpp"
#include "tare/calibration.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

class OtherBackend : public testing::TestWithParam<test::NamedBackend> {
 protected:
  void SetUp() override {
    if (GetParam().name == "cpu") GTEST_SKIP() << "it is what the others are compared with";
    if (!GetParam().missing.empty()) GTEST_SKIP() << GetParam().missing;
  }
};

const test::GoldenModel& model() { return test::golden_models[1]; }  // ppocr_cls: small, all kinds of layers

TEST_P(OtherBackend, SameTensorsGiveTheSameStatisticsEncodingsAndQuantizedBits) {
  const auto cpu = make_cpu_backend();
  const auto other = GetParam().make();
  Session session(model().model());
  const Graph& graph = session.graph();
  Executor executor(make_runnable(graph, std::vector<bool>(graph.values.size(), true), *cpu), *cpu);
  constexpr std::size_t most = 4096;
  const auto expected = cpu->make_observer(ObserverKind::histogram, most);
  const auto found = other->make_observer(ObserverKind::histogram, most);
  TensorEncodings grid{"x", SiteRole::activation, {}, {{-1.0, 1.55, 0.01, -100}}};
  std::size_t tensors = 0;
  std::size_t different = 0;
  executor.watch([&](std::size_t, std::span<const Tensor> outputs) {
    for (const Tensor& output : outputs) {
      if (output.type() != DataType::float32 || tensors == most) continue;
      const Tensor there = other->upload(output);
      expected->observe(tensors, output);
      found->observe(tensors, there);
      ++tensors;
      const Tensor here = cpu->to_plain(output);
      const Tensor a = cpu->quantize_dequantize(here, grid, Rounding::half_even);
      const Tensor b = other->download(other->quantize_dequantize(there, grid, Rounding::half_even));
      different += a.bytes() == b.bytes() && std::memcmp(a.data(), b.data(), a.bytes()) == 0 ? 0 : 1;
    }
  });
  executor.run(test::golden_batches(model(), graph).at(0).inputs);
  EXPECT_GT(tensors, 50u);
  EXPECT_EQ(different, 0u);
  const auto want = expected->collect();
  const auto have = found->collect();
  for (std::size_t i = 0; i < tensors; ++i) {
    ASSERT_EQ(have[i], want[i]) << i;
    EXPECT_EQ(find_encoding(have[i], {}), find_encoding(want[i], {})) << i;
  }
  EXPECT_EQ(found->nonfinite_count(), expected->nonfinite_count());
}

TEST_P(OtherBackend, RangesOfACalibrationAreThoseOfTheCpu) {
  Session here(model().model());
  Session there(model().model(), GetParam().make());
  CalibrationOptions options;
  options.search.scheme = Scheme::min_max;
  const auto calibrate = [&](Session& session) {
    DataOptions two;
    two.samples = 2;
    const auto data = open_dataset(model().data("inputs.npz"), session.graph(), two);
    return session.calibrate(*data, options);
  };
  const CalibrationResult want = calibrate(here);
  const CalibrationResult have = calibrate(there);
  ASSERT_EQ(have.encodings.tensors.size(), want.encodings.tensors.size());
  for (std::size_t i = 0; i < want.encodings.tensors.size(); ++i) {
    const TensorEncodings& w = want.encodings.tensors[i];
    const TensorEncodings& h = have.encodings.tensors[i];
    ASSERT_EQ(h.tensor, w.tensor);
    ASSERT_EQ(h.encodings.size(), w.encodings.size());
    for (std::size_t e = 0; e < w.encodings.size(); ++e)
      EXPECT_NEAR(h.encodings[e].scale, w.encodings[e].scale, 1e-4 * w.encodings[e].scale) << w.tensor;
  }
  // Simulated with the same encodings: codes may differ where a value lies on a step, so outputs only agree closely.
  here.set_encodings(want.encodings);
  there.set_encodings(want.encodings);
  const auto inputs = test::golden_batches(model(), here.graph()).at(0).inputs;
  const std::vector<Tensor> a = here.simulate(inputs);
  const std::vector<Tensor> b = there.simulate(inputs);
  for (std::size_t o = 0; o < a.size(); ++o) EXPECT_LE(test::nmse(b[o], a[o]), 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Backends, OtherBackend, testing::ValuesIn(test::backends()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tare
