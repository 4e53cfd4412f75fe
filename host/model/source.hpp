// The parsed ONNX file behind a Model. Only host/model and host/export see protobuf types.
#pragma once

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <onnx/onnx_pb.h>
#pragma GCC diagnostic pop

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "model/mapped_file.hpp"

namespace tare {

using ExternalFiles = std::map<std::string, std::shared_ptr<MappedFile>, std::less<>>;  ///< by location

struct ModelSource {
  onnx::ModelProto proto;
  std::filesystem::path folder;  ///< where external data lies
  ExternalFiles external_files;
};

}  // namespace tare
