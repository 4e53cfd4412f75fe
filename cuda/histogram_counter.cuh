// What one thread and one warp count of the values they hold: extremes as integer keys in registers, all else in the
// block's shared counters. A warp looks at the extremes of all its values first: only when they touch what it has seen,
// or have no fine bin, is more done than ten instructions a value, without a branch. Extremes leave zeros aside: these
// are counted like bins, and whoever reads the counters knows whether 0 is an extreme. Odd: the counters' atomicAdd
// must not use its result (see observe.cu).
#pragma once

#include "histogram_slot.hpp"
#include "launch.hpp"
#include "observe.hpp"

namespace tare::cuda {

inline constexpr std::uint32_t special_counters =
    4;  ///< behind the slots: NaN, +inf, -inf, zeros of the tensors before
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

/// Whether any lane says so.
__device__ __forceinline__ bool warp_any(bool which) {
#if defined(__CUDA_ARCH__)
  return __any_sync(~0u, which);
#else
  return warp_maximum(which ? 1 : 0) != 0;
#endif
}

/// By which the extremes of a thread's values are known: extremes of the bits, without a key for each value. Zeros do
/// not show. Of no values but zeros, first() lies above all keys and last() below them.
struct Bounds {
  std::int32_t positive = 0;   ///< bits of the maximum, where that is positive; else at most 0
  std::uint32_t negative = 0;  ///< bits of the minimum, where that is negative; else at most 0x80000000
  std::uint32_t nearest = 0u - 2u * 0x7fffffffu;  ///< -2 * magnitude of what lies next to zero

  __device__ __forceinline__ void add(std::uint32_t bits) {
    positive = max(positive, static_cast<std::int32_t>(bits));
    negative = max(negative, bits);
    nearest = max(nearest, 0u - 2u * bits);  // 0 for zeros; of all else, the nearer the greater
  }
  __device__ __forceinline__ std::int32_t magnitude() const { return static_cast<std::int32_t>((0u - nearest) / 2); }
  __device__ __forceinline__ std::int32_t first() const {
    return negative > 0x80000000u ? ascending_key(negative) : magnitude();
  }
  __device__ __forceinline__ std::int32_t last() const { return positive > 0 ? positive : ~magnitude(); }
};

/// The counting of one thread; extremes are those of its warp, zeros aside.
struct Counter {
  unsigned* bins;  ///< histogram_slots, then NaN, +inf, -inf: rare, so not worth registers
  std::int32_t low = positive_infinity_key;
  std::int32_t high = negative_infinity_key;
  std::uint32_t low_count = 0;
  std::uint32_t high_count = 0;
  Bounds limits = limits_of(low, high);

  /// Of a whole warp. Whether the extremes were looked at: else they are what they were.
  template <int n>
  __device__ __forceinline__ bool add(const std::uint32_t (&values)[n]) {
    Bounds bounds;
#pragma unroll
    for (int i = 0; i < n; ++i) bounds.add(values[i]);
    bool is_fine = true;
    const bool looks = warp_any(bounds.positive >= limits.positive || bounds.negative >= limits.negative ||
                                bounds.nearest >= limits.nearest);
    if (looks) is_fine = add_extremes(values, bounds);
    if (is_fine) {
#pragma unroll
      for (int i = 0; i < n; ++i) atomicAdd(bins + fine_slot(values[i]), 1u);
    } else {
#pragma unroll
      for (int i = 0; i < n; ++i)
        if (is_finite(values[i])) atomicAdd(bins + histogram_slot(values[i]), 1u);
    }
    return looks;
  }

  /// All but what only the shared counters know: zeros, NaN and infinities.
  __device__ __forceinline__ Exact exact() const {
    return {low_rank_of(low), high_rank_of(high), low_count, high_count, 0, 0, 0, 0};
  }

 private:
  __device__ static __forceinline__ bool is_finite(std::uint32_t bits) { return (bits & 0x7fffffffu) < 0x7f800000u; }

  /// Bounds that reach one of these touch the extremes, or are those of values without a fine bin.
  __device__ static __forceinline__ Bounds limits_of(std::int32_t low, std::int32_t high) {
    const std::int32_t nearest = max(max(low, ~high), static_cast<std::int32_t>(fine_magnitude) - 1);
    return {min(max(high, 1), wide_key), static_cast<std::uint32_t>(min(max(~low, 1), wide_key)) | 0x80000000u,
            0u - 2u * static_cast<std::uint32_t>(nearest)};
  }

