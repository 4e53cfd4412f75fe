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
