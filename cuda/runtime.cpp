// Messages for failures of the CUDA runtime, and the pool of whoever brings no memory. Odd: CUDA's own pool of a device
// hands what is free back to the driver with every synchronization, and how it does that is the program's to say.
#include "runtime.hpp"

#include <fmt/format.h>

#include <map>
#include <mutex>

#include "tare/cuda.hpp"

namespace tare::cuda {

void fail(cudaError_t status, const char* what, const char* file, int line) {
  static_cast<void>(cudaGetLastError());  // a failure that can be survived must not fail the next call
  throw Error(ErrorKind::internal, fmt::format("{}:{}: {} failed: {} ({})", file, line, what, cudaGetErrorName(status),
                                               cudaGetErrorString(status)));
}

void fail_allocation(cudaError_t status, std::size_t bytes, const char* file, int line) {
  if (status != cudaErrorMemoryAllocation) fail(status, "cudaMallocFromPoolAsync", file, line);
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

namespace {

/// Of a pool: what it may keep unused.
constexpr std::uint64_t kept = std::uint64_t{256} << 20;

/// The pool of the current device: made with its first use, for as long as the process lives.
cudaMemPool_t pool() {
  static std::mutex mutex;
  static std::map<int, cudaMemPool_t> pools;
  int device = 0;
  TARE_CUDA_CHECK(cudaGetDevice(&device));
  const std::lock_guard lock(mutex);
  if (const auto made = pools.find(device); made != pools.end()) return made->second;
  const cudaMemPool_t made = make_pool(device, kept);
  pools.emplace(device, made);
  return made;
}

}  // namespace

cudaMemPool_t make_pool(int device, std::uint64_t kept_bytes) {
  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = device;
  cudaMemPool_t pool = nullptr;
  TARE_CUDA_CHECK(cudaMemPoolCreate(&pool, &properties));
  TARE_CUDA_CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept_bytes));
  return pool;
}

void* take_memory(std::size_t bytes, StreamView stream, const Allocator& allocator) {
  void* pointer = nullptr;
  cudaError_t status = cudaErrorMemoryAllocation;
  if (allocator.take == nullptr)
    status = cudaMallocFromPoolAsync(&pointer, bytes, pool(), stream.get());
  else if ((pointer = allocator.take(allocator.context, bytes, stream.get())) != nullptr)
    status = cudaSuccess;
  if (status != cudaSuccess) fail_allocation(status, bytes, __FILE__, __LINE__);
  return pointer;
}

void give_memory(void* pointer, std::size_t bytes, StreamView stream, const Allocator& allocator) noexcept {
  if (allocator.take != nullptr)
    allocator.give(allocator.context, pointer, bytes, stream.get());
  else
    static_cast<void>(cudaFreeAsync(pointer, stream.get()));
}

namespace {

int attribute(cudaDeviceAttr which) {
  int device = 0;
  int value = 0;
  TARE_CUDA_CHECK(cudaGetDevice(&device));
  TARE_CUDA_CHECK(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

}  // namespace

int multiprocessors() { return attribute(cudaDevAttrMultiProcessorCount); }
std::size_t most_shared_memory() {
  return static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
}
std::size_t cached_bytes() { return static_cast<std::size_t>(attribute(cudaDevAttrL2CacheSize)) / 2; }

int device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess) return count;
  static_cast<void>(cudaGetLastError());
  return 0;
}

}  // namespace tare::cuda
