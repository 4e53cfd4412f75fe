// Element data of tensors, from the four places ONNX knows: raw bytes, typed lists, external files, sparse pairs.
// Every size is checked against the shape before anything is allocated: a file can claim any shape it likes.
#include "model/tensor_proto.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <vector>

static_assert(std::endian::native == std::endian::little, "ONNX stores little-endian data");

namespace tare {
namespace {

[[noreturn]] void fail(const std::string& what, std::string_view why) {
  throw Error(ErrorKind::model, fmt::format("{}: {}", what, why));
}

Shape read_shape(const google::protobuf::RepeatedField<std::int64_t>& dims, const std::string& what) {
  if (dims.size() > static_cast<int>(Shape::max_rank))
    throw Error(ErrorKind::unsupported, fmt::format("{}: {} dimensions are more than the {} that can be held", what,
                                                    dims.size(), Shape::max_rank));
  const Shape shape(dims.begin(), dims.end());
  std::int64_t elements = 1;
  for (const std::int64_t dim : shape) {
    if (dim < 0) fail(what, fmt::format("the shape {} has a negative dimension", shape.text()));
    if (dim == 0) continue;
    if (elements > (std::int64_t{1} << 56) / dim) fail(what, fmt::format("the shape {} is too large", shape.text()));
    elements *= dim;
  }
  return shape;
}

DataType read_type(int number, const std::string& what) {
  const DataType type = onnx_type(number);
  if (type == DataType::undefined)
    throw Error(ErrorKind::unsupported, fmt::format("{}: element type {} is not known", what, number));
  return type;
}

/// Elements that share a byte.
std::size_t packed_in_byte(DataType type) {
  const int bits = bit_width(type);
  return bits > 0 && bits < 8 ? static_cast<std::size_t>(8 / bits) : 1;
}
bool is_packed(DataType type) { return packed_in_byte(type) > 1; }

std::size_t stored_bytes(DataType type, std::size_t elements) {
  const std::size_t shared = packed_in_byte(type);
  return shared > 1 ? elements / shared + (elements % shared != 0 ? 1 : 0) : elements * size_of(type);
}

/// Two or four elements a byte, the lowest bits first.
Tensor unpack(DataType type, const Shape& shape, std::span<const std::byte> packed) {
  Tensor tensor = Tensor::host(type, shape);
  const std::span<std::uint8_t> out = tensor.mutable_span<std::uint8_t>();
  const std::size_t shared = packed_in_byte(type);
  const auto bits = static_cast<std::size_t>(bit_width(type));
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = unpacked_element(type, static_cast<std::uint8_t>(packed[i / shared] >> (i % shared * bits)));
  return tensor;
}

/// A view of `bytes`, or a copy of them where the type's alignment does not allow one.
Tensor view_or_copy(DataType type, const Shape& shape, std::span<const std::byte> bytes, std::shared_ptr<void> owner) {
  if (is_packed(type)) return unpack(type, shape, bytes);
  const std::size_t alignment = std::min<std::size_t>(size_of(type), 8);
  if (!bytes.empty() && reinterpret_cast<std::uintptr_t>(bytes.data()) % alignment == 0)
    return Tensor(type, shape, std::shared_ptr<void>(std::move(owner), const_cast<std::byte*>(bytes.data())));
  Tensor tensor = Tensor::host(type, shape);
  if (!bytes.empty()) std::memcpy(tensor.mutable_data(), bytes.data(), bytes.size());
  return tensor;
}

template <class Field>
void check_count(const Field& field, std::size_t expected, const Shape& shape, std::string_view list,
                 const std::string& what) {
  if (static_cast<std::size_t>(field.size()) != expected)
    fail(what,
         fmt::format("{} holds {} entries where the shape {} needs {}", list, field.size(), shape.text(), expected));
}

/// A typed list whose entries are the elements themselves.
template <class T, class Field>
Tensor from_list(DataType type, const Shape& shape, const Field& field, std::size_t entries, std::string_view list,
                 const std::shared_ptr<void>& owner, const std::string& what) {
  check_count(field, entries, shape, list, what);
  return view_or_copy(type, shape, std::as_bytes(std::span<const T>(field.data(), entries)), owner);
}

/// A typed list of wider entries than the element type.
template <class T, class Field>
Tensor narrowed(DataType type, const Shape& shape, const Field& field, std::string_view list, const std::string& what) {
  const auto n = static_cast<std::size_t>(shape.elements());
  check_count(field, n, shape, list, what);
  Tensor tensor = Tensor::host(type, shape);
  for (std::size_t i = 0; i < n; ++i) tensor.mutable_data<T>()[i] = static_cast<T>(field.data()[i]);
  return tensor;
}

Tensor from_typed_lists(DataType type, const Shape& shape, const onnx::TensorProto& proto,
                        const std::shared_ptr<void>& owner, const std::string& what) {
  const auto n = static_cast<std::size_t>(shape.elements());
  switch (type) {
    case DataType::float32: return from_list<float>(type, shape, proto.float_data(), n, "float_data", owner, what);
    case DataType::complex64:
      return from_list<float>(type, shape, proto.float_data(), 2 * n, "float_data", owner, what);
    case DataType::float64: return from_list<double>(type, shape, proto.double_data(), n, "double_data", owner, what);
    case DataType::complex128:
      return from_list<double>(type, shape, proto.double_data(), 2 * n, "double_data", owner, what);
    case DataType::int64: return from_list<std::int64_t>(type, shape, proto.int64_data(), n, "int64_data", owner, what);
    case DataType::uint64:
      return from_list<std::uint64_t>(type, shape, proto.uint64_data(), n, "uint64_data", owner, what);
    case DataType::uint32: return narrowed<std::uint32_t>(type, shape, proto.uint64_data(), "uint64_data", what);
    case DataType::int32: return from_list<std::int32_t>(type, shape, proto.int32_data(), n, "int32_data", owner, what);
    case DataType::uint16:
    case DataType::int16:
    case DataType::float16:
    case DataType::bfloat16: return narrowed<std::uint16_t>(type, shape, proto.int32_data(), "int32_data", what);
    case DataType::uint8:
    case DataType::int8:
    case DataType::boolean:
    case DataType::float8e4m3fn:
    case DataType::float8e4m3fnuz:
    case DataType::float8e5m2:
    case DataType::float8e5m2fnuz:
    case DataType::float8e8m0: return narrowed<std::uint8_t>(type, shape, proto.int32_data(), "int32_data", what);
    case DataType::uint4:
    case DataType::int4:
    case DataType::float4e2m1:
    case DataType::uint2:
    case DataType::int2: {
      check_count(proto.int32_data(), stored_bytes(type, n), shape, "int32_data", what);
      std::vector<std::byte> packed;
      for (const std::int32_t entry : proto.int32_data()) packed.push_back(static_cast<std::byte>(entry));
      return unpack(type, shape, packed);
    }
    case DataType::string: {
      check_count(proto.string_data(), n, shape, "string_data", what);
      Tensor tensor = Tensor::host(type, shape);
      std::copy(proto.string_data().begin(), proto.string_data().end(), tensor.mutable_data<std::string>());
      return tensor;
    }
    default: break;
  }
  fail(what, fmt::format("tensors of type {} cannot be held", name_of(type)));
}

std::uint64_t read_size(const std::string& text, std::string_view key, const std::string& what) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    fail(what, fmt::format("the {} of its external data, '{}', is not a size", key, text));
  return value;
}

/// The file `location` stands for, refused when it is anything but a file inside the model's own folder.
std::filesystem::path locate(const std::filesystem::path& folder, const std::string& location,
                             const std::string& what) {
  const auto refuse = [&](std::string_view why) {
    fail(what, fmt::format("its external data lies in '{}', {}; only files inside the model's folder are read",
                           location, why));
  };
  const std::filesystem::path relative(location);
  if (location.empty() || location.find('\0') != std::string::npos) refuse("which is no file name");
  if (relative.is_absolute()) refuse("an absolute path");
  for (const std::filesystem::path& part : relative)
    if (part == "..") refuse("which leaves the folder");
  std::error_code error;
  const std::filesystem::path root = std::filesystem::canonical(folder.empty() ? "." : folder, error);
  if (error) refuse(error.message());
  std::filesystem::path file = std::filesystem::canonical(root / relative, error);
  if (error) refuse(fmt::format("which cannot be opened ({})", error.message()));
  const auto [root_end, unused] = std::mismatch(root.begin(), root.end(), file.begin(), file.end());
  if (root_end != root.end()) refuse("a link that leaves the folder");
  return file;
}

}  // namespace

