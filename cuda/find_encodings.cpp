// From requests to tasks of the search kernel and back. Rules for ranges and grids, sentinels and constraints are those
// of host/calib; the device only evaluates candidates. Odd: histograms are read once, from wherever they lie into the
// page-locked memory that they travel from, by all threads: ten thousand of them are 160 MB.
#include <algorithm>
#include <deque>
#include <unordered_map>
#include <vector>

#include "calib/encoding.hpp"
#include "calib/parallel_sites.hpp"
#include "run/cores.hpp"
#include "search.hpp"
#include "staging.hpp"
#include "tare/cuda.hpp"

namespace tare::cuda {
namespace {

constexpr std::size_t tasks_a_turn = 256;  // of a thread

/// What else there is, the host computes: formulas, and the rare statistics that the kernel goes without.
bool is_searched(const SearchRequest& request, const SearchOptions& options) {
  const Scheme scheme = request.spec.scheme.value_or(options.scheme);
  const TensorStatistics& statistics = *request.statistics;
  return request.spec.format == NumberFormat::integer && (scheme == Scheme::sqnr || scheme == Scheme::mse) &&
         !statistics.bins.empty() && statistics.points.empty() && statistics.count >> packed_count_bits == 0;
}

/// Histograms one after the other: each once, however many requests share it.
class Histograms {
 public:
  /// The number of the histogram.
  std::size_t add(const TensorStatistics& statistics, const SearchOptions& options) {
    const auto [place, is_first] = numbers_.try_emplace(&statistics, all_.size());
    if (!is_first) return place->second;
    const auto sentinels = options.keep_sentinels ? std::nullopt : find_sentinels(statistics);
    all_.push_back(sentinels ? &clamped_.emplace_back(calib::clamp_sentinels(statistics, *sentinels)) : &statistics);
    begins_.push_back(begins_.back() + all_.back()->bins.size());
    return place->second;
  }

  const TensorStatistics& operator[](std::size_t number) const { return *all_[number]; }
  std::size_t first_bin(std::size_t number) const { return begins_[number]; }
  std::size_t bins() const { return begins_.back(); }

  /// Bins [first, last) of all.
  void pack(std::size_t first, std::size_t last, PackedBin* to, int threads) const {
    const auto holds = [&](std::size_t bin) { return std::upper_bound(begins_.begin(), begins_.end(), bin) - 1; };
    const auto begin = static_cast<std::size_t>(holds(first) - begins_.begin());
    const auto end = static_cast<std::size_t>(holds(last - 1) - begins_.begin()) + 1;
    parallel_sites(end - begin, threads, [&](std::size_t i) {
      const std::size_t number = begin + i;
      const auto& bins = all_[number]->bins;
      const std::size_t until = std::min(begins_[number + 1], last);
      for (std::size_t at = std::max(begins_[number], first); at < until; ++at) {
        const auto& [bin, count] = bins[at - begins_[number]];
        to[at - first] = packed_bin(bin, count);
      }
    });
  }

