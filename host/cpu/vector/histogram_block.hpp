// The inner loop of the histogram: which counters the elements of a block belong to, and the counting of the block
// before. Only observe.cpp includes it.
#pragma once

#include "cpu/vector/extremes_block.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

constexpr std::size_t groups = (histogram_bin_count + histogram_group - 1) / histogram_group;
constexpr std::size_t zero_area = groups * histogram_group * histogram_columns;
constexpr std::size_t spare_area = zero_area + histogram_zero_counters;  ///< as many; nobody reads them

/// Which counter each element of a block belongs to.
template <std::size_t block, class Index>
TARE_HD KeyRange find_counters(const float* values, Index* index) {
  KeyRange range{positive_infinity_key, negative_infinity_key};
  constexpr std::uint32_t columns = histogram_columns;
  constexpr std::uint32_t zeros = histogram_zero_counters;
  // 32-bit lane numbers and masks instead of conditions: the compiler then needs no wider vectors and no branches.
  for (std::uint32_t i = 0; i < block; ++i) {
    const std::uint32_t bits = bits_of(values[i]);
    const std::int32_t key = ascending_key(bits);
    range.low = key < range.low ? key : range.low;
    range.high = key > range.high ? key : range.high;
    const std::uint32_t counter = histogram_bin(bits) * columns + i % columns;
    const std::uint32_t zero = 0u - static_cast<std::uint32_t>((bits & 0x7fffffffu) == 0);
    index[i] = static_cast<Index>(counter ^ ((counter ^ (static_cast<std::uint32_t>(zero_area) + i % zeros)) & zero));
  }
  return range;
}

template <std::size_t block, class Index>
TARE_HD void count_block(const Index* index, std::uint16_t* counters) {
  for (std::size_t begin = 0; begin < block; begin += 64)
#pragma GCC unroll 64
    for (std::size_t i = 0; i < 64; ++i) ++counters[index[begin + i]];
}

#if defined(__AVX512BW__)
using CounterIndex = std::uint16_t;
static_assert(spare_area + histogram_zero_counters <= 0x10000);
constexpr std::size_t preferred_block = 2 * histogram_block;

/// Mostly all magnitudes are zero or in the fine octaves, where nothing is cut. Scalar and vector instructions take
/// turns.
template <std::size_t block>
TARE_HD KeyRange find_counters_and_count(const float* values, CounterIndex* index, const CounterIndex* waiting,
                                         std::uint16_t* counters) {
  constexpr int fine_shift = 23 - static_cast<int>(histogram_fine_bits);
  constexpr std::uint32_t first = histogram_first_fine_octave << 23;
  constexpr std::int32_t end = histogram_end_fine_octave << 23;
  constexpr std::uint32_t base = first - (histogram_first_fine_octave << fine_shift);  // one bin an octave before it
  constexpr int column_bits = 2;
  static_assert(histogram_columns == 1 << column_bits);
  constexpr int xor_then_and_not = 0x14;
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i column_mask = _mm512_set1_epi32(histogram_columns - 1);
  const __m512i first_counter = _mm512_add_epi32(_mm512_and_si512(lane, column_mask),
                                                 _mm512_set1_epi32(histogram_side_count * histogram_columns));
  const __m512i counter_of_zero = _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(zero_area)));
  Range all;
  __mmask16 below = 0;
#pragma GCC unroll 4
  for (std::size_t i = 0; i < block; i += 16) {
    const __m512i bits = _mm512_loadu_si512(values + i);
    all.add(bits);
    const __m512i magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
    const __mmask16 is_value = _mm512_test_epi32_mask(magnitude, magnitude);
    below |= _mm512_mask_cmplt_epu32_mask(is_value, magnitude, _mm512_set1_epi32(static_cast<int>(first)));
    const __m512i side_bin = _mm512_sub_epi32(magnitude, _mm512_set1_epi32(static_cast<int>(base)));  // << fine_shift
    const __m512i of_bin = _mm512_ternarylogic_epi32(_mm512_srli_epi32(side_bin, fine_shift - column_bits),
                                                     _mm512_srai_epi32(bits, 31), column_mask, xor_then_and_not);
    const __m512i zero =
        _mm512_add_epi32(counter_of_zero, _mm512_set1_epi32(static_cast<int>(i % histogram_zero_counters)));
    const __m512i counter = _mm512_mask_add_epi32(zero, is_value, of_bin, first_counter);
    _mm256_store_si256(reinterpret_cast<__m256i*>(index + i), _mm512_cvtepi32_epi16(counter));
#pragma GCC unroll 16
    for (std::size_t j = 0; j < 16; ++j) ++counters[waiting[i + j]];
  }
  const KeyRange range = all.keys();
  if (below != 0 || range.low < -end || range.high >= end) return find_counters<block>(values, index);
  return range;
}
#else
using CounterIndex = std::uint32_t;  // packing them takes longer than reading them twice as wide
constexpr std::size_t preferred_block = histogram_block;

template <std::size_t block>
TARE_HD KeyRange find_counters_and_count(const float* values, CounterIndex* index, const CounterIndex* waiting,
                                         std::uint16_t* counters) {
  const KeyRange range = find_counters<block>(values, index);
  count_block<block>(waiting, counters);
  return range;
}
#endif

}  // namespace
}  // namespace tare::cpu::TARE_ISA
