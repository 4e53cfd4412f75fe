// 32 sums by index, so that lanes need no reassociation, then one tree.
#include "calib/true_error.hpp"

#include "calib/clones.hpp"
#include "calib/tree_sum.hpp"
#include "tare/numerics.hpp"

namespace tare::calib {
namespace {

constexpr std::size_t lanes = noise_block;

// Errors of one value. No branches, so that the compiler makes vectors of them.
struct GridError {
  float lowest;
  float highest;
  float gamma;
  TARE_HD float of(float value, float quantized) const {
    const float error = value - quantized;
    const bool clipped = (value < lowest) | (value > highest);
    return error * error * (clipped ? gamma : 1.0f);
  }
};
struct ErrorByDivision {
  SignedGrid grid;
  GridError error;
  TARE_HD float operator()(float value) const {
    return error.of(value, quantize_dequantize(value, grid.scale, 0, grid.low, grid.high));
  }
};
/// The same bits.
struct ErrorByProduct {
  float scale;
  float reciprocal;
  float rest;
  GridError error;
  TARE_HD float operator()(float value) const {
    return error.of(value, quantize_dequantize_by_product(value, scale, reciprocal, rest, error.lowest, error.highest));
  }
};
struct SaturationError {
  float lowest;
  float highest;
  TARE_HD float operator()(float value) const {
    const float error = value - clamp(value, lowest, highest);
    return error * error;
  }
};
/// NaN and infinities take no side.
TARE_HD float counted(float error) { return error < 3.4e38f ? error : 0.0f; }

template <class Error>
TARE_HD double sum(const float* values, std::size_t count, Error error) {
  double sums[lanes] = {};
  float errors[lanes];
  const std::size_t whole = count / lanes * lanes;
  for (std::size_t begin = 0; begin < whole; begin += lanes) {
    for (std::size_t lane = 0; lane < lanes; ++lane) errors[lane] = counted(error(values[begin + lane]));
    for (std::size_t lane = 0; lane < lanes; ++lane) sums[lane] += static_cast<double>(errors[lane]);
  }
  for (std::size_t i = whole; i < count; ++i) sums[i - whole] += static_cast<double>(counted(error(values[i])));
  return tree_sum(sums);
}

TARE_CLONES double sum_by_division(const float* values, std::size_t count, const ErrorByDivision& error) {
  return sum(values, count, error);
}
TARE_FUSED_CLONES double sum_by_product(const float* values, std::size_t count, const ErrorByProduct& error) {
  return sum(values, count, error);
}

}  // namespace

double squared_error(const float* values, std::size_t count, const SignedGrid& grid, float gamma) {
  const GridError error{dequantize(grid.low, grid.scale, 0), dequantize(grid.high, grid.scale, 0), gamma};
  const float reciprocal = has_multiply_add() ? exact_reciprocal(grid.scale, 0, grid.low, grid.high) : 0;
  if (reciprocal == 0) return sum_by_division(values, count, {grid, error});
  return sum_by_product(values, count, {grid.scale, reciprocal, rest_of_reciprocal(grid.scale, reciprocal), error});
}

TARE_CLONES double saturation_error(const float* values, std::size_t count, float lowest, float highest) {
  return sum(values, count, SaturationError{lowest, highest});
}

}  // namespace tare::calib
