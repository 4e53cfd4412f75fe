// What the observer's kernel leaves in device memory, and its launcher. Plain data for host and device: extremes are
// kept as ranks, so that zeroed memory is a site that has seen nothing.
#pragma once

#include "runtime.hpp"
#include "tare/numerics.hpp"
#include "tare/tensor.hpp"

namespace tare::cuda {

using Count = unsigned long long;

/// What is exact beside the bins. Extremes as ranks, 0 when nothing finite was seen, so that zeroed memory is empty.
/// The count of an extreme of 0 is zero_count.
struct Exact {
  std::uint32_t low_rank;   ///< positive_infinity_key - key of the minimum
  std::uint32_t high_rank;  ///< key of the maximum - negative_infinity_key
  Count low_count;
  Count high_count;
  Count zero_count;
  Count nan_count;
  Count positive_infinity_count;
  Count negative_infinity_count;
};

TARE_HD std::uint32_t low_rank_of(std::int32_t key) {
  return static_cast<std::uint32_t>(positive_infinity_key) - static_cast<std::uint32_t>(key);
}
TARE_HD std::uint32_t high_rank_of(std::int32_t key) {
  return static_cast<std::uint32_t>(key) - static_cast<std::uint32_t>(negative_infinity_key);
}
TARE_HD float minimum_of(const Exact& exact) {
  return value_of_key(static_cast<std::int32_t>(static_cast<std::uint32_t>(positive_infinity_key) - exact.low_rank));
}
TARE_HD float maximum_of(const Exact& exact) {
  return value_of_key(static_cast<std::int32_t>(static_cast<std::uint32_t>(negative_infinity_key) + exact.high_rank));
}

TARE_HD void merge_extreme(std::uint32_t& rank, Count& count, std::uint32_t other_rank, Count other_count) {
  if (other_rank > rank) count = 0;
  if (other_rank >= rank) {
    rank = other_rank;
    count += other_count;
  }
}

TARE_HD void merge(Exact& all, const Exact& more) {
  merge_extreme(all.low_rank, all.low_count, more.low_rank, more.low_count);
  merge_extreme(all.high_rank, all.high_count, more.high_rank, more.high_count);
  all.zero_count += more.zero_count;
  all.nan_count += more.nan_count;
  all.positive_infinity_count += more.positive_infinity_count;
  all.negative_infinity_count += more.negative_infinity_count;
}

struct Site {
  Count bins[histogram_bin_count];
  Exact exact;
  Count elements;
};

inline constexpr std::size_t most_tensors = 64;  // of a launch: the list is a kernel parameter
inline constexpr int most_taps = 7;              // of a chain: shared memory holds the counters of no more
inline constexpr std::uint64_t most_elements = std::uint64_t{1}
                                               << 31;  // of a tensor of the list: 32-bit counters hold them

struct ListedTensor {
  const void* data;
  std::uint32_t elements;
  std::uint32_t site;
  std::uint32_t first_tile;
  DataType type;
};

struct TensorList {
  ListedTensor tensors[most_tensors];
  std::uint32_t count;
  std::uint32_t tiles;

  /// 1 to most_elements elements.
  void add(const void* data, std::uint32_t elements, std::uint32_t site, DataType type);
};

/// What a kernel that counts needs beside its tensor; launches of one stream may have it in turns.
struct SiteMemory {
  Site* site;
  Exact* partials;     ///< most_observer_partials() entries of scratch
  unsigned* finished;  ///< 0 between launches
};

/// Blocks of a launch, at most, on the current device.
std::uint32_t most_observer_blocks();
/// One for every block and tap, or for every block and tensor that meet: they meet at most blocks + tensors - 1 times.
std::size_t most_observer_partials();
/// Adds all elements of the tensors to their sites. `partials`: most_observer_partials() entries of scratch;
/// `finished`: one counter that is 0 between launches.
void observe(const TensorList& list, Site* sites, Exact* partials, unsigned* finished, StreamView stream);

}  // namespace tare::cuda
