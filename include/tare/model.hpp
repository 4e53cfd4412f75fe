// ONNX models in and out. A Model is the graph that runs plus an opaque handle on the file it came from: export writes
// the user's own nodes, names and metadata again, so what the graph cannot say (documentation, attributes' types) is
// not lost. Odd: constants of the graph point into the parsed file or a mapping of its external data; nothing is
// copied.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "tare/graph.hpp"

namespace tare {

/// The file as parsed. Its definition is private to host/model and host/export.
struct ModelSource;

struct Model {
  Graph graph;
  std::filesystem::path path;
  std::shared_ptr<const ModelSource> source;
};

/// Reads an ONNX file (and its external data, from its own folder only), inlines model-local functions and infers the
/// element types. Throws Error(io) when it cannot be read, Error(model) when it does not hold together and
/// Error(unsupported) for what a Graph cannot hold; every message names the file and the node or tensor.
Model load_model(const std::filesystem::path& path);

/// The files beside the model that its external data lies in, each once, in the order of their names.
std::vector<std::filesystem::path> external_files(const Model& model);

/// Reads a file that holds one serialized TensorProto (ONNX test data).
Tensor load_tensor(const std::filesystem::path& pb_file);
/// Type and shape of the tensor in such a file, without its elements.
Value load_tensor_header(const std::filesystem::path& pb_file);
/// As load_tensor, of a file that holds what `kind` says: DataType::sequence, DataType::optional, else a tensor.
Tensor load_value(const std::filesystem::path& pb_file, DataType kind);

/// Fills in the element type of every value whose operator fixes it, in bodies too. Types that are known are kept; what
/// cannot be known (sequences, unknown operators) stays DataType::undefined.
void infer_types(Graph& graph);

struct SaveOptions {
  /// Put large tensors into a file beside the model, `m.data` for `m.onnx`. Done in any case when the model had
  /// external data or would not fit into one ONNX file (2 GB).
  bool external_data = false;
};

/// Writes the model as it was read: nodes, names, functions, opsets and metadata of the original file. The file is
/// written whole or not at all. Throws Error(io) when it cannot be written.
void save_model(const Model& model, const std::filesystem::path& file, const SaveOptions& options = {});

}  // namespace tare
