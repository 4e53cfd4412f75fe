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

/// A library computes what it was asked for by no algorithm that may be chosen and that runs.
struct NoAlgorithm : Error {
  using Error::Error;
};
/// There was no memory for a library: that says nothing of what it was to do with it.
struct LackOfMemory : Error {
  using Error::Error;
};

/// Throws LackOfMemory.
Tensor workspace_for(Device& device, std::size_t bytes);

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

/// Of `all` that a call takes at most `most` of: the size of equal pieces, the last of which may be smaller.
inline std::int64_t piece_of(std::int64_t all, std::int64_t most) {
  const std::int64_t pieces = (all + most - 1) / most;
  return (all + pieces - 1) / pieces;
}

struct ProductPlan;

struct Products::Libraries {
  explicit Libraries(Device& device);
  ~Libraries();

  /// In one call of the library.
  void multiply(const Product& product, const void* a, const void* b, void* c, const void* bias = nullptr);
  void convolve(const Convolution& convolution, const void* from, const void* weights, void* to);

  Device& device;
  cublasLtHandle_t blas = nullptr;
  cudnnHandle_t dnn = nullptr;  ///< made for the first convolution: it takes long
  std::map<std::vector<std::int64_t>, std::shared_ptr<const ProductPlan>> product_plans;
  std::vector<std::int64_t> model;  ///< of the device: choices are those of devices alike
};

}  // namespace tare::cuda