 private:
  std::unordered_map<const TensorStatistics*, std::size_t> numbers_;
  std::vector<const TensorStatistics*> all_;
  std::vector<std::size_t> begins_{0};
  std::deque<TensorStatistics> clamped_;
};

SearchTask task_of(const TensorStatistics& statistics, const QuantizerSpec& spec, const SearchOptions& options) {
  const calib::SearchSpace space = calib::search_space(calib::observed_range(statistics, false), spec);
  const Encoding whole = min_max_encoding(space.range.low, space.range.high, spec);
  SearchTask task{};
  task.bin_count = static_cast<std::uint32_t>(statistics.bins.size());
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
  task.whole_scale = whole.scale;
  task.whole_negative_steps = -whole.offset;
  task.gamma = calib::gamma_of(spec, options);
  return task;
}

Encoding encoding_of(const SearchResult& result, const SearchTask& task, const QuantizerSpec& spec) {
  if (result.position < 0) return calib::constrain(min_max_encoding(task.low, task.high, spec), spec);
  const double offset = -result.negative_steps;
  return calib::constrain({result.scale * offset, result.scale * (offset + task.steps), result.scale, offset}, spec);
}

/// The bins travel in pieces, and what has all of its bins there is searched while the host packs the next ones.
std::vector<SearchResult> search(const Histograms& histograms, std::span<const SearchTask> tasks, StreamView stream,
                                 const Allocator& allocator, int threads) {
  DeviceBuffer<PackedBin> bins(histograms.bins(), stream, allocator);
  DeviceBuffer<SearchTask> device_tasks(tasks.size(), stream, allocator);
  DeviceBuffer<SearchResult> device_results(tasks.size(), stream, allocator);
  device_tasks.upload(tasks, stream);
  std::size_t launched = 0;
  const auto launch_up_to = [&](std::size_t there, std::size_t least) {
    std::size_t end = launched;
    while (end < tasks.size() && tasks[end].first_bin + tasks[end].bin_count <= there) ++end;
    if (end - launched < least) return;
    search(device_tasks.data() + launched, end - launched, bins.data(), device_results.data() + launched, stream);
    launched = end;
  };
  Staging staging(stream, std::min(packed_piece * sizeof(PackedBin), bins.bytes()));
  staging.write(bins.data(), bins.bytes(), [&](std::byte* piece, std::size_t begin, std::size_t count) {
    launch_up_to(begin / sizeof(PackedBin), tasks_of_a_launch);  // pieces in front of this one are on their way
    histograms.pack(begin / sizeof(PackedBin), (begin + count) / sizeof(PackedBin), reinterpret_cast<PackedBin*>(piece),
                    threads);
  });
  launch_up_to(histograms.bins(), 0);
  std::vector<SearchResult> results(tasks.size());
  device_results.download(results, stream);
  stream.synchronize();
  return results;
}

}  // namespace

std::vector<Encoding> find_encodings(std::span<const SearchRequest> requests, const SearchOptions& options,
                                     Stream stream, const Allocator& allocator) {
  const auto threads = usable_cores();
  std::vector<std::size_t> searched;
  std::vector<std::size_t> computed;
  for (std::size_t i = 0; i < requests.size(); ++i)
    (is_searched(requests[i], options) ? searched : computed).push_back(i);
  if (searched.empty() || !can_search()) return tare::find_encodings(requests, options, threads);
  for (const std::size_t i : searched) calib::check(requests[i].spec, options);

  std::vector<Encoding> encodings(requests.size());
  std::vector<SearchRequest> formulas;
  for (const std::size_t i : computed) formulas.push_back(requests[i]);
  const std::vector<Encoding> by_host = tare::find_encodings(formulas, options, threads);
  for (std::size_t i = 0; i < computed.size(); ++i) encodings[computed[i]] = by_host[i];

  Histograms histograms;
  std::vector<std::size_t> numbers;
  for (const std::size_t i : searched) numbers.push_back(histograms.add(*requests[i].statistics, options));
  std::vector<SearchTask> tasks(searched.size());
  parallel_sites((tasks.size() + tasks_a_turn - 1) / tasks_a_turn, threads, [&](std::size_t turn) {
    for (std::size_t i = turn * tasks_a_turn; i < std::min(tasks.size(), (turn + 1) * tasks_a_turn); ++i) {
      tasks[i] = task_of(histograms[numbers[i]], requests[searched[i]].spec, options);
      tasks[i].first_bin = histograms.first_bin(numbers[i]);
    }
  });
  const std::vector<SearchResult> results = search(histograms, tasks, StreamView(stream), allocator, threads);
  for (std::size_t i = 0; i < searched.size(); ++i)
    encodings[searched[i]] = encoding_of(results[i], tasks[i], requests[searched[i]].spec);
  return encodings;
}

}  // namespace tare::cuda
