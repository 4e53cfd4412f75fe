// Reading ONNX files. The file is mapped, parsed once, and kept as the model's source; every failure is one Error that
// begins with the file's name.
#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <onnx/onnx-data_pb.h>
#pragma GCC diagnostic pop

#include <algorithm>
#include <limits>
#include <new>
#include <string_view>

#include "model/gradient.hpp"
#include "model/graph_builder.hpp"
#include "model/source.hpp"
#include "model/tensor_proto.hpp"
#include "tare/model.hpp"

namespace tare {
namespace {

/// Runs `read` and puts the file's name before whatever it has to say.
template <class Read>
auto naming_file(const std::filesystem::path& path, const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::io) throw;
    throw Error(error.kind(), fmt::format("{}: {}", path.string(), error.what()));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::model, fmt::format("{}: out of memory while reading it", path.string()));
  }
}

[[noreturn]] void refuse(std::string_view expected, std::string_view why) {
  throw Error(ErrorKind::model, fmt::format("not {}: {}", expected, why));
}

/// What protobuf can read at all.
google::protobuf::io::ArrayInputStream message_of(const MappedFile& file, std::string_view expected) {
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.empty()) refuse(expected, "the file is empty; copy or export it again");
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
    refuse(expected,
           fmt::format("{} bytes are more than the 2 GB such a file can have; save the model with external data",
                       bytes.size()));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("version https://git-lfs"))
    refuse(expected, "it is a Git LFS pointer; fetch the file itself with 'git lfs pull'");
  if (text.starts_with("PK\x03\x04") || text.starts_with("\x93NUMPY"))
    refuse(expected, "it is a NumPy file of data, or another archive; the model is another argument");
  if (text.starts_with('{') || text.starts_with('['))
    refuse(expected, "it is JSON, as encodings and configs are; the model is another argument");
  return {bytes.data(), static_cast<int>(bytes.size())};
}

constexpr std::string_view damaged = "its content is truncated, damaged or of another format; copy or export it again";

void parse(const MappedFile& file, google::protobuf::Message& message, std::string_view expected) {
  google::protobuf::io::ArrayInputStream stream = message_of(file, expected);
  google::protobuf::io::CodedInputStream input(&stream);
  input.SetRecursionLimit(200);
  if (!message.ParseFromCodedStream(&input) || !input.ConsumedEntireMessage()) refuse(expected, damaged);
}

/// Passes over everything but dims (field 1, packed or not) and data_type (2), and so over most pages of the mapping.
onnx::TensorProto parse_header(const MappedFile& file) {
  constexpr std::string_view expected = "an ONNX tensor";
  google::protobuf::io::ArrayInputStream stream = message_of(file, expected);
  google::protobuf::io::CodedInputStream input(&stream);
  onnx::TensorProto header;
  const auto require = [&](bool sound) {
    if (!sound || header.dims_size() > 64) refuse(expected, damaged);
  };
  const auto number = [&] {
    std::uint64_t value = 0;
    require(input.ReadVarint64(&value));
    return static_cast<std::int64_t>(value);
  };
  while (const std::uint32_t tag = input.ReadTag()) {
    const std::uint32_t field = tag >> 3;
    switch (tag & 7u) {  // the wire type: varint, 8 bytes, length and bytes, 4 bytes
      case 0: {
        const std::int64_t value = number();
        if (field == onnx::TensorProto::kDimsFieldNumber) header.add_dims(value);
        if (field == onnx::TensorProto::kDataTypeFieldNumber) header.set_data_type(static_cast<std::int32_t>(value));
        break;
      }
      case 1: require(input.Skip(8)); break;
      case 2: {
        const std::int64_t length = number();
        require(length >= 0 && length <= std::numeric_limits<int>::max());
        if (field != onnx::TensorProto::kDimsFieldNumber) {
          require(input.Skip(static_cast<int>(length)));
          break;
        }
        const auto limit = input.PushLimit(static_cast<int>(length));
        while (input.BytesUntilLimit() > 0) header.add_dims(number());
        input.PopLimit(limit);
        break;
      }
      case 5: require(input.Skip(4)); break;
      default: require(false);
    }
  }
  require(input.ConsumedEntireMessage());
  return header;
}

}  // namespace

