// Elements of float32, float16 and bfloat16 tensors in kernels that compute in float32: which type it is, a launch
// knows, and all its threads branch alike. Four neighbours are one load of 16 or 8 bytes.
#pragma once

#include "launch.hpp"
#include "tare/tensor.hpp"

namespace tare::cuda {

struct Four {
  float of[4];
};

TARE_HD float widen_bits(std::uint16_t bits, DataType type) {
  return type == DataType::float16 ? half_to_float(bits) : bfloat_to_float(bits);
}
TARE_HD std::uint16_t narrow_bits(float x, DataType type) {
  return type == DataType::float16 ? float_to_half(x) : float_to_bfloat(x);
}
/// The value that a tensor of the type holds when x is stored.
TARE_HD float rounded_to(float x, DataType type) {
  return type == DataType::float32 ? x : widen_bits(narrow_bits(x, type), type);
}

TARE_HD float load_float(const void* from, std::int64_t i, DataType type) {
  return type == DataType::float32 ? static_cast<const float*>(from)[i]
                                   : widen_bits(static_cast<const std::uint16_t*>(from)[i], type);
}
TARE_HD void store_float(void* to, std::int64_t i, float x, DataType type) {
  if (type == DataType::float32)
    static_cast<float*>(to)[i] = x;
  else
    static_cast<std::uint16_t*>(to)[i] = narrow_bits(x, type);
}

/// Elements i to i + 3; i is a multiple of 4 and `from` is_aligned().
TARE_HD Four load_four(const void* from, std::int64_t i, DataType type) {
  if (type == DataType::float32) {
    const float4 four = *reinterpret_cast<const float4*>(static_cast<const float*>(from) + i);
    return {{four.x, four.y, four.z, four.w}};
  }
  const ushort4 halves = *reinterpret_cast<const ushort4*>(static_cast<const std::uint16_t*>(from) + i);
  return {
      {widen_bits(halves.x, type), widen_bits(halves.y, type), widen_bits(halves.z, type), widen_bits(halves.w, type)}};
}
/// As one: behind branches the compiler takes a vector apart.
template <class Vector>
TARE_HD void store_whole(Vector* to, Vector x) {
#ifdef __CUDA_ARCH__
  __stwb(to, x);
#else
  *to = x;
#endif
}
TARE_HD void store_four(void* to, std::int64_t i, const Four& x, DataType type) {
  if (type == DataType::float32)
    store_whole(reinterpret_cast<float4*>(static_cast<float*>(to) + i), float4{x.of[0], x.of[1], x.of[2], x.of[3]});
  else
    store_whole(reinterpret_cast<ushort4*>(static_cast<std::uint16_t*>(to) + i),
                ushort4{narrow_bits(x.of[0], type), narrow_bits(x.of[1], type), narrow_bits(x.of[2], type),
                        narrow_bits(x.of[3], type)});
}

/// Elements of a float tensor of any of the three types, as operators read and write them.
struct FloatInput {
  const void* data = nullptr;
  DataType type = DataType::float32;

  FloatInput() = default;
  FloatInput(const Tensor& tensor) : data(tensor.data()), type(tensor.type()) {}
  explicit FloatInput(const float* floats) : data(floats) {}
  TARE_HD bool present() const { return data != nullptr; }
  TARE_HD float operator[](std::int64_t i) const { return load_float(data, i, type); }
  TARE_HD Four four(std::int64_t i) const { return load_four(data, i, type); }
};
struct FloatOutput {
  void* data = nullptr;
  DataType type = DataType::float32;

  FloatOutput() = default;
  FloatOutput(Tensor& tensor) : data(tensor.mutable_data()), type(tensor.type()) {}
  TARE_HD bool present() const { return data != nullptr; }
  TARE_HD void set(std::int64_t i, float x) const { store_float(data, i, x, type); }
  TARE_HD void set_four(std::int64_t i, const Four& x) const { store_four(data, i, x, type); }
};

inline bool is_aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

}  // namespace tare::cuda
