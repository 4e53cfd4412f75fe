// Element-wise functions of two float32 operands, in three forms: both arrays (vv), the second a scalar (vs), the first
// a scalar (sv). `out` may be one of the arrays: ivdep spares the run-time check.
#include "cpu/vector/isa.hpp"
#include "tare/elementary.hpp"

namespace tare::cpu::TARE_ISA {

namespace {

/// Quotients by a scalar without the division: two steps of Markstein's round as it does (docs/numerics.md) where
/// nothing on the way leaves the range of normal numbers. Blocks in which something might are divided. Returns where it
/// ends.
std::size_t divide_blocks(const float* a, float y, float* out, std::size_t n) {
  constexpr std::size_t block = 64;
  constexpr std::uint32_t smallest = (127u - 80) << 23;
  constexpr std::uint32_t range = 160u << 23;
  const std::uint32_t magnitude_of_y = bits_of(y) & 0x7fffffffu;
  if (!has_multiply_add || magnitude_of_y - ((127u - 20) << 23) >= 40u << 23) return 0;
  const float reciprocal = 1 / y;
  std::size_t done = 0;
  for (; done + block <= n; done += block) {
    float quotients[block];
    std::uint32_t beyond = 0;
    for (std::size_t i = 0; i < block; ++i) {
      const float x = a[done + i];
      const std::uint32_t magnitude = bits_of(x) & 0x7fffffffu;
      beyond |= static_cast<std::uint32_t>(magnitude - smallest >= range) & static_cast<std::uint32_t>(magnitude != 0);
      const float near = x * reciprocal;
      const float nearer = multiply_add(multiply_add(-near, y, x), reciprocal, near);
      const float quotient = multiply_add(multiply_add(-nearer, y, x), reciprocal, nearer);
      const std::uint32_t sign = (bits_of(x) ^ bits_of(y)) & 0x80000000u;  // of zeros, which the steps lose
      quotients[i] = float_of((bits_of(quotient) & 0x7fffffffu) | sign);
    }
    if (beyond != 0)
      for (std::size_t i = 0; i < block; ++i) quotients[i] = a[done + i] / y;
    for (std::size_t i = 0; i < block; ++i) out[done + i] = quotients[i];
  }
  return done;
}

}  // namespace

/// `done` elements of the second form are there before its loop begins.
#define TARE_BINARY_LOOPS(name, formula, done)                                \
  void name##_vv(const float* a, const float* b, float* out, std::size_t n) { \
    _Pragma("GCC ivdep") for (std::size_t i = 0; i < n; ++i) {                \
      const float x = a[i];                                                   \
      const float y = b[i];                                                   \
      out[i] = formula;                                                       \
    }                                                                         \
  }                                                                           \
  void name##_vs(const float* a, const float* b, float* out, std::size_t n) { \
    const float y = *b;                                                       \
    _Pragma("GCC ivdep") for (std::size_t i = done; i < n; ++i) {             \
      const float x = a[i];                                                   \
      out[i] = formula;                                                       \
    }                                                                         \
  }                                                                           \
  void name##_sv(const float* a, const float* b, float* out, std::size_t n) { \
    const float x = *a;                                                       \
    _Pragma("GCC ivdep") for (std::size_t i = 0; i < n; ++i) {                \
      const float y = b[i];                                                   \
      out[i] = formula;                                                       \
    }                                                                         \
  }

TARE_BINARY_LOOPS(binary_add, x + y, 0)
TARE_BINARY_LOOPS(binary_subtract, x - y, 0)
TARE_BINARY_LOOPS(binary_multiply, x* y, 0)
TARE_BINARY_LOOPS(binary_divide, x / y, divide_blocks(a, y, out, n))
TARE_BINARY_LOOPS(binary_maximum, elementary::maximum(x, y), 0)
TARE_BINARY_LOOPS(binary_minimum, elementary::minimum(x, y), 0)
TARE_BINARY_LOOPS(binary_prelu, elementary::leaky_relu(x, y), 0)

#undef TARE_BINARY_LOOPS

}  // namespace tare::cpu::TARE_ISA
