// What every test of the device needs: memory with bytes in it, and a way out where there is no device.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "runtime.hpp"
#include "tare/cuda.hpp"

namespace tare::test {

/// Tests of this suite are skipped, by name, where no device is present; and fail there if TARE_REQUIRE_DEVICE is set.
class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda::device_count() > 0) return;
    if (std::getenv("TARE_REQUIRE_DEVICE") == nullptr) GTEST_SKIP() << "no CUDA device";
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    FAIL() << count << " CUDA devices: " << cudaGetErrorName(status) << " (" << cudaGetErrorString(status) << ")";
  }
};

/// Bytes in device memory, `shift` bytes beyond an aligned address.
class DeviceBytes {
 public:
  DeviceBytes(const void* bytes, std::size_t size, std::size_t shift = 0)
      : buffer_(size + shift + 16, cuda::StreamView(nullptr)), size_(size), shift_(shift) {
    TARE_CUDA_CHECK(cudaMemcpy(data(), bytes, size, cudaMemcpyHostToDevice));
    TARE_CUDA_CHECK(cudaStreamSynchronize(nullptr));  // from pageable memory the call may return earlier
  }
  void* data() const { return buffer_.data() + shift_; }
  std::vector<std::uint8_t> download() const {
    std::vector<std::uint8_t> bytes(size_);
    TARE_CUDA_CHECK(cudaMemcpy(bytes.data(), data(), size_, cudaMemcpyDeviceToHost));
    return bytes;
  }

 private:
  cuda::DeviceBuffer<std::uint8_t> buffer_;
  std::size_t size_;
  std::size_t shift_;
};

}  // namespace tare::test
