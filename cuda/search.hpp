// What the search kernel reads and leaves, and its launcher. Plain data for host and device; the rules that make a task
// out of a quantizer's spec stay with host/calib.
#pragma once

#include "runtime.hpp"
#include "tare/numerics.hpp"

namespace tare::cuda {

/// One histogram and the grid to find for it. Lengths of the grid in steps, ranges include 0.
struct SearchTask {
  std::uint64_t first_bin;  ///< of `bins` and `counts`
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
/// One result a task. `bins` and `counts` hold the non-empty bins of all histograms.
void search(const SearchTask* tasks, std::size_t count, const std::uint32_t* bins, const std::uint64_t* counts,
            SearchResult* results, StreamView stream);

}  // namespace tare::cuda
