// What an observer keeps of one site between batches: extremes, special counts and the histogram, by touched groups of
// 64 bins (one octave inside the fine range). 32-bit counters with carries beside them: a few KiB a site, however many
// samples.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "cpu/vector_types.hpp"
#include "tare/numerics.hpp"
#include "tare/statistics.hpp"

namespace tare::cpu {

/// Held for less than a microsecond, by threads that end at the same time: a std::mutex would put one of them to sleep.
class BriefLock {
 public:
  void lock() {
    for (int tries = 0; held_.test_and_set(std::memory_order_acquire); ++tries)
      if (tries > 1000) std::this_thread::yield();
  }
  void unlock() { held_.clear(std::memory_order_release); }

 private:
  std::atomic_flag held_;
};

class SiteCounts {
 public:
  static constexpr std::uint32_t group_bins = histogram_group;
  static constexpr std::uint32_t groups = (histogram_bin_count + group_bins - 1) / group_bins;

  /// For threads that add to the same site.
  std::unique_lock<BriefLock> lock() { return std::unique_lock(lock_); }

  void add_elements(std::uint64_t elements) { elements_ += elements; }
  void add(const SiteCounts& more);
  void add(const Extremes& more);
  void add(std::uint32_t bin, std::uint32_t count) {
    std::uint32_t& counter = counter_of(bin);
    counter += count;
    if (counter < count) ++carries_[bin];
  }
  void add_group(std::uint32_t group, const std::uint32_t* more);
  std::uint64_t unusable_count() const { return extremes_.nan_count + extremes_.positive_infinity_count; }
  TensorStatistics statistics() const;

 private:
  std::uint32_t* counters_of(std::uint32_t group) {
    if (places_.empty()) places_.resize(groups);
    std::uint16_t& place = places_[group];
    if (place == 0) place = make_group();
    return counters_.data() + (place - 1u) * group_bins;
  }
  std::uint32_t& counter_of(std::uint32_t bin) { return counters_of(bin / group_bins)[bin % group_bins]; }
  std::uint16_t make_group();

  BriefLock lock_;
  std::uint64_t elements_ = 0;
  Extremes extremes_;
  std::vector<std::uint16_t> places_;  ///< of every group: 0 untouched, else 1 + its position in counters_
  std::vector<std::uint32_t> counters_;
  std::map<std::uint32_t, std::uint32_t> carries_;  ///< how often a bin's counter wrapped
};

}  // namespace tare::cpu
