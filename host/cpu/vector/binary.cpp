// Element-wise functions of two float32 operands, in three forms: both arrays (vv), the second a scalar (vs), the first
// a scalar (sv). `out` may be one of the arrays: ivdep spares the run-time check.
#include "cpu/vector/isa.hpp"
#include "tare/elementary.hpp"

namespace tare::cpu::TARE_ISA {

namespace {

constexpr std::size_t quotient_block = 256;
constexpr std::uint32_t smallest_dividend = (127u - 80) << 23;
constexpr std::uint32_t largest_dividend = (127u + 80) << 23;

/// Quotients by a scalar that is no power of two, without the division (docs/numerics.md). `short_divisor`: of at most
/// 19 bits. Blocks in which something would leave the range of normal numbers are divided.
template <bool short_divisor>
TARE_HD void divide_by_products(const float* a, float y, float* out, std::size_t n) {
  const float nearest = 1 / y;
  float reciprocal = nearest;
  float rest = rest_of_reciprocal(y, reciprocal);
  if ((bits_of(rest) ^ bits_of(reciprocal)) >> 31 != 0) {  // both of one sign keep the sign of a zero
    reciprocal = float_of(bits_of(reciprocal) - 1);
    rest = rest_of_reciprocal(y, reciprocal);
  }
  const auto quotient = [&](float x) {
    const float near = multiply_add(x, reciprocal, x * rest);
    if (short_divisor) return near;
    const float rounded = multiply_add(multiply_add(-near, y, x), nearest, near);
    const std::uint32_t sign = (bits_of(x) ^ bits_of(y)) & 0x80000000u;  // of zeros, which this step loses
    return float_of((bits_of(rounded) & 0x7fffffffu) | sign);
  };
  for (std::size_t done = 0; done < n; done += quotient_block) {
    const std::size_t end = n - done < quotient_block ? n : done + quotient_block;
    std::uint32_t least = 0xffffffffu;  // of the magnitudes but 0, less 1
    std::uint32_t most = 0;
    for (std::size_t i = done; i < end; ++i) {
      const std::uint32_t magnitude = bits_of(a[i]) & 0x7fffffffu;
      least = magnitude - 1 < least ? magnitude - 1 : least;
      most = magnitude > most ? magnitude : most;
    }
    if (least < smallest_dividend || (!short_divisor && most >= largest_dividend)) {
#pragma GCC ivdep
      for (std::size_t i = done; i < end; ++i) out[i] = a[i] / y;
    } else {
#pragma GCC ivdep
      for (std::size_t i = done; i < end; ++i) out[i] = quotient(a[i]);
    }
  }
}

/// Divisors of common magnitude; false: it did nothing.
bool divide_without_division(const float* a, float y, float* out, std::size_t n) {
  const std::uint32_t magnitude = bits_of(y) & 0x7fffffffu;
  if (!has_multiply_add || magnitude - ((127u - 20) << 23) >= 40u << 23) return false;
  if ((magnitude & 0x7fffffu) == 0) {
    const float reciprocal = 1 / y;
#pragma GCC ivdep
    for (std::size_t i = 0; i < n; ++i) out[i] = a[i] * reciprocal;
  } else if ((magnitude & 31u) == 0) {
    divide_by_products<true>(a, y, out, n);
  } else {
    divide_by_products<false>(a, y, out, n);
  }
  return true;
}

}  // namespace

/// `done`: whether the second form is computed in another way.
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
    if (done) return;                                                         \
    _Pragma("GCC ivdep") for (std::size_t i = 0; i < n; ++i) {                \
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

TARE_BINARY_LOOPS(binary_add, x + y, false)
TARE_BINARY_LOOPS(binary_subtract, x - y, false)
TARE_BINARY_LOOPS(binary_multiply, x* y, false)
TARE_BINARY_LOOPS(binary_divide, x / y, divide_without_division(a, y, out, n))
TARE_BINARY_LOOPS(binary_maximum, elementary::maximum(x, y), false)
TARE_BINARY_LOOPS(binary_minimum, elementary::minimum(x, y), false)
TARE_BINARY_LOOPS(binary_prelu, elementary::leaky_relu(x, y), false)

#undef TARE_BINARY_LOOPS

}  // namespace tare::cpu::TARE_ISA
