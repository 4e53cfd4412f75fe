// Element-wise operators of one operand. float32 goes through the vector loops, the other types through plain ones; the
// layout of the input is kept, so none of them looks at shapes.
// Odd: half types come widened; trigonometric functions are the library's.
#include <cmath>
#include <limits>
#include <type_traits>

#include "cpu/elementwise.hpp"
#include "cpu/vector.hpp"

namespace tare::cpu {
namespace {

using UnaryLoop = void (*)(const float*, float*, std::size_t, float, float);

constexpr std::int64_t cheap_grain = 16384;  ///< elements a thread takes at least: a few microseconds of work
constexpr std::int64_t costly_grain = 4096;

/// Runs f over the elements as `In`, in place where possible.
template <class In, class Out, class Formula>
void map(Call& call, DataType result, std::int64_t grain, Formula&& f) {
  const Tensor& x = call.input(0);
  Tensor& y = sizeof(In) == sizeof(Out) ? call.output_reusing(0, 0, result, x.shape(), x.layout())
                                        : call.output(0, result, x.shape(), x.layout());
  const In* in = call.input(0).data<In>();
  Out* out = y.mutable_data<Out>();
  call.device.parallel(y.elements(), grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out[i] = static_cast<Out>(f(in[i]));
  });
}

void map_vector(Call& call, std::int64_t grain, UnaryLoop loop, float a = 0, float b = 0) {
  const Tensor& x = call.input(0);
  Tensor& y = call.output_reusing(0, 0, DataType::float32, x.shape(), x.layout());
  const float* in = call.input(0).data<float>();
  float* out = y.mutable_data<float>();
  call.device.parallel(y.elements(), grain, [&](std::int64_t begin, std::int64_t end) {
    loop(in + begin, out + begin, static_cast<std::size_t>(end - begin), a, b);
  });
}

/// A function of floating-point numbers: `loop` for float32 (or f when there is none), f for float64.
template <class Formula>
void map_floating(Call& call, UnaryLoop loop, Formula&& f, float a = 0, float b = 0) {
  require_inputs(call, 1);
  switch (call.input(0).type()) {
    case DataType::float32:
      if (loop != nullptr)
        map_vector(call, costly_grain, loop, a, b);
      else
        map<float, float>(call, DataType::float32, costly_grain, f);
      break;
    case DataType::float64: map<double, double>(call, DataType::float64, costly_grain, f); break;
    default: fail_type(call, call.input(0).type());
  }
}

/// A function of numbers of any type: `loop` for float32, f for the others.
template <class Formula>
void map_numbers(Call& call, UnaryLoop loop, Formula&& f, float a = 0, float b = 0) {
  require_inputs(call, 1);
  const DataType type = call.input(0).type();
  if (type == DataType::float32) return map_vector(call, cheap_grain, loop, a, b);
  dispatch_numbers(type, call, [&]<class T>() { map<T, T>(call, type, cheap_grain, f); });
}

#define TARE_LIBRARY_FUNCTION(name)                                   \
  void name##_of(Call& call) {                                        \
    map_floating(call, nullptr, [](auto x) { return std::name(x); }); \
  }
TARE_LIBRARY_FUNCTION(acos)
TARE_LIBRARY_FUNCTION(acosh)
TARE_LIBRARY_FUNCTION(asin)
TARE_LIBRARY_FUNCTION(asinh)
TARE_LIBRARY_FUNCTION(atan)
TARE_LIBRARY_FUNCTION(atanh)
TARE_LIBRARY_FUNCTION(cos)
TARE_LIBRARY_FUNCTION(cosh)
TARE_LIBRARY_FUNCTION(sin)
TARE_LIBRARY_FUNCTION(sinh)
TARE_LIBRARY_FUNCTION(tan)
#undef TARE_LIBRARY_FUNCTION

