// The backend's observer: statistics in device memory. Tensors wait in a list until they are worth a launch, which ends
// with the adding up of all its counters. A waiting tensor is held, so nobody overwrites it. Odd: AIMET's own histogram
// depends on the order of whole batches; it is taken on the host, from a copy.
#include <fmt/format.h>

#include "device.hpp"

namespace tare::cuda {
namespace {

constexpr std::size_t most_waiting = 64;                           // tensors of a launch
constexpr std::size_t most_waiting_bytes = std::size_t{24} << 20;  // of them together: caches still hold those

class CudaObserver final : public Observer {
 public:
  CudaObserver(Device& device, ObserverKind kind, std::size_t sites)
      : device_(device), kind_(kind), sites_(sites), statistics_(sites, device.stream().get(), device.allocator()) {}

  void observe(std::size_t site, const Tensor& tensor) override {
    if (site >= sites_) throw Error(ErrorKind::internal, fmt::format("observer: site {} of {}", site, sites_));
    const CurrentDevice current(device_.index());
    const Tensor there = device_.upload(tensor);
    const ObservedTensor observed{there.data(), static_cast<std::uint64_t>(there.elements()), there.type(),
                                  static_cast<std::uint32_t>(site)};
    waiting_.push_back(observed);
    held_.push_back(there);
    waiting_bytes_ += there.bytes();
    if (waiting_.size() == most_waiting || waiting_bytes_ >= most_waiting_bytes) launch_waiting();
  }

  std::uint64_t nonfinite_count() const override {
    const CurrentDevice current(device_.index());
    launch_waiting();
    return statistics_.nonfinite_count(device_.stream().get());
  }

  std::uint64_t end_batch() override {
    const CurrentDevice current(device_.index());
    launch_waiting();
    const std::uint64_t before = statistics_.requested_nonfinite_count();
    statistics_.request_nonfinite_count(device_.stream().get());
    return before;
  }
  bool runs_behind() const override { return true; }
  bool repeats() const override { return true; }
  void flush() override {
    const CurrentDevice current(device_.index());
    launch_waiting();
  }

  std::vector<TensorStatistics> collect() const override {
    const CurrentDevice current(device_.index());
    launch_waiting();
    std::vector<TensorStatistics> all = statistics_.collect(device_.stream().get());
    if (kind_ == ObserverKind::min_max)
      for (TensorStatistics& statistics : all) statistics.bins.clear();
    return all;
  }

 private:
  /// Nothing waits afterwards, whatever fails.
  void launch_waiting() const {
    const std::vector<ObservedTensor> waiting = std::exchange(waiting_, {});
    const std::vector<Tensor> held = std::exchange(held_, {});
    waiting_bytes_ = 0;
    if (!waiting.empty()) statistics_.observe(waiting, device_.stream().get());
  }

  Device& device_;
  ObserverKind kind_;
  std::size_t sites_;
  mutable Statistics statistics_;
  mutable std::vector<ObservedTensor> waiting_;
  mutable std::vector<Tensor> held_;
  mutable std::size_t waiting_bytes_ = 0;
};

class HostObserver final : public Observer {
 public:
  HostObserver(Device& device, std::unique_ptr<Observer> host) : device_(device), host_(std::move(host)) {}
  void observe(std::size_t site, const Tensor& tensor) override {
    const CurrentDevice current(device_.index());
    host_->observe(site, device_.download(tensor));
  }
  std::uint64_t nonfinite_count() const override { return host_->nonfinite_count(); }
  std::vector<TensorStatistics> collect() const override { return host_->collect(); }

 private:
  Device& device_;
  std::unique_ptr<Observer> host_;
};

}  // namespace

std::unique_ptr<Observer> make_observer(Device& device, Backend& host, ObserverKind kind, std::size_t sites) {
  if (kind == ObserverKind::tf_enhanced) return std::make_unique<HostObserver>(device, host.make_observer(kind, sites));
  return std::make_unique<CudaObserver>(device, kind, sites);
}

}  // namespace tare::cuda
