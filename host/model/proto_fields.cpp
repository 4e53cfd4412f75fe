// Fields that are newer than the installed ONNX headers arrive as unknown fields and are read from there.
#include "model/proto_fields.hpp"

#include <fmt/format.h>
#include <google/protobuf/unknown_field_set.h>

namespace tare {
namespace {

/// The last whose operators were compared with those here. Older ones than 7 are not refused: most of them still run.
constexpr std::int64_t newest_opset = 26;

constexpr int node_overload = 8;
constexpr int function_overload = 13;
constexpr int function_attribute_defaults = 11;

std::string unknown_text(const google::protobuf::Message& message, int number) {
  const google::protobuf::UnknownFieldSet& fields = message.GetReflection()->GetUnknownFields(message);
  for (int i = 0; i < fields.field_count(); ++i)
    if (fields.field(i).number() == number &&
        fields.field(i).type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED)
      return fields.field(i).length_delimited();
  return {};
}

std::string text_field(const google::protobuf::Message& message, int number) {
  const google::protobuf::FieldDescriptor* field = message.GetDescriptor()->FindFieldByNumber(number);
  return field == nullptr ? unknown_text(message, number) : message.GetReflection()->GetString(message, field);
}

}  // namespace

std::string domain_of(const std::string& domain) { return domain == "ai.onnx" ? std::string() : domain; }

std::string overload_of(const onnx::NodeProto& node) { return text_field(node, node_overload); }
std::string overload_of(const onnx::FunctionProto& function) { return text_field(function, function_overload); }

std::vector<onnx::AttributeProto> attribute_defaults(const onnx::FunctionProto& function) {
  std::vector<onnx::AttributeProto> result;
  const google::protobuf::Reflection& reflection = *function.GetReflection();
  if (const auto* field = function.GetDescriptor()->FindFieldByNumber(function_attribute_defaults)) {
    for (int i = 0; i < reflection.FieldSize(function, field); ++i)
      result.emplace_back().CopyFrom(reflection.GetRepeatedMessage(function, field, i));
    return result;
  }
  const google::protobuf::UnknownFieldSet& fields = reflection.GetUnknownFields(function);
  for (int i = 0; i < fields.field_count(); ++i)
    if (fields.field(i).number() == function_attribute_defaults &&
        fields.field(i).type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED &&
        !result.emplace_back().ParseFromString(fields.field(i).length_delimited()))
      throw Error(ErrorKind::model, fmt::format("function '{}': a default attribute cannot be read", function.name()));
  return result;
}

OpsetImports read_opsets(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports) {
  OpsetImports result;
  for (const onnx::OperatorSetIdProto& import : imports) {
    if (import.version() < 1)
      throw Error(ErrorKind::model,
                  fmt::format("the opset version {} of domain '{}' cannot be", import.version(), import.domain()));
    const std::string domain = domain_of(import.domain());
    if (domain.empty() && import.version() > newest_opset)
      throw Error(
          ErrorKind::unsupported,
          fmt::format("opset {} is newer than {}, the newest known here: its operators may mean something else; "
                      "export the model with opset {} or convert it (onnx.version_converter)",
                      import.version(), newest_opset, newest_opset));
    result[domain] = import.version();
  }
  return result;
}

onnx::AttributeProto::AttributeType type_of(const onnx::AttributeProto& attribute) {
  if (attribute.type() != onnx::AttributeProto::UNDEFINED) return attribute.type();
  if (attribute.has_f()) return onnx::AttributeProto::FLOAT;
  if (attribute.has_i()) return onnx::AttributeProto::INT;
  if (attribute.has_s()) return onnx::AttributeProto::STRING;
  if (attribute.has_t()) return onnx::AttributeProto::TENSOR;
  if (attribute.has_g()) return onnx::AttributeProto::GRAPH;
  if (attribute.floats_size() > 0) return onnx::AttributeProto::FLOATS;
  if (attribute.strings_size() > 0) return onnx::AttributeProto::STRINGS;
  return onnx::AttributeProto::INTS;
}

bool holds_strings(const onnx::TensorProto& tensor) { return tensor.data_type() == onnx::TensorProto::STRING; }

std::vector<std::string> strings_of(const onnx::TensorProto& tensor) {
  return {tensor.string_data().begin(), tensor.string_data().end()};
}

void declare(Value& value, const onnx::TypeProto& type) {
  if (type.has_sequence_type()) value.type = DataType::sequence;
  if (type.has_optional_type()) value.type = DataType::optional;
  if (!type.has_tensor_type()) return;
  const DataType element = onnx_type(type.tensor_type().elem_type());
  if (element != DataType::undefined) value.type = element;
  if (!type.tensor_type().has_shape()) return;
  const auto& dims = type.tensor_type().shape().dim();
  if (dims.size() > static_cast<int>(Shape::max_rank)) return;
  Shape shape;
  for (const auto& dim : dims) shape.push_back(dim.has_dim_value() && dim.dim_value() >= 0 ? dim.dim_value() : -1);
  value.shape = shape;
}

}  // namespace tare
