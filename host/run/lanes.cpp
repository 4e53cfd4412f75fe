#include "run/lanes.hpp"

#include <omp.h>

#include <utility>

namespace tare {

Lanes::Lanes(std::size_t most, Run run) : most_(most), run_(std::move(run)) {}

Lanes::~Lanes() {
  const std::lock_guard lock(mutex_);
  ends_ = true;
  waiting_.clear();
  changed_.notify_all();
}

void Lanes::give(RunBatch batch) {
  std::unique_lock lock(mutex_);
  if (failure_ == nullptr) {
    // The team of what the caller did in parallel before goes on spinning for milliseconds, on cores that lanes need.
    if (waiting_.empty() && running_ == 0) omp_pause_resource_all(omp_pause_soft);
    waiting_.push_back({given_++, std::move(batch)});
    if (threads_.size() + 1 < most_ && running_ + waiting_.size() > threads_.size())
      threads_.emplace_back([this, lane = threads_.size() + 1] { work(lane); });
    changed_.notify_one();
    while (waiting_.size() > most_) run_first(lock, 0);
    if (failure_ == nullptr) return;
  }
  lock.unlock();
  wait();
}

void Lanes::wait() {
  std::unique_lock lock(mutex_);
  while (!waiting_.empty()) run_first(lock, 0);
  changed_.wait(lock, [&] { return running_ == 0; });
  if (failure_ != nullptr) std::rethrow_exception(failure_);
}

void Lanes::work(std::size_t lane) {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ends_ || !waiting_.empty(); });
    if (ends_) return;
    run_first(lock, lane);
  }
}

void Lanes::run_first(std::unique_lock<std::mutex>& lock, std::size_t lane) {
  const Task task = std::move(waiting_.front());
  waiting_.pop_front();
  ++running_;
  lock.unlock();
  std::exception_ptr failure;
  try {
    run_(lane, task.batch);
  } catch (...) {
    failure = std::current_exception();
  }
  lock.lock();
  --running_;
  if (failure != nullptr) {
    waiting_.clear();  // given later than all that ran
    if (failure_ == nullptr || task.number < failed_) {
      failure_ = failure;
      failed_ = task.number;
    }
  }
  if (running_ == 0) changed_.notify_all();
}

}  // namespace tare
