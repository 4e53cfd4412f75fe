// Plain inference, calibrating and simulating of one model on a CUDA device, through a Session as a user has it. The
// three take turns in one process, a pass over some batches each; milliseconds a batch, median and fastest of the
// passes. A pass ends when the device is done: runs bring their outputs back batch by batch, a calibration waits once.
// Without --model it is ResNet-50. Weights that a model leaves out are drawn at random (bench/support/models.hpp).
// Odd: integers stay on the host and are part of a recorded graph, so that a model of tokens is measured with the same
// ones again and again, and with tokens that are new in every batch, as real ones are.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "bench/cuda/figures.hpp"
#include "bench/support/models.hpp"
#include "support/model_builder.hpp"
#include "support/paths.hpp"
#include "tare/cuda.hpp"
#include "tare/session.hpp"

namespace tare::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Inputs = std::vector<Tensor>;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

struct Options {
  std::string model = (test::onnx_tests_folder() / "light/light_resnet50.onnx").string();
  std::string output;
  std::string left_out;
  std::vector<std::int64_t> batches{1, 64};
  std::int64_t length = 128;
  int repetitions = 20;
  double seconds = 4;  ///< of a row: fewer repetitions when they take longer
};

struct Variant {
  std::string name;
  bool on_device;
  bool graphs;
  int batches;  ///< different ones, that take turns
};

/// More batches than runs that an executor remembers.
constexpr int many_batches = 16;

std::vector<Variant> variants_of(const Graph& graph) {
  const bool tokens = std::any_of(graph.inputs.begin(), graph.inputs.end(),
                                  [&](ValueId id) { return !is_quantizable(graph.value(id).type); });
  if (tokens) return {{"the same tokens", true, true, 1}, {"new tokens", true, true, many_batches}};
  return {{"inputs on the device", true, true, 4},
          {"inputs on the host", false, true, 4},
          {"inputs on the device, no graphs", true, false, 4}};
}

onnx::ModelProto read_model(const std::filesystem::path& file) {
  onnx::ModelProto model;
  std::ifstream in(file, std::ios::binary);
  if (!model.ParseFromIstream(&in)) throw Error(ErrorKind::io, fmt::format("cannot read '{}'", file.string()));
  return model;
}

/// A batch of one that is fixed in the inputs, and in the shapes of what is flattened.
void free_batch(onnx::ModelProto& model) {
  onnx::GraphProto& graph = *model.mutable_graph();
  for (onnx::ValueInfoProto& input : *graph.mutable_input())
    input.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(0)->set_dim_param("N");
  for (const onnx::NodeProto& node : graph.node()) {
    if (node.op_type() != "Reshape") continue;
    for (onnx::TensorProto& tensor : *graph.mutable_initializer()) {
      std::string& bytes = *tensor.mutable_raw_data();
      std::int64_t first = 0;
      if (tensor.name() != node.input(1) || bytes.size() != 2 * sizeof first) continue;
      std::memcpy(&first, bytes.data(), sizeof first);
      if (first == 1) bytes.replace(0, sizeof first, sizeof first, '\0');  // 0: as in the input
    }
  }
}

/// Normal floats, tokens drawn at random, and masks that hide nothing.
std::vector<Inputs> batches_of(Session& session, const Variant& variant, std::int64_t batch, std::int64_t length) {
  const Graph& graph = session.graph();
  std::mt19937 engine(2);
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<std::int64_t> token(1, 999);
  std::vector<Inputs> result(static_cast<std::size_t>(variant.batches));
  for (Inputs& inputs : result)
    for (const ValueId id : graph.inputs) {
      const Value& value = graph.value(id);
      Shape shape = value.shape.value_or(Shape{});
      for (std::size_t d = 0; d < shape.rank(); ++d)
        if (shape[d] < 0) shape[d] = d == 0 ? batch : length;
      Tensor tensor = Tensor::host(value.type, shape);
      if (value.type == DataType::float32)
        for (float& x : tensor.mutable_span<float>()) x = normal(engine);
      else
        for (std::int64_t& x : tensor.mutable_span<std::int64_t>())
          x = value.name.find("mask") != std::string::npos ? 1 : token(engine);
      inputs.push_back(variant.on_device ? session.backend().upload(tensor) : tensor);
    }
  return result;
}

/// Of the times of passes over so many batches.
nlohmann::ordered_json summary(std::vector<double> milliseconds, std::size_t batches) {
  std::sort(milliseconds.begin(), milliseconds.end());
  const std::size_t middle = milliseconds.size() / 2;
  const double median =
      milliseconds.size() % 2 == 1 ? milliseconds[middle] : (milliseconds[middle - 1] + milliseconds[middle]) / 2;
  const auto count = static_cast<double>(batches);
  return {{"median_ms", median / count}, {"best_ms", milliseconds.front() / count}};
}

class Bench {
 public:
  Bench(const Options& options, std::filesystem::path model) : options_(options), model_(std::move(model)) {}