Tensor normalised(Tensor tensor) {
  if (tensor.type() != DataType::boolean) return tensor;
  const std::span<const std::uint8_t> bytes = tensor.span<std::uint8_t>();
  if (std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t b) { return b <= 1; })) return tensor;
  Tensor clean = Tensor::host(DataType::boolean, tensor.shape());
  std::transform(bytes.begin(), bytes.end(), clean.mutable_data<std::uint8_t>(),
                 [](std::uint8_t b) { return static_cast<std::uint8_t>(b != 0); });
  return clean;
}

bool is_external(const onnx::TensorProto& proto) {
  return proto.has_data_location() && proto.data_location() == onnx::TensorProto::EXTERNAL;
}

std::size_t stored_bytes(const onnx::TensorProto& proto, const std::string& what) {
  return stored_bytes(read_type(proto.data_type(), what),
                      static_cast<std::size_t>(read_shape(proto.dims(), what).elements()));
}

Value read_header(const onnx::TensorProto& proto, const std::string& what) {
  return {proto.name(), read_type(proto.data_type(), what), read_shape(proto.dims(), what)};
}

ExternalBytes external_bytes(const std::filesystem::path& folder, ExternalFiles& files, const onnx::TensorProto& proto,
                             std::size_t expected_bytes) {
  const std::string what = fmt::format("tensor '{}'", proto.name());
  std::string location;
  std::uint64_t offset = 0;
  std::uint64_t length = expected_bytes;
  for (const onnx::StringStringEntryProto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset") offset = read_size(entry.value(), "offset", what);
    if (entry.key() == "length") length = read_size(entry.value(), "length", what);
  }
  if (length != expected_bytes)
    fail(what, fmt::format("its external data has {} bytes where its shape needs {}", length, expected_bytes));
  std::shared_ptr<MappedFile>& file = files[location];
  if (file == nullptr) file = std::make_shared<MappedFile>(locate(folder, location, what));
  const std::span<std::byte> bytes = file->bytes();
  if (offset > bytes.size() || length > bytes.size() - offset)
    fail(what, fmt::format("its external data, {} bytes at {} of '{}', is beyond the end of that file ({} bytes); "
                           "is the file complete?",
                           length, offset, location, bytes.size()));
  return {file, bytes.subspan(offset, length)};
}

