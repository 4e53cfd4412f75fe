// From what the observers counted to the statistics of every observed tensor and of those that share a range: read,
// derived, saved earlier, or constant.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "calib/encoding.hpp"
#include "calib/parallel_sites.hpp"
#include "run/calibration.hpp"

namespace tare {
namespace {

void multiply_counts(TensorStatistics& statistics, std::uint64_t factor) {
  for (std::uint64_t* count :
       {&statistics.count, &statistics.nan_count, &statistics.positive_infinity_count,
        &statistics.negative_infinity_count, &statistics.zero_count, &statistics.min_count, &statistics.max_count})
    *count *= factor;
  for (auto& [bin, count] : statistics.bins) count *= factor;
  for (auto& [value, count] : statistics.points) count *= factor;
}

}  // namespace

/// The file may hold other tensors than this run observes, which serve as sources too.
void Calibration::Implementation::use(const StatisticsFile& saved) {
  std::map<ValueId, TensorStatistics> known = statistics_of_values(graph, saved.tensors);
  std::vector<bool> observed_or_known = prepared.visible();
  add_known(observed_or_known, graph, known);
  samples = saved.samples;
  batches = 1;
  // What the run that saved them did not read follows from histograms, whatever is searched now.
  const bool histograms = std::any_of(saved.tensors.begin(), saved.tensors.end(),
                                      [](const NamedStatistics& entry) { return !entry.statistics.bins.empty(); });
  complete_statistics(
      DerivedStatistics(prepared.graph, observed_or_known, histograms ? ObserverKind::histogram : observer_kind(),
                        options.read_every_tensor),
      std::move(known));
  for (std::size_t i = 0; i < observed.size(); ++i) {
    const QuantSite& site = sites[observed[i]];
    const Scheme scheme = site.spec.scheme.value_or(options.search.scheme);
    const bool needed = scheme != Scheme::min_max && site.spec.format == NumberFormat::integer;
    if (needed && calib::lacks_histogram(*statistics[i]))
      throw Error(ErrorKind::usage,
                  fmt::format("the saved statistics hold only minimum and maximum of tensor '{}', which serve min_max "
                              "but not {}; give the flags that they were taken with, or calibrate again",
                              site.tensor, name_of(scheme)));
  }
}

/// Statistics of every observed site, constants weighted like fed values; and which of them share a range.
void Calibration::Implementation::close_statistics() {
  if (batches == 0 && !observed.empty())
    throw Error(ErrorKind::data, fmt::format("no data: {} tensors need it, such as '{}'; give at least one batch",
                                             observed.size(), sites[observed[0]].tensor));
  if (!whole) return;
  ending_if_it_fails([&] {
    wait();
    lane_threads.reset();
    add_lanes();
    runnable_graph.reset();
    if (statistics.empty()) collect();
    whole.reset();
    merge_groups();
  });
}

void Calibration::Implementation::add_lanes() {
  whole->end();
  for (Lane& lane : lanes)
    if (lane.run) lane.run->end();
  for (Lane& lane : lanes) {
    if (lane.run) whole->add(*lane.run);
    lane.run.reset();
    lane.backend.reset();
  }
  lanes.clear();
}

void Calibration::Implementation::collect() {
  std::vector<TensorStatistics> collected = whole->collect();
  std::vector<TensorStatistics> extremes = whole->collect_extremes();
  kept.tensors.reserve(observed.size());  // `statistics` points into them
  if (shared_slots()) {
    for (std::size_t i = 0; i < observed.size(); ++i) {
      kept.tensors.push_back({sites[observed[i]].tensor, collected[slot(i)]});
      statistics.push_back(&kept.tensors.back().statistics);
    }
    return;
  }
  std::map<ValueId, TensorStatistics> known;
  for (std::size_t i = 0; i < observed.size(); ++i) {
    const ValueId value = sites[observed[i]].value;
    const DerivedStatistics::Reading reading = derived->reading(value);
    if (reading == DerivedStatistics::Reading::nothing) continue;
    TensorStatistics& read = reading == DerivedStatistics::Reading::all ? collected[i] : extremes[i];
    if (graph.constant(value) != nullptr) multiply_counts(read, samples);
    known.emplace(value, std::move(read));
  }
  complete_statistics(*derived, std::move(known));
  for (const NamedStatistics& entry : kept.derived)
    if (const std::uint64_t unusable = entry.statistics.nan_count + entry.statistics.positive_infinity_count;
        watched.checked && whole->constants_are_finite() && unusable > 0)
      throw Error(ErrorKind::data,
                  fmt::format("tensor '{}' holds {} NaN or infinite values; mend the data, or use --nonfinite skip",
                              entry.tensor, unusable));
}

void Calibration::Implementation::complete_statistics(const DerivedStatistics& rules,
                                                      std::map<ValueId, TensorStatistics> known) {
  std::set<ValueId> read;
  std::map<ValueId, TensorStatistics> only_extremes;  // as they were read, where a histogram follows
  for (const auto& [value, entry] : known) {
    read.insert(value);
    if (calib::lacks_histogram(entry)) only_extremes.emplace(value, entry);
  }
  rules.complete(known, backend, threads);
  kept.tensors.reserve(observed.size());
  kept.derived.reserve(observed.size());
  for (const std::size_t s : observed) {
    const std::string& tensor = sites[s].tensor;
    const auto found = known.find(sites[s].value);
    if (found == known.end())
      throw Error(
          ErrorKind::usage,
          fmt::format("the saved statistics have no tensor '{}'; give the flags that they were taken with (--config, "
                      "--override, --read-every-tensor and others), or calibrate again",
                      tensor));
    const auto extremes = only_extremes.find(found->first);
    const bool completed = extremes != only_extremes.end() && !(extremes->second == found->second);
    if (completed) kept.tensors.push_back({tensor, std::move(extremes->second)});
    std::vector<NamedStatistics>& place = read.contains(found->first) && !completed ? kept.tensors : kept.derived;
    place.push_back({tensor, std::move(found->second)});
    statistics.push_back(&place.back().statistics);
  }
}

void Calibration::Implementation::assign_groups() {
  std::map<std::int32_t, std::size_t> group_with_number;
  group_of.resize(observed.size());
  for (std::size_t i = 0; i < observed.size(); ++i) {
    const std::int32_t number = sites[observed[i]].group;
    const auto known = number < 0 ? group_with_number.end() : group_with_number.find(number);
    if (known != group_with_number.end()) {
      groups[known->second].members.push_back(i);
      group_of[i] = known->second;
      continue;
    }
    if (number >= 0) group_with_number[number] = groups.size();
    group_of[i] = groups.size();
    groups.push_back({{i}, {}, nullptr});
  }
}

void Calibration::Implementation::merge_groups() {
  parallel_sites(groups.size(), threads, [&](std::size_t g) {
    Group& group = groups[g];
    std::vector<const TensorStatistics*> members;
    for (const std::size_t i : group.members) members.push_back(statistics[i]);
    const bool tied = members.size() > 1 && !shared_slots();
    if (tied) group.sum = merge_tied(members);
    group.statistics = tied ? &group.sum : members[0];
  });
}

}  // namespace tare
