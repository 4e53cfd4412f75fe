// What quantize-dequantize needs of a grid, and does with it: one struct a formula, for the loops of the CPU and the
// kernels of CUDA. keeps_its_results: what is quantized stays as it is when that is done again.
#pragma once

#include "tare/numerics.hpp"

namespace tare::cpu {

struct ByDivision {
  static constexpr bool keeps_its_results = false;  ///< a zero point that is no integer moves the ends of the grid
  float scale, zero_point, low, high;

  ByDivision() = default;
  TARE_HD explicit ByDivision(const Grid& grid)
      : scale(grid.scale), zero_point(grid.zero_point), low(grid.low), high(grid.high) {}
  TARE_HD float operator()(float x) const { return quantize_dequantize(x, scale, zero_point, low, high); }
};

/// Of grids that have a reciprocal.
struct ByProduct {
  static constexpr bool keeps_its_results = true;
  float scale, reciprocal, rest, lowest, highest;

  ByProduct() = default;
  TARE_HD explicit ByProduct(const Grid& grid)
      : scale(grid.scale), reciprocal(grid.reciprocal), rest(grid.rest), lowest(grid.lowest), highest(grid.highest) {}
  TARE_HD float operator()(float x) const {
    return quantize_dequantize_by_product(x, scale, reciprocal, rest, lowest, highest);
  }
};

struct HalfUp {
  static constexpr bool keeps_its_results = false;
  float scale, offset, minimum, maximum;

  HalfUp() = default;
  TARE_HD explicit HalfUp(const Grid& grid)
      : scale(grid.scale), offset(grid.offset), minimum(grid.minimum), maximum(grid.maximum) {}
  TARE_HD float operator()(float x) const { return quantize_dequantize_half_up(x, scale, offset, minimum, maximum); }
};

/// Needs no grid.
struct Float16 {
  Float16() = default;
  TARE_HD explicit Float16(const Grid&) {}
  TARE_HD float operator()(float x) const { return half_to_float(float_to_half(x)); }
};

/// 3 bits of mantissa: e4m3fn, 2: e5m2. NaN stays the NaN that it is, made quiet: arithmetic does so on the CPU, but
/// gives another one on a GPU.
template <int mantissa_bits>
struct Float8 {
  static constexpr bool keeps_its_results = false;
  float scale;

  Float8() = default;
  TARE_HD explicit Float8(const Grid& grid) : scale(grid.scale) {}
  TARE_HD float operator()(float x) const {
    const float steps = x / scale;
    const float rounded = mantissa_bits == 3 ? round_to_float8e4m3fn(steps) : round_to_float8e5m2(steps);
    return x != x ? float_of(bits_of(x) | 0x400000u) : rounded * scale;
  }
};

}  // namespace tare::cpu
