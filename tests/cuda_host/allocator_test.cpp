// The caller's allocator serves everything that the backend keeps on the device, and gets all of it back.
#include <gtest/gtest.h>

#include <map>

#include "runtime.hpp"
#include "tare/cuda.hpp"
#include "tare/quantizer.hpp"

namespace tare {
namespace {

struct Ledger {
  std::map<void*, std::size_t> taken;
  std::size_t calls = 0;
  std::size_t most_bytes = ~std::size_t{0};
  static void* take(void* context, std::size_t bytes, cuda::Stream stream) {
    auto& self = *static_cast<Ledger*>(context);
    void* pointer = nullptr;
    if (bytes > self.most_bytes) return nullptr;
    if (cudaMallocAsync(&pointer, bytes, static_cast<cudaStream_t>(stream)) != cudaSuccess) return nullptr;
    self.taken[pointer] = bytes;
    ++self.calls;
    return pointer;
  }
  static void give(void* context, void* pointer, std::size_t bytes, cuda::Stream stream) {
    auto& self = *static_cast<Ledger*>(context);
    EXPECT_EQ(self.taken.at(pointer), bytes);
    self.taken.erase(pointer);
    static_cast<void>(cudaFreeAsync(pointer, static_cast<cudaStream_t>(stream)));
  }
};

cuda::CudaOptions options_of(Ledger& ledger) {
  cuda::CudaOptions options;
  options.allocator = {Ledger::take, Ledger::give, &ledger};
  return options;
}

Tensor ramp(std::int64_t elements) {
  Tensor tensor = Tensor::host(DataType::float32, {elements});
  for (std::int64_t i = 0; i < elements; ++i) tensor.mutable_data<float>()[i] = static_cast<float>(i) - 3.0f;
  return tensor;
}

TEST(CudaAllocator, ServesAndTakesBackEverything) {
  Ledger ledger;
  {
    const auto backend = cuda::make_cuda_backend(options_of(ledger));
    const auto observer = backend->make_observer(ObserverKind::histogram, 1);
    TensorEncodings encodings{"x", SiteRole::activation, {}, {{0, 2.55, 0.01, 0}}};
    const Tensor there = backend->quantize_dequantize(backend->upload(ramp(100)), encodings, Rounding::half_even);
    observer->observe(0, there);
    EXPECT_EQ(observer->collect().at(0).count, 100u);
    EXPECT_EQ(backend->download(there).data<float>()[5], 2.0f);
    EXPECT_GE(ledger.calls, 4u);
  }
  EXPECT_TRUE(ledger.taken.empty());
}

TEST(CudaAllocator, SaysHowMuchWasAskedForWhenThereIsNoneAndGoesOn) {
  Ledger ledger;
  ledger.most_bytes = 1000;
  const auto backend = cuda::make_cuda_backend(options_of(ledger));
  try {
    backend->upload(ramp(1000));
    FAIL() << "4,000 bytes of 1,000";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("4000 bytes"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("batch"), std::string::npos) << error.what();
  }
  EXPECT_EQ(backend->download(backend->upload(ramp(10))).data<float>()[4], 1.0f);
}

}  // namespace
}  // namespace tare