// For float64; float32 has the same formulas in tare/elementary.hpp.
double sigmoid64(double x) {
  const double decay = std::exp(-std::abs(x));
  return (x < 0 ? decay : 1) / (1 + decay);
}
double softplus64(double x) { return (x < 0 ? 0 : x) + std::log1p(std::exp(-std::abs(x))); }

void exp_of(Call& call) {
  map_floating(call, call.device.vector().unary_exp, [](double x) { return std::exp(x); });
}
void log_of(Call& call) {
  map_floating(call, call.device.vector().unary_log, [](double x) { return std::log(x); });
}
void tanh_of(Call& call) {
  map_floating(call, call.device.vector().unary_tanh, [](double x) { return std::tanh(x); });
}
void erf_of(Call& call) {
  const DataType type = call.has(0) ? call.input(0).type() : DataType::undefined;
  if (is_integer(type))
    return map_numbers(call, nullptr, []<class T>(T x) { return static_cast<T>(std::erf(static_cast<double>(x))); });
  map_floating(call, call.device.vector().unary_erf, [](double x) { return std::erf(x); });
}
void sqrt_of(Call& call) {
  map_floating(call, call.device.vector().unary_sqrt, [](double x) { return std::sqrt(x); });
}
void floor_of(Call& call) {
  map_floating(call, call.device.vector().unary_floor, [](double x) { return std::floor(x); });
}
void ceil_of(Call& call) {
  map_floating(call, call.device.vector().unary_ceil, [](double x) { return std::ceil(x); });
}
void round_of(Call& call) {
  map_floating(call, call.device.vector().unary_round, [](double x) { return std::nearbyint(x); });
}
void reciprocal_of(Call& call) {
  map_floating(call, call.device.vector().unary_reciprocal, [](double x) { return 1 / x; });
}
void sigmoid_of(Call& call) { map_floating(call, call.device.vector().unary_sigmoid, sigmoid64); }
void softplus_of(Call& call) { map_floating(call, call.device.vector().unary_softplus, softplus64); }
void softsign_of(Call& call) {
  map_floating(call, call.device.vector().unary_softsign,
               [](double x) { return std::isinf(x) ? std::copysign(1.0, x) : x / (1 + std::abs(x)); });
}
void mish_of(Call& call) {
  map_floating(call, call.device.vector().unary_mish, [](double x) { return x * std::tanh(softplus64(x)); });
}

