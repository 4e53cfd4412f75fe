// Writing ONNX files. What is written is the message that was read, so nothing of the user's model is lost; only the
// place of large tensors changes. The data file is moved to its name before the model that points into it.
#include "model/save.hpp"

#include <fmt/format.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <array>
#include <exception>
#include <functional>
#include <limits>
#include <optional>

#include "model/atomic_file.hpp"
#include "model/tensor_proto.hpp"

namespace tare {
namespace {

constexpr std::size_t largest_file = static_cast<std::size_t>(std::numeric_limits<int>::max());
constexpr std::size_t smallest_external = 1024;  // smaller tensors stay in the model, as ONNX's own tools do it
constexpr std::size_t alignment = 4096;          // so that a reader can map each tensor

using Visitor = std::function<void(onnx::TensorProto&)>;

void visit_nodes(google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes, const Visitor& visit);

void visit_sparse(onnx::SparseTensorProto& tensor, const Visitor& visit) {
  visit(*tensor.mutable_values());
  visit(*tensor.mutable_indices());
}

void visit_graph(onnx::GraphProto& graph, const Visitor& visit) {
  for (onnx::TensorProto& tensor : *graph.mutable_initializer()) visit(tensor);
  for (onnx::SparseTensorProto& tensor : *graph.mutable_sparse_initializer()) visit_sparse(tensor, visit);
  visit_nodes(*graph.mutable_node(), visit);
}

void visit_nodes(google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes, const Visitor& visit) {
  for (onnx::NodeProto& node : nodes)
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.has_t()) visit(*attribute.mutable_t());
      if (attribute.has_g()) visit_graph(*attribute.mutable_g(), visit);
      if (attribute.has_sparse_tensor()) visit_sparse(*attribute.mutable_sparse_tensor(), visit);
      for (onnx::TensorProto& tensor : *attribute.mutable_tensors()) visit(tensor);
      for (onnx::GraphProto& graph : *attribute.mutable_graphs()) visit_graph(graph, visit);
    }
}

void visit_tensors(onnx::ModelProto& proto, const Visitor& visit) {
  visit_graph(*proto.mutable_graph(), visit);
  for (onnx::FunctionProto& function : *proto.mutable_functions()) visit_nodes(*function.mutable_node(), visit);
}

/// Hands what protobuf serializes to the file; an exception waits until protobuf has returned.
class FileStream final : public google::protobuf::io::CopyingOutputStream {
 public:
  explicit FileStream(AtomicFile& file) : file_(file) {}
  bool Write(const void* buffer, int size) override {
    try {
      file_.write(std::span(static_cast<const std::byte*>(buffer), static_cast<std::size_t>(size)));
      return true;
    } catch (...) {
      error_ = std::current_exception();
      return false;
    }
  }
  void rethrow() const {
    if (error_ != nullptr) std::rethrow_exception(error_);
  }

 private:
  AtomicFile& file_;
  std::exception_ptr error_;
};

void serialize(const onnx::ModelProto& proto, AtomicFile& file) {
  if (proto.ByteSizeLong() > largest_file)
    throw Error(ErrorKind::io, "the model does not fit into an ONNX file (2 GB) even with its weights beside it");
  FileStream stream(file);
  bool written;
  {
    google::protobuf::io::CopyingOutputStreamAdaptor adaptor(&stream, 1 << 20);
    written = proto.SerializeToZeroCopyStream(&adaptor) && adaptor.Flush();
  }
  stream.rethrow();
  if (!written) throw Error(ErrorKind::internal, "the model could not be serialized");
}

/// Appends tensors to the data file and points them there.
class DataFile {
 public:
  DataFile(const std::filesystem::path& path, const ModelSource& source)
      : file_(path), location_(path.filename().string()), folder_(source.folder), sources_(source.external_files) {}

  void take(onnx::TensorProto& tensor) {
    if (is_external(tensor)) {
      const std::size_t bytes = stored_bytes(tensor, fmt::format("tensor '{}'", tensor.name()));
      const ExternalBytes external = external_bytes(folder_, sources_, tensor, bytes);
      append(tensor, external.bytes);
    } else if (tensor.has_raw_data() && tensor.raw_data().size() >= smallest_external) {
      append(tensor, std::as_bytes(std::span(tensor.raw_data().data(), tensor.raw_data().size())));
      tensor.clear_raw_data();
    } else if (tensor.data_type() == onnx::TensorProto::FLOAT &&
               static_cast<std::size_t>(tensor.float_data_size()) >= smallest_external / sizeof(float)) {
      append(tensor,
             std::as_bytes(std::span(tensor.float_data().data(), static_cast<std::size_t>(tensor.float_data_size()))));
      tensor.clear_float_data();
    }
  }

  AtomicFile& file() { return file_; }

 private:
  void append(onnx::TensorProto& tensor, std::span<const std::byte> bytes) {
    static constexpr std::array<std::byte, alignment> zeros{};
    file_.write(std::span(zeros).first((alignment - file_.bytes_written() % alignment) % alignment));
    tensor.clear_external_data();
    const auto set = [&](const char* key, const std::string& value) {
      onnx::StringStringEntryProto& entry = *tensor.add_external_data();
      entry.set_key(key);
      entry.set_value(value);
    };
    set("location", location_);
    set("offset", std::to_string(file_.bytes_written()));
    set("length", std::to_string(bytes.size()));
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    file_.write(bytes);
  }

  AtomicFile file_;
  std::string location_;
  std::filesystem::path folder_;
  ExternalFiles sources_;
};

}  // namespace

bool has_external_data(const onnx::ModelProto& proto) {
  bool found = false;
  // Visiting changes nothing here; the visitor is shared with the code that moves tensors.
  visit_tensors(const_cast<onnx::ModelProto&>(proto),
                [&](onnx::TensorProto& tensor) { found = found || is_external(tensor); });
  return found;
}

namespace {

bool needs_data_file(const onnx::ModelProto& proto, const SaveOptions& options) {
  return options.external_data || has_external_data(proto) || proto.ByteSizeLong() > largest_file;
}

}  // namespace

void write_model_proto(onnx::ModelProto& proto, const ModelSource& source, const std::filesystem::path& file,
                       const SaveOptions& options) {
  AtomicFile model(file);
  std::optional<DataFile> data;
  if (needs_data_file(proto, options)) {
    std::filesystem::path path = file;
    path.replace_extension(".data");
    if (path == file)
      throw Error(ErrorKind::usage,
                  fmt::format("'{}' is the name of its own data file; name the model *.onnx", file.string()));
    data.emplace(path, source);
    visit_tensors(proto, [&](onnx::TensorProto& tensor) { data->take(tensor); });
  }
  serialize(proto, model);
  if (data)
    AtomicFile::commit_all(std::array{&data->file(), &model});
  else
    model.commit();
}

void save_model(const Model& model, const std::filesystem::path& file, const SaveOptions& options) {
  if (model.source == nullptr)
    throw Error(ErrorKind::usage, "the model was not loaded from a file: there is nothing to save");
  const onnx::ModelProto& original = model.source->proto;
  if (!needs_data_file(original, options)) {
    AtomicFile whole(file);
    serialize(original, whole);
    return whole.commit();
  }
  onnx::ModelProto proto = original;
  write_model_proto(proto, *model.source, file, options);
}

}  // namespace tare
