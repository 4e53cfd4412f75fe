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
  SignedGrid grid;
  float gamma;
  TARE_HD float operator()(float value) const {
    const float position = value / grid.scale;
    const float error = value - quantize_dequantize(value, grid.scale, 0, grid.low, grid.high);
    const bool clipped = (position < grid.low) | (position > grid.high);
    return error * error * (clipped ? gamma : 1.0f);
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
TARE_HD double counted(float error) { return error < 3.4e38f ? static_cast<double>(error) : 0.0; }

template <class Error>
TARE_HD double sum(const float* values, std::size_t count, Error error) {
  double sums[lanes] = {};
  float errors[lanes];
  const std::size_t whole = count / lanes * lanes;
  for (std::size_t begin = 0; begin < whole; begin += lanes) {
    for (std::size_t lane = 0; lane < lanes; ++lane) errors[lane] = error(values[begin + lane]);
    for (std::size_t lane = 0; lane < lanes; ++lane) sums[lane] += counted(errors[lane]);
  }
  for (std::size_t i = whole; i < count; ++i) sums[i - whole] += counted(error(values[i]));
  return tree_sum(sums);
}

}  // namespace

TARE_CLONES double squared_error(const float* values, std::size_t count, const SignedGrid& grid, float gamma) {
  return sum(values, count, GridError{grid, gamma});
}

TARE_CLONES double saturation_error(const float* values, std::size_t count, float lowest, float highest) {
  return sum(values, count, SaturationError{lowest, highest});
}

}  // namespace tare::calib
