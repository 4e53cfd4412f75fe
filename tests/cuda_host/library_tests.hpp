// What tests of the libraries' stand-ins share: one node on the host and on the device, and stand-ins as they begin.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cuda_host/ledger.hpp"
#include "cuda_host/library_stand_ins.hpp"
#include "cuda_host/one_node.hpp"
#include "cuda_host/stand_in.hpp"
#include "model/real_element.hpp"
#include "tare/cuda.hpp"

namespace tare::test {

constexpr std::size_t kib = 1024;

inline void expect_near(const Tensor& have, const Tensor& want, float tolerance = 1e-5f) {
  ASSERT_EQ(have.type(), want.type());
  ASSERT_EQ(have.shape().text(), want.shape().text());
  for (std::int64_t i = 0; i < want.elements(); ++i)
    ASSERT_NEAR(real_element(have, i), real_element(want, i), tolerance * (1.0f + std::abs(real_element(want, i))))
        << i;
}

inline Tensor on_host(const Case& c) { return run(*make_cpu_backend({.threads = 2}), c).at(0); }
inline Tensor on_device(const Case& c, const cuda::CudaOptions& options = {}) {
  return run(*cuda::make_cuda_backend(options), c).at(0);
}

class CudaLibraries : public testing::Test {
 protected:
  void SetUp() override { reset(); }
  void TearDown() override { reset(); }
  static void reset() {
    cublas_stand_in() = {};
    cudnn_stand_in() = {};
    stand_in().poisons = false;
  }
  static std::vector<int> algorithms() {
    std::vector<int> numbers;
    for (const auto& run : cudnn_stand_in().runs) numbers.push_back(run.number);
    return numbers;
  }
};

}  // namespace tare::test
