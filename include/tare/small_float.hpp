// The 8-bit and 4-bit floating-point types of ONNX: codes to float, exactly, and back, to nearest even.
// Odd: the "uz" formats have no negative zero (its code is NaN); e2m1 has neither NaN nor infinities and saturates
// always; e8m0, which holds powers of two alone, has functions of its own.
#pragma once

#include <cstdint>

#include "tare/numerics.hpp"
#include "tare/tensor.hpp"

namespace tare {

struct SmallFloat {
  int mantissa_bits;
  int exponent_bits;
  int bias;
  float largest;
  std::uint8_t nan;  ///< code of NaN, without sign
  bool unsigned_zero;
  bool has_infinity;
  bool has_nan;

  int sign_shift() const { return mantissa_bits + exponent_bits; }

  float decode(std::uint8_t code) const {
    const std::uint32_t sign = static_cast<std::uint32_t>(code >> sign_shift()) & 1u;
    const std::uint32_t magnitude = code & ((1u << sign_shift()) - 1);
    const std::uint32_t exponent = magnitude >> mantissa_bits;
    const std::uint32_t mantissa = magnitude & ((1u << mantissa_bits) - 1);
    if (unsigned_zero && code == nan) return float_of(0x7fc00000u);
    if (!unsigned_zero && has_nan && magnitude == nan) return float_of(0x7fc00000u);
    if (has_infinity && exponent == (1u << exponent_bits) - 1)
      return float_of((mantissa == 0 ? 0x7f800000u : 0x7fc00000u) | sign << 31);
    const float unit = float_of(static_cast<std::uint32_t>(127 + 1 - bias - mantissa_bits) << 23);
    const float value = exponent == 0 ? static_cast<float>(mantissa) * unit
                                      : static_cast<float>(mantissa | 1u << mantissa_bits) * unit *
                                            static_cast<float>(1u << (exponent - 1));
    return sign != 0 ? -value : value;
  }

  /// What is beyond the largest value becomes that value when `saturate`, else infinity or, where there is none, NaN.
  std::uint8_t encode(float x, bool saturate) const {
    const std::uint32_t sign = bits_of(x) >> 31 << sign_shift();
    if (x != x) return static_cast<std::uint8_t>(has_nan ? (unsigned_zero ? nan : nan | sign) : 0);
    const float rounded =
        float_of(bits_of(round_to_float8(x, mantissa_bits, bias, __builtin_huge_valf())) & 0x7fffffffu);
    if (rounded > largest && !saturate && has_nan) {
      if (unsigned_zero) return nan;
      const std::uint32_t infinite = has_infinity ? ((1u << exponent_bits) - 1) << mantissa_bits : nan;
      return static_cast<std::uint8_t>(infinite | sign);
    }
    const std::uint32_t bits = bits_of(rounded > largest ? largest : rounded);
    const int exponent = static_cast<int>(bits >> 23) - 127 + bias;
    std::uint32_t magnitude;
    if (exponent < 1)
      magnitude = static_cast<std::uint32_t>(
          float_of(bits) * float_of(static_cast<std::uint32_t>(127 - 1 + bias + mantissa_bits) << 23));
    else
      magnitude = static_cast<std::uint32_t>(exponent) << mantissa_bits | (bits & 0x7fffffu) >> (23 - mantissa_bits);
    if (unsigned_zero && magnitude == 0) return 0;
    return static_cast<std::uint8_t>(magnitude | sign);
  }
};

/// The format of a small floating-point type; null for all other types.
inline const SmallFloat* small_float(DataType type) {
  static constexpr SmallFloat e4m3fn = {3, 4, 7, 448.0f, 0x7f, false, false, true};
  static constexpr SmallFloat e4m3fnuz = {3, 4, 8, 240.0f, 0x80, true, false, true};
  static constexpr SmallFloat e5m2 = {2, 5, 15, 57344.0f, 0x7f, false, true, true};
  static constexpr SmallFloat e5m2fnuz = {2, 5, 16, 57344.0f, 0x80, true, false, true};
  static constexpr SmallFloat e2m1 = {1, 2, 1, 6.0f, 0, false, false, false};
  switch (type) {
    case DataType::float8e4m3fn: return &e4m3fn;
    case DataType::float8e4m3fnuz: return &e4m3fnuz;
    case DataType::float8e5m2: return &e5m2;
    case DataType::float8e5m2fnuz: return &e5m2fnuz;
    case DataType::float4e2m1: return &e2m1;
    default: return nullptr;
  }
}

/// Code c of float8e8m0 is 2^(c - 127); the last one is NaN.
inline float decode_power(std::uint8_t code) {
  if (code == 0xff) return float_of(0x7fc00000u);
  return float_of(code == 0 ? 0x00400000u : std::uint32_t{code} << 23);
}

enum class PowerRounding : std::uint8_t { up, down, nearest };

/// What is beyond the largest or the smallest power becomes that one when `saturate`, else NaN. Zero and what is below
/// it count as too small: there is no code for them.
inline std::uint8_t encode_power(float x, bool saturate, PowerRounding rounding) {
  constexpr std::uint8_t nan = 0xff, largest = 0xfe, smallest = 0;
  if (x != x) return nan;
  if (!(x >= float_of(0x00400000u))) return saturate ? smallest : nan;
  const std::uint32_t exponent = bits_of(x) >> 23;
  // Of the way to the next power, in 2^-23; floats below 2^-126 have no leading one.
  const std::uint32_t fraction = exponent == 0 ? 2 * (bits_of(x) - 0x00400000u) : bits_of(x) & 0x7fffffu;
  const bool rises =
      rounding == PowerRounding::up ? fraction != 0 : rounding == PowerRounding::nearest && fraction >= 0x400000u;
  const std::uint32_t code = exponent + (rises ? 1u : 0u);
  return code <= largest ? static_cast<std::uint8_t>(code) : saturate ? largest : nan;
}

}  // namespace tare