Tensor read_tensor(const std::shared_ptr<ModelSource>& source, const onnx::TensorProto& proto,
                   const std::string& what) {
  const DataType type = read_type(proto.data_type(), what);
  const Shape shape = read_shape(proto.dims(), what);
  const auto elements = static_cast<std::size_t>(shape.elements());
  const std::size_t bytes = stored_bytes(type, elements);
  if (proto.has_segment())
    throw Error(ErrorKind::unsupported, fmt::format("{}: segmented tensors cannot be read", what));
  if (type == DataType::string && (is_external(proto) || proto.has_raw_data()))
    fail(what, "strings stand in string_data, neither in raw_data nor in a file of their own");
  if (is_external(proto)) {
    const ExternalBytes external = external_bytes(source->folder, source->external_files, proto, bytes);
    return normalised(view_or_copy(type, shape, external.bytes, external.file));
  }
  if (proto.has_raw_data()) {
    const std::string& raw = proto.raw_data();
    if (raw.size() != bytes)
      fail(what,
           fmt::format("raw_data holds {} bytes where {} {} needs {}", raw.size(), name_of(type), shape.text(), bytes));
    return normalised(view_or_copy(type, shape, std::as_bytes(std::span(raw.data(), raw.size())), source));
  }
  return normalised(from_typed_lists(type, shape, proto, source, what));
}

Tensor read_sparse_tensor(const std::shared_ptr<ModelSource>& source, const onnx::SparseTensorProto& proto,
                          const std::string& what) {
  constexpr std::int64_t largest_dense = std::int64_t{1} << 26;
  const Tensor values = read_tensor(source, proto.values(), what + " (values)");
  const Tensor indices = read_tensor(source, proto.indices(), what + " (indices)");
  const Shape shape = read_shape(proto.dims(), what);
  if (values.type() == DataType::string)
    throw Error(ErrorKind::unsupported, fmt::format("{}: sparse strings cannot be held", what));
  if (shape.elements() > largest_dense)
    throw Error(ErrorKind::unsupported,
                fmt::format("{}: a sparse tensor of shape {} is too large to be made dense", what, shape.text()));
  const std::int64_t count = values.elements();
  const bool linear = indices.rank() == 1;
  const auto rank = static_cast<std::int64_t>(shape.rank());
  const bool coordinates = indices.rank() == 2 && indices.shape()[1] == rank;
  if (indices.type() != DataType::int64 || values.rank() != 1 || !(linear || coordinates) ||
      (indices.rank() > 0 && indices.shape()[0] != count))
    fail(what, fmt::format("{} indices of shape {} do not fit {} values in {}", name_of(indices.type()),
                           indices.shape().text(), count, shape.text()));
  Tensor dense = Tensor::host(values.type(), shape);
  std::memset(dense.mutable_data(), 0, dense.bytes());
  const std::size_t width = size_of(values.type());
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t at = linear ? indices.data<std::int64_t>()[i] : 0;
    bool inside = at >= 0 && at < dense.elements();
    for (std::int64_t d = 0; coordinates && d < rank; ++d) {
      const std::int64_t index = indices.data<std::int64_t>()[i * rank + d];
      inside = inside && index >= 0 && index < shape[static_cast<std::size_t>(d)];
      if (inside) at = at * shape[static_cast<std::size_t>(d)] + index;
    }
    if (!inside) fail(what, fmt::format("index {} points outside of {}", i, shape.text()));
    std::memcpy(dense.mutable_data() + static_cast<std::size_t>(at) * width,
                values.data() + static_cast<std::size_t>(i) * width, width);
  }
  return dense;
}

}  // namespace tare
