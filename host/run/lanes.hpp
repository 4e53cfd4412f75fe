// Threads of a calibration that run batches beside each other, handed out in their order. Models of small tensors keep
// a thread busier alone than several threads that meet after every operator.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "run/observed_run.hpp"

namespace tare {

class Lanes {
 public:
  /// Called with the number of the lane, which runs one batch at a time.
  using Run = std::function<void(std::size_t lane, const RunBatch& batch)>;

  /// At most so many, of which the caller's thread is the first; the others are made when they are needed.
  Lanes(std::size_t most, Run run);
  /// Waits for the batches that run; those that wait are let go.
  ~Lanes();

  /// Runs a batch that was given earlier when more than one a lane wait. Throws as wait() does once one has failed.
  void give(RunBatch batch);
  /// Until all batches are done, with the caller's help. Throws what the earliest of those that failed has thrown; the
  /// batches behind it are let go, and from then on nothing runs.
  void wait();

 private:
  struct Task {
    std::uint64_t number = 0;
    RunBatch batch;
  };

  void work(std::size_t lane);
  /// Of those that wait. `lock` is open while it runs.
  void run_first(std::unique_lock<std::mutex>& lock, std::size_t lane);

  std::size_t most_;
  Run run_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> waiting_;
  std::size_t running_ = 0;
  std::uint64_t given_ = 0;
  std::uint64_t failed_ = 0;  ///< number of the batch behind `failure_`
  std::exception_ptr failure_;
  bool ends_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace tare
