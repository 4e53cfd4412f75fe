// What one thread counts of one tensor: a table of 16-bit counters that is emptied into the site's sparse counts.
#pragma once

#include <algorithm>
#include <array>

#include "cpu/site_counts.hpp"
#include "cpu/vector.hpp"

namespace tare::cpu {

/// Below so many elements, clearing and emptying a table would cost more than counting.
inline constexpr std::size_t small_tensor = 1024;

/// What one thread counts of one tensor; empty between two tensors.
class alignas(64) Counter {  // threads write to neighbours
 public:
  void count(const VectorKernels& vector, SiteCounts& site, const float* in, std::size_t n) {
    if (counters_.empty())
      counters_.resize(std::size_t{SiteCounts::groups} * SiteCounts::group_bins * histogram_columns +
                       2 * histogram_zero_counters);
    while (n > 0) {
      const std::size_t part = std::min(n, histogram_run - pending_);
      vector.observe_histogram(in, part, counters_.data(), &extremes_);
      // A call starts again at the first column: its share of a column is that of whole blocks.
      pending_ += (part + histogram_block - 1) / histogram_block * histogram_block;
      if (pending_ == histogram_run) {
        const auto locked = site.lock();
        empty_into(vector, site);
      }
      in += part;
      n -= part;
    }
  }
  /// Of a small tensor that this thread counts alone.
  void count_small(const VectorKernels& vector, SiteCounts& site, const float* in, std::size_t n) {
    vector.observe_extremes(in, n, &extremes_);
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint32_t bits = bits_of(in[i]);
      const std::uint32_t magnitude = bits & 0x7fffffffu;
      if (magnitude != 0 && magnitude < 0x7f800000u) site.add(histogram_bin(bits), 1);
    }
  }
  void look_at_extremes(const VectorKernels& vector, const float* in, std::size_t n) {
    vector.observe_extremes(in, n, &extremes_);
  }
  void close(const VectorKernels& vector, SiteCounts& site) {
    const auto locked = site.lock();
    if (pending_ != 0) empty_into(vector, site);
    site.add(extremes_);
    extremes_ = {};
  }

 private:
  void empty_into(const VectorKernels& vector, SiteCounts& site) {
    pending_ = 0;
    extremes_.zero_count += vector.take_zeros(counters_.data());
    if (!(extremes_.min <= extremes_.max)) return;  // nothing finite
    std::array<std::uint32_t, SiteCounts::group_bins> counts;
    const float min = extremes_.min;
    const float max = extremes_.max;
    const std::uint32_t first = min == 0.0f ? histogram_side_count : histogram_bin(bits_of(min));
    const std::uint32_t end = max == 0.0f ? histogram_side_count : histogram_bin(bits_of(max)) + 1;
    for (std::uint32_t group = first / SiteCounts::group_bins; group * SiteCounts::group_bins < end; ++group)
      if (vector.take_group(counters_.data() + group * SiteCounts::group_bins * histogram_columns, counts.data()))
        site.add_group(group, counts.data());
  }

  std::vector<std::uint16_t> counters_;  ///< made when first used; all zero when nothing is pending
  std::size_t pending_ = 0;
  Extremes extremes_;
};

}  // namespace tare::cpu
