// The gradient of quantize-dequantize: of runs of floats that share a grid, and of rows whose grid changes from column
// to column. Sums are float64; those of a run have 16 lanes whatever the width of the registers, so every instruction
// set gives the same bits.
#include "cpu/gradient_formula.hpp"
#include "cpu/vector/grid_of.hpp"
#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

constexpr std::size_t lanes = 16;

TARE_HD double sum_of(double* sums) {
  for (std::size_t width = lanes / 2; width > 0; width /= 2)
    for (std::size_t i = 0; i < width; ++i) sums[i] += sums[i + width];
  return sums[0];
}

template <class Formula>
TARE_HD void of_run(const float* in, const float* gradient, float* out, std::size_t n, const Grid& grid, double* sums) {
  const Formula terms_of(grid);
  double scale[lanes] = {};
  double offset[lanes] = {};
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    float of_scale[lanes];
    float of_offset[lanes];
    for (std::size_t l = 0; l < lanes; ++l) {
      const GradientTerms terms = terms_of(in[i + l], gradient[i + l]);
      out[i + l] = terms.input;
      of_scale[l] = terms.scale;
      of_offset[l] = terms.offset;
    }
    for (std::size_t l = 0; l < lanes; ++l) scale[l] += static_cast<double>(of_scale[l]);
    for (std::size_t l = 0; l < lanes; ++l) offset[l] += static_cast<double>(of_offset[l]);
  }
  for (std::size_t l = 0; i < n; ++i, ++l) {
    const GradientTerms terms = terms_of(in[i], gradient[i]);
    out[i] = terms.input;
    scale[l] += static_cast<double>(terms.scale);
    offset[l] += static_cast<double>(terms.offset);
  }
  sums[0] += sum_of(scale);
  sums[1] += sum_of(offset);
}

template <class Formula>
TARE_HD void of_columns(const float* in, const float* gradient, float* out, std::size_t rows, std::size_t row_length,
                        std::size_t n, const Grids& grids, double* scale, double* offset) {
  for (std::size_t row = 0; row < rows; ++row, in += row_length, gradient += row_length, out += row_length) {
#pragma GCC ivdep
    for (std::size_t i = 0; i < n; ++i) {
      const GradientTerms terms = Formula(grid_of(grids, i))(in[i], gradient[i]);
      out[i] = terms.input;
      scale[i] += static_cast<double>(terms.scale);
      offset[i] += static_cast<double>(terms.offset);
    }
  }
}

}  // namespace

#define TARE_GRADIENT_LOOPS(name, Formula)                                                                          \
  void name(const float* in, const float* gradient, float* out, std::size_t n, const Grid& grid, double* sums) {    \
    of_run<Formula>(in, gradient, out, n, grid, sums);                                                              \
  }                                                                                                                 \
  void name##_columns(const float* in, const float* gradient, float* out, std::size_t rows, std::size_t row_length, \
                      std::size_t n, const Grids& grids, double* scale, double* offset) {                           \
    of_columns<Formula>(in, gradient, out, rows, row_length, n, grids, scale, offset);                              \
  }

TARE_GRADIENT_LOOPS(gradient_half_even, GradientHalfEven)
TARE_GRADIENT_LOOPS(gradient_half_up, GradientHalfUp)

#undef TARE_GRADIENT_LOOPS

}  // namespace tare::cpu::TARE_ISA
