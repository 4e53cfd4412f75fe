// One calibration on several devices: each has a session and a thread of its own and takes the next batch when it is
// ready for one. Which device took which batch cannot be seen in the result: statistics are counts, and add up. Odd: to
// each other the devices' statistics are shards of the data.
#include <fmt/format.h>

#include <exception>
#include <mutex>
#include <thread>

#include "tare/session.hpp"

namespace tare {
namespace {

/// Hands the batches of a dataset to several threads, once each.
class SharedData {
 public:
  SharedData(Dataset& data, const Progress& progress) : data_(data), progress_(progress) { data_.rewind(); }

  std::optional<Batch> next() {
    const std::lock_guard lock(mutex_);
    if (stopped_) return std::nullopt;
    std::optional<Batch> batch = data_.next();
    if (batch) handed_out_ += batch->samples;
    return batch;
  }
  /// False when the user has had enough, or another device has failed.
  bool goes_on() {
    const std::lock_guard lock(mutex_);
    if (!stopped_ && progress_ && !progress_(std::min(handed_out_, data_.samples()), data_.samples())) stopped_ = true;
    return !stopped_;
  }
  void fail(std::exception_ptr failure) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(failure);
    stopped_ = true;
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }
  const Dataset& data() const { return data_; }

 private:
  Dataset& data_;
  const Progress& progress_;
  std::mutex mutex_;
  std::size_t handed_out_ = 0;
  bool stopped_ = false;
  std::exception_ptr failure_;  ///< the first
};

/// One device's part, of which one batch is sure.
class Part final : public Dataset {
 public:
  Part(SharedData& shared, std::size_t index, std::size_t count)
      : shared_(shared), first_(shared.next()), index_(index), count_(count) {}
  std::optional<Batch> next() override {
    if (first_) return std::exchange(first_, std::nullopt);
    return shared_.next();
  }
  void rewind() override {}
  std::size_t samples() const override { return shared_.data().samples(); }
  std::size_t batches() const override { return shared_.data().batches(); }
  std::size_t left_out() const override { return shared_.data().left_out(); }
  std::size_t available() const override { return shared_.data().available(); }
  std::string description() const override { return shared_.data().description(); }
  std::uint64_t fingerprint() const override { return shared_.data().fingerprint(); }
  Shard shard() const override { return {index_, count_}; }

 private:
  SharedData& shared_;
  std::optional<Batch> first_;
  std::size_t index_;
  std::size_t count_;
};

}  // namespace

CalibrationResult calibrate_together(std::span<Session> sessions, Dataset& data, const CalibrationOptions& options) {
  if (sessions.empty()) throw Error(ErrorKind::usage, "calibrate_together: no session");
  const std::size_t count = std::min(sessions.size(), data.batches());
  if (count <= 1) return sessions[0].calibrate(data, options);
  if (options.search.scheme == Scheme::tf_enhanced || options.refine)
    throw Error(ErrorKind::usage,
                "tf_enhanced and --refine depend on the batches in their order: they run on one device; use sqnr, or "
                "name one device");
  SharedData shared(data, options.progress);
  CalibrationOptions own = options;
  own.keep_histograms = true;
  own.progress = [&](std::size_t, std::size_t) { return shared.goes_on(); };
  std::vector<std::unique_ptr<Part>> parts;
  for (std::size_t i = 0; i < count; ++i) parts.push_back(std::make_unique<Part>(shared, i + 1, count));
  std::vector<CalibrationResult> results(count);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < count; ++i)
      threads.emplace_back([&, i] {
        try {
          results[i] = sessions[i].calibrate(*parts[i], own);
        } catch (...) {
          shared.fail(std::current_exception());
        }
      });
  }
  shared.rethrow();
  StatisticsFile sum = std::move(results[0].statistics);
  std::size_t batches = results[0].batches;
  double seconds = results[0].seconds;
  for (std::size_t i = 1; i < count; ++i) {
    merge(sum, results[i].statistics);
    batches += results[i].batches;
    seconds = std::max(seconds, results[i].seconds);
  }
  CalibrationResult result = sessions[0].calibrate_from(sum, options);
  if (const Shard shard = data.shard(); shard.count > 1)
    result.statistics.fingerprint.data += fmt::format("#{}/{}", shard.index, shard.count);
  result.batches = batches;
  result.seconds += seconds;
  return result;
}

}  // namespace tare
