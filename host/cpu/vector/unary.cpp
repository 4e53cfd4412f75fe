// Element-wise functions of one float32 operand. `in` and `out` may be the same array, and overlap in no other way:
// ivdep spares the run-time check.
#include "cpu/vector/isa.hpp"
#include "tare/elementary.hpp"

namespace tare::cpu::TARE_ISA {

#define TARE_UNARY_LOOP(name, formula)                                      \
  void name(const float* in, float* out, std::size_t n, float a, float b) { \
    (void)a;                                                                \
    (void)b;                                                                \
    _Pragma("GCC ivdep") for (std::size_t i = 0; i < n; ++i) {              \
      const float x = in[i];                                                \
      out[i] = formula;                                                     \
    }                                                                       \
  }

TARE_UNARY_LOOP(unary_abs, elementary::absolute(x))
TARE_UNARY_LOOP(unary_negate, -x)
TARE_UNARY_LOOP(unary_sign, elementary::sign(x))
TARE_UNARY_LOOP(unary_reciprocal, 1.0f / x)
TARE_UNARY_LOOP(unary_sqrt, __builtin_sqrtf(x))
TARE_UNARY_LOOP(unary_floor, __builtin_floorf(x))
TARE_UNARY_LOOP(unary_ceil, __builtin_ceilf(x))
TARE_UNARY_LOOP(unary_round, __builtin_nearbyintf(x))
TARE_UNARY_LOOP(unary_relu, elementary::relu(x))
TARE_UNARY_LOOP(unary_clip, elementary::clip(x, a, b))
TARE_UNARY_LOOP(unary_leaky_relu, elementary::leaky_relu(x, a))
TARE_UNARY_LOOP(unary_thresholded_relu, elementary::thresholded_relu(x, a))
TARE_UNARY_LOOP(unary_shrink, elementary::shrink(x, a, b))
TARE_UNARY_LOOP(unary_hard_sigmoid, elementary::hard_sigmoid(x, a, b))
TARE_UNARY_LOOP(unary_hard_swish, elementary::hard_swish(x))
TARE_UNARY_LOOP(unary_softsign, elementary::softsign(x))
TARE_UNARY_LOOP(unary_exp, elementary::exp(x))
TARE_UNARY_LOOP(unary_log, elementary::log(x))
TARE_UNARY_LOOP(unary_tanh, elementary::tanh(x))
TARE_UNARY_LOOP(unary_sigmoid, elementary::sigmoid(x))
TARE_UNARY_LOOP(unary_erf, elementary::erf(x))
TARE_UNARY_LOOP(unary_softplus, elementary::softplus(x))
TARE_UNARY_LOOP(unary_gelu, elementary::gelu(x))
TARE_UNARY_LOOP(unary_gelu_tanh, elementary::gelu_tanh(x))
TARE_UNARY_LOOP(unary_elu, elementary::elu(x, a))
TARE_UNARY_LOOP(unary_selu, elementary::selu(x, a, b))
TARE_UNARY_LOOP(unary_celu, elementary::celu(x, a))
TARE_UNARY_LOOP(unary_swish, elementary::swish(x, a))
TARE_UNARY_LOOP(unary_mish, elementary::mish(x))

#undef TARE_UNARY_LOOP

}  // namespace tare::cpu::TARE_ISA
