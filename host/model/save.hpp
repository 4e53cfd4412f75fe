// Writing ModelProtos: shared by the plain and the QDQ export.
#pragma once

#include <filesystem>

#include "model/source.hpp"
#include "tare/model.hpp"

namespace tare {

/// Writes `proto`, whose external tensors refer to `source`'s folder. With external data, the tensors' locations in
/// `proto` are changed to `<stem>.data` beside `file`. Both files appear whole or not at all.
void write_model_proto(onnx::ModelProto& proto, const ModelSource& source, const std::filesystem::path& file,
                       const SaveOptions& options);

/// Does any tensor of the model have external data?
bool has_external_data(const onnx::ModelProto& proto);

}  // namespace tare
