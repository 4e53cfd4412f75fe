// Odd: AIMET's own histogram depends on the order of whole batches; it is taken on the host, from a copy.
#include "observer.hpp"

#include <fmt/format.h>

namespace tare::cuda {
namespace {

class HostObserver final : public Observer {
 public:
  HostObserver(Device& device, std::unique_ptr<Observer> host) : device_(device), host_(std::move(host)) {}
  void observe(std::size_t site, const Tensor& tensor) override {
    const CurrentDevice current(device_.index());
    host_->observe(site, device_.download(tensor));
  }
  std::uint64_t unusable_count() const override { return host_->unusable_count(); }
  std::vector<TensorStatistics> collect() const override { return host_->collect(); }

 private:
  Device& device_;
  std::unique_ptr<Observer> host_;
};

}  // namespace

CudaObserver::CudaObserver(Device& device, ObserverKind kind, std::size_t sites)
    : device_(device),
      kind_(kind),
      sites_(sites),
      most_waiting_bytes_(cached_bytes()),
      statistics_(sites, device.stream().get(), device.allocator()) {}

void CudaObserver::check(std::size_t site) const {
  if (site >= sites_) throw Error(ErrorKind::internal, fmt::format("observer: site {} of {}", site, sites_));
}

void CudaObserver::observe(std::size_t site, const Tensor& tensor) {
  check(site);
  const CurrentDevice current(device_.index());
  const Tensor there = device_.upload(tensor);
  waiting_.push_back(
      {there.data(), static_cast<std::uint64_t>(there.elements()), there.type(), static_cast<std::uint32_t>(site)});
  held_.push_back(there);
  waiting_bytes_ += there.bytes();
  if (waiting_.size() == most_tensors || waiting_bytes_ >= most_waiting_bytes_) launch_waiting();
}

SiteMemory CudaObserver::memory_of(std::size_t site) const {
  check(site);
  return statistics_.memory_of(site);
}

std::uint64_t CudaObserver::unusable_count() const {
  const CurrentDevice current(device_.index());
  launch_waiting();
  return statistics_.unusable_count(device_.stream().get());
}

std::uint64_t CudaObserver::end_batch() {
  const CurrentDevice current(device_.index());
  launch_waiting();
  const std::uint64_t before = statistics_.requested_unusable_count();
  statistics_.request_unusable_count(device_.stream().get());
  return before;
}

void CudaObserver::flush() {
  const CurrentDevice current(device_.index());
  launch_waiting();
}

std::vector<TensorStatistics> CudaObserver::collect() const {
  const CurrentDevice current(device_.index());
  launch_waiting();
  std::vector<TensorStatistics> all = statistics_.collect(device_.stream().get());
  if (kind_ == ObserverKind::min_max)
    for (TensorStatistics& statistics : all) statistics.bins.clear();
  return all;
}

void CudaObserver::launch_waiting() const {
  const std::vector<ObservedTensor> waiting = std::exchange(waiting_, {});
  const std::vector<Tensor> held = std::exchange(held_, {});
  waiting_bytes_ = 0;
  if (!waiting.empty()) statistics_.observe(waiting, device_.stream().get());
}

std::unique_ptr<Observer> make_observer(Device& device, Backend& host, ObserverKind kind, std::size_t sites) {
  if (kind == ObserverKind::tf_enhanced) return std::make_unique<HostObserver>(device, host.make_observer(kind, sites));
  return std::make_unique<CudaObserver>(device, kind, sites);
}

}  // namespace tare::cuda
