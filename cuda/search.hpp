// What the search kernel reads and leaves, and its launcher. Plain data for host and device; the rules that make a task
// out of a quantizer's spec stay with host/calib.
#pragma once

#include "runtime.hpp"
#include "tare/numerics.hpp"

namespace tare::cuda {

/// A bin of a histogram and its count in one word: what travels to the device.
using PackedBin = std::uint64_t;
inline constexpr int packed_count_bits = 51;
inline constexpr std::size_t packed_piece = std::size_t{1} << 17;  ///< bins that travel at once
inline constexpr std::size_t tasks_of_a_launch = 1024;  ///< at least, but for the last one: several a multiprocessor
static_assert(histogram_bin_count <= 1u << (64 - packed_count_bits));
TARE_HD PackedBin packed_bin(std::uint32_t bin, std::uint64_t count) {
  return (std::uint64_t{bin} << packed_count_bits) | count;
}
TARE_HD std::uint32_t bin_of(PackedBin packed) { return static_cast<std::uint32_t>(packed >> packed_count_bits); }
TARE_HD std::uint64_t count_of(PackedBin packed) { return packed & ((std::uint64_t{1} << packed_count_bits) - 1); }

/// One histogram and the grid to find for it. Lengths of the grid in steps, ranges include 0.
struct SearchTask {
  std::uint64_t first_bin;  ///< of `bins`; tasks may share a histogram
  std::uint32_t bin_count;
  bool fixed_zero;  ///< symmetric: the zero point is given
  float minimum;
  float maximum;
  std::uint64_t minimum_count;
  std::uint64_t maximum_count;
  double low;
  double high;
  double steps;
  double negative_steps;  ///< below zero, at most; as many where the zero point is given
  double positive_steps;
  double smallest_scale;
  double largest_scale;
  double whole_scale;  ///< the min-max encoding: the first candidate
  double whole_negative_steps;
  double gamma;
};

struct SearchResult {
  double scale;
  double negative_steps;
  int position;  ///< on the lattice of scales; -1: the min-max encoding
};

/// Whether the current device has the shared memory that a search takes.
bool can_search();
/// One result a task. `bins` holds the non-empty bins of all histograms, ascending in each.
void search(const SearchTask* tasks, std::size_t count, const PackedBin* bins, SearchResult* results,
            StreamView stream);

}  // namespace tare::cuda
