// What the gradient of quantize-dequantize needs of a grid: one struct a rounding, for the loops of the CPU and the
// kernels of CUDA.
#pragma once

#include "tare/numerics.hpp"

namespace tare::cpu {

struct GradientHalfEven {
  float scale, zero_point, low, high;

  TARE_HD explicit GradientHalfEven(const Grid& grid)
      : scale(grid.scale), zero_point(grid.zero_point), low(grid.low), high(grid.high) {}
  TARE_HD GradientTerms operator()(float x, float gradient) const {
    return tare::quantize_gradient(x, gradient, scale, zero_point, low, high);
  }
};

struct GradientHalfUp {
  float scale, offset, minimum, maximum;

  TARE_HD explicit GradientHalfUp(const Grid& grid)
      : scale(grid.scale), offset(grid.offset), minimum(grid.minimum), maximum(grid.maximum) {}
  TARE_HD GradientTerms operator()(float x, float gradient) const {
    return tare::quantize_gradient_half_up(x, gradient, scale, offset, minimum, maximum);
  }
};

}  // namespace tare::cpu
