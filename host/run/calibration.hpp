// The state of a calibration under way (see tare/session.hpp).
#pragma once

#include <chrono>
#include <exception>
#include <map>
#include <optional>
#include <vector>

#include "plan/quantized_graph.hpp"
#include "run/derived_statistics.hpp"
#include "run/executor.hpp"
#include "run/lanes.hpp"
#include "run/observed_run.hpp"
#include "tare/session.hpp"

namespace tare {

/// What saved statistics serve, for messages.
inline constexpr std::string_view saved_schemes = "min_max, sqnr, mse, percentile or entropy";

struct Calibration::Implementation {
  Implementation(const Graph& graph, Backend& backend, CalibrationOptions options, Rounding rounding, int threads,
                 const std::atomic<bool>* stop);

  /// `batch.samples`: 0: as many as its first input has rows. `keeps_inputs`: nobody writes to them later on.
  void add(Batch batch, bool keeps_inputs);
  /// Until all batches are done, and until something is wrong with one of them: throws that.
  void wait();
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

  /// `prepared`, for the runs that observe; or, while refining, for those that measure.
  struct Runnable {
    Graph graph;
    std::vector<std::int32_t> site_of_value;
  };
  struct Lane {
    std::unique_ptr<Backend> backend;
    std::unique_ptr<ObservedRun> run;  ///< made with the first batch
  };

  /// Throws Error(usage) behind finish(), and again what has ended the calibration.
  void require_open() const;
  /// What `step` throws ends the calibration: of its statistics, some have seen a batch and others have not.
  template <class Step>
  void ending_if_it_fails(const Step& step) {
    try {
      step();
    } catch (...) {
      failure = std::current_exception();
      throw;
    }
  }
  ObserverKind observer_kind() const;
  bool is_given(const QuantSite& site) const { return given.set.find(site.tensor, site.role) != nullptr; }
  const Runnable& runnable();
  Executor make_executor(Backend& on);
  void place_sites();
  void check_schemes() const;
  void find_parameters();
  void order_as_aimet();
  void describe_sites();
  void close_statistics();
  bool make_lanes();
  void add_lanes();
  ObservedRun& run_of(Lane& lane) const;
  void copy_inputs(Batch& batch);
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
  /// `clamped`: what the search of the site's group took for their floor.
  void warn_of_sentinels(std::size_t i, const std::optional<Sentinels>& clamped, std::vector<std::string>& lines) const;
  void warn_of_nonfinite(std::size_t i, const std::optional<Sentinels>& clamped, std::vector<std::string>& lines) const;
  std::vector<std::string> warnings() const;

  const Graph& graph;
  Backend& backend;
  CalibrationOptions options;
  Rounding rounding;
  int threads;
  const std::atomic<bool>* stop;  ///< of all its executors
  std::chrono::steady_clock::time_point start;
  std::vector<QuantSite> sites;
  std::vector<std::string> supergroup_passes;  ///< of the config, which is read once
  AdoptedEncodings given;
  std::vector<std::string> kept_quantizers;  ///< of the model, to warn of
  std::vector<std::size_t> observed;         ///< indices into `sites`
  EncodingSet parameters;
  QuantizedGraph prepared;
  std::optional<Runnable> runnable_graph;
  std::optional<DerivedStatistics> derived;  ///< of `prepared`; refining reads every value
  ObservedSites watched;                     ///< `observed`, as runs see it
  std::optional<ObservedRun> whole;          ///< on the backend, until collected
  bool takes_lanes = false;
  std::vector<Lane> lanes;
  std::optional<Executor> measuring;  ///< of the second pass, which reads every value
  std::size_t samples = 0;
  std::size_t batches = 0;
  StatisticsFile kept;                              ///< by tensor, what was read and what follows
  std::vector<const TensorStatistics*> statistics;  ///< in it, by observed site, once closed
  std::vector<Group> groups;
  std::vector<std::size_t> group_of;  ///< by observed site
  std::vector<bool> in_order;         ///< by observed site: a constant or an input that a node of the run hands over
  bool refining = false;              ///< the second pass has begun
  bool finished = false;              ///< the result has taken the sites and statistics
  std::exception_ptr failure;
  std::vector<std::optional<RefineAccumulator>> accumulators;  ///< by group, while refining
  std::optional<Lanes> lane_threads;                           ///< last: they use all of the above
};

}  // namespace tare
