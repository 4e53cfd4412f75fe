// The state of runs over many batches (see tare/session.hpp).
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "run/executor.hpp"
#include "run/lanes.hpp"
#include "tare/session.hpp"

namespace tare {

/// The models that batches run through, on all threads; null: not asked for. Lanes have executors of their own on the
/// same graphs. All of it outlives the runs.
struct RunModels {
  Executor* exact = nullptr;
  Executor* simulated = nullptr;
  const std::vector<std::int32_t>* site_of_value = nullptr;  ///< of `simulated`
  const std::vector<TensorEncodings>* sites = nullptr;
  Rounding rounding = Rounding::half_even;
  const std::atomic<bool>* stop = nullptr;  ///< of the lanes' executors
};

struct BatchRuns::Implementation {
  Implementation(RunModels models, Backend& backend, int threads, Receiver receiver);

  void add(Batch batch);
  void finish();

 private:
  /// One batch on its way through a lane.
  struct Waiting {
    Batch batch;
    BatchOutputs outputs;
    std::atomic<bool> done = false;
  };
  struct Lane {
    std::unique_ptr<Backend> backend;
    std::optional<Executor> exact, simulated;
  };

  bool make_lanes();
  BatchOutputs run_on(Lane& lane, const Batch& batch) const;
  BatchOutputs run(Backend& on, Executor* exact, Executor* simulated, const Batch& batch) const;
  /// Hands on what is done and has nothing waiting in front of it.
  void deliver();

  RunModels models_;
  Backend& backend_;
  int threads_;
  Receiver receiver_;
  bool takes_lanes_;
  std::vector<Lane> lanes_;
  std::deque<std::shared_ptr<Waiting>> waiting_;  ///< in the order of the batches
  std::optional<Lanes> lane_threads_;             ///< last: they use all of the above
};

}  // namespace tare
