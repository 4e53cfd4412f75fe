// Owners and checks for the CUDA runtime: memory that comes and goes in stream order, and failures that name the call.
// Memory is taken and given back on a stream, so that nothing waits for the device. Odd: destructors swallow failures:
// a device that is lost reports itself at the next call.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
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

/// A pool of device memory that keeps so many bytes unused rather than hand them back to the driver.
cudaMemPool_t make_pool(int device, std::uint64_t kept_bytes);

/// Device memory in the order of the stream, from the caller's allocator; without one from a pool of this library, one
/// a device, which keeps a part of what it has for the next. Throws Error(internal) when there is none.
void* take_memory(std::size_t bytes, StreamView stream, const Allocator& allocator);
void give_memory(void* pointer, std::size_t bytes, StreamView stream, const Allocator& allocator) noexcept;

/// `size` elements of device memory, given back on the stream they were taken on, to where they came from.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(std::size_t size, StreamView stream, const Allocator& allocator = {})
      : size_(size), stream_(stream), allocator_(allocator) {
    if (size > 0) data_ = static_cast<T*>(take_memory(bytes(), stream, allocator));
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
    if (data_ != nullptr) give_memory(data_, bytes(), stream_, allocator_);
    data_ = nullptr;
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
  StreamView stream_{nullptr};
  Allocator allocator_;
};

/// Of the current device.
int multiprocessors();
std::size_t most_shared_memory();  ///< bytes that a block may ask for
/// Bytes that are still in a cache when the next kernels read them: half of the second level.
std::size_t cached_bytes();

}  // namespace tare::cuda
