// Reading ahead: one thread reads batches into a short queue while the caller computes.
// Odd: an error while reading is handed over in order, behind the batches that were read before it.
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "tare/dataset.hpp"

namespace tare {
namespace {

class Prefetched final : public Dataset {
 public:
  Prefetched(std::unique_ptr<Dataset> dataset, std::size_t depth)
      : dataset_(std::move(dataset)), depth_(depth == 0 ? 1 : depth) {}
  ~Prefetched() override { stop(); }

  std::optional<Batch> next() override {
    if (finished_) return std::nullopt;
    if (!reader_.joinable()) reader_ = std::thread([this] { read(); });
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [this] { return !queue_.empty(); });
    Entry entry = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    emptied_.notify_one();
    finished_ = !entry.batch;
    if (entry.error) std::rethrow_exception(entry.error);
    return std::move(entry.batch);
  }
  void rewind() override {
    stop();
    dataset_->rewind();
    finished_ = false;
  }
  std::size_t samples() const override { return dataset_->samples(); }
  std::size_t batches() const override { return dataset_->batches(); }
  std::size_t left_out() const override { return dataset_->left_out(); }
  std::size_t available() const override { return dataset_->available(); }
  std::string description() const override { return dataset_->description(); }
  Shard shard() const override { return dataset_->shard(); }
  /// Reads files by position, as the reader does: not while it runs.
  std::uint64_t fingerprint() const override {
    if (!fingerprint_) {
      const std::scoped_lock lock(reading_);
      fingerprint_ = dataset_->fingerprint();
    }
    return *fingerprint_;
  }

 private:
  /// No batch: the end, or an error.
  struct Entry {
    std::optional<Batch> batch;
    std::exception_ptr error;
  };

  void read() {
    for (bool more = true; more;) {
      Entry entry;
      try {
        const std::scoped_lock lock(reading_);
        entry.batch = dataset_->next();
      } catch (...) {
        entry.error = std::current_exception();
      }
      more = entry.batch.has_value();
      std::unique_lock lock(mutex_);
      emptied_.wait(lock, [this] { return stopping_ || queue_.size() < depth_; });
      if (stopping_) return;
      queue_.push_back(std::move(entry));
      lock.unlock();
      filled_.notify_one();
    }
  }

  void stop() {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    emptied_.notify_all();
    if (reader_.joinable()) reader_.join();
    stopping_ = false;
    queue_.clear();
  }

  std::unique_ptr<Dataset> dataset_;
  std::size_t depth_;
  mutable std::mutex reading_;
  mutable std::optional<std::uint64_t> fingerprint_;
  std::mutex mutex_;
  std::condition_variable filled_, emptied_;
  std::deque<Entry> queue_;
  bool stopping_ = false, finished_ = false;
  std::thread reader_;
};

}  // namespace

std::unique_ptr<Dataset> prefetch(std::unique_ptr<Dataset> dataset, std::size_t depth) {
  return std::make_unique<Prefetched>(std::move(dataset), depth);
}

}  // namespace tare
