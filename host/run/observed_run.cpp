#include "run/observed_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "model/real_element.hpp"
#include "run/nonfinite.hpp"
#include "tare/error.hpp"

namespace tare {
namespace {

/// Every observed value goes into its statistics, here or where it is made.
class StatisticsHook final : public ValueHook {
 public:
  StatisticsHook(const ObservedSites& of, Observer& all, Observer& extremes) : of_(of), observers_{&all, &extremes} {}
  Tap tap(std::size_t i) override {
    const ObservedSites::Site& site = of_.sites[i];
    return site.extremes ? Tap{observers_[1], i} : Tap{observers_[0], site.slot};
  }
  Tensor on_value(std::size_t i, Tensor value) override {
    const Tap to = tap(i);
    to.observer->observe(to.site, value);
    return value;
  }
  const void* repeats() const override {
    return observers_[0]->repeats() && observers_[1]->repeats() ? observers_[0] : nullptr;
  }
  void flush() override {
    for (Observer* observer : observers_) observer->flush();
  }

 private:
  const ObservedSites& of_;
  std::array<Observer*, 2> observers_;
};

std::uint64_t count_unusable(const Tensor& tensor) {
  std::uint64_t count = 0;
  for (std::int64_t i = 0; i < tensor.elements(); ++i)
    count += real_element(tensor, i) < std::numeric_limits<double>::infinity() ? 0 : 1;
  return count;
}

}  // namespace

ObservedRun::ObservedRun(const ObservedSites& of, Backend& backend)
    : of_(of),
      backend_(backend),
      observer_(backend.make_observer(of.kind, of.slots)),
      extremes_observer_(backend.make_observer(ObserverKind::min_max, of.sites.size())) {
  for (const ObservedSites::Site& site : of.sites)
    if (site.constant != nullptr && site.in_run) unusable_in_run_ += count_unusable(*site.constant);
}

void ObservedRun::observe_constants() {
  for (const ObservedSites::Site& site : of_.sites)
    if (site.constant != nullptr && !site.in_run) observer_->observe(site.slot, backend_.upload(*site.constant));
  unusable_constants_ = unusable_count() + unusable_in_run_;
}

/// Built with the first batch: a search on saved statistics needs none.
Executor& ObservedRun::executor() {
  if (!executor_) executor_.emplace(of_.make_executor(backend_));
  return *executor_;
}

void ObservedRun::add(const Batch& batch) {
  if (of_.constants_with_every_batch) observe_constants();
  StatisticsHook hook(of_, *observer_, *extremes_observer_);
  executor().run_for(batch.inputs, hook);
  const bool found = observer_->end_batch() + extremes_observer_->end_batch() != unusable_constants_;
  if (!of_.checked) return;
  const bool behind = observer_->runs_behind();
  if (found && (unchecked_ || !behind)) refuse(behind ? *unchecked_ : batch);
  if (behind) unchecked_ = batch;
}

void ObservedRun::refuse(const Batch& batch) {
  ObserveHook hook([&](std::size_t i, const Tensor& value) {
    if (of_.sites[i].constant != nullptr) return;
    refuse_nonfinite(fmt::format("tensor '{}'", of_.sites[i].tensor), backend_.download(value), batch.first_sample,
                     batch.samples, Masks::allowed);
  });
  executor().run_for(batch.inputs, hook);
  throw Error(
      ErrorKind::data,
      fmt::format("samples {} to {}: a tensor inside the model holds NaN or infinite values, but not with what the "
                  "inputs hold by now; leave them as they are until the next batch has been added to learn its "
                  "name, or use --nonfinite skip",
                  batch.first_sample, batch.first_sample + std::max<std::size_t>(batch.samples, 1) - 1));
}

void ObservedRun::end() {
  if (unchecked_ && unusable_count() != unusable_constants_) refuse(*unchecked_);
  unchecked_.reset();
  executor_.reset();  // its packed weights and working memory need not be there beside the statistics
}

void ObservedRun::add(const ObservedRun& of_lane) {
  observer_->add(*of_lane.observer_);
  extremes_observer_->add(*of_lane.extremes_observer_);
}

std::vector<TensorStatistics> ObservedRun::collect() {
  std::vector<TensorStatistics> all = observer_->collect();
  observer_.reset();
  return all;
}

std::vector<TensorStatistics> ObservedRun::collect_extremes() {
  std::vector<TensorStatistics> all = extremes_observer_->collect();
  extremes_observer_.reset();
  return all;
}

}  // namespace tare
