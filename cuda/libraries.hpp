// The handles of cuBLASLt and cuDNN for one stream, and what is remembered by shape.
#pragma once

#include <cublasLt.h>
#include <cudnn.h>

#include <map>
#include <vector>

#include "device.hpp"
#include "products.hpp"

namespace tare::cuda {

[[noreturn]] void fail_library(const char* status, const char* what, const char* file, int line);

#define TARE_CUBLAS_CHECK(call)                                                                  \
  do {                                                                                           \
    const cublasStatus_t tare_status = (call);                                                   \
    if (tare_status != CUBLAS_STATUS_SUCCESS)                                                    \
      ::tare::cuda::fail_library(cublasLtGetStatusName(tare_status), #call, __FILE__, __LINE__); \
  } while (false)

#define TARE_CUDNN_CHECK(call)                                                                 \
  do {                                                                                         \
    const cudnnStatus_t tare_status = (call);                                                  \
    if (tare_status != CUDNN_STATUS_SUCCESS)                                                   \
      ::tare::cuda::fail_library(cudnnGetErrorString(tare_status), #call, __FILE__, __LINE__); \
  } while (false)

/// A library's object by its create and destroy functions.
template <class T, auto create, auto destroy>
class Owned {
 public:
  Owned() = default;
  template <class Check>
  explicit Owned(Check&& check) {
    check(create(&object_));
  }
  ~Owned() {
    if (object_ != nullptr) static_cast<void>(destroy(object_));
  }
  Owned(Owned&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  T get() const { return object_; }

 private:
  T object_ = nullptr;
};

struct Products::Libraries {
  explicit Libraries(Device& device);
  ~Libraries();

  Device& device;
  cublasLtHandle_t blas = nullptr;
  cudnnHandle_t dnn = nullptr;  ///< made for the first convolution: it takes long
  std::map<std::vector<std::int64_t>, cublasLtMatmulAlgo_t> product_algorithms;
  std::vector<std::int64_t> model;  ///< of the device: choices are those of devices alike
};

}  // namespace tare::cuda
