// A caller's allocator that keeps books, and may run short.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <map>

#include "tare/cuda.hpp"

namespace tare::test {

struct Ledger {
  std::map<void*, std::size_t> taken;
  std::size_t calls = 0;
  std::size_t bytes = 0;
  std::size_t most_at_once = ~std::size_t{0};  ///< bytes of one call
  std::size_t most_bytes = ~std::size_t{0};    ///< of all that is taken

  static void* take(void* context, std::size_t bytes, cuda::Stream stream) {
    auto& self = *static_cast<Ledger*>(context);
    void* pointer = nullptr;
    if (bytes > self.most_at_once || self.bytes + bytes > self.most_bytes) return nullptr;
    if (cudaMallocAsync(&pointer, bytes, static_cast<cudaStream_t>(stream)) != cudaSuccess) return nullptr;
    self.taken[pointer] = bytes;
    self.bytes += bytes;
    ++self.calls;
    return pointer;
  }
  static void give(void* context, void* pointer, std::size_t bytes, cuda::Stream stream) {
    auto& self = *static_cast<Ledger*>(context);
    EXPECT_EQ(self.taken.at(pointer), bytes);
    self.taken.erase(pointer);
    self.bytes -= bytes;
    EXPECT_EQ(cudaFreeAsync(pointer, static_cast<cudaStream_t>(stream)), cudaSuccess);
  }
};

inline cuda::CudaOptions options_of(Ledger& ledger) {
  cuda::CudaOptions options;
  options.allocator = {Ledger::take, Ledger::give, &ledger};
  return options;
}

}  // namespace tare::test
