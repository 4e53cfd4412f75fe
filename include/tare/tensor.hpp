// Tensors: an element type, a shape, a physical layout and shared storage. Copying a Tensor copies the view, never the
// elements; storage is freed (or returned to its backend's pool) when the last view goes. A kernel may overwrite an
// input only when it holds the sole view of its storage (`unique()`).
// Odd: `channels_last` changes the physical order only. `shape` is always the ONNX (logical, channels-first) shape.
// A Tensor also stands for ONNX's sequences (a list of tensors) and missing optional values, so that every value of a
// graph is a Tensor; both live on the host, and only operators that say so ever see them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tare/error.hpp"

namespace tare {

/// Element types, numbered as ONNX TensorProto.DataType. 4-bit and 2-bit types hold one element a byte in memory
/// (unpacked).
enum class DataType : std::int32_t {
  undefined = 0,
  float32 = 1,
  uint8 = 2,
  int8 = 3,
  uint16 = 4,
  int16 = 5,
  int32 = 6,
  int64 = 7,
  string = 8,
  boolean = 9,
  float16 = 10,
  float64 = 11,
  uint32 = 12,
  uint64 = 13,
  complex64 = 14,
  complex128 = 15,
  bfloat16 = 16,
  float8e4m3fn = 17,
  float8e4m3fnuz = 18,
  float8e5m2 = 19,
  float8e5m2fnuz = 20,
  uint4 = 21,
  int4 = 22,
  float4e2m1 = 23,
  float8e8m0 = 24,
  uint2 = 25,
  int2 = 26,
  // Beyond ONNX's numbers:
  sequence = 1000,  ///< a list of tensors
  optional = 1001,  ///< of a Tensor: an optional value that is missing; of a declared value: one that may be missing
};

/// Bytes of one element in memory; 0 for undefined and for what is not a number.
constexpr std::size_t size_of(DataType type) {
  switch (type) {
    case DataType::undefined:
    case DataType::string:
    case DataType::sequence:
    case DataType::optional: return 0;
    case DataType::uint8:
    case DataType::int8:
    case DataType::boolean:
    case DataType::float8e4m3fn:
    case DataType::float8e4m3fnuz:
    case DataType::float8e5m2:
    case DataType::float8e5m2fnuz:
    case DataType::uint4:
    case DataType::int4:
    case DataType::float4e2m1:
    case DataType::float8e8m0:
    case DataType::uint2:
    case DataType::int2: return 1;
    case DataType::uint16:
    case DataType::int16:
    case DataType::float16:
    case DataType::bfloat16: return 2;
    case DataType::float32:
    case DataType::int32:
    case DataType::uint32: return 4;
    case DataType::int64:
    case DataType::uint64:
    case DataType::float64:
    case DataType::complex64: return 8;
    case DataType::complex128: return 16;
  }
  return 0;
}

/// The element type of a number in a model; undefined where no type has it.
constexpr DataType onnx_type(std::int64_t number) {
  return number > 0 && number <= static_cast<std::int64_t>(DataType::int2) ? static_cast<DataType>(number)
                                                                           : DataType::undefined;
}

/// Bits of one element in a file: less than a byte for the types that are packed there.
constexpr int bit_width(DataType type) {
  switch (type) {
    case DataType::uint4:
    case DataType::int4:
    case DataType::float4e2m1: return 4;
    case DataType::uint2:
    case DataType::int2: return 2;
    default: return static_cast<int>(8 * size_of(type));
  }
}

/// The byte that holds an element of fewer bits in memory, from a byte with those bits lowest: signed integers are
/// sign-extended.
constexpr std::uint8_t unpacked_element(DataType type, std::uint8_t byte) {
  const int sign = 1 << (bit_width(type) - 1);
  const int bits = byte & (2 * sign - 1);
  const bool is_signed = type == DataType::int4 || type == DataType::int2;
  return static_cast<std::uint8_t>(is_signed ? (bits ^ sign) - sign : bits);
}

class Shape;
/// Bytes that a tensor takes in memory. Throws Error when the type cannot be held, a dimension is negative or the size
/// overflows.
std::size_t storage_bytes(DataType type, const Shape& shape);

/// "float32", "int64", …: the names used in messages and in files.
std::string_view name_of(DataType type);

/// Strings, sequences, missing optional values: storage that holds C++ objects instead of numbers.
constexpr bool holds_objects(DataType type) {
  return type == DataType::string || type == DataType::sequence || type == DataType::optional;
}

/// float32, float16 or bfloat16: the types that carry quantizers.
constexpr bool is_quantizable(DataType type) {
  return type == DataType::float32 || type == DataType::float16 || type == DataType::bfloat16;
}

/// Dimensions of a tensor, at most `Shape::max_rank`. A small fixed vector: shapes are made for every node of every
/// batch.
class Shape {
 public:
  static constexpr std::size_t max_rank = 12;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) : Shape(dims.begin(), dims.end()) {}
  Shape(std::size_t rank, std::int64_t value) { resize(rank, value); }
  template <class Iterator>
  requires(!std::is_integral_v<Iterator>) Shape(Iterator first, Iterator last) {
    for (; first != last; ++first) push_back(static_cast<std::int64_t>(*first));
  }

