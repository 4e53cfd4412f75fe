#include "sweep.hpp"

#include "runtime.hpp"
#include "tare/numerics.hpp"

namespace tare::test {
namespace {

constexpr int threads = 256;

__global__ void fill_kernel(float* values, std::uint32_t first, std::int64_t count) {
  const std::int64_t step = std::int64_t{gridDim.x} * threads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * threads + threadIdx.x; i < count; i += step)
    values[i] = float_of(first + static_cast<std::uint32_t>(i));
}

__global__ void checksum_kernel(const float* values, std::uint32_t first, std::int64_t count, unsigned long long* sum) {
  const std::int64_t step = std::int64_t{gridDim.x} * threads;
  unsigned long long own = 0;
  for (std::int64_t i = std::int64_t{blockIdx.x} * threads + threadIdx.x; i < count; i += step)
    own += (std::uint64_t{bits_of(values[i])} + 1) *
           (2 * (std::uint64_t{first} + static_cast<std::uint64_t>(i)) + sweep_factor);
  atomicAdd(sum, own);
}

}  // namespace

void fill_with_bits(float* values, std::uint32_t first, std::int64_t count) {
  fill_kernel<<<2048, threads>>>(values, first, count);
  TARE_CUDA_CHECK_LAUNCH("fill_kernel");
}

std::uint64_t checksum(const float* values, std::uint32_t first, std::int64_t count) {
  cuda::DeviceBuffer<unsigned long long> sum(1, cuda::StreamView(nullptr));
  sum.clear(cuda::StreamView(nullptr));
  checksum_kernel<<<2048, threads>>>(values, first, count, sum.data());
  TARE_CUDA_CHECK_LAUNCH("checksum_kernel");
  unsigned long long result = 0;
  sum.download({&result, 1}, cuda::StreamView(nullptr));
  cuda::StreamView(nullptr).synchronize();
  return result;
}

}  // namespace tare::test
