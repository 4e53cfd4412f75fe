// What the operators on integer codes share.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/elementwise.hpp"
#include "tare/numerics.hpp"

namespace tare::cpu {

/// The codes of an integer type, as floats; `wide` when float32 does not hold all of them.
struct CodeRange {
  float low;
  float high;
  bool wide = false;
};

/// Calls function.operator()<T>(range) with the C++ type of an integer code type; fails for others.
template <class Function>
void dispatch_codes(const Call& call, DataType type, Function&& function) {
  switch (type) {
    case DataType::int2: return function.template operator()<std::int8_t>(CodeRange{-2, 1});
    case DataType::uint2: return function.template operator()<std::uint8_t>(CodeRange{0, 3});
    case DataType::int4: return function.template operator()<std::int8_t>(CodeRange{-8, 7});
    case DataType::uint4: return function.template operator()<std::uint8_t>(CodeRange{0, 15});
    case DataType::int8: return function.template operator()<std::int8_t>(CodeRange{-128, 127});
    case DataType::uint8: return function.template operator()<std::uint8_t>(CodeRange{0, 255});
    case DataType::int16: return function.template operator()<std::int16_t>(CodeRange{-32768, 32767});
    case DataType::uint16: return function.template operator()<std::uint16_t>(CodeRange{0, 65535});
    case DataType::int32: return function.template operator()<std::int32_t>(CodeRange{-0x1p31f, 0x1p31f, true});
    default: fail_type(call, type);
  }
}

void register_quantize_linear(OperatorTable& table);

/// Which scale an element has: x is seen as [outer, axis, inner].
struct Granularity {
  std::int64_t axis = 1;
  std::int64_t inner = 1;
  std::int64_t block = 1;   ///< elements along the axis that share a scale
  std::int64_t scales = 1;  ///< along the axis
  bool whole = true;        ///< one scale for all
  bool blocked = false;     ///< scales differ along outer and inner, too

  TARE_HD std::int64_t scale_of(std::int64_t element) const {
    if (whole) return 0;
    const std::int64_t place = element / inner % axis / block;
    if (!blocked) return place;
    return (element / (inner * axis) * scales + place) * inner + element % inner;
  }
  /// Elements from `element` on that share its scale.
  std::int64_t run(std::int64_t element, std::int64_t end) const {
    if (whole) return end - element;
    if (blocked) return 1;
    return std::min(end - element, inner - element % inner);
  }
};

/// What QuantizeLinear gives: the type of its zero point, or the one that its node asks for.
DataType code_type(const Call& call);
/// What DequantizeLinear gives: `output_dtype` of opset 23, or the type of its scales.
DataType dequantized_type(const Call& call);

/// The grid of DynamicQuantizeLinear for values from low <= 0 to high >= 0.
struct DynamicGrid {
  float scale, zero_point;
};
TARE_HD DynamicGrid dynamic_grid(float low, float high) {
  const float range = (high - low) / 255.0f;
  const float scale = range == 0 ? 1.0f : range;
  return {scale, clamp(round_half_even(clamp(-low / scale, 0.0f, 255.0f)), 0.0f, 255.0f)};
}

/// From `axis`, `block_size` and the shape of the scale; fails when they do not fit.
Granularity granularity(const Call& call);

}  // namespace tare::cpu
