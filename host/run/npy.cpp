// .npy headers and arrays. See npy.hpp.
#include "run/npy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "model/tensor_proto.hpp"
#include "tare/error.hpp"

namespace tare {
namespace {

static_assert(std::endian::native == std::endian::little, "arrays are read and written as they lie in memory");

struct TypeName {
  std::string_view name;  // kind and bytes, without the byte order
  DataType type;
};
constexpr std::array<TypeName, 14> type_names{{{"f4", DataType::float32},
                                               {"f8", DataType::float64},
                                               {"f2", DataType::float16},
                                               {"i8", DataType::int64},
                                               {"i4", DataType::int32},
                                               {"i2", DataType::int16},
                                               {"i1", DataType::int8},
                                               {"u8", DataType::uint64},
                                               {"u4", DataType::uint32},
                                               {"u2", DataType::uint16},
                                               {"u1", DataType::uint8},
                                               {"b1", DataType::boolean},
                                               {"c8", DataType::complex64},
                                               {"c16", DataType::complex128}}};

[[noreturn]] void refuse(const ByteSource& source, const std::string& what) {
  throw Error(ErrorKind::data, fmt::format("{}: {}", source.name(), what));
}

/// The header is a Python dict literal of three known keys; anything else in it is refused.
class HeaderText {
 public:
  HeaderText(const ByteSource& source, std::string_view text) : source_(source), text_(text) {}

  NpyHeader parse() {
    NpyHeader header;
    bool has_type = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !has_type) {
        parse_type(header);
        has_type = true;
      } else if (key == "fortran_order" && !has_order) {
        header.fortran = boolean();
        has_order = true;
      } else if (key == "shape" && !has_shape) {
        parse_shape(header);
        has_shape = true;
      } else {
        refuse(source_, fmt::format("unexpected key '{}' in the .npy header", key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (!has_type || !has_order || !has_shape) refuse(source_, "incomplete .npy header");
    return header;
  }

 private:
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char wanted) {
    skip();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted))
      refuse(source_, fmt::format("damaged .npy header: '{}' expected at character {}", wanted, at_));
  }
  std::string quoted() {
    skip();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    const std::size_t end = quote == '\'' || quote == '"' ? text_.find(quote, at_ + 1) : std::string_view::npos;
    if (end == std::string_view::npos) refuse(source_, fmt::format("damaged .npy header at character {}", at_));
    std::string word(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return word;
  }
  bool boolean() {
    skip();
    for (const auto& [word, value] : {std::pair{std::string_view("True"), true}, {std::string_view("False"), false}})
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return value;
      }
    refuse(source_, "damaged .npy header: fortran_order is neither True nor False");
  }
  void parse_type(NpyHeader& header) {
    skip();
    if (at_ < text_.size() && text_[at_] == '[')
      refuse(source_, "structured arrays are not supported; save one plain array an input");
    const std::string descr = quoted();
    const char order = descr.empty() ? '\0' : descr.front();
    const std::string_view name = descr.empty() ? std::string_view() : std::string_view(descr).substr(1);
    if (name.substr(0, 1) == "O" || order == 'O')
      refuse(source_, "holds Python objects (a pickle), which are not read; save plain arrays with allow_pickle=False");
    for (const TypeName& known : type_names)
      if (known.name == name) header.type = known.type;
    if (name == "V2") {
      header.type = DataType::uint16;
      header.opaque16 = true;
    }
    if (header.type == DataType::undefined || (order != '<' && order != '>' && order != '|' && order != '='))
      refuse(source_,
             fmt::format("element type '{}' is not supported; convert it with .astype(...) before saving", descr));
    if (order == '>') {
      if (header.type == DataType::complex64 || header.type == DataType::complex128)
        refuse(source_, "big-endian complex numbers are not supported; convert them before saving");
      header.swapped = size_of(header.type) > 1;
    }
  }
  void parse_shape(NpyHeader& header) {
    expect('(');
    while (!accept(')')) {
      skip();
      std::int64_t dim = 0;
      const auto [end, status] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), dim);
      if (status != std::errc() || dim < 0) refuse(source_, "damaged .npy header: a dimension is no number");
      at_ = static_cast<std::size_t>(end - text_.data());
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // written by Python 2
      if (header.shape.rank() == Shape::max_rank)
        refuse(source_, fmt::format("arrays of more than {} dimensions are not supported", Shape::max_rank));
      header.shape.push_back(dim);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
  }

  const ByteSource& source_;
  std::string_view text_;
  std::size_t at_ = 0;
};

std::optional<std::uint64_t> byte_count(const Shape& shape, std::uint64_t width) {
  std::uint64_t count = width;
  bool empty = false;
  for (const std::int64_t dim : shape) {
    if (dim == 0)
      empty = true;
    else if (count > std::numeric_limits<std::int64_t>::max() / static_cast<std::uint64_t>(dim))
      return std::nullopt;
    else
      count *= static_cast<std::uint64_t>(dim);
  }
  return empty ? 0 : count;
}

void swap_bytes(std::span<std::byte> bytes, std::size_t width) {
  for (std::size_t at = 0; at + width <= bytes.size(); at += width)
    std::reverse(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                 bytes.begin() + static_cast<std::ptrdiff_t>(at + width));
}

template <class To, class From>
Tensor converted(const Tensor& tensor) {
  Tensor result = Tensor::host(type_of<To>(), tensor.shape());
  std::transform(tensor.span<From>().begin(), tensor.span<From>().end(), result.mutable_data<To>(),
                 [](From value) { return static_cast<To>(value); });
  return result;
}

