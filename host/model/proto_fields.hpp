// Reading single fields of ONNX messages, across the versions of the ONNX headers and of the files.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/source.hpp"
#include "tare/graph.hpp"

namespace tare {

using OpsetImports = std::map<std::string, std::int64_t>;  ///< by domain; "" is ai.onnx

/// "" for "ai.onnx", which are the same.
std::string domain_of(const std::string& domain);
/// The overload of a function that a node calls or a function defines.
std::string overload_of(const onnx::NodeProto& node);
std::string overload_of(const onnx::FunctionProto& function);
/// The attributes of a function that have a default value.
std::vector<onnx::AttributeProto> attribute_defaults(const onnx::FunctionProto& function);
OpsetImports read_opsets(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports);
/// Which field of the attribute is in use. Old files do not say.
onnx::AttributeProto::AttributeType type_of(const onnx::AttributeProto& attribute);

bool holds_strings(const onnx::TensorProto& tensor);
std::vector<std::string> strings_of(const onnx::TensorProto& tensor);

/// Type and shape as declared; of sequences and optional values the type alone, of maps nothing.
void declare(Value& value, const onnx::TypeProto& type);

}  // namespace tare