  /// Whether the values of this thread have fine bins or are zeros. Counts those that are not finite.
  template <int n>
  __device__ __forceinline__ bool add_extremes(const std::uint32_t (&values)[n], const Bounds& bounds) {
    std::int32_t first = bounds.first();
    std::int32_t last = bounds.last();
    const bool is_fine =
        first > ~wide_key && last < wide_key && bounds.magnitude() >= static_cast<std::int32_t>(fine_magnitude);
    first = warp_minimum(first);
    last = warp_maximum(last);
    if (first <= negative_infinity_key || last >= positive_infinity_key) {
      Bounds finite;
#pragma unroll
      for (int i = 0; i < n; ++i) {
        const std::uint32_t bits = values[i];
        if (is_finite(bits))
          finite.add(bits);
        else
          atomicAdd(bins + histogram_slots + (bits == 0x7f800000u ? 1u : bits == 0xff800000u ? 2u : 0u), 1u);
      }
      first = warp_minimum(finite.first());
      last = warp_maximum(finite.last());
    }
    if (first <= low) {
      low_count = (first < low ? 0u : low_count) + count_equal(values, first);
      low = first;
    }
    if (last >= high) {
      high_count = (last > high ? 0u : high_count) + count_equal(values, last);
      high = last;
    }
    limits = limits_of(low, high);
    return is_fine;
  }

  /// `key` is that of a finite value that is not zero. Summed as floats: with integers it takes half as much again.
  template <int n>
  __device__ static __forceinline__ std::uint32_t count_equal(const std::uint32_t (&values)[n], std::int32_t key) {
    const float extreme = value_of_key(key);
    float count = 0;
#pragma unroll
    for (int i = 0; i < n; ++i) count += float_of(values[i]) == extreme ? 1.0f : 0.0f;
    return static_cast<std::uint32_t>(count);
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

/// What the block counted of one tensor: its bins to the site, the rest, of which every thread has its own, to an entry
/// of the block. `padding`: zeros that were counted and are not the tensor's. Leaves the counters 0, but those of
/// zeros, which go on; ends with the block together.
template <int warps>
__device__ __forceinline__ void flush(unsigned* bins, Exact exact, std::uint32_t padding, Site& site, Exact& partial) {
  __shared__ Exact warp_exact[warps];
  exact = merge_lanes(exact);
  if (threadIdx.x % 32 == 0) warp_exact[threadIdx.x / 32] = exact;
  __syncthreads();  // the bins are complete, too
  if (threadIdx.x < 32) {
    exact = threadIdx.x < warps ? warp_exact[threadIdx.x] : Exact{};
    exact = merge_lanes(exact);
    if (threadIdx.x == 0) {
      unsigned* special = bins + histogram_slots;
      exact.nan_count = special[0];
      exact.positive_infinity_count = special[1];
      exact.negative_infinity_count = special[2];
      special[0] = special[1] = special[2] = 0;
      const unsigned zeros = bins[zero_slot] + bins[negative_zero_slot];  // others read them, too: nobody may write
      exact.zero_count = zeros - special[3] - padding;
      special[3] = zeros;
      if (exact.zero_count != 0) {
        merge_extreme(exact.low_rank, exact.low_count, low_rank_of(0), 0);
        merge_extreme(exact.high_rank, exact.high_count, high_rank_of(0), 0);
      }
      partial = exact;
    }
  }
  // A warp adds to neighbouring bins. Blocks begin at different ones, or all would wait for the same.
  constexpr std::uint32_t lines = histogram_slots / 32;
  static_assert(histogram_slots % 32 == 0);
  TARE_NO_UNROLL
  for (std::uint32_t line = threadIdx.x / 32; line < lines; line += warps) {
    const std::uint32_t slot = (line + blockIdx.x * 37) % lines * 32 + threadIdx.x % 32;
    const unsigned count = bins[slot];
    if (count == 0 || slot == zero_slot || slot == negative_zero_slot) continue;
    bins[slot] = 0;
    atomicAdd(&site.bins[histogram_bin(bits_of_slot(slot))], Count{count});
  }
  __syncthreads();
}

/// By all threads: whether every other block has come here. Then what these wrote is seen.
__device__ __forceinline__ bool is_last_block(unsigned* finished) {
  __shared__ bool is_last;
  if (threadIdx.x == 0) {
    __threadfence();
    is_last = atomicAdd(finished, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  __threadfence();  // every thread reads what other blocks wrote
  return is_last;
}

}  // namespace tare::cuda
