// The order in which blocks of bins, and lanes of values, are summed: the same on every device.
#pragma once

#include "tare/numerics.hpp"

namespace tare::calib {

/// Sums 32 values by halves: i and i + 16, then i and i + 8, …
TARE_HD double tree_sum(double* values) {
  for (std::uint32_t width = noise_block / 2; width > 0; width /= 2)
    for (std::uint32_t i = 0; i < width; ++i) values[i] += values[i + width];
  return values[0];
}

}  // namespace tare::calib
