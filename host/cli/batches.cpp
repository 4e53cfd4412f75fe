// Batch after batch. Odd: the time of a pass is that of the model alone; reading the data runs beside it, and what is
// waited for the reader counts.
#include "cli/batches.hpp"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "cli/terminal.hpp"
#include "run/nonfinite.hpp"
#include "tare/numerics.hpp"

namespace tare::cli {

std::optional<std::vector<float>> real_values(const Tensor& tensor) {
  const auto count = static_cast<std::size_t>(tensor.elements());
  std::vector<float> result(count);
  for (std::size_t i = 0; i < count; ++i) {
    switch (tensor.type()) {
      case DataType::float32: result[i] = tensor.data<float>()[i]; break;
      case DataType::float64: result[i] = static_cast<float>(tensor.data<double>()[i]); break;
      case DataType::float16: result[i] = half_to_float(tensor.data<std::uint16_t>()[i]); break;
      case DataType::bfloat16: result[i] = bfloat_to_float(tensor.data<std::uint16_t>()[i]); break;
      default: return std::nullopt;
    }
  }
  return result;
}

void add_figures(nlohmann::ordered_json& object, const Pass& pass) {
  object["samples"] = pass.samples;
  object["batches"] = pass.batches;
  object["samples_left_out"] = pass.left_out;
  object["samples_available"] = pass.available;
  object["seconds"] = pass.seconds;
  object["samples_per_second"] = pass.rate();
  object["peak_memory_bytes"] = peak_memory_bytes();
}

Pass run_batches(const std::string& what, Session& session, RunChoice models, Dataset& data, NonfinitePolicy policy,
                 bool quiet, const std::function<void(const Batch&, std::size_t index, const BatchOutputs&)>& receive) {
  ProgressBar progress(what, quiet);
  Pass pass{.data = data.description(), .left_out = data.left_out(), .available = data.available()};
  const auto start = std::chrono::steady_clock::now();
  BatchRuns runs = session.start_runs(models, [&](const Batch& batch, const BatchOutputs& outputs) {
    receive(batch, pass.batches, outputs);
    ++pass.batches;
    pass.samples += batch.samples;
    pass.float_seconds += outputs.exact_seconds;
    pass.simulated_seconds += outputs.simulated_seconds;
    progress.update(pass.samples, data.samples());
  });
  const auto next = [&] {
    try {
      std::optional<Batch> batch = data.next();
      if (batch && policy == NonfinitePolicy::error)
        refuse_nonfinite_inputs(session.graph(), batch->inputs, batch->first_sample, batch->samples);
      return batch;
    } catch (...) {
      runs.finish();  // for what is wrong with an earlier batch
      throw;
    }
  };
  while (std::optional<Batch> batch = next()) {
    stop_if_interrupted();
    runs.add(std::move(*batch));
  }
  runs.finish();
  stop_if_interrupted();
  if (pass.samples == 0) throw Error(ErrorKind::data, "the data holds no samples");
  pass.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double sum = pass.float_seconds + pass.simulated_seconds;
  if (sum > pass.seconds) {
    pass.float_seconds *= pass.seconds / sum;
    pass.simulated_seconds *= pass.seconds / sum;
  }
  return pass;
}

OutputFile::OutputFile(const std::string& path) {
  if (path.empty()) return;
  if (std::filesystem::path(path).extension() == ".npy")
    throw Error(ErrorKind::usage,
                fmt::format("--output: '{}': outputs are several arrays, in an .npz file; let its name end so", path));
  writer_.emplace(path);
}

void OutputFile::add(std::size_t batch, const Graph& graph, const std::vector<Tensor>& outputs) {
  if (!writer_) return;
  for (std::size_t i = 0; i < outputs.size(); ++i)
    writer_->add(fmt::format("{:03}/{}", batch, graph.value(graph.outputs[i]).name), outputs[i]);
}

void OutputFile::commit() {
  if (writer_) writer_->commit();
}

}  // namespace tare::cli
