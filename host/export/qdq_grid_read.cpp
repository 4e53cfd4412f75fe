// Odd: blocks of a tensor of more than two dimensions have a scale for every element beside the axis of the blocks;
// tare has one a channel, so that the others must be the same.
#include "export/qdq_grid_read.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/real_element.hpp"
#include "tare/small_float.hpp"

namespace tare::qdq {
namespace {

bool has_attribute(const onnx::NodeProto& node, std::string_view name) {
  return std::any_of(node.attribute().begin(), node.attribute().end(), [&](const auto& a) { return a.name() == name; });
}

struct CodeType {
  NumberFormat format = NumberFormat::integer;
  int bits = 0;  ///< 0: none that tare quantizes to
  bool is_signed = false;
};
CodeType code_type(DataType type) {
  switch (type) {
    case DataType::int2: return {.bits = 2, .is_signed = true};
    case DataType::uint2: return {.bits = 2};
    case DataType::int4: return {.bits = 4, .is_signed = true};
    case DataType::uint4: return {.bits = 4};
    case DataType::int8: return {.bits = 8, .is_signed = true};
    case DataType::uint8: return {.bits = 8};
    case DataType::int16: return {.bits = 16, .is_signed = true};
    case DataType::uint16: return {.bits = 16};
    case DataType::int32: return {.bits = 32, .is_signed = true};
    case DataType::float8e4m3fn: return {.format = NumberFormat::float8e4m3fn, .bits = 8};
    case DataType::float8e5m2: return {.format = NumberFormat::float8e5m2, .bits = 8};
    default: return {};
  }
}

/// One for all, or one for each of the encodings: Max and Min line shapes up from behind.
bool lines_up(const Tensor& bound, const TensorEncodings& tensor, const std::optional<Shape>& shape) {
  if (bound.elements() == 1) return true;
  const QuantizerSpec& spec = tensor.spec;
  if (!shape || !spec.channel_axis || spec.block_axis) return false;
  return bound.rank() + static_cast<std::size_t>(*spec.channel_axis) == shape->rank() &&
         bound.shape()[0] == bound.elements() && bound.elements() == static_cast<std::int64_t>(tensor.encodings.size());
}

/// The codes that the clamp leaves: fewer bits, or a strict symmetric grid. False when they are neither.
bool narrow(TensorEncodings& tensor, const Bounds& bounds, const std::optional<Shape>& shape) {
  if (!lines_up(*bounds.low, tensor, shape) || !lines_up(*bounds.high, tensor, shape)) return false;
  QuantizerSpec& spec = tensor.spec;
  const auto at = [](const Tensor& bound, std::size_t i) {
    return static_cast<double>(real_element(bound, bound.elements() == 1 ? 0 : static_cast<std::int64_t>(i)));
  };
  std::optional<double> steps;
  for (std::size_t i = 0; i < tensor.encodings.size(); ++i) {
    Encoding& encoding = tensor.encodings[i];
    const double low = std::round(at(*bounds.low, i) / encoding.scale);
    const double high = std::round(at(*bounds.high, i) / encoding.scale);
    if (std::abs(low * encoding.scale - at(*bounds.low, i)) > 1e-3 * encoding.scale ||
        std::abs(high * encoding.scale - at(*bounds.high, i)) > 1e-3 * encoding.scale)
      return false;
    const bool has_zero = low <= 0 && high >= 0;
    if (!has_zero || low < encoding.offset || high > encoding.offset + static_cast<double>(spec.steps())) return false;
    if (steps && *steps != high - low) return false;
    steps = high - low;
    encoding.offset = low;
  }
  const auto all_begin_at = [&](double offset) {
    return std::all_of(tensor.encodings.begin(), tensor.encodings.end(),
                       [&](const Encoding& encoding) { return encoding.offset == offset; });
  };
  // Signed or not: only a strict symmetric grid leaves out one code. A clamp that leaves all is the model's own.
  for (int bits = 2; bits <= spec.bitwidth; ++bits) {
    const double whole = std::ldexp(1.0, bits) - 1;
    const bool strict = *steps == whole - 1 && all_begin_at(-*steps / 2);
    if (!strict && (*steps != whole || bits == spec.bitwidth)) continue;
    spec.bitwidth = bits;
    spec.strict_symmetric = strict;
    spec.symmetric = strict || (spec.symmetric && all_begin_at(-std::ldexp(1.0, bits - 1)));
    return true;
  }
  return false;
}

double lowest_of(const CodeType& code) { return code.is_signed ? -std::ldexp(1.0, code.bits - 1) : 0; }

/// Where the scale of every block stands, in the order [channel, block]; sets the axes. None where scales depend on
/// more than one axis beside that of the blocks.
std::optional<std::vector<std::int64_t>> block_order(const Grid& grid, std::size_t block_axis, QuantizerSpec& spec) {
  const Shape& shape = grid.scales->shape();
  if (shape.rank() < 2 || block_axis >= shape.rank()) return {};
  const auto stride = [&](std::size_t axis) { return shape.elements(axis + 1, shape.rank()); };
  const auto index_at = [&](std::size_t channel_axis, std::int64_t channel, std::int64_t block) {
    return channel * stride(channel_axis) + block * stride(block_axis);
  };
  const auto depends_on_these_alone = [&](std::size_t channel_axis) {
    for (std::int64_t i = 0; i < grid.scales->elements(); ++i) {
      const std::int64_t first = index_at(channel_axis, i / stride(channel_axis) % shape[channel_axis],
                                          i / stride(block_axis) % shape[block_axis]);
      if (real_element(*grid.scales, i) != real_element(*grid.scales, first)) return false;
      if (grid.zero_points != nullptr && code_at(*grid.zero_points, i) != code_at(*grid.zero_points, first))
        return false;
    }
    return true;
  };
  for (std::size_t axis = 0; axis < shape.rank(); ++axis) {
    if (axis == block_axis || !depends_on_these_alone(axis)) continue;
    spec.block_axis = static_cast<int>(block_axis);
    spec.channel_axis = static_cast<int>(axis);
    std::vector<std::int64_t> order;
    for (std::int64_t channel = 0; channel < shape[axis]; ++channel)
      for (std::int64_t block = 0; block < shape[block_axis]; ++block) order.push_back(index_at(axis, channel, block));
    return order;
  }
  return {};
}

}  // namespace

std::int64_t attribute(const onnx::NodeProto& node, std::string_view name, std::int64_t otherwise) {
  for (const onnx::AttributeProto& a : node.attribute())
    if (a.name() == name) return a.i();
  return otherwise;
}

float code_at(const Tensor& tensor, std::int64_t i) {
  if (const SmallFloat* format = small_float(tensor.type())) return format->decode(tensor.data<std::uint8_t>()[i]);
  switch (tensor.type()) {
    case DataType::int16: return static_cast<float>(tensor.data<std::int16_t>()[i]);
    case DataType::uint16: return static_cast<float>(tensor.data<std::uint16_t>()[i]);
    case DataType::int32: return static_cast<float>(tensor.data<std::int32_t>()[i]);
    case DataType::uint8:
    case DataType::uint4:
    case DataType::uint2: return static_cast<float>(tensor.data<std::uint8_t>()[i]);
    default: return static_cast<float>(tensor.data<std::int8_t>()[i]);
  }
}

std::optional<TensorEncodings> read_grid(const onnx::NodeProto& node, const Grid& grid,
                                         const std::optional<Bounds>& bounds) {
  if (grid.scales == nullptr || !is_quantizable(grid.scales->type()) || grid.scales->elements() == 0) return {};
  const bool one_each =
      grid.scales->elements() == 1 && grid.zero_points != nullptr && grid.zero_points->elements() == 1;
  if (grid.zero_points != nullptr && !one_each && grid.zero_points->shape() != grid.scales->shape()) return {};
  const CodeType code = code_type(grid.zero_points == nullptr ? grid.codes : grid.zero_points->type());
  const bool integers = code.format == NumberFormat::integer;
  if (code.bits == 0 || (!integers && bounds)) return {};
  TensorEncodings result;
  QuantizerSpec& spec = result.spec;
  spec.format = code.format;
  spec.bitwidth = code.bits;
  const std::int64_t count = grid.scales->elements();
  const std::int64_t block_size = attribute(node, "block_size", 0);
  std::int64_t axis = attribute(node, "axis", 1);
  if (axis < 0 && grid.shape) axis += static_cast<std::int64_t>(grid.shape->rank());
  constexpr std::int64_t largest_block = std::numeric_limits<int>::max();
  if (axis >= static_cast<std::int64_t>(Shape::max_rank) || block_size > largest_block) return {};
  // A scale alone is of the whole tensor unless there is one channel; tools may name an axis all the same.
  const bool one_channel = has_attribute(node, "axis") && axis >= 0 && grid.shape &&
                           axis < static_cast<std::int64_t>(grid.shape->rank()) &&
                           (*grid.shape)[static_cast<std::size_t>(axis)] == 1;
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  if (block_size > 0) {
    const auto found = axis < 0 ? std::nullopt : block_order(grid, static_cast<std::size_t>(axis), spec);
    if (!found) return {};
    order = *found;
    spec.block_size = static_cast<int>(block_size);
  } else if (grid.scales->rank() == 1 && (count > 1 || one_channel)) {
    if (axis < 0) return {};
    spec.channel_axis = static_cast<int>(axis);
  } else if (count != 1) {
    return {};
  }
  spec.symmetric = code.is_signed;
  for (const std::int64_t i : order) {
    const auto scale = static_cast<double>(real_element(*grid.scales, i));
    if (!(scale > 0) || !std::isfinite(scale)) return {};
    const auto zero = static_cast<double>(grid.zero_points == nullptr ? 0 : code_at(*grid.zero_points, i));
    if (zero != 0) spec.symmetric = false;
    if (zero != 0 && !integers) return {};
    result.encodings.push_back({0, 0, scale, integers ? lowest_of(code) - zero : 0});
  }
  if (bounds && !narrow(result, *bounds, grid.shape)) return {};
  const double largest = spec.format == NumberFormat::float8e4m3fn ? 448 : 57344;
  for (Encoding& encoding : result.encodings) {
    encoding.min = encoding.scale * (integers ? encoding.offset : -largest);
    encoding.max = encoding.scale * (integers ? encoding.offset + static_cast<double>(spec.steps()) : largest);
  }
  return result;
}

float zero_point_of(const Encoding& encoding, DataType codes) {
  const CodeType code = code_type(codes);
  return code.format == NumberFormat::integer ? static_cast<float>(lowest_of(code) - encoding.offset) : 0;
}

}  // namespace tare::qdq
