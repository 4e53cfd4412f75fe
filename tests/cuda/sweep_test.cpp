// Quantize-dequantize of all 2^32 floats, on the device and on the CPU: the same bits, by a checksum of every result
// with its place.
#include "sweep.hpp"

#include "cuda/device.hpp"
#include "tare/backend.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

using CudaSweep = test::CudaTest;

std::uint64_t host_checksum(const float* values, std::uint32_t first, std::int64_t count) {
  std::uint64_t sum = 0;
#pragma omp parallel for reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i)
    sum += (std::uint64_t{bits_of(values[i])} + 1) *
           (2 * (std::uint64_t{first} + static_cast<std::uint64_t>(i)) + test::sweep_factor);
  return sum;
}

TEST_F(CudaSweep, EveryFloatIsQuantizedToTheBitsOfTheCpu) {
  constexpr std::int64_t chunk = std::int64_t{1} << 28;
  struct Grid {
    int bitwidth;
    double scale, offset;
  };
  const auto cpu = make_cpu_backend();
  Tensor values = Tensor::host(DataType::float32, {chunk});
  cuda::DeviceBuffer<float> in(chunk, cuda::StreamView(nullptr));
  cuda::DeviceBuffer<float> out(chunk, cuda::StreamView(nullptr));
  for (const Grid& grid : {Grid{8, 0.0123, -128}, Grid{4, 3.0, -8}, Grid{16, 1.7e-6, -20000}}) {
    TensorEncodings encodings{"x", SiteRole::activation, {.bitwidth = grid.bitwidth}, {}};
    const double steps = static_cast<double>((1 << grid.bitwidth) - 1);
    encodings.encodings = {{grid.scale * grid.offset, grid.scale * (grid.offset + steps), grid.scale, grid.offset}};
    const cuda::Quantizer quantizer({chunk}, Layout::plain, encodings, Rounding::half_even);
    for (std::uint64_t first = 0; first < (std::uint64_t{1} << 32); first += chunk) {
      const auto begin = static_cast<std::uint32_t>(first);
      test::fill_with_bits(in.data(), begin, chunk);
      quantizer.run(in.data(), out.data(), DataType::float32);
      const std::uint64_t found = test::checksum(out.data(), begin, chunk);
      float* host = values.mutable_data<float>();
#pragma omp parallel for
      for (std::int64_t i = 0; i < chunk; ++i) host[i] = float_of(begin + static_cast<std::uint32_t>(i));
      values = cpu->quantize_dequantize(std::move(values), encodings, Rounding::half_even);
      ASSERT_EQ(found, host_checksum(values.data<float>(), begin, chunk))
          << grid.bitwidth << " bits, floats from " << begin;
    }
  }
}

}  // namespace
}  // namespace tare
