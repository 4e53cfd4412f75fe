// Batches of one calibration, one after the other on one backend, and what its observers saw of them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "run/executor.hpp"
#include "tare/backend.hpp"
#include "tare/dataset.hpp"

namespace tare {

/// What a calibration observes: the same for all its runs, which only read it.
struct ObservedSites {
  struct Site {
    std::string tensor;
    std::size_t slot = 0;              ///< of the observer
    bool extremes = false;             ///< the histogram is derived
    const Tensor* constant = nullptr;  ///< its value, where it does not depend on the data
    bool in_run = false;               ///< the run observes it, constant or not
  };
  std::vector<Site> sites;
  std::size_t slots = 0;
  ObserverKind kind = ObserverKind::histogram;
  bool constants_with_every_batch = false;
  bool checked = false;  ///< the first NaN or infinity is an error
  std::function<Executor(Backend&)> make_executor;
};

/// Hands every observed value to an action; the value itself passes unchanged.
class ObserveHook final : public ValueHook {
 public:
  explicit ObserveHook(std::function<void(std::size_t, const Tensor&)> action) : action_(std::move(action)) {}
  Tensor on_value(std::size_t site, Tensor value) override {
    action_(site, value);
    return value;
  }

 private:
  std::function<void(std::size_t, const Tensor&)> action_;
};

/// Not thread-safe; several of them may run beside each other.
class ObservedRun {
 public:
  /// `of` and the backend outlive the run.
  ObservedRun(const ObservedSites& of, Backend& backend);

  void observe_constants();
  /// Throws Error(data) for what does not fit the model or, where it is checked, for the first NaN or infinity.
  void add(const Batch& batch);
  /// Behind the last batch. What was seen may still be collected.
  void end();

  /// What a run of a lane saw, too.
  void add(const ObservedRun& of_lane);
  /// Statistics of all slots; of the extremes by site. Once.
  std::vector<TensorStatistics> collect();
  std::vector<TensorStatistics> collect_extremes();
  bool constants_are_finite() const { return unusable_constants_ == 0; }

 private:
  Executor& executor();
  /// Runs a batch once more and throws Error(data) for the first NaN or infinity, or because there is none any more.
  [[noreturn]] void refuse(const Batch& batch);
  std::uint64_t unusable_count() const { return observer_->unusable_count() + extremes_observer_->unusable_count(); }

  const ObservedSites& of_;
  Backend& backend_;
  std::unique_ptr<Observer> observer_;
  std::unique_ptr<Observer> extremes_observer_;
  std::optional<Executor> executor_;
  std::uint64_t unusable_in_run_ = 0;     ///< of constants, with every run
  std::uint64_t unusable_constants_ = 0;  ///< masks of -inf are the model's own business
  std::optional<Batch> unchecked_;        ///< the last one, where the device runs behind
};

}  // namespace tare
