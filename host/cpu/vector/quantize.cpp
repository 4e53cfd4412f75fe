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

/// Short rows, as one run of vectors: one in which a row ends takes the grid of each lane's own row.
template <class Quantize, class Blend>
TARE_HD void for_rows(const float* in, float* out, std::size_t rows, std::size_t n, const Grid* grids,
                      Quantize quantize, Blend quantize_two) {
  constexpr std::size_t vector = 16;
  std::size_t place = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    const Grid grid = grids[row];
    const std::size_t row_end = (row + 1) * n;
    for (; place + vector <= row_end; place += vector)
#pragma GCC ivdep
      for (std::size_t i = 0; i < vector; ++i) out[place + i] = quantize(in[place + i], grid);
    if (place == row_end) continue;
    if (row + 1 == rows || n < vector) {
      for (; place < row_end; ++place) out[place] = quantize(in[place], grid);
      continue;
    }
    const std::uint32_t own = static_cast<std::uint32_t>(row_end - place);
    const Grid next = grids[row + 1];
#pragma GCC ivdep
    for (std::uint32_t i = 0; i < vector; ++i) out[place + i] = quantize_two(in[place + i], i < own, grid, next);
    place += vector;
  }
}

}  // namespace

void qdq_half_even_rows(const float* in, float* out, std::size_t rows, std::size_t n, const Grid* grids) {
  for_rows(
      in, out, rows, n, grids,
      [](float x, const Grid& grid) {
        return quantize_dequantize(x, grid.scale, grid.zero_point, grid.low, grid.high);
      },
      [](float x, bool first, const Grid& a, const Grid& b) {
        return quantize_dequantize(x, first ? a.scale : b.scale, first ? a.zero_point : b.zero_point, a.low, a.high);
      });
}

void qdq_half_up_rows(const float* in, float* out, std::size_t rows, std::size_t n, const Grid* grids) {
  for_rows(
      in, out, rows, n, grids,
      [](float x, const Grid& grid) {
        return quantize_dequantize_half_up(x, grid.scale, grid.offset, grid.minimum, grid.maximum);
      },
      [](float x, bool first, const Grid& a, const Grid& b) {
        return quantize_dequantize_half_up(x, first ? a.scale : b.scale, first ? a.offset : b.offset,
                                           first ? a.minimum : b.minimum, first ? a.maximum : b.maximum);
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
