// Runs that are recorded as graphs and replayed give the bits of runs node by node, and nothing that a replay reads has
// gone: device memory that is freed loses its bytes here, and the stand-in for CUDA watches what is read on the host.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "cuda_host/charts.hpp"
#include "cuda_host/ledger.hpp"
#include "runtime.hpp"
#include "support/golden.hpp"
#include "tare/cuda.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

using cuda::graph_use;
using test::backend_with;
using test::Chart;
using test::CudaGraphs;
using test::expect_same;
using test::floats;
using test::integers;
using test::Pair;
using test::stand_in;

/// One sample of a golden model, and others in its shapes: every value has another size.
std::vector<Tensor> batch_of(const test::GoldenModel& golden, const Graph& graph, int number) {
  std::vector<Tensor> inputs;
  DataOptions one;
  one.samples = one.batch_size = 1;
  const Batch first = open_dataset(golden.data("inputs.npz"), graph, one)->next().value();
  for (const Tensor& given : first.inputs) {
    Tensor input = Tensor::host(given.type(), given.shape());
    std::memcpy(input.mutable_data(), given.data(), given.bytes());
    if (input.type() == DataType::float32)
      for (float& x : input.mutable_span<float>()) x *= 1.0f - 0.125f * static_cast<float>(number);
    inputs.push_back(std::move(input));
  }
  return inputs;
}

constexpr int batches = 4;  // node by node, recorded, replayed, replayed

class CudaGraphsOfModels : public CudaGraphs, public testing::WithParamInterface<test::GoldenModel> {};

TEST_P(CudaGraphsOfModels, RunTheSame) {
  Session with(GetParam().model(), backend_with(true));
  Session without(GetParam().model(), backend_with(false));
  for (int b = 0; b < batches; ++b) {
    const std::vector<Tensor> inputs = batch_of(GetParam(), with.graph(), b);
    expect_same(with.run(inputs), without.run(inputs), fmt::format("batch {}", b));
  }
  const cuda::GraphUse use = graph_use(with.backend());
  EXPECT_EQ(use.recorded, 1u) << use.why_refused;
  EXPECT_EQ(use.launched, batches - 1u);
  EXPECT_EQ(use.refused, 0u) << use.why_refused;
  EXPECT_EQ(graph_use(without.backend()).recorded, 0u);
  EXPECT_EQ(stand_in().captures, 1u);
  EXPECT_EQ(stand_in().launches, batches - 1u);
  EXPECT_EQ(stand_in().invalid, 0u);
}

TEST_P(CudaGraphsOfModels, ObserveAndSimulateTheSame) {
  Session with(GetParam().model(), backend_with(true));
  Session without(GetParam().model(), backend_with(false));
  CalibrationOptions options;
  options.keep_histograms = true;
  options.search.scheme = Scheme::min_max;
  const auto calibrate = [&](Session& session) {
    Calibration calibration = session.start_calibration(options);
    for (int b = 0; b < batches; ++b) calibration.add(batch_of(GetParam(), session.graph(), b));
    return calibration.finish();
  };
  const CalibrationResult have = calibrate(with);
  const CalibrationResult want = calibrate(without);
  EXPECT_EQ(have.statistics, want.statistics);
  ASSERT_EQ(have.encodings.tensors.size(), want.encodings.tensors.size());
  for (std::size_t t = 0; t < want.encodings.tensors.size(); ++t)
    EXPECT_EQ(have.encodings.tensors[t].encodings, want.encodings.tensors[t].encodings);
  EXPECT_EQ(graph_use(with.backend()).launched, batches - 1u) << graph_use(with.backend()).why_refused;

  with.set_encodings(want.encodings);
  without.set_encodings(want.encodings);
  for (int b = 0; b < batches; ++b) {
    const std::vector<Tensor> inputs = batch_of(GetParam(), with.graph(), b);
    expect_same(with.simulate(inputs), without.simulate(inputs), fmt::format("batch {}", b));
  }
  EXPECT_EQ(graph_use(with.backend()).launched, 2 * (batches - 1u)) << graph_use(with.backend()).why_refused;
  EXPECT_EQ(graph_use(with.backend()).refused, 0u);
}

