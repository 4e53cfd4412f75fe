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

/// Sum of squared errors, those of values beyond the grid's ends times `gamma`. What is not finite does not count.
/// Which of two codes a value next to the middle between them gets is open: both are equally far.
double squared_error(const float* values, std::size_t count, const SignedGrid& grid, double gamma);

}  // namespace tare::calib
