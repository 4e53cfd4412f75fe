// Where a bin's counter lies in shared memory. Fine bins lie in the order of their magnitudes, one place further with
// every octave, so that data on powers of two fall into different banks. The sign flips two bits of the place: one
// takes negative bins to where no positive ones lie, the other takes pairs x, -x to different banks. Zeros count as
// 2^-31 and -2^-31, so that they need no branch. Odd: 7424 slots for 6810 bins and two zeros; the coarse bins, one an
// octave, lie in a gap between the fine ones.
#pragma once

#include "tare/numerics.hpp"

namespace tare::cuda {

inline constexpr std::uint32_t fine_magnitude = histogram_first_fine_octave << 23;    // 2^-30
inline constexpr std::uint32_t fine_magnitude_end = histogram_end_fine_octave << 23;  // 2^20

namespace places {
inline constexpr std::uint32_t of_an_octave = (1u << histogram_fine_bits) + 1;
inline constexpr std::uint32_t far_bit = 0x800;
inline constexpr std::uint32_t bank_bit = 0x10;
inline constexpr std::uint32_t sign = far_bit | bank_bit;
// Positive values lie in [zero, end), negative ones before it or after it.
inline constexpr std::uint32_t zero = (histogram_first_fine_octave - 1) * of_an_octave;
inline constexpr std::uint32_t end = (histogram_end_fine_octave * of_an_octave + 31) / 32 * 32;
inline constexpr std::uint32_t first = zero - far_bit;  ///< that of slot 0
}  // namespace places

inline constexpr std::uint32_t histogram_slots = places::end + places::far_bit - places::first;
inline constexpr std::uint32_t zero_slot = places::zero - places::first;
inline constexpr std::uint32_t negative_zero_slot = (places::zero ^ places::sign) - places::first;
inline constexpr std::uint32_t coarse_slot = places::end - places::first;
inline constexpr std::uint32_t coarse_slots = 512;  ///< one for every sign and exponent

/// Of zeros and of finite float32 with fine_magnitude <= |x| < fine_magnitude_end.
TARE_HD std::uint32_t fine_slot(std::uint32_t bits) {
#if defined(__CUDA_ARCH__)
  const float magnitude = ::fmaxf(::fabsf(float_of(bits)), 0x1p-31f);  // one instruction; two with integers
#else
  const float magnitude = __builtin_fmaxf(__builtin_fabsf(float_of(bits)), 0x1p-31f);
#endif
  const std::uint32_t place = (bits_of(magnitude) >> (23 - histogram_fine_bits)) + (bits_of(magnitude) >> 23);
  return (place ^ ((0u - (bits >> 31)) & places::sign)) - places::first;
}

/// Of any finite float32: one slot a bin, and two for zeros.
TARE_HD std::uint32_t histogram_slot(std::uint32_t bits) {
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const bool is_fine = magnitude - fine_magnitude < fine_magnitude_end - fine_magnitude;
  return is_fine || magnitude == 0 ? fine_slot(bits) : coarse_slot + (bits >> 23);
}

/// The value next to zero among those whose bin has this slot. Not for the slots of zeros.
TARE_HD std::uint32_t bits_of_slot(std::uint32_t slot) {
  if (slot - coarse_slot < coarse_slots) return (slot - coarse_slot) << 23;
  const std::uint32_t place = slot + places::first;
  const bool is_positive = place - places::zero < places::end - places::zero;
  const std::uint32_t ordered = is_positive ? place : place ^ places::sign;
  return (ordered - ordered / places::of_an_octave) << (23 - histogram_fine_bits) | (is_positive ? 0 : 0x80000000u);
}

}  // namespace tare::cuda
