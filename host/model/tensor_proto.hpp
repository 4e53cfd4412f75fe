// TensorProto → Tensor. The elements are views of the protobuf message or of the mapped external file where the bytes
// can be used as they are; packed and widened ones are copied out.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "model/source.hpp"
#include "tare/graph.hpp"

namespace tare {

/// Where the tensor's external data lies. Throws Error when it is outside the model's folder or the file.
struct ExternalBytes {
  std::shared_ptr<MappedFile> file;
  std::span<std::byte> bytes;
};

bool is_external(const onnx::TensorProto& proto);
ExternalBytes external_bytes(const std::filesystem::path& folder, ExternalFiles& files, const onnx::TensorProto& proto,
                             std::size_t expected_bytes);
/// Bytes of the tensor's elements in a file, from its type and shape.
std::size_t stored_bytes(const onnx::TensorProto& proto, const std::string& what);

/// Truth values as 0 and 1: reading any other byte as bool is undefined behaviour. Other tensors as they are.
Tensor normalised(Tensor tensor);

/// Views keep `source` alive; `proto` must be part of it. Throws Error naming `what`.
Tensor read_tensor(const std::shared_ptr<ModelSource>& source, const onnx::TensorProto& proto, const std::string& what);
/// Name, type and shape alone.
Value read_header(const onnx::TensorProto& proto, const std::string& what);
/// The dense tensor a SparseTensorProto stands for.
Tensor read_sparse_tensor(const std::shared_ptr<ModelSource>& source, const onnx::SparseTensorProto& proto,
                          const std::string& what);

}  // namespace tare
