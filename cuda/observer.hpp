// The backend's observer: statistics in device memory. Tensors wait in a list until they are worth a launch, which ends
// with the adding up of all its counters. A waiting tensor is held, so nobody overwrites it.
#pragma once

#include <vector>

#include "device.hpp"
#include "observe.hpp"

namespace tare::cuda {

class CudaObserver final : public Observer {
 public:
  CudaObserver(Device& device, ObserverKind kind, std::size_t sites);

  void observe(std::size_t site, const Tensor& tensor) override;
  std::uint64_t unusable_count() const override;
  std::uint64_t end_batch() override;
  bool runs_behind() const override { return true; }
  bool repeats() const override { return true; }
  void flush() override;
  std::vector<TensorStatistics> collect() const override;

  /// For kernels that count by themselves, on the device's stream.
  SiteMemory memory_of(std::size_t site) const;

 private:
  void check(std::size_t site) const;
  /// Nothing waits afterwards, whatever fails.
  void launch_waiting() const;

  Device& device_;
  ObserverKind kind_;
  std::size_t sites_;
  std::size_t most_waiting_bytes_;  ///< of the tensors together: caches still hold those
  mutable Statistics statistics_;
  mutable std::vector<ObservedTensor> waiting_;
  mutable std::vector<Tensor> held_;
  mutable std::size_t waiting_bytes_ = 0;
};

}  // namespace tare::cuda
