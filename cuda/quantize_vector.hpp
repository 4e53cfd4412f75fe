// Elements and vectors of 16 bytes on a grid, for the kernels of quantize.cu: types, formulas by their operation, and
// grids as they lie in device memory.
#pragma once

#include "cpu/quantize_formula.hpp"
#include "launch.hpp"
#include "quantize.hpp"

namespace tare::cuda {

template <Operation operation>
struct FormulaOf {
  using Type = cpu::Float8<operation == Operation::float8e4m3fn ? 3 : 2>;
};
template <>
struct FormulaOf<Operation::half_even> {
  using Type = cpu::ByDivision;
};
template <>
struct FormulaOf<Operation::half_even_by_product> {
  using Type = cpu::ByProduct;
};
template <>
struct FormulaOf<Operation::half_up> {
  using Type = cpu::HalfUp;
};
template <>
struct FormulaOf<Operation::float16> {
  using Type = cpu::Float16;
};

template <Operation operation>
inline constexpr bool is_integer = operation == Operation::half_even || operation == Operation::half_even_by_product ||
                                   operation == Operation::half_up;

/// Elements of a half type, two in a word. The device's own conversions (two at once since compute capability 8.0) have
/// the bits of those of numerics.hpp but for NaN; an integer grid takes every NaN alike and gives none.
template <DataType type, Operation operation>
struct Format {
  using Element = std::uint16_t;
  static constexpr int in_word = 2;
  __device__ static void widen(std::uint32_t word, float* values) {
    if constexpr (type == DataType::bfloat16) {
      values[0] = float_of(word << 16);
      values[1] = float_of(word & 0xffff0000u);
    } else {
      values[0] = widen_half(static_cast<Element>(word));
      values[1] = widen_half(static_cast<Element>(word >> 16));
    }
  }
  __device__ static std::uint32_t narrow(const float* values) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    if constexpr (is_integer<operation>) {
      std::uint32_t word;
      if constexpr (type == DataType::float16)
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(values[1]), "f"(values[0]));
      else
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(values[1]), "f"(values[0]));
      return word;
    }
#endif
    return narrow_any(values[0]) | std::uint32_t{narrow_any(values[1])} << 16;
  }
  __device__ static float widen_one(Element element) {
    float values[2];
    widen(element, values);
    return values[0];
  }
  __device__ static Element narrow_one(float value) {
    const float values[2] = {value, 0.0f};
    return static_cast<Element>(narrow(values));
  }

 private:
  __device__ static float widen_half(Element half) {
#ifdef __CUDA_ARCH__
    if constexpr (is_integer<operation>) {
      float value;
      asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
      return value;
    }
#endif
    return half_to_float(half);
  }
  __device__ static Element narrow_any(float value) {
    return type == DataType::float16 ? float_to_half(value) : float_to_bfloat(value);
  }
};
template <Operation operation>
struct Format<DataType::float32, operation> {
  using Element = float;
  static constexpr int in_word = 1;
  __device__ static void widen(std::uint32_t word, float* value) { *value = float_of(word); }
  __device__ static std::uint32_t narrow(const float* value) { return bits_of(*value); }
  __device__ static float widen_one(float value) { return value; }
  __device__ static float narrow_one(float value) { return value; }
};

/// Elements of 16 bytes.
template <DataType type>
inline constexpr int vector_of = type == DataType::float32 ? 4 : 8;

/// `formula_of(i)` is that of element i.
template <DataType type, Operation operation, class FormulaOfElement>
__device__ __forceinline__ uint4 apply_vector(uint4 vector, FormulaOfElement formula_of) {
  using F = Format<type, operation>;
  std::uint32_t words[4] = {vector.x, vector.y, vector.z, vector.w};
  TARE_UNROLL
  for (int w = 0; w < 4; ++w) {
    float values[F::in_word];
    F::widen(words[w], values);
    TARE_UNROLL
    for (int i = 0; i < F::in_word; ++i) values[i] = formula_of(w * F::in_word + i)(values[i]);
    words[w] = F::narrow(values);
  }
  return {words[0], words[1], words[2], words[3]};
}

/// Elements before `left` are on the grid `own`, the others on `next`. Grids that lack a reciprocal divide; on the
/// others that gives the same bits.
template <DataType type, Operation operation>
__device__ __forceinline__ uint4 apply_grids(uint4 vector, const Grid& own, const Grid& next, int left) {
  const auto apply = [&](auto first, auto second) {
    return apply_vector<type, operation>(vector, [&](int i) { return i < left ? first : second; });
  };
  if constexpr (operation == Operation::half_even)
    if (own.reciprocal != 0 && next.reciprocal != 0) return apply(cpu::ByProduct(own), cpu::ByProduct(next));
  using Formula = typename FormulaOf<operation>::Type;
  return apply(Formula(own), Formula(next));
}

template <DataType type, Operation operation>
__device__ __forceinline__ auto apply_grid(typename Format<type, operation>::Element element, const Grid& grid) {
  using F = Format<type, operation>;
  const float x = F::widen_one(element);
  if constexpr (operation == Operation::half_even) return F::narrow_one(quantize_dequantize(x, grid));
  return F::narrow_one(typename FormulaOf<operation>::Type(grid)(x));
}

/// What the operation needs of the grid, as make_grid makes it.
template <Operation operation>
__device__ __forceinline__ Grid unpack(const PackedGrid& packed) {
  Grid grid{};
  grid.scale = packed.scale;
  grid.zero_point = packed.zero_point;
  if constexpr (operation == Operation::half_up) {
    grid.offset = -packed.zero_point;
    grid.minimum = packed.third;
    grid.maximum = packed.fourth;
  } else {
    grid.reciprocal = packed.third;
    grid.high = packed.fourth;
    grid.rest = rest_of_reciprocal(grid.scale, grid.reciprocal);
    grid.lowest = dequantize(grid.low, grid.scale, grid.zero_point);
    grid.highest = dequantize(grid.high, grid.scale, grid.zero_point);
  }
  return grid;
}

}  // namespace tare::cuda
