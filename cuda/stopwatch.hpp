// The device's own time, for searches and benchmarks.
#pragma once

#include "runtime.hpp"

namespace tare::cuda {

class Stopwatch {
 public:
  Stopwatch() {
    TARE_CUDA_CHECK(cudaEventCreate(&begin_));
    TARE_CUDA_CHECK(cudaEventCreate(&end_));
  }
  ~Stopwatch() {
    if (begin_ != nullptr) static_cast<void>(cudaEventDestroy(begin_));
    if (end_ != nullptr) static_cast<void>(cudaEventDestroy(end_));
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  /// Milliseconds that `calls` of body() take together. One more before them does not count: while the device is at it,
  /// the others are queued, so that it never waits for them. Waits.
  template <class Body>
  float operator()(StreamView stream, int calls, Body&& body) const {
    body();
    TARE_CUDA_CHECK(cudaEventRecord(begin_, stream.get()));
    for (int i = 0; i < calls; ++i) body();
    TARE_CUDA_CHECK(cudaEventRecord(end_, stream.get()));
    TARE_CUDA_CHECK(cudaEventSynchronize(end_));
    float milliseconds = 0;
    TARE_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
    return milliseconds;
  }

 private:
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

}  // namespace tare::cuda
