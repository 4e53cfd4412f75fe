// How the search cuts one sign of a histogram into blocks of bins, outwards from zero; for host and device.
#pragma once

#include "tare/numerics.hpp"

namespace tare::calib {

/// Blocks of one side: 3405 bins.
inline constexpr std::uint32_t side_blocks = (histogram_side_count + noise_block - 1) / noise_block;

/// The block of a magnitude, or side_blocks beyond the last one. 0 may be -0: the end of a grid without steps there.
TARE_HD std::uint32_t block_of(double magnitude) {
  if (magnitude >= 0x1p128) return side_blocks;
  const std::uint32_t bits = bits_of(static_cast<float>(magnitude)) & 0x7fffffffu;
  return bits >= 0x7f800000u ? side_blocks : histogram_side_bin(bits) / noise_block;
}

}  // namespace tare::calib
