// The state of a calibration under way (see tare/session.hpp).
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <vector>

#include "plan/quantized_graph.hpp"
#include "run/derived_statistics.hpp"
#include "run/executor.hpp"
#include "tare/session.hpp"

namespace tare {

struct Calibration::Implementation {
  Implementation(const Graph& graph, Backend& backend, CalibrationOptions options, Rounding rounding, int threads);

  /// `samples`: of the batch, 0: as many as its first input has rows. `first_sample`: its place in the data.
  void add(std::span<const Tensor> inputs, std::size_t samples, std::size_t first_sample);
  /// Statistics saved by an earlier run stand in for data. Throws Error(usage) naming tensors that they do not have.
  void use(const StatisticsFile& saved);
  void start_refinement();
  CalibrationResult finish();

  /// Sites that share one range, and the statistics of all of them together.
  struct Group {
    std::vector<std::size_t> members;  ///< indices into `observed`
    TensorStatistics sum;              ///< of several members
    const TensorStatistics* statistics = nullptr;
  };

  ObserverKind observer_kind() const;
  bool is_given(const QuantSite& site) const { return given.set.find(site.tensor, site.role) != nullptr; }
  Executor& observing_run();
  void place_sites();
  void check_schemes() const;
  void find_parameters();
  void close_statistics();
  void observe_constants();
  Tap tap(std::size_t i) const;  ///< of an observed site
  struct RunBatch {
    std::vector<Tensor> inputs;
    std::size_t first_sample = 0;
    std::size_t count = 0;
  };
  /// Runs a batch once more and throws Error(data) for the first NaN or infinity.
  void refuse_batch(const RunBatch& batch);
  std::uint64_t nonfinite_count() const { return observer->nonfinite_count() + extremes_observer->nonfinite_count(); }
  void collect();
  void complete_statistics(const DerivedStatistics& rules, std::map<ValueId, TensorStatistics> known);
  void assign_groups();
  void merge_groups();
  /// All members of a group are observed as one tensor.
  bool shared_slots() const { return options.search.scheme == Scheme::tf_enhanced; }
  std::size_t slot(std::size_t i) const { return shared_slots() ? group_of[i] : i; }
  const QuantizerSpec& spec_of(std::size_t group) const { return sites[observed[groups[group].members[0]]].spec; }
  bool is_searched_in_full(std::size_t group) const;
  std::vector<Encoding> search() const;  ///< by group
  bool refining() const { return !accumulators.empty(); }
  std::vector<std::string> warnings() const;

  const Graph& graph;
  Backend& backend;
  CalibrationOptions options;
  Rounding rounding;
  int threads;
  std::chrono::steady_clock::time_point start;
  std::vector<QuantSite> sites;
  AdoptedEncodings given;
  std::vector<std::size_t> observed;  ///< indices into `sites`
  EncodingSet parameters;
  std::unique_ptr<Observer> observer;
  std::unique_ptr<Observer> extremes_observer;  ///< of sites whose histogram is derived
  QuantizedGraph prepared;
  std::optional<DerivedStatistics> derived;  ///< of `prepared`; refining reads every value
  std::optional<Executor> executor;
  std::uint64_t nonfinite_seen = 0;
  std::optional<RunBatch> unchecked;  ///< the last one, where the device runs behind
  std::size_t samples = 0;
  std::size_t batches = 0;
  StatisticsFile kept;                              ///< by tensor, what was read and what follows
  std::vector<const TensorStatistics*> statistics;  ///< in it, by observed site, once closed
  std::vector<Group> groups;
  std::vector<std::size_t> group_of;            ///< by observed site
  std::vector<RefineAccumulator> accumulators;  ///< by group, while refining
};

}  // namespace tare
