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

}  // namespace tare::cpu
