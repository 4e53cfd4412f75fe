// Merging what was seen of a site: sums and exact extremes, so the order never matters.
#include "cpu/site_counts.hpp"

#include <algorithm>

namespace tare::cpu {

void SiteCounts::add(const Extremes& more) {
  Extremes& all = extremes_;
  if (more.min < all.min) {
    all.min = more.min;
    all.min_count = more.min_count;
  } else if (more.min == all.min) {
    all.min_count += more.min_count;
  }
  if (more.max > all.max) {
    all.max = more.max;
    all.max_count = more.max_count;
  } else if (more.max == all.max) {
    all.max_count += more.max_count;
  }
  all.zero_count += more.zero_count;
  all.nan_count += more.nan_count;
  all.positive_infinity_count += more.positive_infinity_count;
  all.negative_infinity_count += more.negative_infinity_count;
}

void SiteCounts::add(const SiteCounts& more) {
  elements_ += more.elements_;
  add(more.extremes_);
  for (std::uint32_t group = 0; group < more.places_.size(); ++group)
    if (const std::uint16_t place = more.places_[group]; place != 0)
      add_group(group, more.counters_.data() + (place - 1u) * group_bins);
  for (const auto& [bin, carries] : more.carries_) carries_[bin] += carries;
}

void SiteCounts::add_group(std::uint32_t group, const std::uint32_t* more) {
  std::uint32_t* counters = counters_of(group);
  std::uint32_t wrapped = 0;
  for (std::uint32_t i = 0; i < group_bins; ++i) {
    counters[i] += more[i];
    wrapped |= counters[i] < more[i] ? 1u : 0u;
  }
  if (wrapped != 0)
    for (std::uint32_t i = 0; i < group_bins; ++i)
      if (counters[i] < more[i]) ++carries_[group * group_bins + i];
}

std::uint16_t SiteCounts::make_group() {
  // Room for a few groups at a time: doubling would leave half of it unused in a thousand sites.
  if (counters_.size() + group_bins > counters_.capacity()) counters_.reserve(counters_.size() + 4 * group_bins);
  counters_.resize(counters_.size() + group_bins);
  return static_cast<std::uint16_t>(counters_.size() / group_bins);
}

TensorStatistics SiteCounts::statistics() const {
  TensorStatistics statistics;
  statistics.count = elements_;
  statistics.nan_count = extremes_.nan_count;
  statistics.positive_infinity_count = extremes_.positive_infinity_count;
  statistics.negative_infinity_count = extremes_.negative_infinity_count;
  statistics.zero_count = extremes_.zero_count;
  statistics.min = extremes_.min;
  statistics.max = extremes_.max;
  statistics.min_count = extremes_.min == 0.0f ? extremes_.zero_count : extremes_.min_count;
  statistics.max_count = extremes_.max == 0.0f ? extremes_.zero_count : extremes_.max_count;
  statistics.bins.reserve(counters_.size());
  for (std::uint32_t group = 0; group < places_.size(); ++group) {
    if (places_[group] == 0) continue;
    for (std::uint32_t i = 0; i < group_bins; ++i) {
      const std::uint32_t bin = group * group_bins + i;
      std::uint64_t count = counters_[(places_[group] - 1u) * group_bins + i];
      if (const auto carry = carries_.find(bin); carry != carries_.end()) count += std::uint64_t{carry->second} << 32;
      if (count != 0) statistics.bins.emplace_back(bin, count);
    }
  }
  return statistics;
}

}  // namespace tare::cpu
