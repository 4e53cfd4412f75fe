// Threads that run batches beside each other, handed out in their order. Models of small tensors keep a thread busier
// alone than several threads that meet after every operator.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tare/backend.hpp"
#include "tare/dataset.hpp"
#include "tare/graph.hpp"

namespace tare {

/// Models and batches for lanes: small enough for threads to lose more by meeting after every operator than by having
/// weights and tensors of their own, and for that memory not to be seen beside the process.
bool fits_lanes(const Graph& graph);
/// By the batch alone, so that its bits do not depend on others.
bool fits_lane(const Batch& batch);
/// One for each of `count` lanes; none where the backend has no lanes.
std::vector<std::unique_ptr<Backend>> lane_backends(const Backend& backend, int count);

class Lanes {
 public:
  /// Called with the number of the lane, which runs one task at a time.
  using Task = std::function<void(std::size_t lane)>;

  /// At most so many, of which the caller's thread is the first; the others are made when they are needed.
  explicit Lanes(std::size_t most) : most_(most) {}
  /// Waits for the tasks that run; those that wait are let go.
  ~Lanes();

  /// Runs a task that was given earlier when more than one a lane wait. Throws as wait() does once one has failed.
  void give(Task task);
  /// Until all tasks are done, with the caller's help. Throws what the earliest of those that failed has thrown; the
  /// tasks behind it are let go, and from then on nothing runs.
  void wait();

 private:
  struct Numbered {
    std::uint64_t number = 0;
    Task task;
  };

  void work(std::size_t lane);
  /// Of those that wait. `lock` is open while it runs.
  void run_first(std::unique_lock<std::mutex>& lock, std::size_t lane);

  std::size_t most_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Numbered> waiting_;
  std::size_t running_ = 0;
  std::uint64_t given_ = 0;
  std::uint64_t failed_ = 0;  ///< number of the task behind `failure_`
  std::exception_ptr failure_;
  bool ends_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace tare
