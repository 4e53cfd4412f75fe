// Host tensors and shapes.
#include "tare/tensor.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>

#include <cstdlib>
#include <limits>
#include <new>

namespace tare {

std::string_view name_of(DataType type) {
  switch (type) {
    case DataType::undefined: return "undefined";
    case DataType::float32: return "float32";
    case DataType::uint8: return "uint8";
    case DataType::int8: return "int8";
    case DataType::uint16: return "uint16";
    case DataType::int16: return "int16";
    case DataType::int32: return "int32";
    case DataType::int64: return "int64";
    case DataType::string: return "string";
    case DataType::boolean: return "bool";
    case DataType::float16: return "float16";
    case DataType::float64: return "float64";
    case DataType::uint32: return "uint32";
    case DataType::uint64: return "uint64";
    case DataType::complex64: return "complex64";
    case DataType::complex128: return "complex128";
    case DataType::bfloat16: return "bfloat16";
    case DataType::float8e4m3fn: return "float8e4m3fn";
    case DataType::float8e4m3fnuz: return "float8e4m3fnuz";
    case DataType::float8e5m2: return "float8e5m2";
    case DataType::float8e5m2fnuz: return "float8e5m2fnuz";
    case DataType::uint4: return "uint4";
    case DataType::int4: return "int4";
    case DataType::float4e2m1: return "float4e2m1";
    case DataType::float8e8m0: return "float8e8m0";
    case DataType::uint2: return "uint2";
    case DataType::int2: return "int2";
    case DataType::sequence: return "sequence";
    case DataType::optional: return "optional";
  }
  return "unknown";
}

std::string Shape::text() const { return fmt::format("[{}]", fmt::join(begin(), end(), ",")); }

void Shape::throw_rank(std::size_t rank) {
  throw Error(ErrorKind::unsupported,
              fmt::format("a tensor of rank {} is beyond the limit of {} dimensions", rank, max_rank));
}

namespace {

std::shared_ptr<std::string[]> make_strings(std::size_t count, const Shape& shape) {
  try {
    return std::make_shared<std::string[]>(count);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::data,
                fmt::format("out of memory: {} strings for a tensor of shape {}", count, shape.text()));
  }
}

}  // namespace

std::size_t storage_bytes(DataType type, const Shape& shape) {
  std::size_t bytes = type == DataType::string ? sizeof(std::string) : size_of(type);
  if (bytes == 0) throw Error(ErrorKind::unsupported, fmt::format("tensors of type {} cannot be held", name_of(type)));
  for (const std::int64_t dim : shape) {
    if (dim < 0) throw Error(ErrorKind::data, fmt::format("a tensor cannot have the shape {}", shape.text()));
    if (dim > 0 && bytes > static_cast<std::size_t>(std::numeric_limits<std::int64_t>::max() / dim))
      throw Error(ErrorKind::data, fmt::format("a tensor of shape {} is too large", shape.text()));
    bytes *= static_cast<std::size_t>(dim);
  }
  return bytes;
}

namespace {

/// From here on a tensor has pages of its own, which go back when it ends: batches come and go on two threads, and in
/// the heap they leave holes (a half more memory after a hundred batches of 6 MB).
constexpr std::size_t large_bytes = std::size_t{1} << 20;

std::shared_ptr<void> small_block(std::size_t bytes) {
  void* memory = std::aligned_alloc(64, (std::max<std::size_t>(bytes, 1) + 63) / 64 * 64);
  return memory == nullptr ? nullptr : std::shared_ptr<void>(memory, std::free);
}

/// Begins where the heap's large blocks do: loads wait for stores to the same place of another page, and a tensor is
/// often read beside one that is written.
std::shared_ptr<void> large_block(std::size_t bytes) {
  constexpr std::size_t begin = 64;
  void* pages = ::mmap(nullptr, begin + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  ::madvise(pages, begin + bytes, MADV_HUGEPAGE);
  const std::shared_ptr<void> owner(pages, [bytes](void* mapped) { ::munmap(mapped, begin + bytes); });
  return {owner, static_cast<std::byte*>(pages) + begin};
}

}  // namespace

Tensor Tensor::host(DataType type, const Shape& shape, Layout layout) {
  const std::size_t bytes = storage_bytes(type, shape);
  if (type == DataType::string) {
    const std::shared_ptr<std::string[]> strings = make_strings(bytes / sizeof(std::string), shape);
    return Tensor(type, shape, std::shared_ptr<void>(strings, strings.get()), layout);
  }
  std::shared_ptr<void> memory = bytes < large_bytes ? small_block(bytes) : large_block(bytes);
  if (memory == nullptr)
    throw Error(ErrorKind::data, fmt::format("out of memory: {} bytes for a tensor of shape {}", bytes, shape.text()));
  return Tensor(type, shape, std::move(memory), layout);
}

Tensor Tensor::sequence(std::vector<Tensor> items) {
  return Tensor(DataType::sequence, {}, std::make_shared<std::vector<Tensor>>(std::move(items)));
}

Tensor Tensor::none() { return Tensor(DataType::optional, {}, nullptr); }

const std::vector<Tensor>& Tensor::items() const {
  if (type_ != DataType::sequence)
    throw Error(ErrorKind::data, fmt::format("a sequence is needed, not {} {}", name_of(type_), shape_.text()));
  return *data<std::vector<Tensor>>();
}

Shape Tensor::to_shape(std::string_view what) const {
  const auto widen = [&]<class T>() {
    const std::span<const T> values = span<T>();
    return Shape(values.begin(), values.end());
  };
  switch (type_) {
    case DataType::int64: return widen.operator()<std::int64_t>();
    case DataType::int32: return widen.operator()<std::int32_t>();
    case DataType::int16: return widen.operator()<std::int16_t>();
    case DataType::int8: return widen.operator()<std::int8_t>();
    case DataType::uint8: return widen.operator()<std::uint8_t>();
    case DataType::uint16: return widen.operator()<std::uint16_t>();
    case DataType::uint32: return widen.operator()<std::uint32_t>();
    case DataType::boolean: return widen.operator()<bool>();
    default: throw Error(ErrorKind::model, fmt::format("{} must be integers, not {}", what, name_of(type_)));
  }
}

}  // namespace tare
