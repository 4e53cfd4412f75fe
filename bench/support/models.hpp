// The models that benchmarks run, and their data: the eight real ones of the tests, and the nine "light" ones of the
// ONNX backend tests, whose weights are left out there.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tare/dataset.hpp"

namespace onnx {
class ModelProto;
}

namespace tare::bench {

struct BenchModel {
  std::string name;
  std::filesystem::path model;
  std::filesystem::path data;
  std::vector<Batch> batches(const Graph& graph) const;
};

/// All of them, real ones first. Copies of the light models with weights drawn at random (He et al., so that values
/// keep their size from layer to layer), and data of the standard normal distribution, are written into `folder` (1.4
/// GB) where they are not there yet: the same bytes every time. Throws Error(io) when the cache lacks the originals.
std::vector<BenchModel> bench_models(const std::filesystem::path& folder);

/// Weights that are spelled as a filled shape become initializers, drawn at random in that way.
void fill_weights(onnx::ModelProto& model);
/// The other way round: float matrices of 64 KiB and more become filled shapes.
void leave_out_weights(onnx::ModelProto& model);

}  // namespace tare::bench
