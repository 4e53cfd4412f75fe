// Quantize-dequantize of runs of floats that share a grid, and of rows whose grid changes from column to column.
// `in` may be `out`. ivdep: an element is read before its own place is written, and no other place matters.
#include "cpu/quantize_formula.hpp"
#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {

namespace {

template <class Formula>
TARE_HD void for_elements(const float* in, float* out, std::size_t n, Formula quantize) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < n; ++i) out[i] = quantize(in[i]);
}

/// Short rows, as one run of vectors: one in which a row ends takes the grid of each lane's own row.
template <class Formula>
TARE_HD void for_rows(const float* in, float* out, std::size_t rows, std::size_t n, const Grid* grids) {
  constexpr std::size_t vector = 16;
  std::size_t place = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    const Formula quantize(grids[row]);
    const std::size_t row_end = (row + 1) * n;
    for (; place + vector <= row_end; place += vector) for_elements(in + place, out + place, vector, quantize);
    if (place == row_end) continue;
    if (row + 1 == rows || n < vector) {
      for (; place < row_end; ++place) out[place] = quantize(in[place]);
      continue;
    }
    const std::uint32_t own = static_cast<std::uint32_t>(row_end - place);
    const Formula next(grids[row + 1]);
#pragma GCC ivdep
    for (std::uint32_t i = 0; i < vector; ++i) out[place + i] = (i < own ? quantize : next)(in[place + i]);
    place += vector;
  }
}

}  // namespace

void qdq_half_even(const float* in, float* out, std::size_t n, Grid grid) {
  if (has_multiply_add && grid.reciprocal != 0) return for_elements(in, out, n, ByProduct(grid));
  for_elements(in, out, n, ByDivision(grid));
}

void qdq_half_up(const float* in, float* out, std::size_t n, Grid grid) { for_elements(in, out, n, HalfUp(grid)); }

void qdq_half_even_rows(const float* in, float* out, std::size_t rows, std::size_t n, const Grid* grids) {
  bool by_product = has_multiply_add;
  for (std::size_t row = 0; row < rows; ++row) by_product &= grids[row].reciprocal != 0;
  if (by_product) return for_rows<ByProduct>(in, out, rows, n, grids);
  for_rows<ByDivision>(in, out, rows, n, grids);
}

void qdq_half_up_rows(const float* in, float* out, std::size_t rows, std::size_t n, const Grid* grids) {
  for_rows<HalfUp>(in, out, rows, n, grids);
}

void qdq_float16(const float* in, float* out, std::size_t n, Grid grid) { for_elements(in, out, n, Float16(grid)); }

void qdq_float8e4m3fn(const float* in, float* out, std::size_t n, Grid grid) {
  for_elements(in, out, n, Float8<3>(grid));
}

void qdq_float8e5m2(const float* in, float* out, std::size_t n, Grid grid) {
  for_elements(in, out, n, Float8<2>(grid));
}

void qdq_half_even_columns(const float* in, float* out, std::size_t n, GridColumns grid) {
  if (has_multiply_add && grid.reciprocal != nullptr) {
#pragma GCC ivdep
    for (std::size_t i = 0; i < n; ++i)
      out[i] = quantize_dequantize_by_product(in[i], grid.scale[i], grid.reciprocal[i], grid.rest[i], grid.lowest[i],
                                              grid.highest[i]);
    return;
  }
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

/// By stores that do not read the line they go to, where the processor has them. Others see them after a fence.
void copy_past_caches(const float* in, float* out, std::size_t n) {
  std::size_t i = 0;
#if defined(__x86_64__)
  for (; i < n && reinterpret_cast<std::uintptr_t>(out + i) % 64 != 0; ++i) out[i] = in[i];
#if defined(__AVX512F__)
  for (; i + 16 <= n; i += 16) _mm512_stream_ps(out + i, _mm512_loadu_ps(in + i));
#else
  for (; i + 4 <= n; i += 4) _mm_stream_ps(out + i, _mm_loadu_ps(in + i));
#endif
#endif
  for (; i < n; ++i) out[i] = in[i];
}

}  // namespace tare::cpu::TARE_ISA
