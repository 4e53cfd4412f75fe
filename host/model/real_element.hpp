// One element of a tensor of any type that is quantized: for loops that look at values rather than compute with them.
#pragma once

#include <cstdint>

#include "tare/numerics.hpp"
#include "tare/tensor.hpp"

namespace tare {

/// Below it a float16 loses digits: scales that are stored as such stay above.
inline constexpr float smallest_normal_half = 0x1p-14f;

/// `tensor` is float32, float16 or bfloat16.
inline float real_element(const Tensor& tensor, std::int64_t i) {
  switch (tensor.type()) {
    case DataType::float16: return half_to_float(tensor.data<std::uint16_t>()[i]);
    case DataType::bfloat16: return bfloat_to_float(tensor.data<std::uint16_t>()[i]);
    default: return tensor.data<float>()[i];
  }
}

}  // namespace tare
