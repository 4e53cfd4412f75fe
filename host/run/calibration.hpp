// The state of a calibration under way (see tare/session.hpp).
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "plan/clip_range.hpp"
#include "plan/quantized_graph.hpp"
#include "run/executor.hpp"
#include "tare/session.hpp"

namespace tare {

struct Calibration::Implementation {
  Implementation(const Graph& graph, Backend& backend, CalibrationOptions options, Rounding rounding, int threads);

  void add(std::span<const Tensor> inputs, std::size_t samples);
  /// Statistics saved by an earlier run stand in for data. Throws Error(usage) naming tensors that they do not have.
  void use(const StatisticsFile& saved);
  void start_refinement();
  CalibrationResult finish();

  /// Sites that share one range, and the statistics of all of them together.
  struct Group {
    std::vector<std::size_t> members;  ///< indices into `observed`
    TensorStatistics merged;
  };

  /// A site whose statistics follow from those of others, all by index into `observed`.
  struct Derived {
    std::size_t site;
    std::vector<std::size_t> sources;
    std::optional<ClipRange> range;
  };

  ObserverKind observer_kind() const;
  bool is_given(const QuantSite& site) const { return given.set.find(site.tensor, site.role) != nullptr; }
  Executor& observing_run();
  void place_sites();
  void check_schemes() const;
  void find_parameters();
  void close_statistics();
  void observe_constants();
  void find_derived();
  void derive_statistics();
  void assign_groups();
  void merge_groups();
  /// All members of a group are observed as one tensor.
  bool shared_slots() const { return observer_kind() == ObserverKind::tf_enhanced; }
  std::size_t slot(std::size_t i) const { return shared_slots() ? group_of[i] : i; }
  const QuantizerSpec& spec_of(std::size_t group) const { return sites[observed[groups[group].members[0]]].spec; }
  Encoding search(std::size_t group) const;
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
  QuantizedGraph prepared;
  std::vector<Derived> derived;  ///< sources first; only refining reads their values
  std::optional<Executor> executor;
  std::uint64_t nonfinite_seen = 0;
  std::size_t samples = 0;
  std::size_t batches = 0;
  std::vector<TensorStatistics> statistics;  ///< by observed site, once closed
  std::vector<Group> groups;
  std::vector<std::size_t> group_of;            ///< by observed site
  std::vector<RefineAccumulator> accumulators;  ///< by group, while refining
};

}  // namespace tare
