// 32 sums by index, so that lanes need no reassociation, then one tree.
#include "calib/true_error.hpp"

#include <algorithm>
#include <cmath>

#include "calib/clones.hpp"
#include "calib/tree_sum.hpp"
#include "tare/numerics.hpp"

namespace tare::calib {
namespace {

constexpr std::size_t lanes = noise_block;
constexpr std::size_t rows = 4;  // whose squares are added up in float32: a conversion for four values

/// Error of one value. No branches, so that the compiler makes vectors of them. A value inside of the grid has no
/// saturation error, one beyond its ends no rounding error: one square holds both.
struct GridError {
  float scale;
  float reciprocal;
  float lowest;
  float highest;
  float saturation_factor;  ///< square root of gamma
  TARE_HD float operator()(float value) const {
    const float inside = clamp(value, lowest, highest);
    const float rounding = inside - round_half_even(inside * reciprocal) * scale;
    return rounding + (value - inside) * saturation_factor;
  }
};

TARE_CLONES double sum_of_errors(const float* values, std::size_t count, const GridError& grid_error) {
  const GridError error_of = grid_error;
  double sums[lanes] = {};
  float squares[lanes];
  for (; count >= rows * lanes; values += rows * lanes, count -= rows * lanes) {
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      float sum = 0;
      for (std::size_t row = 0; row < rows; ++row) {
        const float error = error_of(values[row * lanes + lane]);
        sum += error * error;
      }
      squares[lane] = sum;
    }
    for (std::size_t lane = 0; lane < lanes; ++lane) sums[lane] += static_cast<double>(squares[lane]);
  }
  float last[lanes];
  for (; count > 0; values += lanes, count -= std::min(lanes, count)) {
    const float* row = values;
    if (count < lanes) {
      std::fill(std::copy_n(values, count, last), last + lanes, 0.0f);  // zeros have no error
      row = last;
    }
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const float error = error_of(row[lane]);
      squares[lane] = error * error;
    }
    for (std::size_t lane = 0; lane < lanes; ++lane) sums[lane] += static_cast<double>(squares[lane]);
  }
  return tree_sum(sums);
}

/// The same without what is not finite.
double sum_of_finite(const float* values, std::size_t count, const GridError& error_of) {
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float error = error_of(values[i]);
    if (std::isfinite(error * error)) sum += static_cast<double>(error * error);
  }
  return sum;
}

}  // namespace

double squared_error(const float* values, std::size_t count, const SignedGrid& grid, double gamma) {
  const GridError error{grid.scale, 1 / grid.scale, dequantize(grid.low, grid.scale, 0),
                        dequantize(grid.high, grid.scale, 0), static_cast<float>(std::sqrt(gamma))};
  const double sum = sum_of_errors(values, count, error);
  return std::isfinite(sum) ? sum : sum_of_finite(values, count, error);
}

}  // namespace tare::calib
