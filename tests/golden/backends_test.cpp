// What every backend must share with the CPU's: from the same tensors the same statistics, encodings and quantized
// bits; end to end nearly the same ranges.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "plan/fuse.hpp"
#include "plan/quantized_graph.hpp"
#include "plan/simplify.hpp"
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
  EXPECT_EQ(found->unusable_count(), expected->unusable_count());
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

/// Found a batch later where the device runs behind; named all the same.
TEST_P(OtherBackend, NamesTheSampleOfANanThatTheCpuNames) {
  Session here(model().model());
  Session there(model().model(), GetParam().make());
  const Tensor batch = test::golden_batches(model(), here.graph()).at(0).inputs.at(0);
  Shape one = batch.shape();
  one[0] = 1;
  const auto message = [&](Session& session, std::size_t bad) -> std::string {
    CalibrationOptions options;
    options.search.scheme = Scheme::min_max;
    Calibration calibration = session.start_calibration(options);
    try {
      for (std::size_t sample = 0; sample < 3; ++sample) {
        Tensor input = Tensor::host(batch.type(), one);
        std::memcpy(input.mutable_data(), batch.data(), input.bytes());
        if (sample == bad) input.mutable_data<float>()[77] = NAN;
        calibration.add(std::span(&input, 1));
      }
      calibration.finish();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  for (const std::size_t bad : {0u, 1u, 2u}) {
    const std::string expected = message(here, bad);
    EXPECT_NE(expected.find(fmt::format("sample {}", bad)), std::string::npos) << expected;
    EXPECT_EQ(message(there, bad), expected);
  }
  EXPECT_EQ(message(there, 9), "no error");  // and the session goes on
}

class Chains : public testing::TestWithParam<std::tuple<test::NamedBackend, test::GoldenModel>> {
 protected:
  void SetUp() override {
    if (!device().missing.empty()) GTEST_SKIP() << device().missing;
  }
  static const test::NamedBackend& device() { return std::get<0>(GetParam()); }
};

class QuantizeHook final : public ValueHook {
 public:
  QuantizeHook(Backend& backend, const std::vector<TensorEncodings>& sites) : backend_(backend), sites_(sites) {}
  Tensor on_value(std::size_t site, Tensor value) override {
    if (!is_quantizable(value.type())) return value;
    return backend_.quantize_dequantize(std::move(value), sites_[site], Rounding::half_even);
  }

 private:
  Backend& backend_;
  const std::vector<TensorEncodings>& sites_;
};

/// With quantizers in nodes that are joined into chains, and with a hook between single operators.
TEST_P(Chains, SimulatedGiveTheBitsOfOneByOne) {
  const test::GoldenModel& golden = std::get<1>(GetParam());
  const auto backend = device().make();
  Session session(golden.model());
  CalibrationOptions options;
  options.search.scheme = Scheme::min_max;
  DataOptions one;
  one.samples = 1;
  const auto data = open_dataset(golden.data("inputs.npz"), session.graph(), one);
  const EncodingSet encodings = session.calibrate(*data, options).encodings;
  data->rewind();
  const std::vector<Tensor> inputs = data->next()->inputs;

  const QuantizedGraph hooked = quantize_constants(session.graph(), encodings, *backend, Rounding::half_even);
  QuantizedGraph joined = hooked;
  joined.quantize_in_nodes(Rounding::half_even, *backend);
  const auto run = [&](Graph graph, const QuantizedGraph& from) {
    QuantizeHook hook(*backend, from.sites);
    return Executor(std::move(graph), *backend, from.site_of_value).run(inputs, &hook);
  };
  const std::vector<Tensor> expected =
      run(fuse(simplify(hooked.graph, hooked.visible(), *backend), hooked.visible(), *backend), hooked);
  const Graph chains = make_runnable(joined.graph, joined.visible(), *backend);
  EXPECT_TRUE(
      std::any_of(chains.nodes.begin(), chains.nodes.end(), [](const Node& node) { return node.op_type == "Chain"; }));
  const std::vector<Tensor> actual = run(chains, joined);
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t o = 0; o < actual.size(); ++o) {
    ASSERT_EQ(actual[o].bytes(), expected[o].bytes());
    EXPECT_EQ(std::memcmp(actual[o].data(), expected[o].data(), expected[o].bytes()), 0) << "output " << o;
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Chains,
                         testing::Combine(testing::ValuesIn(test::backends()), testing::ValuesIn(test::golden_models)),
                         [](const auto& test) {
                           return std::get<0>(test.param).name + "_" + std::get<1>(test.param).name;
                         });
INSTANTIATE_TEST_SUITE_P(Backends, OtherBackend, testing::ValuesIn(test::backends()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tare