INSTANTIATE_TEST_SUITE_P(Models, CudaGraphsOfModels, testing::Values(test::golden_models[0], test::golden_models[7]),
                         [](const auto& test) { return std::string(test.param.name); });

/// sqrt(relu(x)) + x, on the device alone.
Graph floating() {
  Chart chart;
  const ValueId x = chart.input(DataType::float32);
  return chart.finish({chart.node("Add", {chart.node("Sqrt", {chart.node("Relu", {x})}), x})});
}

TEST_F(CudaGraphs, AKindOfRunForEveryShapeAndNoMoreThanEight) {
  Pair pair(floating());
  for (int round = 0; round < 3; ++round)
    for (std::int64_t length = 1; length <= 8; ++length)
      pair.check(std::array{floats({length, 3}, static_cast<unsigned>(10 * round + length))}, "shapes in turn");
  EXPECT_EQ(pair.use().recorded, 8u);
  EXPECT_EQ(pair.use().launched, 16u);
  for (std::int64_t length = 20; length < 32; ++length)
    for (int round = 0; round < 3; ++round) {
      pair.check(std::array{floats({length}, static_cast<unsigned>(length + round))}, "shapes that go on");
      EXPECT_LE(stand_in().graphs, 8u);
    }
  EXPECT_EQ(pair.use().recorded, 20u);
  const std::vector<Tensor> large{floats({300, 1000}, 5)};  // travels beside the kernels
  for (int round = 0; round < 4; ++round) pair.check(large, "a large input");
  EXPECT_EQ(pair.use().recorded, 21u);
  EXPECT_EQ(pair.use().refused, 0u);
}

TEST_F(CudaGraphs, IntegersOfTheHostAreNotTakenForOthers) {
  Chart chart;
  const ValueId x = chart.input(DataType::float32);
  const ValueId indices = chart.input(DataType::int64);
  Pair pair(chart.finish({chart.node("Relu", {chart.node("Gather", {x, indices})}), chart.node("Neg", {indices})}));
  const std::vector<std::vector<std::int64_t>> rows = {{0, 1, 2}, {4, 4, 1}, {3, 0, 2}};
  for (int round = 0; round < 4; ++round)
    for (const std::vector<std::int64_t>& row : rows) {
      std::vector<Tensor> inputs{floats({5, 7}, static_cast<unsigned>(round)), integers({3}, row)};
      std::vector<Tensor> have = pair.on.run(inputs);
      expect_same(have, pair.off.run(inputs), "gathered");
      inputs[1].mutable_data<std::int64_t>()[0] = 1;  // the caller's own again
      have[1].mutable_data<std::int64_t>()[0] = 77;
    }
  EXPECT_EQ(pair.use().recorded, 3u) << pair.use().why_refused;
  EXPECT_EQ(pair.use().launched, 9u);
}

TEST_F(CudaGraphs, WhatTheHostHasToReadRunsNodeByNode) {
  Chart chart;
  const ValueId x = chart.input(DataType::float32);
  Pair pair(chart.finish({chart.node("NonZero", {chart.node("Relu", {x})}), chart.node("Neg", {x})}));
  for (unsigned batch = 0; batch < 5; ++batch) pair.check(std::array{floats({4, 9}, batch)}, "non-zero");
  EXPECT_EQ(pair.use().recorded, 0u);
  EXPECT_EQ(pair.use().refused, 1u);
  EXPECT_NE(pair.use().why_refused.find("waits for a result"), std::string::npos) << pair.use().why_refused;
  EXPECT_EQ(stand_in().invalid, 0u);
  for (std::int64_t length = 1; length < 8; ++length)  // no shape of this model can be
    for (unsigned batch = 0; batch < 3; ++batch) pair.check(std::array{floats({length}, batch)}, "non-zero");
  EXPECT_EQ(pair.use().refused, 3u);
}

