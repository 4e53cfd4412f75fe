// Subtract a mean, multiply, add: for a row with one set of numbers, for a row with one set an element, and for rows of
// channels that share a set a column. Written with the mean taken out first: a folded a*x+b cancels where |mean| >>
// deviation.
#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {

void row_affine(const float* in, float center, float factor, float addend, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = (in[i] - center) * factor + addend;
}

void column_affine(const float* in, const float* centers, const float* factors, const float* addends, float* out,
                   std::size_t rows, std::size_t n) {
  for (std::size_t r = 0; r < rows; ++r) {
    const float* x = in + r * n;
    float* y = out + r * n;
    for (std::size_t i = 0; i < n; ++i) y[i] = (x[i] - centers[i]) * factors[i] + addends[i];
  }
}

void row_normalize(const float* in, float center, float factor, const float* scales, const float* biases, float* out,
                   std::size_t n) {
  if (biases == nullptr)
    for (std::size_t i = 0; i < n; ++i) out[i] = (in[i] - center) * factor * scales[i];
  else
    for (std::size_t i = 0; i < n; ++i) out[i] = (in[i] - center) * factor * scales[i] + biases[i];
}

}  // namespace tare::cpu::TARE_ISA
