// The caller's allocator serves everything that the backend keeps on the device, and gets all of it back.
#include <gtest/gtest.h>

#include "cuda_host/ledger.hpp"
#include "tare/quantizer.hpp"

namespace tare {
namespace {

using test::Ledger;

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
  ledger.most_at_once = 1000;
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
