// What follows a convolution or a product in one pass over its result: a bias a channel, then the fused operations.
#pragma once

#include "cpu/post_ops.hpp"
#include "operators.hpp"

namespace tare::cuda {

/// In place on `result`, of any float type, seen as [outer, channels, inner]. `bias` has that type or is absent.
void apply_epilogue(const Call& call, const Tensor& bias, std::int64_t channels, std::int64_t inner,
                    std::span<const cpu::PostOp> post_ops, Tensor& result);

/// result += beta * addend, broadcast.
void add_scaled(const Call& call, const Tensor& addend, float beta, Tensor& result);

}  // namespace tare::cuda