  std::size_t size() const { return rank_; }
  std::size_t rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  std::int64_t& operator[](std::size_t i) { return dims_[i]; }
  std::int64_t operator[](std::size_t i) const { return dims_[i]; }
  std::int64_t front() const { return dims_[0]; }
  std::int64_t back() const { return dims_[rank_ - 1]; }
  std::int64_t& back() { return dims_[rank_ - 1]; }
  std::int64_t* begin() { return dims_.data(); }
  std::int64_t* end() { return dims_.data() + rank_; }
  const std::int64_t* begin() const { return dims_.data(); }
  const std::int64_t* end() const { return dims_.data() + rank_; }
  const std::int64_t* data() const { return dims_.data(); }

  void push_back(std::int64_t dim) {
    check_room();
    dims_[rank_++] = dim;
  }
  void insert(std::size_t at, std::int64_t dim) {
    check_room();
    for (std::size_t i = rank_; i > at; --i) dims_[i] = dims_[i - 1];
    dims_[at] = dim;
    ++rank_;
  }
  void erase(std::size_t at) {
    for (std::size_t i = at; i + 1 < rank_; ++i) dims_[i] = dims_[i + 1];
    --rank_;
  }
  void resize(std::size_t rank, std::int64_t value = 0) {
    if (rank > max_rank) throw_rank(rank);
    for (std::size_t i = rank_; i < rank; ++i) dims_[i] = value;
    rank_ = rank;
  }

  /// Product of all dimensions (1 for a scalar).
  std::int64_t elements() const { return elements(0, rank_); }
  /// Product of dimensions [first, last); the largest number where it is beyond that: no memory holds so many.
  std::int64_t elements(std::size_t first, std::size_t last) const {
    std::int64_t n = 1;
    for (std::size_t i = first; i < last; ++i)
      if (__builtin_mul_overflow(n, dims_[i], &n)) n = std::numeric_limits<std::int64_t>::max();
    return n;
  }

  friend bool operator==(const Shape& a, const Shape& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

  /// "[1,3,224,224]"
  std::string text() const;

 private:
  void check_room() const {
    if (rank_ == max_rank) throw_rank(rank_ + 1);
  }
  [[noreturn]] static void throw_rank(std::size_t rank);

  std::array<std::int64_t, max_rank> dims_{};
  std::size_t rank_ = 0;
};

/// Physical order of the elements. channels_last: [N, spatial…, C] in memory for a logical [N, C, spatial…] of rank
/// >= 3.
enum class Layout : std::uint8_t { plain, channels_last };

class Tensor {
 public:
  /// Absent: what an omitted optional input or output looks like.
  Tensor() = default;
  Tensor(DataType type, const Shape& shape, std::shared_ptr<void> storage, Layout layout = Layout::plain)
      : type_(type), layout_(layout), shape_(shape), storage_(std::move(storage)) {}

