// What the search of the host and that of the device have in common: which candidates are tried, and how one sign of a
// histogram is cut into blocks of bins, outwards from zero.
#pragma once

#include "tare/numerics.hpp"

namespace tare::calib {

// Scales lie on a lattice below the min-max scale, by position: candidate_ratio. Zero points are a fraction of the
// window that is useful at their scale.
inline constexpr int coarse_step = candidate_octave / 8;
inline constexpr int coarse_candidates = 64;
inline constexpr int most_candidates = 320;  // 40 octaves: the coarse pass goes on while its last candidate is the best
inline constexpr int window_positions = 12;  // zero points of a scale in the coarse pass
inline constexpr double window_step = 1.0 / (window_positions - 1);

// Around the best of the pass before, twice: scales by `zoom_step`, then by 1, zero points within `window_step` of its
// fraction, then within a quarter of that.
inline constexpr int zoom_step = coarse_step / 8;
inline constexpr int zoom_reach = 7;      // scales on either side
inline constexpr int zoom_positions = 9;  // zero points of a scale
inline constexpr double zoom_ratio = 0.25;

/// Of a bound on costs: above what rounding does to the sums.
inline constexpr double bound_margin = 1 - 1e-6;

/// Blocks of one side: 3405 bins.
inline constexpr std::uint32_t side_blocks = (histogram_side_count + noise_block - 1) / noise_block;

/// The block of a magnitude, or side_blocks beyond the last one. 0 may be -0: the end of a grid without steps there.
TARE_HD std::uint32_t block_of(double magnitude) {
  if (magnitude >= 0x1p128) return side_blocks;
  const std::uint32_t bits = bits_of(static_cast<float>(magnitude)) & 0x7fffffffu;
  return bits >= 0x7f800000u ? side_blocks : histogram_side_bin(bits) / noise_block;
}

}  // namespace tare::calib
