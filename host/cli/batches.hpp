// The loop over a dataset that `run`, `simulate` and `evaluate` share: progress, interruption, a check of the data.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "cli/options.hpp"
#include "tare/dataset.hpp"

namespace tare::cli {

struct Pass {
  std::string data;          ///< "1000 samples in 125 batches from pages.npz", and what was left out
  std::size_t left_out = 0;  ///< samples that fill no batch
  std::size_t available = 0;
  std::size_t samples = 0;
  std::size_t batches = 0;
  double seconds = 0;
  double float_seconds = 0;  ///< of the two models alone, and their shares where batches ran beside each other
  double simulated_seconds = 0;
  double rate() const { return seconds > 0 ? static_cast<double>(samples) / seconds : 0; }
};

/// Runs all batches; `receive` gets their outputs, in order. Throws Error(data) for data without samples, and for NaN
/// or infinities unless the policy is to skip them.
Pass run_batches(const std::string& what, Session& session, RunChoice models, Dataset& data, NonfinitePolicy policy,
                 bool quiet, const std::function<void(const Batch&, std::size_t index, const BatchOutputs&)>& receive);

/// What JSON says of a pass of one model, or of two beside each other.
void add_figures(nlohmann::ordered_json& object, const Pass& pass);

/// Outputs of batch after batch under `NNN/<output name>`. Without a path it does nothing.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  void add(std::size_t batch, const Graph& graph, const std::vector<Tensor>& outputs);
  void commit();

 private:
  std::optional<NpzWriter> writer_;
};

/// The elements of a float tensor of any width; nothing for other types.
std::optional<std::vector<float>> real_values(const Tensor& tensor);

}  // namespace tare::cli