  /// Uninitialised host memory, aligned to 64 bytes; empty strings for DataType::string. Throws Error when the shape is
  /// negative or memory runs out.
  static Tensor host(DataType type, const Shape& shape, Layout layout = Layout::plain);
  /// A host tensor holding a copy of `values`; throws Error(usage) when there are not as many as the shape has.
  template <class T>
  static Tensor of(const Shape& shape, std::span<const T> values);
  /// A sequence of tensors.
  static Tensor sequence(std::vector<Tensor> items);
  /// A missing optional value. Not the same as an absent Tensor: this one is a value that a graph passes on.
  static Tensor none();

  bool present() const { return type_ != DataType::undefined; }
  DataType type() const { return type_; }
  const Shape& shape() const { return shape_; }
  Layout layout() const { return layout_; }
  std::size_t rank() const { return shape_.rank(); }
  std::int64_t elements() const { return shape_.elements(); }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * size_of(type_); }

  /// The elements. T is not checked against type(): the caller has dispatched on it.
  template <class T = std::byte>
  const T* data() const {
    return static_cast<const T*>(storage_.get());
  }
  template <class T = std::byte>
  T* mutable_data() {
    return static_cast<T*>(storage_.get());
  }
  template <class T>
  std::span<const T> span() const {
    return {data<T>(), static_cast<std::size_t>(elements())};
  }
  template <class T>
  std::span<T> mutable_span() {
    return {mutable_data<T>(), static_cast<std::size_t>(elements())};
  }

  /// The items of a sequence; throws Error(data) for anything else.
  const std::vector<Tensor>& items() const;

  /// True when no other Tensor shares this storage.
  bool unique() const { return storage_.use_count() == 1; }
  const std::shared_ptr<void>& storage() const { return storage_; }

  /// The same storage under another shape of as many elements. Only for plain layout.
  Tensor reshaped(const Shape& shape) const { return Tensor(type_, shape, storage_, Layout::plain); }
  /// The same bytes read as another type of the same size.
  Tensor retyped(DataType type) const { return Tensor(type, shape_, storage_, layout_); }

  /// A host tensor of integers of any integer type (or booleans), widened. Throws Error(model) naming `what` otherwise.
  Shape to_shape(std::string_view what) const;

 private:
  DataType type_ = DataType::undefined;
  Layout layout_ = Layout::plain;
  Shape shape_;
  std::shared_ptr<void> storage_;
};

/// The ONNX type of a C++ arithmetic type.
template <class T>
constexpr DataType type_of() {
  if constexpr (std::is_same_v<T, float>)
    return DataType::float32;
  else if constexpr (std::is_same_v<T, double>)
    return DataType::float64;
  else if constexpr (std::is_same_v<T, bool>)
    return DataType::boolean;
  else if constexpr (std::is_same_v<T, std::uint8_t>)
    return DataType::uint8;
  else if constexpr (std::is_same_v<T, std::int8_t>)
    return DataType::int8;
  else if constexpr (std::is_same_v<T, std::uint16_t>)
    return DataType::uint16;
  else if constexpr (std::is_same_v<T, std::int16_t>)
    return DataType::int16;
  else if constexpr (std::is_same_v<T, std::uint32_t>)
    return DataType::uint32;
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return DataType::int32;
  else if constexpr (std::is_same_v<T, std::uint64_t>)
    return DataType::uint64;
  else if constexpr (std::is_same_v<T, std::string>)
    return DataType::string;
  else {
    static_assert(std::is_same_v<T, std::int64_t>, "no ONNX type");
    return DataType::int64;
  }
}

template <class T>
Tensor Tensor::of(const Shape& shape, std::span<const T> values) {
  if (static_cast<std::int64_t>(values.size()) != shape.elements())
    throw Error(ErrorKind::usage, std::to_string(values.size()) + " values for a tensor of shape " + shape.text());
  Tensor tensor = host(type_of<T>(), shape);
  std::copy(values.begin(), values.end(), tensor.mutable_data<T>());
  return tensor;
}

}  // namespace tare
