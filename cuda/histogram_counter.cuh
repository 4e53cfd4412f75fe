// What one thread and one warp count of the values they hold: extremes as integer keys, zeros, NaN and infinities in
// registers, everything else in the block's shared counters. A warp looks at the extremes of all its values first: only
// when they touch what it has seen, or lie outside the fine octaves, is more done than five operations and one atomic a
// value. Odd: the counters' atomicAdd must not use its result (see observe.cu).
#pragma once

#include "histogram_slot.hpp"
#include "launch.hpp"
#include "observe.hpp"

namespace tare::cuda {

inline constexpr std::int32_t wide_key = static_cast<std::int32_t>(fine_magnitude_end);

/// Of all lanes: one instruction since compute capability 8.0.
__device__ __forceinline__ std::int32_t warp_minimum(std::int32_t key) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  return __reduce_min_sync(~0u, key);
#else
  for (int distance = 16; distance > 0; distance /= 2) key = min(key, __shfl_xor_sync(~0u, key, distance));
  return key;
#endif
}
__device__ __forceinline__ std::int32_t warp_maximum(std::int32_t key) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  return __reduce_max_sync(~0u, key);
#else
  for (int distance = 16; distance > 0; distance /= 2) key = max(key, __shfl_xor_sync(~0u, key, distance));
  return key;
#endif
}

/// The counting of one thread; extremes are those of its warp.
struct Counter {
  unsigned* bins;  ///< histogram_slots, then NaN, +inf, -inf: rare, so not worth registers
  std::int32_t low = positive_infinity_key;
  std::int32_t high = negative_infinity_key;
  std::uint32_t low_count = 0;
  std::uint32_t high_count = 0;
  std::uint32_t zeros = 0;

  /// Values of a whole warp; lanes of `valid` = false hold none.
  template <int n>
  __device__ __forceinline__ void add(const std::uint32_t (&values)[n], bool valid) {
    std::int32_t first = positive_infinity_key;
    std::int32_t last = negative_infinity_key;
    if (valid) {
#pragma unroll
      for (int i = 0; i < n; ++i) {
        const std::int32_t key = ascending_key(values[i]);
        first = key < first ? key : first;
        last = key > last ? key : last;
      }
    }
    first = warp_minimum(first);
    last = warp_maximum(last);
    const bool plain = valid && first > -wide_key - 1 && last < wide_key;
    if (first <= (low == 0 ? -2 : low) || last >= (high == 0 ? 1 : high)) {
      if (first <= negative_infinity_key || last >= positive_infinity_key)
        leave_out_nonfinite(values, valid, first, last);
      add_extremes(values, valid, first, last);
    }
    if (plain) {
      count_plain(values);
    } else if (valid) {
#pragma unroll
      for (int i = 0; i < n; ++i) count_any(values[i]);
    }
  }

  /// All but NaN and infinities.
  __device__ __forceinline__ Exact exact() const {
    return {low_rank_of(low), high_rank_of(high), low_count, high_count, zeros, 0, 0, 0};
  }

 private:
  template <int n>
  __device__ __forceinline__ void leave_out_nonfinite(const std::uint32_t (&values)[n], bool valid, std::int32_t& first,
                                                      std::int32_t& last) {
    first = positive_infinity_key;
    last = negative_infinity_key;
    if (valid) {
#pragma unroll
      for (int i = 0; i < n; ++i) {
        const std::int32_t key = ascending_key(values[i]);
        if (key <= negative_infinity_key || key >= positive_infinity_key) {
          const std::uint32_t which = key == positive_infinity_key ? 1u : key == negative_infinity_key ? 2u : 0u;
          atomicAdd(bins + histogram_slots + which, 1u);
        } else {
          first = key < first ? key : first;
          last = key > last ? key : last;
        }
      }
    }
    first = warp_minimum(first);
    last = warp_maximum(last);
  }

  template <int n>
  __device__ __forceinline__ void add_extremes(const std::uint32_t (&values)[n], bool valid, std::int32_t first,
                                               std::int32_t last) {
    if (first > last) return;  // nothing finite
    if (first == -1) first = 0;
    if (last == -1) last = 0;
    if (first < low) low_count = 0;
    if (last > high) high_count = 0;
    low = first < low ? first : low;
    high = last > high ? last : high;
    if (!valid) return;
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const std::int32_t key = ascending_key(values[i]);
      low_count += key == low ? 1u : 0u;
      high_count += key == high ? 1u : 0u;
    }
  }

  template <int n>
  __device__ __forceinline__ void count_plain(const std::uint32_t (&values)[n]) {
    std::uint32_t below = 0;
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const std::uint32_t magnitude = values[i] & 0x7fffffffu;
      if (magnitude < fine_magnitude) {
        ++zeros;
        below |= magnitude;
      } else {
        atomicAdd(bins + fine_slot(values[i]), 1u);
      }
    }
    if (below == 0) return;
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const std::uint32_t magnitude = values[i] & 0x7fffffffu;
      if (magnitude == 0 || magnitude >= fine_magnitude) continue;
      --zeros;
      atomicAdd(bins + histogram_slot(values[i]), 1u);
    }
  }

  __device__ __forceinline__ void count_any(std::uint32_t bits) {
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude >= 0x7f800000u) return;
    if (magnitude == 0)
      ++zeros;
    else
      atomicAdd(bins + histogram_slot(bits), 1u);
  }
};

/// Exact values of the 32 lanes, in all lanes.
__device__ __forceinline__ Exact merge_lanes(Exact exact) {
  for (int distance = 16; distance > 0; distance /= 2) {
    Exact other;
    other.low_rank = __shfl_xor_sync(~0u, exact.low_rank, distance);
    other.high_rank = __shfl_xor_sync(~0u, exact.high_rank, distance);
    other.low_count = __shfl_xor_sync(~0u, exact.low_count, distance);
    other.high_count = __shfl_xor_sync(~0u, exact.high_count, distance);
    other.zero_count = __shfl_xor_sync(~0u, exact.zero_count, distance);
    other.nan_count = __shfl_xor_sync(~0u, exact.nan_count, distance);
    other.positive_infinity_count = __shfl_xor_sync(~0u, exact.positive_infinity_count, distance);
    other.negative_infinity_count = __shfl_xor_sync(~0u, exact.negative_infinity_count, distance);
    merge(exact, other);
  }
  return exact;
}

}  // namespace tare::cuda
