// Float32 tensors as halves and back, by the formulas of numerics.hpp.
#pragma once

#include "model/real_element.hpp"
#include "tare/numerics.hpp"
#include "tare/tensor.hpp"

namespace tare::test {

inline Tensor narrowed(const Tensor& wide, DataType type) {
  Tensor half = Tensor::host(type, wide.shape());
  for (std::int64_t i = 0; i < wide.elements(); ++i) {
    const float x = wide.data<float>()[i];
    half.mutable_data<std::uint16_t>()[i] = type == DataType::float16 ? float_to_half(x) : float_to_bfloat(x);
  }
  return half;
}

inline Tensor widened(const Tensor& half) {
  Tensor wide = Tensor::host(DataType::float32, half.shape());
  for (std::int64_t i = 0; i < half.elements(); ++i) wide.mutable_data<float>()[i] = real_element(half, i);
  return wide;
}

}  // namespace tare::test
