// A small matrix product for Einsum: every element is one sum over the inner dimension in order, so the bits depend on
// neither threads nor instruction set. Four rows by sixteen columns of sums stay in registers.
#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

constexpr std::size_t tile_columns = 16;

template <std::size_t rows>
inline __attribute__((always_inline)) void tile(const float* a, const float* b, float* c, std::size_t inner,
                                                std::size_t columns) {
  std::size_t n = 0;
  for (; n + tile_columns <= columns; n += tile_columns) {
    float sums[rows][tile_columns] = {};
    for (std::size_t k = 0; k < inner; ++k)
      for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t i = 0; i < tile_columns; ++i) sums[r][i] += a[r * inner + k] * b[k * columns + n + i];
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t i = 0; i < tile_columns; ++i) c[r * columns + n + i] = sums[r][i];
  }
  for (; n < columns; ++n)
    for (std::size_t r = 0; r < rows; ++r) {
      float sum = 0.0f;
      for (std::size_t k = 0; k < inner; ++k) sum += a[r * inner + k] * b[k * columns + n];
      c[r * columns + n] = sum;
    }
}

}  // namespace

void matrix_product(const float* a, const float* b, float* c, std::size_t rows, std::size_t inner,
                    std::size_t columns) {
  std::size_t r = 0;
  for (; r + 4 <= rows; r += 4) tile<4>(a + r * inner, b, c + r * columns, inner, columns);
  for (; r < rows; ++r) tile<1>(a + r * inner, b, c + r * columns, inner, columns);
}

}  // namespace tare::cpu::TARE_ISA
