// A block's view of a histogram, as host/calib/noise.cpp has it: both signs as sides outwards from zero, in blocks of
// 32 bins, one lane a bin. A warp evaluates a candidate; sums have the order of the CPU, lane by lane and block by
// block, so the costs have its bits. Odd: blocks are kept by number, not packed: an untouched one is passed over.
#pragma once

#include "calib/noise_block.hpp"
#include "launch.hpp"
#include "search.hpp"

namespace tare::cuda {

using calib::block_of;
using calib::side_blocks;
inline constexpr int search_warps = 8;
inline constexpr int most_points = 4;  // of a side: minimum, maximum, and an outermost bin without width at either end

struct Moments {
  double m0, m1, m2;
};

/// One side, in shared memory.
struct Side {
  double density[side_blocks * noise_block];     ///< counts at first
  Moments beyond[side_blocks + 1];               ///< by block: of it and all further out
  double second[side_blocks + 1];                ///< by block: second moment of all further in
  double inside[search_warps][side_blocks + 1];  ///< by warp and block: rounding noise of all further in
  double point[most_points];
  double point_count[most_points];
  double inner, outer;  ///< magnitudes at which the outermost bins are cut
  std::uint32_t first_bin, last_bin;
  std::uint8_t touched[side_blocks + 1];
  std::uint8_t next[side_blocks + 1];  ///< first touched block from here on, or side_blocks
};

/// A side as a warp sees it for one scale.
struct Prepared {
  double scale;
  double inverse;
  std::uint32_t begin;  ///< blocks before it count with their second moment
};

__device__ __forceinline__ double lower_edge(const Side& side, std::uint32_t bin) {
  const double edge = histogram_side_edge(bin);
  return bin == side.first_bin && side.inner > edge ? side.inner : edge;
}
__device__ __forceinline__ double upper_edge(const Side& side, std::uint32_t bin) {
  const double edge = histogram_side_edge(bin + 1);
  return bin == side.last_bin && side.outer < edge ? side.outer : edge;
}

/// 32 lanes by halves: i and i + 16, then i and i + 8, …; in lane 0.
__device__ __forceinline__ double tree_sum(double value) {
#pragma unroll
  for (int width = noise_block / 2; width > 0; width /= 2) value += __shfl_down_sync(~0u, value, width);
  return value;
}

/// Lane 0 knows inside[] of its warp afterwards; blocks from side.begin to that of scale * limit are filled.
__device__ __forceinline__ Prepared prepare(Side& side, double scale, double limit, int warp, std::uint32_t lane) {
  __syncwarp();  // inside[] of the scale before has been read
  Prepared prepared{scale, 1.0 / scale, block_of(0.5 * scale)};
  const std::uint32_t last = block_of(scale * limit);
  const double cube = scale * scale * scale;
  double* inside = side.inside[warp];
  double sum = side.second[prepared.begin];
  for (std::uint32_t block = prepared.begin; block < last; ++block) {
    if (side.touched[block]) {
      const std::uint32_t bin = block * noise_block + lane;
      const double part = side.density[bin] * (rounding_noise_integral(upper_edge(side, bin) * prepared.inverse) -
                                               rounding_noise_integral(lower_edge(side, bin) * prepared.inverse));
      sum = sum + cube * __shfl_sync(~0u, tree_sum(part), 0);
    }
    if (lane == 0) inside[block + 1] = sum;
  }
  __syncwarp();
  return prepared;
}

/// Noise of all values of this side when the grid has `limit` steps. The same in every lane.
__device__ __forceinline__ double limit_noise(const Side& side, const Prepared& prepared, double limit, double gamma,
                                              int warp, std::uint32_t lane) {
  const double scale = prepared.scale;
  const double edge = scale * limit;
  const std::uint32_t number = block_of(edge);
  double noise = number <= prepared.begin ? side.second[number] : side.inside[warp][number];
  const std::uint32_t block = side.next[number];
  if (block < side_blocks) {
    const std::uint32_t bin = block * noise_block + lane;
    const double part =
        side.density[bin] * (clipped_noise_integral(upper_edge(side, bin) * prepared.inverse, limit, gamma) -
                             clipped_noise_integral(lower_edge(side, bin) * prepared.inverse, limit, gamma));
    noise += scale * scale * scale * __shfl_sync(~0u, tree_sum(part), 0);
    const Moments& tail = side.beyond[block + 1];
    noise += gamma * (tail.m2 - 2 * edge * tail.m1 + edge * edge * tail.m0);
  }
  for (int i = 0; i < most_points; ++i)
    noise += scale * scale * (side.point_count[i] * point_noise(side.point[i] * prepared.inverse, limit, gamma));
  return noise;
}

/// Part of the saturation noise when the grid ends at `edge`: grows as the edge comes nearer to zero.
__device__ __forceinline__ double saturation_bound(const Side& side, double edge, double gamma) {
  const std::uint32_t block = side.next[block_of(edge)];
  const Moments& tail = side.beyond[block < side_blocks ? block + 1 : side_blocks];
  double noise = tail.m2 - 2 * edge * tail.m1 + edge * edge * tail.m0;
  for (int i = 0; i < most_points; ++i) {
    const double beyond = side.point[i] > edge ? side.point[i] - edge : 0.0;
    noise += side.point_count[i] * beyond * beyond;
  }
  return gamma * noise;
}

/// Fills both sides from the sparse histogram; by the whole block.
__device__ void build_sides(Side* sides, const SearchTask& task, const PackedBin* bins) {
  for (int s = 0; s < 2; ++s) {
    for (std::uint32_t i = threadIdx.x; i < side_blocks * noise_block; i += blockDim.x) sides[s].density[i] = 0;
    for (std::uint32_t i = threadIdx.x; i <= side_blocks; i += blockDim.x) {
      sides[s].touched[i] = 0;
      sides[s].beyond[i] = {0, 0, 0};
      sides[s].second[i] = 0;
    }
    if (threadIdx.x < most_points) sides[s].point[threadIdx.x] = sides[s].point_count[threadIdx.x] = 0;
  }
  if (threadIdx.x < 2) {
    Side& side = sides[threadIdx.x];
    const bool negative = threadIdx.x == 0;
    side.outer = negative ? -static_cast<double>(task.minimum) : static_cast<double>(task.maximum);
    side.inner = negative ? -static_cast<double>(task.maximum) : static_cast<double>(task.minimum);
    side.first_bin = side.last_bin = histogram_side_count;
  }
  __syncthreads();

  const auto bin_at = [&](float value) { return value == 0 ? histogram_bin_count : histogram_bin(bits_of(value)); };
  const std::uint32_t minimum_bin = bin_at(task.minimum);
  const std::uint32_t maximum_bin = task.maximum != task.minimum ? bin_at(task.maximum) : histogram_bin_count;
  for (std::uint32_t i = threadIdx.x; i < task.bin_count; i += blockDim.x) {
    const std::uint32_t bin = bin_of(bins[i]);
    const bool negative = bin < histogram_side_count;
    Side& side = sides[negative ? 0 : 1];
    const std::uint32_t at = negative ? histogram_side_count - 1 - bin : bin - histogram_side_count;
    std::uint64_t count = count_of(bins[i]);
    const auto take = [&](int slot, float extreme, std::uint64_t wanted) {
      const std::uint64_t taken = wanted < count ? wanted : count;
      count -= taken;
      side.point[slot] = negative ? -static_cast<double>(extreme) : static_cast<double>(extreme);
      side.point_count[slot] = static_cast<double>(taken);
    };
    if (bin == minimum_bin) take(0, task.minimum, task.minimum_count);
    if (bin == maximum_bin) take(1, task.maximum, task.maximum_count);
    side.density[at] = static_cast<double>(count);
    side.touched[at / noise_block] = 1;
    // Bins ascend: a side ends where the list or the other side begins.
    const bool lowest = i == 0 || (!negative && bin_of(bins[i - 1]) < histogram_side_count);
    const bool highest = i + 1 == task.bin_count || (negative && bin_of(bins[i + 1]) >= histogram_side_count);
    if (lowest) (negative ? side.last_bin : side.first_bin) = at;
    if (highest) (negative ? side.first_bin : side.last_bin) = at;
  }
  __syncthreads();

  for (std::uint32_t i = threadIdx.x; i < 2 * side_blocks; i += blockDim.x) {
    Side& side = sides[i / side_blocks];
    const std::uint32_t block = i % side_blocks;
    if (!side.touched[block]) continue;
    Moments moments{0, 0, 0};
    for (std::uint32_t bin = block * noise_block; bin < (block + 1) * noise_block; ++bin) {
      const double count = side.density[bin];
      if (count == 0) continue;
      const double lower = lower_edge(side, bin);
      const double upper = upper_edge(side, bin);
      if (!(upper > lower)) {
        const int slot = bin == side.first_bin ? 2 : 3;
        side.point[slot] = upper;
        side.point_count[slot] = count;
        side.density[bin] = 0;
        continue;
      }
      side.density[bin] = count / (upper - lower);
      moments.m0 += count;
      moments.m1 += count * (lower + upper) * 0.5;
      moments.m2 += count * (lower * lower + lower * upper + upper * upper) * (1.0 / 3);
    }
    side.beyond[block] = moments;
  }
  __syncthreads();

  if (threadIdx.x % 32 == 0 && threadIdx.x / 32 < 2) {
    Side& side = sides[threadIdx.x / 32];
    for (std::uint32_t block = 0; block < side_blocks; ++block)
      side.second[block + 1] = side.second[block] + side.beyond[block].m2;
    side.next[side_blocks] = side_blocks;
    for (std::uint32_t block = side_blocks; block-- > 0;) {
      side.next[block] = side.touched[block] ? static_cast<std::uint8_t>(block) : side.next[block + 1];
      side.beyond[block].m0 += side.beyond[block + 1].m0;
      side.beyond[block].m1 += side.beyond[block + 1].m1;
      side.beyond[block].m2 += side.beyond[block + 1].m2;
    }
  }
  __syncthreads();
}

}  // namespace tare::cuda
