// Quantize-dequantize of runs of floats that share a grid, and of rows whose grid changes from column to column.
// `in` may be `out`. ivdep: an element is read before its own place is written, and no other place matters.
#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {

void qdq_half_even(const float* in, float* out, std::size_t n, Grid grid) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < n; ++i)
    out[i] = quantize_dequantize(in[i], grid.scale, grid.zero_point, grid.low, grid.high);
}

void qdq_half_up(const float* in, float* out, std::size_t n, Grid grid) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < n; ++i)
    out[i] = quantize_dequantize_half_up(in[i], grid.scale, grid.offset, grid.minimum, grid.maximum);
}

namespace {

/// Short rows. What does not fill a vector at the end of a row is computed as part of a whole one, whose other elements
/// the row computes again; before the row, because `in` may be `out`.
template <class Quantize>
TARE_HD void for_rows(const float* in, float* out, std::size_t rows, std::size_t n, const Grid* grids,
                      Quantize quantize) {
  constexpr std::size_t vector = 16;
  const std::size_t whole = n < vector ? n : n / vector * vector;
  for (std::size_t row = 0; row < rows; ++row, in += n, out += n, ++grids) {
    const Grid grid = *grids;
    float tail[vector];
    if (whole != n)
      for (std::size_t i = 0; i < vector; ++i) tail[i] = quantize(in[n - vector + i], grid);
#pragma GCC ivdep
    for (std::size_t i = 0; i < whole; ++i) out[i] = quantize(in[i], grid);
    if (whole != n)
      for (std::size_t i = 0; i < vector; ++i) out[n - vector + i] = tail[i];
  }
}

}  // namespace

void qdq_half_even_rows(const float* in, float* out, std::size_t rows, std::size_t n, const Grid* grids) {
  for_rows(in, out, rows, n, grids, [](float x, const Grid& grid) {
    return quantize_dequantize(x, grid.scale, grid.zero_point, grid.low, grid.high);
  });
}

void qdq_half_up_rows(const float* in, float* out, std::size_t rows, std::size_t n, const Grid* grids) {
  for_rows(in, out, rows, n, grids, [](float x, const Grid& grid) {
    return quantize_dequantize_half_up(x, grid.scale, grid.offset, grid.minimum, grid.maximum);
  });
}

void qdq_float16(const float* in, float* out, std::size_t n, Grid) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < n; ++i) out[i] = half_to_float(float_to_half(in[i]));
}

void qdq_float8e4m3fn(const float* in, float* out, std::size_t n, Grid grid) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < n; ++i) out[i] = round_to_float8e4m3fn(in[i] / grid.scale) * grid.scale;
}

void qdq_float8e5m2(const float* in, float* out, std::size_t n, Grid grid) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < n; ++i) out[i] = round_to_float8e5m2(in[i] / grid.scale) * grid.scale;
}

void qdq_half_even_columns(const float* in, float* out, std::size_t n, GridColumns grid) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < n; ++i)
    out[i] = quantize_dequantize(in[i], grid.scale[i], grid.zero_point[i], grid.low, grid.high);
}

void qdq_half_up_columns(const float* in, float* out, std::size_t n, GridColumns grid) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < n; ++i)
    out[i] = quantize_dequantize_half_up(in[i], grid.scale[i], grid.offset[i], grid.minimum[i], grid.maximum[i]);
}

void qdq_float8e4m3fn_columns(const float* in, float* out, std::size_t n, GridColumns grid) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < n; ++i) out[i] = round_to_float8e4m3fn(in[i] / grid.scale[i]) * grid.scale[i];
}

void qdq_float8e5m2_columns(const float* in, float* out, std::size_t n, GridColumns grid) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < n; ++i) out[i] = round_to_float8e5m2(in[i] / grid.scale[i]) * grid.scale[i];
}

}  // namespace tare::cpu::TARE_ISA
