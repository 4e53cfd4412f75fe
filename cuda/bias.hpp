// What a convolution or a product adds to its result. Biases that are constant come as additions of their own
// (plan/fuse.hpp) and are part of the chain that follows.
#pragma once

#include "operators.hpp"

namespace tare::cuda {

/// In place on `result`, of any float type, seen as [outer, channels, inner]. `bias` has that type or is absent.
void add_bias(const Call& call, const Tensor& bias, std::int64_t channels, std::int64_t inner, Tensor& result);

/// result += beta * addend, broadcast.
void add_scaled(const Call& call, const Tensor& addend, float beta, Tensor& result);

}  // namespace tare::cuda
