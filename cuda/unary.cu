// Element-wise operators of one operand, computed in float32, with the formulas of tare/elementary.hpp: the CPU's bits.
// Odd: trigonometric functions are the library's, within 2 ulp of the host's.
#include <cmath>

#include "elementwise.hpp"
#include "tare/elementary.hpp"

namespace tare::cuda {
namespace {

template <class Formula>
void unary(Call& call, Formula formula) {
  cpu::require_inputs(call, 1);
  const DataType type = call.input(0).type();
  if (!is_quantizable(type)) cpu::fail_type(call, type);
  Tensor& y = call.output_reusing(0, 0, type, call.input(0).shape());
  map_floats(call.input(0), y, y.elements(), stream_of(call), formula);
}

#define TARE_UNARY(name, formula)                               \
  struct name##_formula {                                       \
    TARE_HD float operator()(float x) const { return formula; } \
  };                                                            \
  void name##_of(Call& call) { unary(call, name##_formula{}); }

TARE_UNARY(abs, elementary::absolute(x))
TARE_UNARY(acos, ::acosf(x))
TARE_UNARY(acosh, ::acoshf(x))
TARE_UNARY(asin, ::asinf(x))
TARE_UNARY(asinh, ::asinhf(x))
TARE_UNARY(atan, ::atanf(x))
TARE_UNARY(atanh, ::atanhf(x))
TARE_UNARY(ceil, ::ceilf(x))
TARE_UNARY(cos, ::cosf(x))
TARE_UNARY(cosh, ::coshf(x))
TARE_UNARY(erf, elementary::erf(x))
TARE_UNARY(exp, elementary::exp(x))
TARE_UNARY(floor, ::floorf(x))
TARE_UNARY(gelu, elementary::gelu(x))
TARE_UNARY(gelu_tanh, elementary::gelu_tanh(x))
TARE_UNARY(hard_swish, elementary::hard_swish(x))
TARE_UNARY(log, elementary::log(x))
TARE_UNARY(mish, elementary::mish(x))
TARE_UNARY(neg, -x)
TARE_UNARY(reciprocal, 1.0f / x)
TARE_UNARY(relu, elementary::relu(x))
TARE_UNARY(round, round_half_even(x))
TARE_UNARY(sigmoid, elementary::sigmoid(x))
TARE_UNARY(sign, elementary::sign(x))
TARE_UNARY(sin, ::sinf(x))
TARE_UNARY(sinh, ::sinhf(x))
TARE_UNARY(softplus, elementary::softplus(x))
TARE_UNARY(softsign, elementary::softsign(x))
TARE_UNARY(sqrt, ::sqrtf(x))
TARE_UNARY(tan, ::tanf(x))
TARE_UNARY(tanh, elementary::tanh(x))
#undef TARE_UNARY

#define TARE_UNARY_OF_TWO(name, formula)                        \
  struct name##_formula {                                       \
    float a, b;                                                 \
    TARE_HD float operator()(float x) const { return formula; } \
  };

TARE_UNARY_OF_TWO(binarizer, x > a ? 1.0f : 0.0f)
TARE_UNARY_OF_TWO(celu, elementary::celu(x, a))
TARE_UNARY_OF_TWO(clip, elementary::clip(x, a, b))
TARE_UNARY_OF_TWO(elu, elementary::elu(x, a))
TARE_UNARY_OF_TWO(hard_sigmoid, elementary::hard_sigmoid(x, a, b))
TARE_UNARY_OF_TWO(leaky_relu, elementary::leaky_relu(x, a))
TARE_UNARY_OF_TWO(selu, elementary::selu(x, a, b))
TARE_UNARY_OF_TWO(shrink, elementary::shrink(x, a, b))
TARE_UNARY_OF_TWO(swish, elementary::swish(x, a))
TARE_UNARY_OF_TWO(thresholded_relu, elementary::thresholded_relu(x, a))
#undef TARE_UNARY_OF_TWO

void gelu_by_name(Call& call) {
  const std::string approximate = call.node.text("approximate", "none");
  if (approximate == "tanh") return gelu_tanh_of(call);
  if (approximate != "none") call.fail("approximate must be 'none' or 'tanh', not '" + approximate + "'");
  gelu_of(call);
}
void binarizer_of(Call& call) { unary(call, binarizer_formula{call.node.real("threshold", 0.0f), 0}); }
void celu_of(Call& call) {
  const float alpha = call.node.real("alpha", 1.0f);
  if (alpha == 0) call.fail("alpha must not be 0");
  unary(call, celu_formula{alpha, 0});
}
void elu_of(Call& call) { unary(call, elu_formula{call.node.real("alpha", 1.0f), 0}); }
void hard_sigmoid_of(Call& call) {
  unary(call, hard_sigmoid_formula{call.node.real("alpha", 0.2f), call.node.real("beta", 0.5f)});
}
void leaky_relu_of(Call& call) { unary(call, leaky_relu_formula{call.node.real("alpha", 0.01f), 0}); }
void selu_of(Call& call) {
  unary(call, selu_formula{call.node.real("alpha", 1.67326319217681884765625f),
                           call.node.real("gamma", 1.05070102214813232421875f)});
}
void shrink_of(Call& call) { unary(call, shrink_formula{call.node.real("lambd", 0.5f), call.node.real("bias", 0.0f)}); }
void swish_of(Call& call) { unary(call, swish_formula{call.node.real("alpha", 1.0f), 0}); }
void thresholded_relu_of(Call& call) { unary(call, thresholded_relu_formula{call.node.real("alpha", 1.0f), 0}); }

