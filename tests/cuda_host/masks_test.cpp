// Masks that comparisons make, and what is made of constants alone: neither waits for the host, which would keep a run
// from being recorded.
#include "cuda_host/charts.hpp"
#include "support/model_builder.hpp"
#include "support/paths.hpp"
#include "tare/session.hpp"

namespace tare::test {
namespace {

TEST_F(CudaGraphs, MasksStayOnTheDevice) {
  Chart chart;
  const ValueId x = chart.input(DataType::float32);
  const ValueId y = chart.input(DataType::float32);  // broadcasts
  const ValueId above = chart.node("Greater", {x, y});
  const ValueId nan = chart.node("IsNaN", {x});
  const ValueId other = chart.node("Xor", {chart.node("Not", {above}), nan});
  const ValueId some = chart.node("Or", {chart.node("And", {above, other}), chart.node("IsNaN", {y})});
  Pair pair(chart.finish({chart.node("Where", {some, x, y}), chart.node("Where", {other, x, y}), above, other, some}));
  const auto host = make_cpu_backend();
  Executor expected(pair.graph, *host);
  for (unsigned batch = 0; batch < 4; ++batch) {
    const std::vector<Tensor> inputs{floats({4, 3, 7}, batch), floats({3, 1}, batch + 10)};
    expect_same(pair.on.run(inputs), expected.run(inputs), fmt::format("batch {}", batch));
    pair.check(inputs, "node by node");
  }
  EXPECT_EQ(pair.use().recorded, 1u) << pair.use().why_refused;
  EXPECT_EQ(pair.use().refused, 0u) << pair.use().why_refused;
}

/// Integers that the device has made, added up: there is no kernel for them, and the host does it.
TEST_F(CudaGraphs, VotesAreCounted) {
  for (const char* reduction : {"add", "max", "none"}) {
    Chart chart;
    const ValueId x = chart.input(DataType::float32);
    const ValueId indices = chart.input(DataType::int64);
    const ValueId votes =
        chart.node("Cast", {chart.node("Greater", {x, chart.node("Neg", {x})})}, {{"to", std::int64_t{7}}});  // int64
    Pair pair(chart.finish({chart.node("ScatterElements", {votes, indices, votes},
                                       {{"reduction", std::string(reduction)}, {"axis", std::int64_t{1}}})}));
    const auto host = make_cpu_backend();
    Executor expected(pair.graph, *host);
    for (unsigned batch = 0; batch < 3; ++batch) {
      const std::vector<Tensor> inputs{floats({2, 3}, batch), integers({2, 3}, {0, 2, 2, 1, 1, 0})};
      if (std::string(reduction) != "none") expect_same(pair.on.run(inputs), expected.run(inputs), reduction);
      pair.check(inputs, reduction);
    }
  }
}

/// Its values, floats, are constant; the indices are the host's.
TEST_F(CudaGraphs, OneHotOfConstantValues) {
  Chart chart;
  const ValueId x = chart.input(DataType::float32);
  const ValueId indices = chart.input(DataType::int64);
  const ValueId depth = chart.constant(integers({}, {4}));
  const ValueId values = chart.constant(Tensor::of<float>({2}, std::vector<float>{-0.5f, 1.5f}));
  Pair pair(chart.finish({chart.node("Add", {chart.node("OneHot", {indices, depth, values}), x})}));
  const auto host = make_cpu_backend();
  Executor expected(pair.graph, *host);
  for (unsigned batch = 0; batch < 4; ++batch) {
    const std::vector<Tensor> inputs{floats({3, 4}, batch), integers({3}, {1, 3, 0})};
    expect_same(pair.on.run(inputs), expected.run(inputs), "one-hot");
    pair.check(inputs, "node by node");
  }
  EXPECT_EQ(pair.use().recorded, 1u) << pair.use().why_refused;
}

/// A table of constants that has a quantizer is in the observed graph, and computed once.
TEST_F(CudaGraphs, TablesOfConstantsKeepNoCalibrationFromBeingRecorded) {
  onnx::ModelProto model = empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {-1, 4});
  add_initializer(graph, "angles", 1, {4}, std::vector<float>{0.0f, 0.5f, 1.0f, 2.0f});
  add_node(graph, "Cos", {"angles"}, {"cosines"}, "cos");
  add_node(graph, "Mul", {"x", "cosines"}, {"turned"}, "mul");
  add_node(graph, "Softmax", {"turned"}, {"y"}, "softmax");
  add_output(graph, "y", {-1, 4});
  const TemporaryFolder folder;
  write_model(model, folder / "m.onnx");
  Session host(folder / "m.onnx");
  Session device(folder / "m.onnx", backend_with(true));
  CalibrationOptions options;
  options.keep_histograms = true;
  Calibration of_host = host.start_calibration(options);
  Calibration of_device = device.start_calibration(options);
  for (unsigned batch = 0; batch < 4; ++batch) {
    const std::vector<Tensor> inputs{floats({5, 4}, batch)};
    of_host.add(inputs);
    of_device.add(inputs);
  }
  const CalibrationResult want = of_host.finish();
  EXPECT_EQ(of_device.finish().statistics.tensors, want.statistics.tensors);
  const cuda::GraphUse use = cuda::graph_use(device.backend());
  EXPECT_EQ(use.recorded, 1u) << use.why_refused;
  EXPECT_EQ(use.refused, 0u) << use.why_refused;
}

}  // namespace
}  // namespace tare::test
