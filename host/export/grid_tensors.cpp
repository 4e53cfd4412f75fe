// Which ONNX type and zero point a grid gets. Parameters with a symmetric grid are signed with zero point 0, others
// unsigned with zero point -offset; activations are what the caller asks for. The grid is AIMET's either way.
#include "export/grid_tensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "plan/encoding_index.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

DataType integer_type(int bitwidth, bool is_signed) {
  if (bitwidth == 4) return is_signed ? DataType::int4 : DataType::uint4;
  if (bitwidth <= 8) return is_signed ? DataType::int8 : DataType::uint8;
  if (bitwidth <= 16) return is_signed ? DataType::int16 : DataType::uint16;
  return DataType::int32;
}

int bits_of_type(int bitwidth) { return bitwidth == 4 ? 4 : bitwidth <= 8 ? 8 : bitwidth <= 16 ? 16 : 32; }

[[noreturn]] void refuse(const TensorEncodings& encodings, ErrorKind kind, std::string_view why) {
  throw Error(kind, fmt::format("tensor '{}': {}", encodings.tensor, why));
}

float positive_scale(const TensorEncodings& encodings, const Encoding& encoding) {
  const auto scale = static_cast<float>(encoding.scale);
  if (!(scale > 0) || !std::isfinite(scale) || !(std::fabs(encoding.offset) <= 0x1p32))
    refuse(encodings, ErrorKind::data,
           fmt::format("scale {} and offset {} make no grid", encoding.scale, encoding.offset));
  return scale;
}

}  // namespace

std::optional<std::int64_t> shift_of_signed_codes(const TensorEncodings& encodings, ActivationCodes activations) {
  const QuantizerSpec& spec = encodings.spec;
  const bool free = encodings.role == SiteRole::activation && spec.bitwidth <= 16;  // wider types are signed alone
  if (free && activations == ActivationCodes::as_unsigned) return std::nullopt;
  const double first = encodings.encodings.empty() ? 0 : encodings.encodings[0].offset;
  const bool centred = spec.symmetric && first < 0 &&
                       std::all_of(encodings.encodings.begin(), encodings.encodings.end(),
                                   [&](const Encoding& e) { return e.offset == first; });
  if (centred) return std::llround(-first);
  if (free && activations == ActivationCodes::as_signed) return std::int64_t{1} << (spec.bitwidth - 1);
  return std::nullopt;
}

OnnxGrid onnx_grid(const TensorEncodings& encodings, ActivationCodes activations) {
  const QuantizerSpec& spec = encodings.spec;
  if (encodings.encodings.empty()) refuse(encodings, ErrorKind::data, "it has no encoding");
  OnnxGrid grid;
  if (spec.format != NumberFormat::integer) {
    grid.type = spec.format == NumberFormat::float8e5m2 ? DataType::float8e5m2 : DataType::float8e4m3fn;
    grid.opset = 19;
    for (const Encoding& encoding : encodings.encodings) {
      grid.scales.push_back(positive_scale(encodings, encoding));
      grid.zero_points.push_back(0);
    }
    return grid;
  }
  if (spec.bitwidth < 2 || spec.bitwidth > 32)
    refuse(encodings, ErrorKind::unsupported, fmt::format("no ONNX type has {} bits", spec.bitwidth));
  const std::optional<std::int64_t> shift = shift_of_signed_codes(encodings, activations);
  const bool is_signed = shift.has_value();
  if (spec.bitwidth > 16 && !is_signed)
    refuse(encodings, ErrorKind::unsupported,
           fmt::format("{} bits can only be exported with a symmetric grid", spec.bitwidth));
  grid.type = integer_type(spec.bitwidth, is_signed);
  const int bits = bits_of_type(spec.bitwidth);
  const bool wide = bits == 4 || bits == 16 || spec.block_axis;
  grid.opset = wide ? 21 : 13;
  const std::int64_t type_lowest = is_signed ? -(std::int64_t{1} << (bits - 1)) : 0;
  const std::int64_t type_highest = type_lowest + (std::int64_t{1} << bits) - 1;
  for (const Encoding& encoding : encodings.encodings) {
    const float scale = positive_scale(encodings, encoding);
    const std::int64_t offset = std::llround(encoding.offset);
    const std::int64_t lowest = -shift.value_or(0);
    const std::int64_t highest = lowest + spec.steps();
    const std::int64_t zero_point = lowest - offset;
    if (lowest < type_lowest || highest > type_highest || zero_point < type_lowest || zero_point > type_highest)
      refuse(
          encodings, ErrorKind::unsupported,
          fmt::format("its grid from {} with zero point {} does not fit {}", lowest, zero_point, name_of(grid.type)));
    grid.scales.push_back(scale);
    grid.zero_points.push_back(zero_point);
    grid.lowest.push_back(lowest);
    grid.highest.push_back(highest);
    grid.whole_range = grid.whole_range && lowest == type_lowest && highest == type_highest;
  }
  return grid;
}

