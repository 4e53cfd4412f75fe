#include "run/derived_statistics.hpp"

#include <algorithm>
#include <mutex>
#include <set>
#include <string_view>

#include "calib/derived.hpp"
#include "calib/encoding.hpp"
#include "calib/parallel_sites.hpp"
#include "plan/fuse.hpp"
#include "run/executor.hpp"

namespace tare {
namespace {

std::vector<float> images(Graph function, Backend& backend, std::span<const float> points) {
  const std::vector<bool> nothing_visible(function.values.size());
  Executor executor(make_runnable(std::move(function), nothing_visible, backend), backend, {});
  Tensor tensor = Tensor::host(DataType::float32, {static_cast<std::int64_t>(points.size())});
  std::copy(points.begin(), points.end(), tensor.mutable_data<float>());
  const Tensor result = executor.run(std::span(&tensor, 1)).at(0);
  return {result.data<float>(), result.data<float>() + result.elements()};
}

}  // namespace

DerivedStatistics::DerivedStatistics(const Graph& graph, const std::vector<bool>& observed, ObserverKind kind,
                                     bool read_every_tensor)
    : graph_(graph), readings_(graph.values.size(), Reading::all), histograms_(kind == ObserverKind::histogram) {
  if (kind == ObserverKind::tf_enhanced) return;  // depends on the order of values
  const Derivation derivation = read_every_tensor ? Derivation::nothing
                                : histograms_     ? Derivation::histograms
                                                  : Derivation::extremes;
  for (DerivedValue& value : derived_values(graph, observed, derivation)) {
    if (value.range && histograms_ && clips_exactly(value.range->low, value.range->high))
      value.path.clear();
    else if (value.range && value.path.empty())
      continue;
    else
      value.range.reset();
    const bool needs_extremes = value.turns && !value.path.empty() && value.hinge == absent;
    readings_[static_cast<std::size_t>(value.value)] = needs_extremes ? Reading::extremes : Reading::nothing;
    values_.push_back(std::move(value));
  }
}

/// In rounds: what only needs what is known is derived on all threads. The backend itself serves one at a time.
void DerivedStatistics::complete(std::map<ValueId, TensorStatistics>& known, Backend& backend, int threads) const {
  std::mutex one_at_a_time;
  const Apply apply = [&](Graph function, std::span<const float> points) {
    const std::lock_guard lock(one_at_a_time);
    return images(std::move(function), backend, points);
  };
  std::vector<const DerivedValue*> waiting;
  std::set<ValueId> unknown;
  for (const DerivedValue& value : values_) {
    const auto read = known.find(value.value);
    if (read != known.end() && !(histograms_ && calib::lacks_histogram(read->second))) continue;
    waiting.push_back(&value);
    unknown.insert(value.value);
  }
  const auto is_ready = [&](const DerivedValue* value) {
    return std::all_of(value->sources.begin(), value->sources.end(),
                       [&](ValueId v) { return known.contains(v) && !unknown.contains(v); }) &&
           !unknown.contains(value->hinge);
  };
  while (true) {
    const auto rest = std::stable_partition(waiting.begin(), waiting.end(), is_ready);
    const std::vector<const DerivedValue*> ready(waiting.begin(), rest);
    waiting.erase(waiting.begin(), rest);
    if (ready.empty() && unknown.empty()) return;  // sources of what is left were not read
    if (ready.empty()) unknown.clear();            // nor can all be derived: those that were read must do
    std::vector<TensorStatistics> results(ready.size());
    parallel_sites(ready.size(), threads, [&](std::size_t i) { results[i] = derive(*ready[i], known, apply); });
    for (std::size_t i = 0; i < ready.size(); ++i) {
      known.insert_or_assign(ready[i]->value, std::move(results[i]));
      unknown.erase(ready[i]->value);
    }
  }
}

TensorStatistics DerivedStatistics::derive(const DerivedValue& value, const std::map<ValueId, TensorStatistics>& known,
                                           const Apply& apply) const {
  TensorStatistics sum;
  for (const ValueId source : value.sources) sum.merge(known.at(source));
  if (value.range) return clipped(sum, value.range->low, value.range->high);
  if (value.path.empty()) return sum;
  const auto read = known.find(value.value);
  return image(value, sum, read != known.end() ? &read->second : nullptr, known, apply);
}

TensorStatistics DerivedStatistics::image(const DerivedValue& value, const TensorStatistics& source,
                                          const TensorStatistics* extremes,
                                          const std::map<ValueId, TensorStatistics>& known, const Apply& apply) const {
  const auto function = [&](ValueId from, const std::vector<std::int32_t>& path) {
    return [&, from](std::span<const float> points) {
      return apply(function_graph(graph_, from, path, value.value), points);
    };
  };
  TensorStatistics of_hinge;
  if (const auto hinge = known.find(value.hinge); extremes == nullptr && hinge != known.end()) {
    of_hinge = hinge->second;
    of_hinge.bins.clear();
    of_hinge = mapped(of_hinge, function(value.hinge, value.hinge_path));
    extremes = &of_hinge;
  }
  return mapped(source, function(value.sources[0], value.path), extremes);
}

std::map<ValueId, TensorStatistics> statistics_of_values(const Graph& graph, std::span<const NamedStatistics> saved) {
  std::map<std::string_view, const TensorStatistics*> by_name;
  for (const NamedStatistics& entry : saved) by_name[entry.tensor] = &entry.statistics;
  std::map<ValueId, TensorStatistics> known;
  for (std::size_t v = 0; v < graph.values.size(); ++v)
    if (const auto found = by_name.find(graph.values[v].name); found != by_name.end())
      known.emplace(static_cast<ValueId>(v), *found->second);
  return known;
}

void add_known(std::vector<bool>& observed, const Graph& graph, const std::map<ValueId, TensorStatistics>& known) {
  for (const auto& [value, statistics] : known)
    if (graph.constant(value) == nullptr) observed.at(static_cast<std::size_t>(value)) = true;
}

}  // namespace tare
