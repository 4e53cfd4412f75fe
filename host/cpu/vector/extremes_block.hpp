// The inner loop of the extremes: the range of a block's values, and how many are equal to one. Only observe.cpp and
// histogram_block.hpp include it.
#pragma once

#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

/// Lowest and highest key of a block.
struct KeyRange {
  std::int32_t low;
  std::int32_t high;
};

struct BlockExtremes {
  KeyRange range;
  std::uint32_t zeros;
};

#if defined(__AVX512BW__)

/// The most negative value is the largest of the unsigned numbers, so that a range needs no keys of single values.
class Range {
 public:
  TARE_HD void add(__m512i bits) {
    smallest_ = _mm512_min_epu32(smallest_, bits);
    largest_ = _mm512_max_epu32(largest_, bits);
    highest_ = _mm512_max_epi32(highest_, bits);
  }
  TARE_HD KeyRange keys() const {
    const std::uint32_t most = _mm512_reduce_max_epu32(largest_);
    const std::uint32_t least = _mm512_reduce_min_epu32(smallest_);
    const std::int32_t top = _mm512_reduce_max_epi32(highest_);
    return {ascending_key(most >> 31 != 0 ? most : least), top >= 0 ? top : ascending_key(least)};
  }

 private:
  __m512i smallest_ = _mm512_set1_epi32(-1);                    ///< unsigned
  __m512i largest_ = _mm512_setzero_si512();                    ///< unsigned
  __m512i highest_ = _mm512_set1_epi32(negative_infinity_key);  ///< signed
};

/// How many of 64 elements `is(vector)` holds for.
template <class Is>
TARE_HD std::uint32_t count_of_64(const float* values, Is is) {
  const auto mask = [values, is](std::size_t i) { return is(_mm512_loadu_si512(values + i)); };
  return static_cast<std::uint32_t>(
      __builtin_popcountll(_mm512_kunpackd(_mm512_kunpackw(mask(0), mask(16)), _mm512_kunpackw(mask(32), mask(48)))));
}

template <std::size_t block>
TARE_HD std::uint32_t count_equal(const float* values, std::uint32_t bits) {
  const __m512i wanted = _mm512_set1_epi32(static_cast<int>(bits));
  std::uint32_t count = 0;
  for (std::size_t i = 0; i < block; i += 64)
    count += count_of_64(values + i, [wanted](__m512i vector) { return _mm512_cmpeq_epi32_mask(vector, wanted); });
  return count;
}

template <std::size_t block>
TARE_HD BlockExtremes extremes_of(const float* values) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  Range range;
  std::uint32_t zeros = 0;
  for (std::size_t i = 0; i < block; i += 64) {
    for (std::size_t j = i; j < i + 64; j += 16) range.add(_mm512_loadu_si512(values + j));
    zeros +=
        count_of_64(values + i, [magnitude](__m512i vector) { return _mm512_testn_epi32_mask(vector, magnitude); });
  }
  return {range.keys(), zeros};
}

#else

template <std::size_t block>
TARE_HD std::uint32_t count_equal(const float* values, std::uint32_t bits) {
  std::uint32_t equal = 0;
  for (std::uint32_t i = 0; i < block; ++i) equal += bits_of(values[i]) == bits ? 1u : 0u;
  return equal;
}

template <std::size_t block>
TARE_HD BlockExtremes extremes_of(const float* values) {
  BlockExtremes result{{positive_infinity_key, negative_infinity_key}, 0};
  for (std::uint32_t i = 0; i < block; ++i) {
    const std::uint32_t bits = bits_of(values[i]);
    const std::int32_t key = ascending_key(bits);
    result.range.low = key < result.range.low ? key : result.range.low;
    result.range.high = key > result.range.high ? key : result.range.high;
    result.zeros += (bits & 0x7fffffffu) == 0 ? 1u : 0u;
  }
  return result;
}

#endif

}  // namespace
}  // namespace tare::cpu::TARE_ISA