std::vector<std::int64_t> scale_shape(const TensorEncodings& encodings, const Shape& shape) {
  const QuantizerSpec& spec = encodings.spec;
  const auto count = static_cast<std::int64_t>(encodings.encodings.size());
  const auto dim = [&](int axis) {
    if (axis < 0 || axis >= static_cast<int>(shape.rank()))
      refuse(encodings, ErrorKind::data, fmt::format("axis {} is beyond its shape {}", axis, shape.text()));
    return shape[static_cast<std::size_t>(axis)];
  };
  const std::int64_t channels = spec.channel_axis ? dim(*spec.channel_axis) : 1;
  if (!spec.block_axis) {
    if (!spec.channel_axis) return {};
    if (channels >= 0 && channels != count)
      refuse(encodings, ErrorKind::data, fmt::format("{} encodings do not fit its {} channels", count, channels));
    return {count};
  }
  const std::int64_t along = dim(*spec.block_axis);
  if (spec.block_size < 1 || along < 0) refuse(encodings, ErrorKind::data, "its blocks are not known");
  const std::int64_t blocks = (along + spec.block_size - 1) / spec.block_size;
  if (blocks * channels != count)
    refuse(encodings, ErrorKind::data,
           fmt::format("{} encodings do not fit {} channels of {} blocks", count, channels, blocks));
  std::vector<std::int64_t> dims(shape.begin(), shape.end());
  dims[static_cast<std::size_t>(*spec.block_axis)] = blocks;
  return dims;
}

std::vector<std::size_t> scale_indices(const TensorEncodings& encodings, const std::vector<std::int64_t>& shape) {
  const Shape scales(shape.begin(), shape.end());
  std::vector<std::size_t> result(static_cast<std::size_t>(scales.elements()));
  std::iota(result.begin(), result.end(), std::size_t{0});
  if (!encodings.spec.block_axis) return result;
  QuantizerSpec one_a_block = encodings.spec;
  one_a_block.block_size = 1;
  const EncodingIndex encoding_of(one_a_block, scales);
  for (std::size_t& scale : result) scale = encoding_of[scale];
  return result;
}

onnx::TensorProto integer_tensor(DataType type, const std::vector<std::int64_t>& dims,
                                 const std::vector<std::int64_t>& values) {
  onnx::TensorProto tensor;
  tensor.set_data_type(static_cast<int>(type));
  for (const std::int64_t dim : dims) tensor.add_dims(dim);
  std::string& raw = *tensor.mutable_raw_data();
  const bool packed = type == DataType::int4 || type == DataType::uint4;
  const std::size_t width = size_of(type);
  raw.reserve(packed ? (values.size() + 1) / 2 : values.size() * width);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto code = static_cast<std::uint64_t>(values[i]);
    if (packed && i % 2 == 1)
      raw.back() = static_cast<char>(static_cast<unsigned char>(raw.back()) | (code & 0xf) << 4);
    else if (packed)
      raw.push_back(static_cast<char>(code & 0xf));
    else
      for (std::size_t byte = 0; byte < width; ++byte) raw.push_back(static_cast<char>(code >> (8 * byte) & 0xff));
  }
  return tensor;
}

onnx::TensorProto real_tensor(DataType type, const std::vector<std::int64_t>& dims, const std::vector<float>& values) {
  onnx::TensorProto tensor;
  tensor.set_data_type(static_cast<int>(type));
  for (const std::int64_t dim : dims) tensor.add_dims(dim);
  for (const float value : values) {
    if (type == DataType::float16)
      tensor.add_int32_data(float_to_half(value));
    else if (type == DataType::bfloat16)
      tensor.add_int32_data(float_to_bfloat(value));
    else
      tensor.add_float_data(value);
  }
  return tensor;
}

}  // namespace tare
