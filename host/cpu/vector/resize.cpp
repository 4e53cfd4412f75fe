// Weighted sums of rows (an axis with elements behind it) and of elements of one row (the last axis) for Resize.
// Both add the taps in the same order, so that both layouts give the same bits. Two taps, the bilinear case, in one
// pass.
#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {

void blend_rows(const float* in, const std::int64_t* offsets, const float* weights, std::size_t taps, float* out,
                std::size_t n) {
  if (taps == 2) {
    const float* a = in + offsets[0];
    const float* b = in + offsets[1];
    const float first = weights[0];
    const float second = weights[1];
    for (std::size_t i = 0; i < n; ++i) out[i] = first * a[i] + second * b[i];
    return;
  }
  for (std::size_t i = 0; i < n; ++i) out[i] = weights[0] * in[offsets[0] + static_cast<std::int64_t>(i)];
  for (std::size_t k = 1; k < taps; ++k) {
    const float* row = in + offsets[k];
    const float weight = weights[k];
    for (std::size_t i = 0; i < n; ++i) out[i] += weight * row[i];
  }
}

void blend_elements(const float* in, const std::int32_t* indices, const float* weights, std::size_t taps, float* out,
                    std::size_t n) {
  if (taps == 2) {
    for (std::size_t i = 0; i < n; ++i) out[i] = weights[i] * in[indices[i]] + weights[n + i] * in[indices[n + i]];
    return;
  }
  for (std::size_t i = 0; i < n; ++i) out[i] = weights[i] * in[indices[i]];
  for (std::size_t k = 1; k < taps; ++k)
    for (std::size_t i = 0; i < n; ++i) out[i] += weights[k * n + i] * in[indices[k * n + i]];
}

}  // namespace tare::cpu::TARE_ISA
