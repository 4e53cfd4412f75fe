// Element-wise functions of two float32 operands, in three forms: both arrays (vv), the second a scalar (vs), the first
// a scalar (sv). `out` may be one of the arrays: ivdep spares the run-time check.
#include "cpu/vector/isa.hpp"
#include "tare/elementary.hpp"

namespace tare::cpu::TARE_ISA {

#define TARE_BINARY_LOOPS(name, formula)                                      \
  void name##_vv(const float* a, const float* b, float* out, std::size_t n) { \
    _Pragma("GCC ivdep") for (std::size_t i = 0; i < n; ++i) {                \
      const float x = a[i];                                                   \
      const float y = b[i];                                                   \
      out[i] = formula;                                                       \
    }                                                                         \
  }                                                                           \
  void name##_vs(const float* a, const float* b, float* out, std::size_t n) { \
    const float y = *b;                                                       \
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

TARE_BINARY_LOOPS(binary_add, x + y)
TARE_BINARY_LOOPS(binary_subtract, x - y)
TARE_BINARY_LOOPS(binary_multiply, x* y)
TARE_BINARY_LOOPS(binary_divide, x / y)
TARE_BINARY_LOOPS(binary_maximum, elementary::maximum(x, y))
TARE_BINARY_LOOPS(binary_minimum, elementary::minimum(x, y))
TARE_BINARY_LOOPS(binary_prelu, elementary::leaky_relu(x, y))

#undef TARE_BINARY_LOOPS

}  // namespace tare::cpu::TARE_ISA