Model load_model(const std::filesystem::path& path) {
  return naming_file(path, [&] {
    const auto source = std::make_shared<ModelSource>();
    source->folder = path.parent_path();
    {
      const MappedFile file(path);
      parse(file, source->proto, "an ONNX model");
    }
    if (!source->proto.has_graph()) throw Error(ErrorKind::model, "not an ONNX model: it holds no graph");
    Model model{build_graph(source), path, source};
    expand_gradients(model.graph);
    infer_types(model.graph);
    return model;
  });
}

std::vector<std::filesystem::path> external_files(const Model& model) {
  std::vector<std::filesystem::path> files;
  if (model.source == nullptr) return files;
  for (const auto& [location, file] : model.source->external_files) files.push_back(model.source->folder / location);
  return files;
}

namespace {

/// Sequences inside of sequences cannot be held, so this goes at most three messages deep.
Tensor read_value(const std::shared_ptr<ModelSource>& source, const onnx::SequenceProto& proto) {
  if (proto.elem_type() != onnx::SequenceProto::TENSOR && proto.tensor_values_size() == 0 &&
      proto.sequence_values_size() + proto.map_values_size() + proto.optional_values_size() +
              proto.sparse_tensor_values_size() >
          0)
    throw Error(ErrorKind::unsupported, "only sequences of tensors can be held");
  std::vector<Tensor> items;
  for (const onnx::TensorProto& item : proto.tensor_values())
    items.push_back(read_tensor(source, item, fmt::format("item {} of sequence '{}'", items.size(), proto.name())));
  return Tensor::sequence(std::move(items));
}

Tensor read_value(const std::shared_ptr<ModelSource>& source, const onnx::OptionalProto& proto) {
  if (proto.has_tensor_value())
    return read_tensor(source, proto.tensor_value(), fmt::format("optional '{}'", proto.name()));
  if (proto.has_sequence_value()) return read_value(source, proto.sequence_value());
  if (proto.elem_type() != onnx::OptionalProto::UNDEFINED && proto.elem_type() != onnx::OptionalProto::TENSOR &&
      proto.elem_type() != onnx::OptionalProto::SEQUENCE)
    throw Error(ErrorKind::unsupported, "only optional tensors and sequences of tensors can be held");
  return Tensor::none();
}

/// `Proto` is parsed into an owner that the views in the result keep alive.
template <class Proto>
Tensor load_value_of(const std::filesystem::path& pb_file, std::string_view expected) {
  struct Owner : ModelSource {
    Proto value;
  };
  return naming_file(pb_file, [&] {
    const auto source = std::make_shared<Owner>();
    source->folder = pb_file.parent_path();
    const MappedFile file(pb_file);
    parse(file, source->value, expected);
    return read_value(source, source->value);
  });
}

}  // namespace

Tensor load_value(const std::filesystem::path& pb_file, DataType kind) {
  if (kind == DataType::sequence) return load_value_of<onnx::SequenceProto>(pb_file, "an ONNX sequence");
  if (kind == DataType::optional) return load_value_of<onnx::OptionalProto>(pb_file, "an ONNX optional value");
  return load_tensor(pb_file);
}

Tensor load_tensor(const std::filesystem::path& pb_file) {
  return naming_file(pb_file, [&] {
    const auto source = std::make_shared<ModelSource>();
    source->folder = pb_file.parent_path();
    const MappedFile file(pb_file);
    // The tensor lives in the source, as an initializer would: views of it keep the source alive.
    onnx::TensorProto& proto = *source->proto.mutable_graph()->add_initializer();
    parse(file, proto, "an ONNX tensor");
    return read_tensor(source, proto, fmt::format("tensor '{}'", proto.name()));
  });
}

Value load_tensor_header(const std::filesystem::path& pb_file) {
  return naming_file(pb_file, [&] { return read_header(parse_header(MappedFile(pb_file)), "its tensor"); });
}

}  // namespace tare
