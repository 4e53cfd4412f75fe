// ResNet-50 (the graph of the ONNX backend tests, random weights) on a CUDA device: plain inference, calibrating and
// simulating, batch by batch in turns, inputs on the device. Milliseconds, the fastest of the repetitions; every run
// ends with the output on the host. Given a model instead of ResNet-50 by --model, only what its inputs allow: all
// their open dimensions become the batch, or --length. Writes JSON for one batch size a line.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "plan/fuse.hpp"
#include "plan/quantized_graph.hpp"
#include "run/executor.hpp"
#include "support/paths.hpp"
#include "tare/calibration.hpp"
#include "tare/cuda.hpp"
#include "tare/model.hpp"
#include "tare/placement.hpp"

namespace tare::bench {
namespace {

/// Weights that are spelled as a filled shape, or are constants already, become small random numbers.
void randomize(Graph& graph) {
  std::mt19937 engine(1);
  std::erase_if(graph.nodes, [&](const Node& node) {
    if (node.op_type != "ConstantOfShape" || graph.constant(node.inputs[0]) == nullptr) return false;
    const Shape shape = graph.constant(node.inputs[0])->to_shape("shape");
    Tensor values = Tensor::host(DataType::float32, shape);
    const double fan = shape.rank() > 1 ? static_cast<double>(shape.elements(1, shape.rank())) : 1.0;
    const double deviation = shape.rank() > 1 ? std::sqrt(2.0 / fan) : 0.0;
    std::normal_distribution<float> normal(0.0f, static_cast<float>(deviation) + 1e-6f);
    for (float& value : values.mutable_span<float>()) value = shape.rank() > 1 ? normal(engine) : 1.0f;
    graph.constants.insert_or_assign(node.outputs[0], values);
    return true;
  });
}

std::vector<Tensor> inputs_of(const Graph& graph, Backend& backend, std::int64_t batch, std::int64_t length) {
  std::vector<Tensor> inputs;
  std::mt19937 engine(2);
  for (const ValueId id : graph.inputs) {
    const Value& value = graph.value(id);
    Shape shape = value.shape.value_or(Shape{});
    for (std::size_t d = 0; d < shape.rank(); ++d)
      if (d == 0 || shape[d] < 0) shape[d] = d == 0 ? batch : length;
    Tensor tensor = Tensor::host(value.type, shape);
    if (value.type == DataType::float32) {
      std::normal_distribution<float> normal;
      for (float& x : tensor.mutable_span<float>()) x = normal(engine);
    } else {
      std::fill_n(tensor.mutable_data<std::int64_t>(), tensor.elements(), std::int64_t{1});
    }
    inputs.push_back(backend.upload(tensor));
  }
  return inputs;
}

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

class ObserveHook final : public ValueHook {
 public:
  explicit ObserveHook(Observer& observer) : observer_(observer) {}
  Tensor on_value(std::size_t site, Tensor value) override {
    observer_.observe(site, value);
    return value;
  }

