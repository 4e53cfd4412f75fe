// Small ONNX models written by the tests themselves, through ONNX's own message classes.
#pragma once

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <onnx/onnx_pb.h>
#pragma GCC diagnostic pop

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace tare::test {

/// A folder of its own that goes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::random_device seed;
    path_ = std::filesystem::temp_directory_path() / ("tare-test-" + std::to_string(seed()) + std::to_string(seed()));
    std::filesystem::create_directories(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Returns the path, for load_model and Session.
inline std::filesystem::path write_model(const onnx::ModelProto& model, const std::filesystem::path& path) {
  write_bytes(path, model.SerializeAsString());
  return path;
}

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline onnx::ModelProto empty_model(std::int64_t opset = 17) {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(opset);
  model.mutable_graph()->set_name("graph");
  return model;
}

/// A dimension of -1 is symbolic.
inline void set_type(onnx::ValueInfoProto& info, const std::string& name, int type,
                     const std::vector<std::int64_t>& dims) {
  info.set_name(name);
  onnx::TypeProto::Tensor& tensor = *info.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(type);
  tensor.mutable_shape();
  for (const std::int64_t dim : dims) {
    auto* added = tensor.mutable_shape()->add_dim();
    if (dim < 0)
      added->set_dim_param("N");
    else
      added->set_dim_value(dim);
  }
}

inline void add_input(onnx::GraphProto& graph, const std::string& name, const std::vector<std::int64_t>& dims,
                      int type = 1) {
  set_type(*graph.add_input(), name, type, dims);
}
inline void add_output(onnx::GraphProto& graph, const std::string& name, const std::vector<std::int64_t>& dims,
                       int type = 1) {
  set_type(*graph.add_output(), name, type, dims);
}

inline onnx::NodeProto& add_node(google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes, const std::string& op,
                                 const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                                 const std::string& name = "") {
  onnx::NodeProto& node = *nodes.Add();
  node.set_op_type(op);
  if (!name.empty()) node.set_name(name);
  for (const std::string& input : inputs) node.add_input(input);
  for (const std::string& output : outputs) node.add_output(output);
  return node;
}
inline onnx::NodeProto& add_node(onnx::GraphProto& graph, const std::string& op, const std::vector<std::string>& inputs,
                                 const std::vector<std::string>& outputs, const std::string& name = "") {
  return add_node(*graph.mutable_node(), op, inputs, outputs, name);
}

inline onnx::AttributeProto& add_attribute(onnx::NodeProto& node, const std::string& name,
                                           onnx::AttributeProto::AttributeType type) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(type);
  return attribute;
}
inline void add_integer(onnx::NodeProto& node, const std::string& name, std::int64_t value) {
  add_attribute(node, name, onnx::AttributeProto::INT).set_i(value);
}
inline void add_integers(onnx::NodeProto& node, const std::string& name, const std::vector<std::int64_t>& values) {
  onnx::AttributeProto& attribute = add_attribute(node, name, onnx::AttributeProto::INTS);
  for (const std::int64_t value : values) attribute.add_ints(value);
}

inline void set_tensor(onnx::TensorProto& tensor, const std::string& name, int type,
                       const std::vector<std::int64_t>& dims) {
  tensor.set_name(name);
  tensor.set_data_type(type);
  for (const std::int64_t dim : dims) tensor.add_dims(dim);
}
template <class T>
void set_raw(onnx::TensorProto& tensor, const std::vector<T>& values) {
  tensor.set_raw_data(std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)));
}
template <class T>
onnx::TensorProto& add_initializer(onnx::GraphProto& graph, const std::string& name, int type,
                                   const std::vector<std::int64_t>& dims, const std::vector<T>& values) {
  onnx::TensorProto& tensor = *graph.add_initializer();
  set_tensor(tensor, name, type, dims);
  set_raw(tensor, values);
  return tensor;
}

/// Moves a tensor's raw data to `offset` of a file, which is then the model's external data; the gap before is a hole
/// where the file system has holes.
inline void move_outside(onnx::TensorProto& tensor, const std::filesystem::path& file, std::uintmax_t offset = 0) {
  const std::string bytes = tensor.raw_data();
  std::ofstream(file, std::ios::binary | std::ios::app).close();
  std::filesystem::resize_file(file, offset);
  std::ofstream(file, std::ios::binary | std::ios::app) << bytes;
  tensor.clear_raw_data();
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  for (const auto& [key, value] : {std::pair<std::string, std::string>{"location", file.filename().string()},
                                   {"offset", std::to_string(offset)},
                                   {"length", std::to_string(bytes.size())}}) {
    onnx::StringStringEntryProto& entry = *tensor.add_external_data();
    entry.set_key(key);
    entry.set_value(value);
  }
}

}  // namespace tare::test
