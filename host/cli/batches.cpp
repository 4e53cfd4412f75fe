// Batch after batch. Odd: the time of a pass is that of the model alone; reading the data runs beside it, and what is
// waited for the reader counts.
#include "cli/batches.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "cli/terminal.hpp"
#include "tare/numerics.hpp"

namespace tare::cli {
namespace {

std::string position(std::size_t element, const Shape& shape) {
  Shape index = shape;
  for (std::size_t d = shape.rank(); d-- > 0;) {
    const auto dim = static_cast<std::size_t>(shape[d]);
    index[d] = static_cast<std::int64_t>(element % dim);
    element /= dim;
  }
  return index.text();
}

void refuse_nonfinite(const Batch& batch, const Graph& graph) {
  for (std::size_t i = 0; i < batch.inputs.size(); ++i) {
    const Tensor& tensor = batch.inputs[i];
    const auto values = real_values(tensor);
    if (!values) continue;
    for (std::size_t k = 0; k < values->size(); ++k) {
      if (std::isfinite((*values)[k])) continue;
      const bool batched = tensor.rank() > 0 && tensor.shape()[0] == static_cast<std::int64_t>(batch.samples);
      const std::size_t row = batched ? k / (values->size() / batch.samples) : 0;
      throw Error(ErrorKind::data,
                  fmt::format("input '{}' holds {} at index {} of sample {}; mend the data, or use --nonfinite skip",
                              graph.value(graph.inputs[i]).name, (*values)[k], position(k, tensor.shape()),
                              batch.first_sample + row));
    }
  }
}

}  // namespace

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

Pass for_each_batch(const std::string& what, Dataset& data, const Graph& graph, NonfinitePolicy policy, bool quiet,
                    const std::function<void(const Batch&, std::size_t index)>& action) {
  ProgressBar progress(what, quiet);
  Pass pass;
  const auto start = std::chrono::steady_clock::now();
  while (const std::optional<Batch> batch = data.next()) {
    stop_if_interrupted();
    if (policy == NonfinitePolicy::error) refuse_nonfinite(*batch, graph);
    action(*batch, pass.batches);
    ++pass.batches;
    pass.samples += batch->samples;
    progress.update(pass.samples, data.samples());
  }
  stop_if_interrupted();
  if (pass.samples == 0) throw Error(ErrorKind::data, "the data holds no samples");
  pass.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return pass;
}

OutputFile::OutputFile(const std::string& path) {
  if (!path.empty()) writer_.emplace(path);
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
