// What a convolution or a product adds to its result. Biases that are constant come as additions of their own
// (plan/fuse.hpp) and are part of the chain that follows.
#pragma once

#include "operators.hpp"

namespace tare::cuda {

/// One number for each channel of `result`, [batch, channels, …] of any float type; `bias` may be absent.
void add_bias(const Call& call, const Tensor& bias, Tensor& result);

/// result += beta * addend, broadcast.
void add_scaled(const Call& call, const Tensor& addend, float beta, Tensor& result);

}  // namespace tare::cuda
