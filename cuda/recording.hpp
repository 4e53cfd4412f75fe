// One run captured as a CUDA graph: everything that the kernels' stream was given, done again by one launch. Inputs lie
// in memory of the recording, results come at the same addresses every time. Odd: the stream is captured in the relaxed
// mode. The stricter ones forbid, in this thread, whatever else could belong to the run; memory is taken and
// page-locked meanwhile, and libraries load kernels, all of which stays for the replays.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "device.hpp"
#include "recorded_memory.hpp"

namespace tare::cuda {

class Recording {
 public:
  /// `run` is called once, and what it gives the device is kept, not done. Throws what `run` throws, and
  /// Error(internal) for what cannot be captured; the stream and the memory are as before then.
  Recording(Device& device, std::span<const Tensor> inputs,
            const std::function<std::vector<Tensor>(std::vector<Tensor>)>& run);
  /// Waits for the last launch.
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  /// The run on other inputs of the same shapes: queued.
  void launch(std::span<const Tensor> inputs);
  /// The results of the last launch, which the next one overwrites; those on the host are copies.
  std::vector<Tensor> outputs() const;

 private:
  void capture(const std::function<std::vector<Tensor>(std::vector<Tensor>)>& run);

  Device& device_;
  RecordedMemory memory_;
  std::vector<Tensor> inputs_;
  std::vector<Tensor> outputs_;
  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace tare::cuda