  nlohmann::ordered_json run(const Variant& variant, std::int64_t batch) {
    cuda::CudaOptions cuda;
    cuda.graphs = variant.graphs;
    cuda.choices = choices_;
    Session session(model_, cuda::make_cuda_backend(cuda));
    const std::vector<Inputs> batches = batches_of(session, variant, batch, options_.length);
    const auto samples = static_cast<std::size_t>(batch);
    CalibrationOptions calibration;
    // Inputs are looked through for NaN on the host, which cannot read them on the device.
    if (variant.on_device) calibration.nonfinite = NonfinitePolicy::skip;
    calibration.given = parameters_;
    Calibration first = session.start_calibration(calibration);
    for (const Inputs& inputs : batches) first.add(inputs, samples);
    const CalibrationResult calibrated = first.finish();
    session.set_encodings(calibrated.encodings);
    if (!parameters_) {  // their search is the same every time
      parameters_.emplace().set = calibrated.encodings;
      parameters_->parameters_only = true;
      calibration.given = parameters_;
    }
    Calibration observed = session.start_calibration(calibration);

    std::vector<double> plain, calibrate, simulate;
    const auto pass = [&](std::vector<double>& times, const auto& body) {
      const auto start = Clock::now();
      for (const Inputs& inputs : batches) body(inputs);
      session.backend().synchronize();
      times.push_back(milliseconds_since(start));
    };
    const auto passes = [&] {
      pass(plain, [&](const Inputs& inputs) { session.run(inputs); });
      pass(calibrate, [&](const Inputs& inputs) { observed.add(inputs, samples); });
      pass(simulate, [&](const Inputs& inputs) { session.simulate(inputs); });
    };
    constexpr int least_warming = 4;  // a pass of one batch goes node by node, is recorded, and replayed
    constexpr double warming_ms = 1000;
    auto begin = Clock::now();
    for (int i = 0; i < least_warming || milliseconds_since(begin) < warming_ms; ++i) passes();
    const double first_ms = plain.front() / static_cast<double>(batches.size());
    plain.clear();
    calibrate.clear();
    simulate.clear();
    begin = Clock::now();
    for (int i = 0; i < options_.repetitions && (i == 0 || milliseconds_since(begin) < options_.seconds * 1e3); ++i)
      passes();

    const cuda::GraphUse use = cuda::graph_use(session.backend());
    return {{"variant", variant.name},
            {"batch", batch},
            {"passes", plain.size()},
            {"batches", batches.size()},
            {"first_ms", first_ms},
            {"plain", summary(plain, batches.size())},
            {"calibrate", summary(calibrate, batches.size())},
            {"simulate", summary(simulate, batches.size())},
            {"quantizers", calibrated.encodings.tensors.size()},
            {"graphs",
             {{"recorded", use.recorded},
              {"launched", use.launched},
              {"refused", use.refused},
              {"why_refused", use.why_refused}}}};
  }

 private:
  const Options& options_;
  std::filesystem::path model_;
  std::shared_ptr<cuda::ConvolutionChoices> choices_ = cuda::make_convolution_choices();
  std::optional<GivenEncodings> parameters_;
};

int run(int argc, char** argv) {
  Options options;
  CLI::App app("One model on a CUDA device");
  app.add_option("--model", options.model, "Instead of ResNet-50")->check(CLI::ExistingFile);
  app.add_option("--output", options.output, "Also write JSON to this file, row by row");
  app.add_option("--leave-out-weights", options.left_out, "Only write the model to this file, without its weights");
  app.add_option("--batch-size", options.batches)->delimiter(',');
  app.add_option("--length", options.length, "Of open dimensions but the batch");
  app.add_option("--repetitions", options.repetitions)->check(CLI::PositiveNumber);
  app.add_option("--seconds", options.seconds, "Of a row: fewer repetitions when they take longer");
  CLI11_PARSE(app, argc, argv);
  onnx::ModelProto model = read_model(options.model);
  if (!options.left_out.empty()) {
    leave_out_weights(model);
    test::write_model(model, options.left_out);
    return 0;
  }
  if (cuda::device_count() == 0) {
    fmt::print(stderr, "bench_cuda_models: no CUDA device\n");
    return 77;
  }
  fill_weights(model);
  free_batch(model);
  const test::TemporaryFolder folder;
  Bench bench(options, test::write_model(model, folder / "model.onnx"));
  Figures figures(options.output);
  figures.set("model", std::filesystem::path(options.model).stem().string());
  for (const Variant& variant : variants_of(load_model(folder / "model.onnx").graph))
    for (const std::int64_t batch : options.batches)
      figures.section(fmt::format("{}, batch {}", variant.name, batch),
                      [&] { figures.add(bench.run(variant, batch)); });
  return figures.has_failed() ? 1 : 0;
}

}  // namespace
}  // namespace tare::bench

int main(int argc, char** argv) {
  try {
    return tare::bench::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_cuda_models: {}\n", error.what());
    return 1;
  }
}