void gelu_of(Call& call) {
  const std::string approximate = call.node.text("approximate", "none");
  if (approximate == "tanh")
    return map_floating(call, call.device.vector().unary_gelu_tanh, [](double x) {
      return 0.5 * x * (1 + std::tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
    });
  if (approximate != "none") call.fail("approximate must be 'none' or 'tanh', not '" + approximate + "'");
  map_floating(call, call.device.vector().unary_gelu,
               [](double x) { return 0.5 * x * (1 + std::erf(x * 0.70710678118654752)); });
}

void elu_of(Call& call) {
  const float alpha = call.node.real("alpha", 1.0f);
  map_floating(
      call, call.device.vector().unary_elu, [=](double x) { return x < 0 ? alpha * std::expm1(x) : x; }, alpha);
}
void celu_of(Call& call) {
  const float alpha = call.node.real("alpha", 1.0f);
  if (alpha == 0) call.fail("alpha must not be 0");
  map_floating(
      call, call.device.vector().unary_celu, [=](double x) { return x < 0 ? alpha * std::expm1(x / alpha) : x; },
      alpha);
}
void selu_of(Call& call) {
  const float alpha = call.node.real("alpha", 1.67326319217681884765625f);
  const float gamma = call.node.real("gamma", 1.05070102214813232421875f);
  map_floating(
      call, call.device.vector().unary_selu, [=](double x) { return gamma * (x > 0 ? x : alpha * std::expm1(x)); },
      alpha, gamma);
}
void swish_of(Call& call) {
  const float alpha = call.node.real("alpha", 1.0f);
  map_floating(
      call, call.device.vector().unary_swish, [=](double x) { return x * sigmoid64(alpha * x); }, alpha);
}
void hard_sigmoid_of(Call& call) {
  const float alpha = call.node.real("alpha", 0.2f);
  const float beta = call.node.real("beta", 0.5f);
  map_floating(
      call, call.device.vector().unary_hard_sigmoid,
      [=](double x) {
        const double line = alpha * x + beta;
        return line < 0 ? 0 : (line > 1 ? 1 : line);
      },
      alpha, beta);
}
void hard_swish_of(Call& call) {
  map_floating(call, call.device.vector().unary_hard_swish, [](double x) {
    const double line = x / 6 + 0.5;
    return x * (line < 0 ? 0 : (line > 1 ? 1 : line));
  });
}
void leaky_relu_of(Call& call) {
  const float alpha = call.node.real("alpha", 0.01f);
  map_floating(
      call, call.device.vector().unary_leaky_relu, [=](double x) { return x < 0 ? alpha * x : x; }, alpha);
}
void thresholded_relu_of(Call& call) {
  const float alpha = call.node.real("alpha", 1.0f);
  map_floating(
      call, call.device.vector().unary_thresholded_relu, [=](double x) { return x <= alpha ? 0 : x; }, alpha);
}

void abs_of(Call& call) {
  map_numbers(call, call.device.vector().unary_abs, []<class T>(T x) {
    if constexpr (std::is_floating_point_v<T>)
      return std::abs(x);
    else
      return x < 0 ? wrapping_negate(x) : x;
  });
}
void neg_of(Call& call) {
  map_numbers(call, call.device.vector().unary_negate, []<class T>(T x) {
    if constexpr (std::is_floating_point_v<T>)
      return -x;
    else
      return wrapping_negate(x);
  });
}
void sign_of(Call& call) {
  map_numbers(call, call.device.vector().unary_sign,
              []<class T>(T x) { return x > 0 ? T{1} : (x < 0 ? static_cast<T>(-1) : x); });
}
void relu_of(Call& call) {
  map_numbers(call, call.device.vector().unary_relu, []<class T>(T x) { return x < 0 ? T{0} : x; });
}
void shrink_of(Call& call) {
  const float lambda = call.node.real("lambd", 0.5f);
  const float bias = call.node.real("bias", 0.0f);
  map_numbers(
      call, call.device.vector().unary_shrink,
      [=]<class T>(T x) {
        const auto wide = static_cast<double>(x);
        if (wide < -lambda) return saturate_to<T>(wide + bias);
        return wide > lambda ? saturate_to<T>(wide - bias) : (x != x ? x : T{0});
      },
      lambda, bias);
}

template <class T>
T clip_bound(const Call& call, std::size_t i, T otherwise) {
  if (!call.has(i)) return otherwise;
  const Tensor& bound = call.input(i);
  if (bound.type() != call.input(0).type() || bound.elements() != 1)
    call.fail("min and max must be scalars of the input's type");
  return *bound.data<T>();
}

void clip_of(Call& call) {
  require_inputs(call, 1);
  const bool attributes = call.node.opset != 0 && call.node.opset < 11;
  const DataType type = call.input(0).type();
  dispatch_numbers(type, call, [&]<class T>() {
    using Limits = std::numeric_limits<T>;
    T low = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
    T high = Limits::has_infinity ? Limits::infinity() : Limits::max();
    if (attributes) {
      if (call.node.has("min")) low = saturate_to<T>(call.node.real("min"));
      if (call.node.has("max")) high = saturate_to<T>(call.node.real("max"));
    } else {
      low = clip_bound<T>(call, 1, low);
      high = clip_bound<T>(call, 2, high);
    }
    if constexpr (std::is_same_v<T, float>)
      map_vector(call, cheap_grain, call.device.vector().unary_clip, low, high);
    else
      map<T, T>(call, type, cheap_grain, [=](T x) {
        const T floor = x < low ? low : x;
        return floor > high ? high : floor;
      });
  });
}

void not_of(Call& call) {
  require_inputs(call, 1);
  if (call.input(0).type() != DataType::boolean) fail_type(call, call.input(0).type());
  map<std::uint8_t, std::uint8_t>(call, DataType::boolean, cheap_grain,
                                  [](std::uint8_t x) { return static_cast<std::uint8_t>(x == 0); });
}
void bitwise_not_of(Call& call) {
  require_inputs(call, 1);
  const DataType type = call.input(0).type();
  if (!is_integer(type)) fail_type(call, type);
  dispatch_size(type, call,
                [&]<class T>() { map<T, T>(call, type, cheap_grain, [](T x) { return static_cast<T>(~x); }); });
}

template <class Predicate>
void test_floating(Call& call, Predicate&& holds) {
  require_inputs(call, 1);
  switch (call.input(0).type()) {
    case DataType::float32: map<float, bool>(call, DataType::boolean, cheap_grain, holds); break;
    case DataType::float64: map<double, bool>(call, DataType::boolean, cheap_grain, holds); break;
    default: fail_type(call, call.input(0).type());
  }
}
void is_nan_of(Call& call) {
  test_floating(call, [](auto x) { return x != x; });
}
void is_inf_of(Call& call) {
  const bool negative = call.node.integer("detect_negative", 1) != 0;
  const bool positive = call.node.integer("detect_positive", 1) != 0;
  test_floating(call, [=](auto x) { return std::isinf(x) && (x < 0 ? negative : positive); });
}

void identity_of(Call& call) {
  require_inputs(call, 1);
  call.outputs[0] = call.input(0);
}

/// Inference only: the data passes and nothing is masked.
void dropout_of(Call& call) {
  require_inputs(call, 1);
  const Tensor x = call.input(0);
  if (call.has(2)) {
    const Tensor& training = call.input(2);
    if (training.type() != DataType::boolean || training.elements() != 1)
      call.fail("training_mode must be one boolean");
    const bool drops = !call.has(1) || call.input(1).elements() != 1 || scalar_as_double(call, call.input(1)) != 0;
    if (*training.data<std::uint8_t>() != 0 && drops)
      call.fail("training_mode is true: dropout cannot be trained here, export the model for inference");
  }
  call.outputs[0] = x;
  if (!call.wants(1)) return;
  const bool typed = call.node.opset != 0 && call.node.opset < 10;
  Tensor& mask = call.output(1, typed ? x.type() : DataType::boolean, x.shape(), x.layout());
  dispatch(mask.type(), call, [&]<class T>() {
    const std::span<T> values = mask.mutable_span<T>();
    std::fill(values.begin(), values.end(), T(1));
  });
}

}  // namespace

