// Which elements a softmax adds up, for every backend.
#pragma once

#include <cstdint>

#include "cpu/operators.hpp"

namespace tare::cpu {

/// The input as [outer, length, inner]: a softmax runs over `length`.
struct SoftmaxView {
  std::int64_t outer, length, inner;
};

/// From `axis`; before opset 13 everything from there on is one row.
SoftmaxView softmax_view(const Call& call);

/// Of one row; `out` may be `in`.
void softmax_row(const VectorKernels& v, const float* in, float* out, std::int64_t n);
void softmax_row(const VectorKernels& v, const double* in, double* out, std::int64_t n);

}  // namespace tare::cpu
