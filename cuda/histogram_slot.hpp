// Where a bin's counter lies in shared memory. A fine bin's place is the low bits of its number, xored with the octave
// and the sign: data on powers of two, and pairs ±x, then fall into different banks. It takes five integer operations,
// where the dense number takes eleven. Odd: 8192 places for 6810 bins; the coarse bins fill rows that no octave uses.
#pragma once

#include "tare/numerics.hpp"

namespace tare::cuda {

inline constexpr std::uint32_t histogram_slots = 8192;
inline constexpr std::uint32_t fine_magnitude = histogram_first_fine_octave << 23;    // 2^-30
inline constexpr std::uint32_t fine_magnitude_end = histogram_end_fine_octave << 23;  // 2^20

/// Of a finite float32 with fine_magnitude <= |x| < fine_magnitude_end. Any other bits give some place inside the
/// table.
TARE_HD std::uint32_t fine_slot(std::uint32_t bits) {
  const std::uint32_t sign = 0u - (bits >> 31);
  return (((bits >> (23 - histogram_fine_bits)) ^ (bits >> 23)) & 0xfffu) ^ (sign & 0x1010u);
}

/// Of any finite, non-zero float32; one place a bin.
TARE_HD std::uint32_t histogram_slot(std::uint32_t bits) {
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude >= fine_magnitude && magnitude < fine_magnitude_end) return fine_slot(bits);
  constexpr std::uint32_t free_row = 24;
  constexpr std::uint32_t fine_bins = (histogram_end_fine_octave - histogram_first_fine_octave) << histogram_fine_bits;
  const std::uint32_t side = histogram_side_bin(magnitude);
  const std::uint32_t coarse = side < histogram_first_fine_octave ? side : side - fine_bins;
  return ((free_row << histogram_fine_bits) + coarse) ^ ((0u - (bits >> 31)) & 0x1010u);
}

/// Bits of the smallest magnitude of a bin, with its sign: a value whose slot is that of the bin.
TARE_HD std::uint32_t histogram_bin_bits(std::uint32_t bin) {
  const bool negative = bin < histogram_side_count;
  const std::uint32_t side = negative ? histogram_side_count - 1 - bin : bin - histogram_side_count;
  return bits_of(static_cast<float>(histogram_side_edge(side))) | (negative ? 0x80000000u : 0u);
}

}  // namespace tare::cuda
