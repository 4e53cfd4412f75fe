// From requests to tasks of the search kernel and back. Rules for ranges and grids, sentinels and constraints are those
// of host/calib; the device only evaluates candidates.
#include <algorithm>
#include <thread>
#include <vector>

#include "calib/encoding.hpp"
#include "search.hpp"
#include "tare/cuda.hpp"

namespace tare::cuda {
namespace {

bool is_searched(const SearchRequest& request, const SearchOptions& options) {
  const Scheme scheme = request.spec.scheme.value_or(options.scheme);
  return request.spec.format == NumberFormat::integer && (scheme == Scheme::sqnr || scheme == Scheme::mse);
}

/// The histograms of all tasks, one after the other.
struct Batch {
  std::vector<SearchTask> tasks;
  std::vector<Encoding> whole;  ///< min-max encodings
  std::vector<std::uint32_t> bins;
  std::vector<std::uint64_t> counts;

  void add(const TensorStatistics& statistics, const QuantizerSpec& spec, double gamma) {
    const calib::SearchSpace space = calib::search_space(calib::observed_range(statistics, false), spec);
    const Encoding& encoding = whole.emplace_back(min_max_encoding(space.range.low, space.range.high, spec));
    SearchTask& task = tasks.emplace_back();
    task.first_bin = bins.size();
    task.bin_count = static_cast<std::uint32_t>(statistics.bins.size());
    for (const auto& [bin, count] : statistics.bins) {
      bins.push_back(bin);
      counts.push_back(count);
    }
    task.fixed_zero = space.shape.fixed_zero;
    task.minimum = statistics.min;
    task.maximum = statistics.max;
    task.minimum_count = statistics.min_count;
    task.maximum_count = statistics.max_count;
    task.low = space.range.low;
    task.high = space.range.high;
    task.steps = space.shape.steps;
    task.negative_steps = space.shape.negative_steps;
    task.positive_steps = space.shape.positive_steps;
    task.smallest_scale = space.smallest_scale;
    task.largest_scale = space.largest_scale;
    task.whole_scale = encoding.scale;
    task.whole_negative_steps = -encoding.offset;
    task.gamma = gamma;
  }

  std::vector<Encoding> run(StreamView stream, const Allocator& allocator) const {
    DeviceBuffer<SearchTask> device_tasks(tasks.size(), stream, allocator);
    DeviceBuffer<std::uint32_t> device_bins(std::max<std::size_t>(bins.size(), 1), stream, allocator);
    DeviceBuffer<std::uint64_t> device_counts(device_bins.size(), stream, allocator);
    DeviceBuffer<SearchResult> device_results(tasks.size(), stream, allocator);
    device_tasks.upload(tasks, stream);
    device_bins.upload(bins, stream);
    device_counts.upload(counts, stream);
    search(device_tasks.data(), tasks.size(), device_bins.data(), device_counts.data(), device_results.data(), stream);
    std::vector<SearchResult> results(tasks.size());
    device_results.download(results, stream);
    stream.synchronize();
    std::vector<Encoding> encodings;
    for (std::size_t i = 0; i < results.size(); ++i) {
      const double offset = -results[i].negative_steps;
      const double scale = results[i].scale;
      encodings.push_back(results[i].position < 0
                              ? whole[i]
                              : Encoding{scale * offset, scale * (offset + tasks[i].steps), scale, offset});
    }
    return encodings;
  }
};

}  // namespace

std::vector<Encoding> find_encodings(std::span<const SearchRequest> requests, const SearchOptions& options,
                                     Stream stream, const Allocator& allocator) {
  const auto threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const bool searches = std::any_of(requests.begin(), requests.end(),
                                    [&](const SearchRequest& request) { return is_searched(request, options); });
  if (!searches || !can_search()) return tare::find_encodings(requests, options, threads);
  std::vector<Encoding> encodings(requests.size());
  std::vector<std::size_t> searched;
  std::vector<std::size_t> computed;
  std::vector<SearchRequest> formulas;
  Batch batch;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const QuantizerSpec& spec = requests[i].spec;
    const TensorStatistics& statistics = *requests[i].statistics;
    const bool extremes_alone = statistics.bins.empty();  // all zero, or nothing to search in: the host knows which
    const bool has_points = !statistics.points.empty();   // rare: the kernel goes without
    if (!is_searched(requests[i], options) || extremes_alone || has_points) {
      computed.push_back(i);
      formulas.push_back(requests[i]);
      continue;
    }
    static_cast<void>(find_encoding(TensorStatistics{}, spec, options));  // refuses options and specs out of range
    const auto sentinels = options.keep_sentinels ? std::nullopt : find_sentinels(statistics);
    batch.add(sentinels ? calib::clamp_sentinels(statistics, *sentinels) : statistics, spec,
              calib::gamma_of(spec, options));
    searched.push_back(i);
  }
  const std::vector<Encoding> by_host = tare::find_encodings(formulas, options, threads);
  for (std::size_t i = 0; i < computed.size(); ++i) encodings[computed[i]] = by_host[i];
  if (searched.empty()) return encodings;
  const std::vector<Encoding> found = batch.run(StreamView(stream), allocator);
  for (std::size_t i = 0; i < searched.size(); ++i) {
    const QuantizerSpec& spec = requests[searched[i]].spec;
    const Encoding& encoding = found[i];
    encodings[searched[i]] =
        spec.fixed_min || spec.fixed_max
            ? fixed_range_encoding(spec.fixed_min.value_or(encoding.min), spec.fixed_max.value_or(encoding.max), spec)
            : encoding;
  }
  return encodings;
}

}  // namespace tare::cuda