/// Limits of a Clip that only the device knows.
struct LimitsFormula {
  FloatInput low;
  FloatInput high;
  TARE_HD float operator()(float x) const {
    return elementary::clip(x, low.present() ? low[0] : -elementary::infinity,
                            high.present() ? high[0] : elementary::infinity);
  }
};
void clip_of(Call& call) {
  if (call.node.opset != 0 && call.node.opset < 11)
    return unary(
        call, clip_formula{call.node.real("min", -elementary::infinity), call.node.real("max", elementary::infinity)});
  for (const std::size_t i : {1, 2})
    if (call.has(i) && (call.input(i).elements() != 1 || !is_quantizable(call.input(i).type())))
      call.fail("min and max must be scalars of the input's type");
  const auto limit = [&](std::size_t i) { return call.has(i) ? FloatInput(call.input(i)) : FloatInput(); };
  unary(call, LimitsFormula{limit(1), limit(2)});
}

struct IsNan {
  TARE_HD bool operator()(float x) const { return x != x; }
};
struct IsInf {
  bool negative, positive;
  TARE_HD bool operator()(float x) const {
    return (positive && x == elementary::infinity) || (negative && x == -elementary::infinity);
  }
};
template <class Predicate>
void test(Call& call, Predicate holds) {
  cpu::require_inputs(call, 1);
  const Tensor x = call.input(0);
  Tensor& y = call.output(0, DataType::boolean, x.shape());
  map(x, y.mutable_data<std::uint8_t>(), y.elements(), stream_of(call), holds);
}
void is_nan_of(Call& call) { test(call, IsNan{}); }
void is_inf_of(Call& call) {
  test(call, IsInf{call.node.integer("detect_negative", 1) != 0, call.node.integer("detect_positive", 1) != 0});
}

/// Of a mask, which a comparison leaves on the device.
void not_of(Call& call) {
  cpu::require_inputs(call, 1);
  const Tensor x = call.input(0);
  if (x.type() != DataType::boolean) cpu::fail_type(call, x.type());
  Tensor& y = call.output(0, DataType::boolean, x.shape());
  const auto* in = x.data<std::uint8_t>();
  auto* out = y.mutable_data<std::uint8_t>();
  for_each(y.elements(), stream_of(call), [=] __device__(std::int64_t i) { out[i] = in[i] == 0; });
}

}  // namespace

void register_unary(OperatorTable& table) {
  const auto add = [&](std::string_view name, cpu::Function function) { table.add(name, function, cpu::Half::native); };
  add("Abs", abs_of);
  add("Acos", acos_of);
  add("Acosh", acosh_of);
  add("Asin", asin_of);
  add("Asinh", asinh_of);
  add("Atan", atan_of);
  add("Atanh", atanh_of);
  add("Ceil", ceil_of);
  add("Celu", celu_of);
  add("Clip", clip_of);
  add("Cos", cos_of);
  add("Cosh", cosh_of);
  add("Elu", elu_of);
  add("Erf", erf_of);
  add("Exp", exp_of);
  add("Floor", floor_of);
  add("Gelu", gelu_by_name);
  add("HardSigmoid", hard_sigmoid_of);
  add("HardSwish", hard_swish_of);
  add("IsInf", is_inf_of);
  add("IsNaN", is_nan_of);
  add("LeakyRelu", leaky_relu_of);
  add("Log", log_of);
  add("Mish", mish_of);
  add("Neg", neg_of);
  table.add("Not", not_of, cpu::Half::native, {.device = 1});
  add("Reciprocal", reciprocal_of);
  add("Relu", relu_of);
  add("Round", round_of);
  add("Selu", selu_of);
  add("Shrink", shrink_of);
  add("Sigmoid", sigmoid_of);
  add("Sign", sign_of);
  add("Sin", sin_of);
  add("Sinh", sinh_of);
  add("Softplus", softplus_of);
  add("Softsign", softsign_of);
  add("Sqrt", sqrt_of);
  add("Swish", swish_of);
  add("Tan", tan_of);
  add("Tanh", tanh_of);
  add("ThresholdedRelu", thresholded_relu_of);
  add("ai.onnx.ml::Binarizer", binarizer_of);
}

}  // namespace tare::cuda