Tensor convert(Tensor tensor, DataType wanted, const NpyHeader& header) {
  if (tensor.type() == wanted) return tensor;
  if (header.opaque16 && wanted == DataType::bfloat16) return tensor.retyped(wanted);
  if (tensor.type() == DataType::float64) return converted<float, double>(tensor);
  return converted<std::int64_t, std::int32_t>(tensor);
}

}  // namespace

bool converts(DataType stored, DataType wanted) {
  return stored == wanted || (stored == DataType::float64 && wanted == DataType::float32) ||
         (stored == DataType::int32 && wanted == DataType::int64);
}

NpyHeader read_npy_header(ByteSource& source) {
  std::array<std::byte, 12> start{};
  if (source.size() < 10) refuse(source, fmt::format("is {} bytes long: not an .npy array", source.size()));
  const auto prefix = std::span(start).first(static_cast<std::size_t>(std::min<std::uint64_t>(12, source.size())));
  source.read(0, prefix);
  if (std::memcmp(start.data(), "\x93NUMPY", 6) != 0) refuse(source, "is not an .npy array (no NUMPY magic)");
  const int version = static_cast<int>(start[6]);
  if (version < 1 || version > 3) refuse(source, fmt::format(".npy version {} is not supported", version));
  const std::size_t length_width = version == 1 ? 2 : 4, text_offset = 8 + length_width;
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < length_width; ++i) length |= static_cast<std::uint64_t>(start[8 + i]) << (8 * i);
  if (length > 65536 || length > source.size() - std::min<std::uint64_t>(source.size(), text_offset))
    refuse(source, fmt::format(".npy header of {} bytes does not fit", length));
  std::string text(static_cast<std::size_t>(length), '\0');
  source.read(text_offset, std::as_writable_bytes(std::span(text)));
  NpyHeader header = HeaderText(source, text).parse();
  header.data_offset = text_offset + length;
  const auto bytes = byte_count(header.shape, size_of(header.type));
  const std::uint64_t rest = source.size() - header.data_offset;
  if (!bytes || *bytes != rest)
    refuse(source, fmt::format("shape {} of {} does not match the {} bytes that follow the header", header.shape.text(),
                               name_of(header.type), rest));
  return header;
}

std::string npy_header(DataType type, const Shape& shape, std::string_view what) {
  std::string descr;
  for (const TypeName& known : type_names)
    if (known.type == type) descr = fmt::format("{}{}", size_of(type) == 1 ? '|' : '<', known.name);
  if (type == DataType::bfloat16) descr = "<V2";
  if (descr.empty())
    throw Error(ErrorKind::usage, fmt::format("'{}': NumPy files have no type {}; cast it first", what, name_of(type)));
  std::string dims;
  for (const std::int64_t dim : shape) dims += fmt::format("{}{}", dims.empty() ? "" : ", ", dim);
  if (shape.rank() == 1) dims += ",";
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr, dims);
  text.resize((text.size() + 11 + 63) / 64 * 64 - 11, ' ');
  text += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(text.size() & 0xff);
  header += static_cast<char>(text.size() >> 8);
  return header + text;
}

NpyReader::NpyReader(std::shared_ptr<ByteSource> source)
    : source_(std::move(source)), header_(read_npy_header(*source_)) {
  source_->rest();
}

Tensor NpyReader::read(DataType wanted) const { return read_elements(0, header_.shape, wanted); }

Tensor NpyReader::read_rows(std::int64_t first, std::int64_t count, DataType wanted) const {
  Shape shape = header_.shape;
  shape[0] = count;
  return read_elements(first * shape.elements(1, shape.rank()), shape, wanted);
}

Tensor NpyReader::read_elements(std::int64_t first, const Shape& shape, DataType wanted) const {
  if (!converts(header_.type, wanted) && !(header_.opaque16 && wanted == DataType::bfloat16))
    refuse(*source_, fmt::format("holds {}, not {}", name_of(header_.type), name_of(wanted)));
  Tensor tensor = Tensor::host(header_.type, shape);
  const std::size_t width = size_of(header_.type);
  const std::span<std::byte> target(tensor.mutable_data(), tensor.bytes());
  const auto offset = static_cast<std::uint64_t>(first) * width;
  if (header_.fortran && header_.shape.rank() > 1) {
    const Tensor& whole = transposed();
    if (!target.empty()) std::memcpy(target.data(), whole.data() + offset, target.size());
  } else {
    source_->read(header_.data_offset + offset, target);
    if (header_.swapped) swap_bytes(target, width);
  }
  return normalised(convert(std::move(tensor), wanted, header_));
}

const Tensor& NpyReader::transposed() const {
  if (transposed_.present()) return transposed_;
  const std::size_t width = size_of(header_.type);
  Tensor stored = Tensor::host(header_.type, header_.shape);
  const std::span<std::byte> bytes(stored.mutable_data(), stored.bytes());
  source_->read(header_.data_offset, bytes);
  if (header_.swapped) swap_bytes(bytes, width);
  Tensor rows = Tensor::host(header_.type, header_.shape);
  const Shape& shape = header_.shape;
  Shape index(shape.rank(), 0);
  std::byte* to = rows.mutable_data();
  const std::int64_t elements = shape.elements();
  for (std::int64_t i = 0; i < elements; ++i, to += width) {
    std::int64_t from = 0;
    for (std::size_t axis = shape.rank(); axis-- > 0;) from = from * shape[axis] + index[axis];
    std::memcpy(to, bytes.data() + static_cast<std::size_t>(from) * width, width);
    for (std::size_t axis = shape.rank(); axis-- > 0;) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
  transposed_ = std::move(rows);
  return transposed_;
}

}  // namespace tare
