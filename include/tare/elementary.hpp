// Elementary functions in float32 for host and device: polynomials and bit tricks, no branches and no library call, so
// that g++ vectorises loops over them; each fused product is said, so that all processors and CUDA give the same bits.
// Every function is within 2 ulp of the exact value over all floats (tests/ops_elementwise/elementary_test.cpp); the
// composed activations inherit their rounding. Coefficients are minimax fits of our own on the reduced intervals,
// rounded to float one after the other.
// Odd: a function evaluates all its pieces and selects; NaN passes because every clamp is written to let it through.
#pragma once

#include <cstdint>

#include "tare/numerics.hpp"

namespace tare::elementary {

inline constexpr float infinity = __builtin_huge_valf();
inline constexpr float ln2_high = 0x1.62e4p-1f;  ///< 15 bits: a product with an exponent is exact
inline constexpr float ln2_low = 1.42860682030941723e-6f;

TARE_HD float not_a_number() { return float_of(0x7fc00000u); }
TARE_HD float absolute(float x) { return float_of(bits_of(x) & 0x7fffffffu); }
TARE_HD float with_sign_of(float magnitude, float sign) {
  return float_of((bits_of(magnitude) & 0x7fffffffu) | (bits_of(sign) & 0x80000000u));
}
/// 2^n for n in [-127, 127]; -127 gives 0.
TARE_HD float power_of_two(std::int32_t n) { return float_of(static_cast<std::uint32_t>(n + 127) << 23); }

/// Adding it rounds to an integer, half to even, which then stands in the low bits of the mantissa.
inline constexpr float shifter = 0x1.8p23f;

/// e^x = 2^n (1 + r slope) with x = n ln2 + r and |r| <= ln2 / 2; the low bits of `exponent` are n + bias.
struct ReducedExponential {
  std::uint32_t exponent;
  float r;
  float slope;
};
TARE_HD ReducedExponential reduce_exponential(float x, float bias) {
  const float shifted = multiply_add(x, 0x1.715476p0f, shifter + bias);
  const float n = shifted - (shifter + bias);
  const float r = multiply_add(-n, ln2_low, multiply_add(-n, ln2_high, x));
  float p = 0x1.6a4154p-10f;
  p = multiply_add(p, r, 0x1.1239c6p-7f);
  p = multiply_add(p, r, 0x1.5558bcp-5f);
  p = multiply_add(p, r, 0x1.555492p-3f);
  p = multiply_add(p, r, 0x1.fffffcp-2f);
  return {bits_of(shifted), r, multiply_add(p, r, 1.0f)};
}

/// 2^m e^x where that is a normal number. 2^(n + m) is made of its bits, so it also carries no NaN: r does.
TARE_HD float scaled_exp(float x, float m) {
  const ReducedExponential e = reduce_exponential(x, m + 127.0f);
  const float power = float_of(e.exponent << 23);
  return multiply_add(e.slope * power, e.r, power);
}

/// e^x for x from -104, where it rounds to 0, to 60.
TARE_HD float exp_below_60(float x) { return scaled_exp(x, 32.0f) * 0x1p-32f; }

TARE_HD float exp(float x) {
  const float low = x < -104.0f ? -104.0f : x;
  const float clamped = low > 89.0f ? 89.0f : low;
  const bool negative = x < 0.0f;  // away from the end that is near: there 2^n alone is not a normal number
  return scaled_exp(clamped, negative ? 32.0f : -32.0f) * (negative ? 0x1p-32f : 0x1p32f);
}

/// e^x - 1 without cancellation.
TARE_HD float expm1(float x) {
  const float low = x < -20.0f ? -20.0f : x;
  const float clamped = low > 89.0f ? 89.0f : low;
  const ReducedExponential e = reduce_exponential(clamped, 0.0f);
  const std::int32_t n = static_cast<std::int32_t>(e.exponent - bits_of(shifter));
  const std::int32_t half = n >> 1;
  const float one = power_of_two(n > 126 ? -127 : -n);  // 1 / 2^n
  const float result = multiply_add(e.slope, e.r, 1.0f - one) * power_of_two(half) * power_of_two(n - half);
  return x == 0.0f ? x : result;
}

TARE_HD float log(float x) {
  const bool subnormal = x < 0x1p-126f;
  const float scaled = subnormal ? x * 0x1p24f : x;
  // Mantissa in [sqrt(1/2), sqrt(2)): the exponent changes at the bits of sqrt(1/2).
  const std::uint32_t bits = bits_of(scaled) - 0x3f3504f3u;
  const float exponent = static_cast<float>((static_cast<std::int32_t>(bits) >> 23) - (subnormal ? 24 : 0));
  const float f = float_of((bits & 0x7fffffu) + 0x3f3504f3u) - 1.0f;
  const float square = f * f;
  float p = 0x1.147cbep-4f;
  p = multiply_add(p, f, -0x1.de0e4cp-4f);
  p = multiply_add(p, f, 0x1.e6c298p-4f);
  p = multiply_add(p, f, -0x1.fc2740p-4f);
  p = multiply_add(p, f, 0x1.233b68p-3f);
  p = multiply_add(p, f, -0x1.555c4ap-3f);
  p = multiply_add(p, f, 0x1.99a478p-3f);
  p = multiply_add(p, f, -0x1.000006p-2f);
  p = multiply_add(p, f, 0x1.555548p-2f);
  const float tail = multiply_add(f * square, p, exponent * ln2_low);
  const float finite = multiply_add(exponent, ln2_high, f + multiply_add(-0.5f, square, tail));
  const float edge = x == 0.0f ? -infinity : x < 0.0f ? not_a_number() : x;
  return x > 0.0f && x < infinity ? finite : edge;
}

/// log(1 + x) without cancellation, for x >= 0.
TARE_HD float log1p(float x) {
  const float sum = 1.0f + x;
  const float lost = (x - (sum - 1.0f)) / sum;
  return x < 0x1p60f ? log(sum) + lost : log(x);
}

TARE_HD float tanh(float x) {
  const float magnitude = absolute(x);
  const float square = x * x;
  float p = -0x1.828776p-8f;
  p = multiply_add(p, square, 0x1.54c3c2p-6f);
  p = multiply_add(p, square, -0x1.b89abap-5f);
  p = multiply_add(p, square, 0x1.1109bep-3f);
  p = multiply_add(p, square, -0x1.55553ep-2f);
  const float small = multiply_add(x, square * p, x);
  const float doubled = magnitude > 10.0f ? 20.0f : magnitude + magnitude;
  const float large = 1.0f - 2.0f / (exp_below_60(doubled) + 1.0f);
  return with_sign_of(magnitude < 0.6f ? small : large, x);
}

/// 1 / (1 + e^-x), accurate in both tails.
TARE_HD float sigmoid(float x) {
  const float magnitude = absolute(x);
  const float decay = exp_below_60(magnitude > 104.0f ? -104.0f : -magnitude);
  const float quotient = (x < 0.0f ? decay : 1.0f) / (1.0f + decay);
  return x < 0.0f ? multiply_add(-decay, quotient, decay) : quotient;
}

TARE_HD float erf(float x) {
  const float magnitude = absolute(x);
  const float square = x * x;
  float p = 0x1.4f6760p-14f;
  p = multiply_add(p, square, -0x1.a60a2ep-11f);
  p = multiply_add(p, square, 0x1.544a1ap-8f);
  p = multiply_add(p, square, -0x1.b8011ap-6f);
  p = multiply_add(p, square, 0x1.ce2d64p-4f);
  p = multiply_add(p, square, -0x1.812740p-2f);
  p = multiply_add(p, square, 0x1.06eba8p-3f);
  const float small = multiply_add(x, p, x);
  // Beyond: erf = 1 - e^q, with q a fit of log(erfc).
  const float clamped = magnitude > 4.0f ? 4.0f : magnitude;
  float q = -0x1.61e0a2p-16f;
  q = multiply_add(q, clamped, 0x1.c78c56p-12f);
  q = multiply_add(q, clamped, -0x1.1159ecp-8f);
  q = multiply_add(q, clamped, 0x1.9b8e32p-6f);
  q = multiply_add(q, clamped, -0x1.bb83dap-4f);
  q = multiply_add(q, clamped, -0x1.44460cp-1f);
  q = multiply_add(q, clamped, -0x1.2127e4p+0f);
  q = multiply_add(q, clamped, 0x1.6e5700p-13f);
  const float large = 1.0f - exp_below_60(q);
  return magnitude < 0.93f ? small : with_sign_of(large, x);
}

// Activations, as the ONNX operators define them.

/// log(1 + e^x)
TARE_HD float softplus(float x) { return (x < 0.0f ? 0.0f : x) + log1p(exp(-absolute(x))); }
TARE_HD float softsign(float x) {
  const float quotient = x / (1.0f + absolute(x));
  return absolute(x) < infinity ? quotient : (x != x ? x : with_sign_of(1.0f, x));
}
TARE_HD float gelu(float x) { return 0.5f * x * (1.0f + erf(x * 0x1.6a09e6p-1f)); }
TARE_HD float gelu_tanh(float x) { return 0.5f * x * (1.0f + tanh(0x1.988454p-1f * (x + 0.044715f * (x * x * x)))); }
TARE_HD float elu(float x, float alpha) { return x < 0.0f ? alpha * expm1(x) : x; }
TARE_HD float selu(float x, float alpha, float gamma) { return gamma * (x > 0.0f ? x : alpha * expm1(x)); }
TARE_HD float celu(float x, float alpha) { return x < 0.0f ? alpha * expm1(x / alpha) : x; }
TARE_HD float swish(float x, float alpha) { return x * sigmoid(alpha * x); }
/// x tanh(softplus(x)), with tanh(log(1 + u)) = (u^2 + 2u) / (u^2 + 2u + 2)
TARE_HD float mish(float x) {
  const float u = exp(x > 20.0f ? 20.0f : x);
  const float numerator = u * (u + 2.0f);
  return x * (numerator / (numerator + 2.0f));
}
TARE_HD float hard_sigmoid(float x, float alpha, float beta) {
  const float line = alpha * x + beta;
  const float floor = line < 0.0f ? 0.0f : line;
  return floor > 1.0f ? 1.0f : floor;
}
TARE_HD float hard_swish(float x) { return x * hard_sigmoid(x, 1.0f / 6.0f, 0.5f); }
TARE_HD float leaky_relu(float x, float alpha) { return x < 0.0f ? alpha * x : x; }
TARE_HD float thresholded_relu(float x, float alpha) { return x <= alpha ? 0.0f : x; }
TARE_HD float shrink(float x, float lambda, float bias) {
  return x < -lambda ? x + bias : (x > lambda ? x - bias : (x != x ? x : 0.0f));
}
TARE_HD float relu(float x) { return x < 0.0f ? 0.0f : x; }
TARE_HD float clip(float x, float low, float high) {
  const float floor = x < low ? low : x;
  return floor > high ? high : floor;
}
/// -1, 0 or 1; NaN stays.
TARE_HD float sign(float x) { return x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : x); }
/// NaN when either is, as numpy.
TARE_HD float maximum(float a, float b) { return a > b || a != a ? a : b; }
TARE_HD float minimum(float a, float b) { return a < b || a != a ? a : b; }

}  // namespace tare::elementary
