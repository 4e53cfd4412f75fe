// Owners and checks for the CUDA runtime: memory that comes and goes in stream order, and failures that name the call.
// Memory is taken and given back on a stream (cudaMallocAsync), so that nothing waits for the device. Odd: destructors
// swallow failures: a device that is lost reports itself at the next call.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>
#include <utility>

#include "tare/cuda.hpp"
#include "tare/error.hpp"

namespace tare::cuda {

/// Throws Error(internal) with the call, its place, the name and the text of the status.
[[noreturn]] void fail(cudaError_t status, const char* what, const char* file, int line);
[[noreturn]] void fail_allocation(cudaError_t status, std::size_t bytes, const char* file, int line);

#define TARE_CUDA_CHECK(call)                                                                             \
  do {                                                                                                    \
    const cudaError_t tare_cuda_status = (call);                                                          \
    if (tare_cuda_status != cudaSuccess) ::tare::cuda::fail(tare_cuda_status, #call, __FILE__, __LINE__); \
  } while (false)

/// After every launch: a bad configuration or a kernel that does not exist for this device.
#define TARE_CUDA_CHECK_LAUNCH(kernel)                                               \
  do {                                                                               \
    const cudaError_t tare_cuda_status = cudaGetLastError();                         \
    if (tare_cuda_status != cudaSuccess)                                             \
      ::tare::cuda::fail(tare_cuda_status, "launch of " kernel, __FILE__, __LINE__); \
  } while (false)

/// A view of the caller's stream.
class StreamView {
 public:
  explicit StreamView(void* stream) : stream_(static_cast<cudaStream_t>(stream)) {}
  cudaStream_t get() const { return stream_; }
  void synchronize() const { TARE_CUDA_CHECK(cudaStreamSynchronize(stream_)); }

 private:
  cudaStream_t stream_;
};

/// `size` elements of device memory, given back on the stream they were taken on, to where they came from.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(std::size_t size, StreamView stream, const Allocator& allocator = {})
      : size_(size), stream_(stream), allocator_(allocator) {
    if (size == 0) return;
    void* data = nullptr;
    cudaError_t status = cudaSuccess;
    if (allocator.take != nullptr) {
      data = allocator.take(allocator.context, bytes(), stream.get());
      if (data == nullptr) status = cudaErrorMemoryAllocation;
    } else {
      status = cudaMallocAsync(&data, bytes(), stream.get());
    }
    if (status != cudaSuccess) fail_allocation(status, bytes(), __FILE__, __LINE__);
    data_ = static_cast<T*>(data);
  }
  ~DeviceBuffer() { release(); }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        stream_(other.stream_),
        allocator_(other.allocator_) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    if (this != &other) {
      release();
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
      stream_ = other.stream_;
      allocator_ = other.allocator_;
    }
    return *this;
  }

  T* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return size_ * sizeof(T); }

  /// `values` may go once the stream has been synchronized.
  void upload(std::span<const T> values, StreamView stream) {
    if (!values.empty())
      TARE_CUDA_CHECK(cudaMemcpyAsync(data_, values.data(), values.size_bytes(), cudaMemcpyHostToDevice, stream.get()));
  }
  void download(std::span<T> values, StreamView stream) const {
    if (!values.empty())
      TARE_CUDA_CHECK(cudaMemcpyAsync(values.data(), data_, values.size_bytes(), cudaMemcpyDeviceToHost, stream.get()));
  }
  void clear(StreamView stream) {
    if (data_) TARE_CUDA_CHECK(cudaMemsetAsync(data_, 0, bytes(), stream.get()));
  }

 private:
  void release() noexcept {
    if (data_ != nullptr && allocator_.take != nullptr)
      allocator_.give(allocator_.context, data_, bytes(), stream_.get());
    else if (data_ != nullptr)
      static_cast<void>(cudaFreeAsync(data_, stream_.get()));
    data_ = nullptr;
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
  StreamView stream_{nullptr};
  Allocator allocator_;
};

/// Multiprocessors of the current device.
int multiprocessors();

}  // namespace tare::cuda