TEST_F(CudaGraphs, WhatCudaRefusesRunsNodeByNode) {
  Pair pair(floating());
  stand_in().fails_to_instantiate = true;
  for (unsigned batch = 0; batch < 4; ++batch) pair.check(std::array{floats({5}, batch)}, "not instantiated");
  stand_in().fails_to_instantiate = false;
  EXPECT_EQ(pair.use().refused, 1u);
  for (unsigned batch = 0; batch < 3; ++batch) pair.check(std::array{floats({6}, batch)}, "recorded");
  EXPECT_EQ(pair.use().launched, 2u);
  stand_in().fails_to_launch = true;
  for (unsigned batch = 0; batch < 3; ++batch) pair.check(std::array{floats({6}, batch)}, "not launched");
  EXPECT_EQ(pair.use().refused, 2u);
  EXPECT_EQ(stand_in().graphs, 0u);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

/// Quantizes, observes, or fails, as if it were a session's.
class Hook final : public ValueHook {
 public:
  explicit Hook(std::function<Tensor(std::size_t, Tensor)> action, Observer* observer = nullptr)
      : action_(std::move(action)), observer_(observer) {}
  Tensor on_value(std::size_t site, Tensor value) override {
    ++calls;
    return action_(site, std::move(value));
  }
  const void* repeats() const override { return this; }
  void flush() override {
    if (observer_ != nullptr) observer_->flush();
  }
  int calls = 0;

 private:
  std::function<Tensor(std::size_t, Tensor)> action_;
  Observer* observer_;
};

std::vector<std::int32_t> all_sites(const Graph& graph) {
  std::vector<std::int32_t> sites;
  for (std::size_t v = 0; v < graph.values.size(); ++v) sites.push_back(static_cast<std::int32_t>(v));
  return sites;
}

TEST_F(CudaGraphs, AHookWithAGridForEveryChannel) {
  TensorEncodings encodings{"x", SiteRole::activation, {}, {}};
  encodings.spec.channel_axis = 1;
  for (int c = 0; c < 5; ++c) encodings.encodings.push_back({-1.0 - c, 1.55 - c, 0.01 * (c + 1), -100});
  const Graph graph = floating();
  std::vector<std::vector<Tensor>> results[2];
  for (const bool graphs : {false, true}) {
    const auto backend = backend_with(graphs);
    Hook hook([&](std::size_t, Tensor value) {
      return backend->quantize_dequantize(std::move(value), encodings, Rounding::half_even);
    });
    Executor executor(graph, *backend, all_sites(graph));
    for (unsigned batch = 0; batch < 4; ++batch)
      results[graphs ? 1 : 0].push_back(executor.run(std::array{floats({2, 5, 3}, batch)}, &hook));
    EXPECT_EQ(graph_use(*backend).launched, graphs ? 3u : 0u) << graph_use(*backend).why_refused;
    EXPECT_EQ(hook.calls, graphs ? 8 : 16);  // a replay does not call it
  }
  for (std::size_t batch = 0; batch < 4; ++batch)
    expect_same(results[1][batch], results[0][batch], fmt::format("batch {}", batch));
}

TEST_F(CudaGraphs, AnErrorWhileARunIsRecordedIsThatOfTheRunAndLeavesNothing) {
  const Graph graph = floating();
  const auto backend = backend_with(true);
  const auto observer = backend->make_observer(ObserverKind::histogram, graph.values.size());
  bool fails = false;
  Hook hook(
      [&](std::size_t site, Tensor value) {
        if (fails && site == 2) throw Error(ErrorKind::data, "the third value is not to be had");
        observer->observe(0, value);
        return value;
      },
      observer.get());
  Executor executor(graph, *backend, all_sites(graph));
  executor.run_for(std::array{floats({11}, 0)}, hook);
  fails = true;
  EXPECT_THROW(executor.run_for(std::array{floats({11}, 1)}, hook), Error);  // after two values, node by node
  fails = false;
  EXPECT_TRUE(stand_in().idle);
  EXPECT_EQ(graph_use(*backend).refused, 1u);
  for (unsigned batch = 2; batch < 4; ++batch) executor.run_for(std::array{floats({11}, batch)}, hook);
  for (unsigned batch = 0; batch < 3; ++batch) executor.run_for(std::array{floats({12}, batch)}, hook);
  EXPECT_EQ(graph_use(*backend).launched, 2u);
  EXPECT_EQ(observer->collect().at(0).count, (3u * 4 + 2) * 11 + 3u * 4 * 12);
}

TEST_F(CudaGraphs, NameTheSampleOfANanInALaterBatch) {
  const test::GoldenModel& golden = test::golden_models[1];
  const auto message = [&](bool graphs, int bad) -> std::string {
    Session session(golden.model(), backend_with(graphs));
    CalibrationOptions options;
    options.search.scheme = Scheme::min_max;
    Calibration calibration = session.start_calibration(options);
    try {
      for (int b = 0; b < 5; ++b) {
        std::vector<Tensor> inputs = batch_of(golden, session.graph(), b);
        if (b == bad) inputs[0].mutable_data<float>()[77] = NAN;
        calibration.add(inputs);
      }
      calibration.finish();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  for (const int bad : {1, 3, 4}) EXPECT_EQ(message(true, bad), message(false, bad));
  EXPECT_EQ(message(true, 9), "no error");
}

/// Finite inputs from which a node makes infinity: only the statistics know, a batch later.
TEST_F(CudaGraphs, CountWhatIsNotFinite) {
  const Graph graph = floating();
  const auto backend = backend_with(true);
  const auto observer = backend->make_observer(ObserverKind::histogram, 1);
  Hook hook(
      [&](std::size_t, Tensor value) {
        observer->observe(0, value);
        return value;
      },
      observer.get());
  Executor executor(graph, *backend, all_sites(graph));
  for (int batch = 0; batch < 5; ++batch) {
    Tensor input = floats({6}, 3);
    if (batch == 3) input.mutable_data<float>()[2] = INFINITY;
    executor.run_for(std::array{input}, hook);
    const std::uint64_t before = observer->end_batch();
    if (batch > 0) {
      EXPECT_EQ(before, batch == 4 ? 4u : 0u) << batch;
    }
  }
  EXPECT_EQ(graph_use(*backend).launched, 4u);
}

TEST_F(CudaGraphs, TakeFromTheCallersAllocatorAndGiveBack) {
  test::Ledger ledger;
  const Graph graph = floating();
  {
    const auto backend = cuda::make_cuda_backend(test::options_of(ledger));
    const auto other = backend_with(false);
    Executor executor(graph, *backend);
    Executor expected(graph, *other);
    for (unsigned batch = 0; batch < 4; ++batch) {
      const std::array inputs{floats({1000}, batch)};
      expect_same(executor.run(inputs), expected.run(inputs), "within the allocator's means");
    }
    EXPECT_EQ(graph_use(*backend).launched, 3u) << graph_use(*backend).why_refused;
    // What recordings keep is given up before a run fails.
    ledger.most_bytes = ledger.bytes + 12'000;
    for (unsigned batch = 0; batch < 4; ++batch) {
      const std::array inputs{floats({2000}, batch)};
      expect_same(executor.run(inputs), expected.run(inputs), "when there is little left");
    }
    EXPECT_EQ(stand_in().graphs, 0u);
  }
  EXPECT_TRUE(ledger.taken.empty());
}

TEST_F(CudaGraphs, AreLeftOutOnRequest) {
  const auto backend = backend_with(false);
  Executor executor(floating(), *backend);
  for (unsigned batch = 0; batch < 3; ++batch) executor.run(std::array{floats({5}, batch)});
  EXPECT_EQ(stand_in().captures, 0u);
  EXPECT_THROW(static_cast<void>(graph_use(*make_cpu_backend())), Error);
}

}  // namespace
}  // namespace tare
