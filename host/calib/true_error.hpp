// Errors of a grid on values in memory, in vectors; the same bits on every instruction set.
#pragma once

#include <cstddef>

namespace tare::calib {

/// The grid scale * code, low <= code <= high, zero included.
struct SignedGrid {
  float scale;
  float low;
  float high;
};

/// Sum of squared errors, those of values beyond the grid's ends times `gamma`. NaN and infinities count as 0.
double squared_error(const float* values, std::size_t count, const SignedGrid& grid, float gamma);
/// The part of values beyond [lowest, highest] in that sum, for gamma = 1.
double saturation_error(const float* values, std::size_t count, float lowest, float highest);

}  // namespace tare::calib
