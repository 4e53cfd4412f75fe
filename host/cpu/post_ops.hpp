// What a fused node does to its result before storing it; the vocabulary is at the top of fused.cpp.
// Kept apart from the library's own post-operations so that the loops which stand in for the library apply the same
// list.
#pragma once

#include <span>
#include <vector>

#include "cpu/operators.hpp"

namespace tare::cpu {

struct PostOp {
  enum class Kind { relu, leaky_relu, clip, hard_sigmoid, hard_swish, sigmoid, tanh };
  Kind kind;
  float alpha = 0;
  float beta = 0;
};

/// The attribute "post_ops" of a fused node; empty for other nodes. Throws Error(model) on words it does not know.
std::vector<PostOp> parse_post_ops(const Node& node);
/// Applies the operations to a float32 or float64 tensor, in place.
void apply_post_ops(const Call& call, std::span<const PostOp> post_ops, Tensor& tensor);

// The kernels that take them.
std::unique_ptr<Kernel> make_convolution(const Compile& compile);
std::unique_ptr<Kernel> make_matmul(const Compile& compile);
std::unique_ptr<Kernel> make_gemm(const Compile& compile);

}  // namespace tare::cpu