void register_unary(OperatorTable& table) {
  const auto add = [&](std::string_view name, Function function, Half half = Half::widen) {
    table.add(name, Operator{.function = function, .half = half, .channels_last = true});
  };
  add("Abs", abs_of);
  add("Acos", acos_of);
  add("Acosh", acosh_of);
  add("Asin", asin_of);
  add("Asinh", asinh_of);
  add("Atan", atan_of);
  add("Atanh", atanh_of);
  add("BitwiseNot", bitwise_not_of);
  add("Ceil", ceil_of);
  add("Celu", celu_of);
  add("Clip", clip_of);
  add("Cos", cos_of);
  add("Cosh", cosh_of);
  add("Dropout", dropout_of);
  add("Elu", elu_of);
  add("Erf", erf_of);
  add("Exp", exp_of);
  add("Floor", floor_of);
  add("Gelu", gelu_of);
  add("HardSigmoid", hard_sigmoid_of);
  add("HardSwish", hard_swish_of);
  table.add("Identity",
            Operator{.function = identity_of, .half = Half::native, .channels_last = true, .objects = true});
  add("IsInf", is_inf_of);
  add("IsNaN", is_nan_of);
  add("LeakyRelu", leaky_relu_of);
  add("Log", log_of);
  add("Mish", mish_of);
  add("Neg", neg_of);
  add("Not", not_of);
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
}

}  // namespace tare::cpu
