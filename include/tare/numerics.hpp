// Every formula of the product that touches an element, once, for host and device: conversions of half types, quantize,
// dequantize, histogram bins, search cost. Both backends, the tests and the training code call these.
// Always inlined: a copy compiled for AVX-512 must never be the one the linker keeps for a machine without it.
// Built without FMA contraction and with IEEE division, so that the CPU, CUDA and ONNX Runtime agree bit for bit.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define TARE_HD __host__ __device__ __forceinline__
#else
#define TARE_HD inline __attribute__((always_inline))
#endif

namespace tare {

TARE_HD std::uint32_t bits_of(float value) { return __builtin_bit_cast(std::uint32_t, value); }
TARE_HD float float_of(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

/// IEEE binary16 to float, exactly.
TARE_HD float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t rest = half & 0x7fffu;
  // Shift exponent and mantissa into place, then correct the bias by a multiplication, which also normalises subnormals.
  const float scaled = float_of(rest << 13) * 0x1p112f;
  const std::uint32_t magnitude = rest >= 0x7c00u ? (0x7f800000u | (rest << 13)) : bits_of(scaled);
  return float_of(sign | magnitude);
}

/// float to IEEE binary16, to nearest even; NaN stays NaN (quiet).
TARE_HD std::uint16_t float_to_half(float value) {
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  } else if (magnitude >= 0x477ff000u) {  // 65520 and above round to infinity
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // subnormal: let the adder round at the right place
    half = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | half);
}

TARE_HD float bfloat_to_float(std::uint16_t value) { return float_of(static_cast<std::uint32_t>(value) << 16); }

/// float to bfloat16, to nearest even; NaN stays NaN (quiet).
TARE_HD std::uint16_t float_to_bfloat(float value) {
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t quiet = (bits >> 16) | 0x40u;
  return static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

}  // namespace tare
