#include "run/lanes.hpp"

#include <omp.h>

#include <utility>

namespace tare {
namespace {

constexpr std::size_t most_constants = std::size_t{2} << 20;  // bytes
constexpr std::size_t most_inputs = std::size_t{160} << 10;

}  // namespace

bool fits_lanes(const Graph& graph) {
  std::size_t bytes = 0;
  for (const auto& [value, tensor] : graph.constants) bytes += tensor.bytes();
  return bytes <= most_constants;
}

bool fits_lane(const Batch& batch) {
  std::size_t bytes = 0;
  for (const Tensor& input : batch.inputs) {
    if (size_of(input.type()) == 0) return false;
    bytes += input.bytes();
  }
  return bytes <= most_inputs;
}

std::vector<std::unique_ptr<Backend>> lane_backends(const Backend& backend, int count) {
  std::vector<std::unique_ptr<Backend>> lanes;
  for (int lane = 0; lane < count; ++lane) {
    lanes.push_back(backend.make_lane());
    if (lanes.back() == nullptr) return {};
  }
  return lanes;
}

Lanes::~Lanes() {
  const std::lock_guard lock(mutex_);
  ends_ = true;
  waiting_.clear();
  changed_.notify_all();
}

void Lanes::give(Task task) {
  std::unique_lock lock(mutex_);
  if (failure_ == nullptr) {
    // The team of what the caller did in parallel before goes on spinning for milliseconds, on cores that lanes need.
    if (waiting_.empty() && running_ == 0) omp_pause_resource_all(omp_pause_soft);
    waiting_.push_back({given_++, std::move(task)});
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
  const Numbered next = std::move(waiting_.front());
  waiting_.pop_front();
  ++running_;
  lock.unlock();
  std::exception_ptr failure;
  try {
    next.task(lane);
  } catch (...) {
    failure = std::current_exception();
  }
  lock.lock();
  --running_;
  if (failure != nullptr) {
    waiting_.clear();  // given later than all that ran
    if (failure_ == nullptr || next.number < failed_) {
      failure_ = failure;
      failed_ = next.number;
    }
  }
  if (running_ == 0) changed_.notify_all();
}

}  // namespace tare
