// Messages for failures of the CUDA runtime.
#include "runtime.hpp"

#include <fmt/format.h>

#include "tare/cuda.hpp"

namespace tare::cuda {

void fail(cudaError_t status, const char* what, const char* file, int line) {
  static_cast<void>(cudaGetLastError());  // a failure that can be survived must not fail the next call
  throw Error(ErrorKind::internal, fmt::format("{}:{}: {} failed: {} ({})", file, line, what, cudaGetErrorName(status),
                                               cudaGetErrorString(status)));
}

void fail_allocation(cudaError_t status, std::size_t bytes, const char* file, int line) {
  if (status != cudaErrorMemoryAllocation) fail(status, "cudaMallocAsync", file, line);
  static_cast<void>(cudaGetLastError());
  std::size_t free = 0;
  std::size_t total = 0;
  static_cast<void>(cudaMemGetInfo(&free, &total));
  throw Error(
      ErrorKind::internal,
      fmt::format("{}:{}: out of device memory: {} bytes were asked for, {} of {} are free; lower --batch-size or "
                  "free device memory ({})",
                  file, line, bytes, free, total, cudaGetErrorName(status)));
}

int multiprocessors() {
  int device = 0;
  int count = 0;
  TARE_CUDA_CHECK(cudaGetDevice(&device));
  TARE_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

int device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess) return count;
  static_cast<void>(cudaGetLastError());
  return 0;
}

}  // namespace tare::cuda