 private:
  Observer& observer_;
};

template <class Body>
double fastest(int repetitions, Body&& body) {
  double best = 1e30;
  for (int i = -3; i < repetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    if (i >= 0) best = std::min(best, time.count());
  }
  return best;
}

nlohmann::json run(const Graph& graph, Backend& backend, std::int64_t batch, std::int64_t length, int repetitions) {
  const std::vector<Tensor> inputs = inputs_of(graph, backend, batch, length);
  Executor plain(make_runnable(graph, std::vector<bool>(graph.values.size(), false), backend), backend);
  const double inference = fastest(repetitions, [&] { plain.run(inputs); });

  // What a calibration does with a batch: observe behind quantized weights, then ask for NaN and infinities.
  const std::vector<QuantSite> sites = place(graph, load_config("default"), {});
  EncodingSet encodings;
  for (const QuantSite& site : sites)
    if (site.enabled && site.role == SiteRole::parameter)
      encodings.tensors.push_back(
          find_parameter_encodings(site.tensor, *graph.constant(site.value), site.spec, {.scheme = Scheme::min_max}));
  QuantizedGraph observed = quantize_constants(graph, encodings, backend, Rounding::half_even);
  std::vector<const QuantSite*> activations;
  for (const QuantSite& site : sites) {
    if (!site.enabled || site.role != SiteRole::activation || graph.constant(site.value) != nullptr) continue;
    observed.site_of_value[static_cast<std::size_t>(site.value)] = static_cast<std::int32_t>(activations.size());
    activations.push_back(&site);
  }
  const std::vector<bool> observed_values = observed.visible();
  Executor observing(make_runnable(std::move(observed.graph), observed_values, backend), backend,
                     observed.site_of_value);
  const auto observer = backend.make_observer(ObserverKind::histogram, activations.size());
  ObserveHook observe(*observer);
  const double calibrate = fastest(repetitions, [&] {
    observing.run(inputs, &observe);
    static_cast<void>(observer->nonfinite_count());
  });
  const std::vector<TensorStatistics> statistics = observer->collect();
  for (std::size_t i = 0; i < activations.size(); ++i)
    encodings.tensors.push_back({activations[i]->tensor,
                                 SiteRole::activation,
                                 activations[i]->spec,
                                 {find_encoding(statistics[i], activations[i]->spec)}});

  QuantizedGraph quantized = quantize_constants(graph, encodings, backend, Rounding::half_even);
  const std::vector<bool> visible = quantized.visible();
  Executor simulated(make_runnable(std::move(quantized.graph), visible, backend), backend, quantized.site_of_value);
  QuantizeHook hook(backend, quantized.sites);
  const double simulate = fastest(repetitions, [&] { simulated.run(inputs, &hook); });
  return {{"batch", batch},
          {"plain_ms", inference},
          {"calibrate_ms", calibrate},
          {"simulate_ms", simulate},
          {"calibrate_ratio", calibrate / inference},
          {"simulate_ratio", simulate / inference},
          {"sites", quantized.sites.size()}};
}

}  // namespace
}  // namespace tare::bench

int main(int argc, char** argv) {
  using namespace tare;
  std::string model;
  std::string output;
  std::vector<std::int64_t> batches{1, 64};
  std::int64_t length = 128;
  int repetitions = 20;
  CLI::App app("Models on a CUDA device");
  app.add_option("--model", model, "Instead of ResNet-50");
  app.add_option("--output", output, "JSON file (default: standard output)");
  app.add_option("--batch-size", batches)->delimiter(',');
  app.add_option("--length", length, "Of open dimensions");
  app.add_option("--repetitions", repetitions);
  CLI11_PARSE(app, argc, argv);
  if (cuda::device_count() == 0) {
    fmt::print(stderr, "bench_cuda_models: no CUDA device\n");
    return 77;
  }
  try {
    const bool resnet = model.empty();
    if (resnet) model = (test::cache_folder() / "onnx-backend-tests/1.17.0/light/light_resnet50.onnx").string();
    Graph graph = load_model(model).graph;
    if (resnet) bench::randomize(graph);
    const auto backend = cuda::make_cuda_backend();
    nlohmann::json figures = nlohmann::json::array();
    for (const std::int64_t batch : batches) {
      // The shape of the batch is fixed in the file.
      for (const ValueId id : graph.inputs)
        if (graph.value(id).shape && graph.value(id).shape->rank() > 0) (*graph.value(id).shape)[0] = -1;
      figures.push_back(bench::run(graph, *backend, batch, length, repetitions));
    }
    const nlohmann::json report{{"model", std::filesystem::path(model).stem().string()}, {"figures", figures}};
    if (output.empty())
      std::cout << report.dump(2) << '\n';
    else
      std::ofstream(output) << report.dump(2) << '\n';
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "bench_cuda_models: {}\n", error.what());
    return 1;
  }
}
