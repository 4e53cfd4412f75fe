// The state of a calibration under way (see tare/session.hpp).
#pragma once

#include <chrono>
#include <optional>
#include <vector>

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

  ObserverKind observer_kind() const;
  Executor& observing_run();
  void find_parameters();
  void close_statistics();
  void make_groups();
  TensorStatistics merge_members(const std::vector<const TensorStatistics*>& members) const;
  const QuantizerSpec& spec_of(std::size_t group) const { return sites[observed[groups[group].members[0]]].spec; }
  bool refining() const { return !accumulators.empty(); }
  std::vector<std::string> warnings() const;

  const Graph& graph;
  Backend& backend;
  CalibrationOptions options;
  Rounding rounding;
  int threads;
  std::chrono::steady_clock::time_point start;
  std::vector<QuantSite> sites;
  std::vector<std::size_t> observed;  ///< indices into `sites`: the observer's slots
  EncodingSet parameters;
  std::unique_ptr<Observer> observer;
  QuantizedGraph prepared;  ///< until the executor is made of it
  std::optional<Executor> executor;
  std::uint64_t nonfinite_seen = 0;
  std::size_t samples = 0;
  std::size_t batches = 0;
  std::vector<TensorStatistics> statistics;  ///< by slot, once closed
  std::vector<Group> groups;
  std::vector<std::size_t> group_of;  ///< by slot
  std::vector<RefineAccumulator> accumulators;  ///< by group, while refining
};

}  // namespace tare
