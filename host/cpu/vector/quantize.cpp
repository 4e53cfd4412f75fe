// Quantize-dequantize of runs of floats that share a grid, of rows with a grid each, and of rows whose grid changes
// from column to column; and the grids. `in` may be `out`. ivdep: an element is read before its own place is written,
// and no other place matters.
#include "cpu/quantize_formula.hpp"
#include "cpu/vector/grid_of.hpp"
#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {

namespace {

constexpr std::size_t lanes = 16;

template <class Formula>
TARE_HD void for_elements(const float* in, float* out, std::size_t n, Formula quantize) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < n; ++i) out[i] = quantize(in[i]);
}

/// As one run of vectors: one in which a row ends takes the grid of each lane's own row.
template <class Formula>
TARE_HD void for_rows(const float* in, float* out, std::size_t count, std::size_t n, std::size_t at,
                      const Grids& grids) {
  std::size_t place = 0;
  std::size_t row_end = n - at;
  for (std::size_t row = 0; place < count; ++row, row_end += n) {
    const Formula quantize(grid_of(grids, row));
    const std::size_t end = row_end < count ? row_end : count;
    if (place < end) {
      const std::size_t whole = (end - place) / lanes * lanes;
      for_elements(in + place, out + place, whole, quantize);
      place += whole;
    }
    if (place >= end) continue;
    if (n < lanes || place + lanes > count) {
      for (; place < end; ++place) out[place] = quantize(in[place]);
      continue;
    }
    const auto own = static_cast<std::uint32_t>(end - place);
    const Formula next(grid_of(grids, row + 1));
#pragma GCC ivdep
    for (std::uint32_t i = 0; i < lanes; ++i) out[place + i] = (i < own ? quantize : next)(in[place + i]);
    place += lanes;
  }
}

/// One row with a grid an element.
template <class Formula>
TARE_HD void for_row(const float* in, float* out, std::size_t n, const Grids& grids) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < n; ++i) out[i] = Formula(grid_of(grids, i))(in[i]);
}

/// `width` columns, whose grids stay in registers while the rows pass.
template <class Formula, std::size_t width>
TARE_HD void for_columns(const float* in, float* out, std::size_t rows, std::size_t n, const Grids& grids,
                         std::size_t first) {
  float own[grid_members][width];
#pragma GCC unroll 9
  for (std::size_t m = 0; m < grid_members; ++m)
    for (std::size_t i = 0; i < width; ++i) own[m][i] = grids.members[m * grids.pitch + first + i];
  const Grids these{own[0], width, grids.high, grids.by_product};
  for (std::size_t row = 0; row < rows; ++row) {
    const float* from = in + row * n + first;
    float* to = out + row * n + first;
#pragma GCC ivdep
    for (std::size_t i = 0; i < width; ++i) to[i] = Formula(grid_of(these, i))(from[i]);
  }
}

template <class Formula>
TARE_HD void for_columns(const float* in, float* out, std::size_t rows, std::size_t n, const Grids& grids) {
  if (rows == 1) return for_row<Formula>(in, out, n, grids);
  for_cached_rows(in, out, rows, n, [&](const float* from, float* to, std::size_t some) {
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) for_columns<Formula, lanes>(from, to, some, n, grids, i);
    if (Formula::keeps_its_results && i < n && n > lanes) {  // some columns twice
      for_columns<Formula, lanes>(from, to, some, n, grids, n - lanes);
    } else {
      for (; i < n; ++i) for_columns<Formula, 1>(from, to, some, n, grids, i);
    }
  });
}

}  // namespace

#define TARE_QUANTIZE_LOOPS(name, Formula)                                                                      \
  void name(const float* in, float* out, std::size_t n, Grid grid) { for_elements(in, out, n, Formula(grid)); } \
  void name##_rows(const float* in, float* out, std::size_t count, std::size_t n, std::size_t at,               \
                   const Grids& grids) {                                                                        \
    for_rows<Formula>(in, out, count, n, at, grids);                                                            \
  }                                                                                                             \
  void name##_columns(const float* in, float* out, std::size_t rows, std::size_t n, const Grids& grids) {       \
    for_columns<Formula>(in, out, rows, n, grids);                                                              \
  }

TARE_QUANTIZE_LOOPS(qdq_half_up, HalfUp)
TARE_QUANTIZE_LOOPS(qdq_float8e4m3fn, Float8<3>)
TARE_QUANTIZE_LOOPS(qdq_float8e5m2, Float8<2>)

#undef TARE_QUANTIZE_LOOPS

void qdq_half_even(const float* in, float* out, std::size_t n, Grid grid) {
  if (has_multiply_add && grid.reciprocal != 0) return for_elements(in, out, n, ByProduct(grid));
  for_elements(in, out, n, ByDivision(grid));
}

void qdq_half_even_rows(const float* in, float* out, std::size_t count, std::size_t n, std::size_t at,
                        const Grids& grids) {
  if (has_multiply_add && grids.by_product) return for_rows<ByProduct>(in, out, count, n, at, grids);
  for_rows<ByDivision>(in, out, count, n, at, grids);
}

void qdq_half_even_columns(const float* in, float* out, std::size_t rows, std::size_t n, const Grids& grids) {
  if (has_multiply_add && grids.by_product) return for_columns<ByProduct>(in, out, rows, n, grids);
  for_columns<ByDivision>(in, out, rows, n, grids);
}

void qdq_float16(const float* in, float* out, std::size_t n, Grid grid) { for_elements(in, out, n, Float16(grid)); }

bool make_grids(const double* encodings, std::size_t stride, std::size_t count, double steps, float* members,
                std::size_t pitch) {
  std::uint32_t without = 0;
#pragma GCC ivdep
  for (std::size_t i = 0; i < count; ++i) {
    const double* encoding = encodings + i * stride * 4;
    const Grid grid = make_grid(encoding[2], encoding[3], steps, encoding[0], encoding[1]);
    without |= static_cast<std::uint32_t>(grid.reciprocal == 0);
    float* to = members + i;
    to[0 * pitch] = grid.scale;
    to[1 * pitch] = grid.zero_point;
    to[2 * pitch] = grid.offset;
    to[3 * pitch] = grid.minimum;
    to[4 * pitch] = grid.maximum;
    to[5 * pitch] = grid.reciprocal;
    to[6 * pitch] = grid.rest;
    to[7 * pitch] = grid.lowest;
    to[8 * pitch] = grid.highest;
  }
  return without == 0;
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
