// That there is a device, and that it runs kernels of this build: everything else here needs both.
#include "cuda/device.hpp"

#include <fmt/format.h>

#include <array>

namespace tare {
namespace {

using CudaDevice = test::CudaTest;

TEST_F(CudaDevice, RunsAKernelOfThisBuild) {
  cudaDeviceProp device{};
  int driver = 0;
  int runtime = 0;
  TARE_CUDA_CHECK(cudaGetDeviceProperties(&device, 0));
  TARE_CUDA_CHECK(cudaDriverGetVersion(&driver));
  TARE_CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
  fmt::print("{}: compute capability {}.{}, {} multiprocessors, {} bytes, driver for CUDA {}, runtime {}\n",
             device.name, device.major, device.minor, device.multiProcessorCount, device.totalGlobalMem, driver,
             runtime);

  const std::array<float, 4> values{-10.0f, 0.3f, 0.75f, 10.0f};
  const std::array<float, 4> quantized{-2.0f, 0.5f, 1.0f, 1.5f};
  const test::DeviceBytes bytes(values.data(), sizeof values);
  const TensorEncodings grid{"x", SiteRole::activation, {.bitwidth = 3}, {{-2.0, 1.5, 0.5, -4}}};
  cuda::Quantizer(Shape{4}, Layout::plain, grid, Rounding::half_even)
      .run(bytes.data(), bytes.data(), DataType::float32);
  EXPECT_EQ(std::memcmp(bytes.download().data(), quantized.data(), sizeof quantized), 0);
}

}  // namespace
}  // namespace tare
