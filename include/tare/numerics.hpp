// Every formula of the product that touches an element, once, for host and device: conversions of half types, quantize,
// dequantize, histogram bins, search cost. Both backends and the tests call these.
// Always inlined: a copy compiled for AVX-512 must never be the one the linker keeps for a machine without it.
// Built without FMA contraction and with IEEE division, so that the CPU, CUDA and ONNX Runtime agree bit for bit.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define TARE_HD __host__ __device__ __forceinline__
#else
#define TARE_HD inline __attribute__((always_inline))
#endif

namespace tare {

TARE_HD std::uint32_t bits_of(float value) { return __builtin_bit_cast(std::uint32_t, value); }
TARE_HD float float_of(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

/// IEEE binary16 to float, exactly.
TARE_HD float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t rest = half & 0x7fffu;
  // Shift exponent and mantissa into place, then correct the bias by a multiplication, which also normalises
  // subnormals.
  const float scaled = float_of(rest << 13) * 0x1p112f;
  const std::uint32_t magnitude = rest >= 0x7c00u ? (0x7f800000u | (rest << 13)) : bits_of(scaled);
  return float_of(sign | magnitude);
}

/// float to IEEE binary16, to nearest even; NaN stays NaN (quiet).
TARE_HD std::uint16_t float_to_half(float value) {
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  } else if (magnitude >= 0x477ff000u) {  // 65520 and above round to infinity
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // subnormal: let the adder round at the right place
    half = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | half);
}

TARE_HD float bfloat_to_float(std::uint16_t value) { return float_of(static_cast<std::uint32_t>(value) << 16); }

/// float to bfloat16, to nearest even; NaN stays NaN (quiet).
TARE_HD std::uint16_t float_to_bfloat(float value) {
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t quiet = (bits >> 16) | 0x40u;
  return static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

/// Nearest integer, ties to even (the default rounding mode).
TARE_HD float round_half_even(float value) {
#if defined(__CUDA_ARCH__)
  return ::rintf(value);
#else
  return __builtin_rintf(value);
#endif
}

TARE_HD float truncate(float value) {
#if defined(__CUDA_ARCH__)
  return ::truncf(value);
#else
  return __builtin_truncf(value);
#endif
}

/// Nearest integer, ties away from zero: C's round(), exact also just below a half.
TARE_HD float round_half_away(float value) {
  const float whole = truncate(value);
  const float rest = value - whole;
  return whole + (rest >= 0.5f ? 1.0f : 0.0f) - (rest <= -0.5f ? 1.0f : 0.0f);
}

/// Limits `value`; NaN becomes `low`.
TARE_HD float clamp(float value, float low, float high) {
  const float raised = value > low ? value : low;
  return raised < high ? raised : high;
}

/// ONNX QuantizeLinear: the code saturate(round_half_even(x / scale) + zero_point), as a float in [low, high]. NaN
/// gives `low`, infinities saturate. `low`, `high` and `zero_point` are integers.
TARE_HD float quantize(float x, float scale, float zero_point, float low, float high) {
  return clamp(round_half_even(x / scale) + zero_point, low, high);
}

/// ONNX DequantizeLinear.
TARE_HD float dequantize(float code, float scale, float zero_point) { return (code - zero_point) * scale; }

TARE_HD float quantize_dequantize(float x, float scale, float zero_point, float low, float high) {
  return dequantize(quantize(x, scale, zero_point, low, high), scale, zero_point);
}

/// Nearest float to a * b + c, from one rounding.
TARE_HD float multiply_add(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return ::__fmaf_rn(a, b, c);
#elif defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  // The product is exact in float64. Their sum is rounded to odd (what was lost sets its last bit), after which
  // rounding to float32 gives what one rounding would: S. Boldo, G. Melquiond, "Emulation of a FMA and Correctly
  // Rounded Sums".
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c);
  const double sum = product + addend;
  const double share = sum - product;
  const double lost = (product - (sum - share)) + (addend - share);  // Knuth's exact sum; NaN where it is infinite
  const std::uint64_t bits = __builtin_bit_cast(std::uint64_t, sum);
  const std::uint64_t step = (lost > 0.0) == (sum > 0.0) ? 1u : ~std::uint64_t{0};
  const bool inexact = (lost > 0.0) | (lost < 0.0);
  return static_cast<float>(__builtin_bit_cast(double, inexact && (bits & 1u) == 0u ? bits + step : bits));
#endif
}

/// 1 / scale where quantize_dequantize_by_product gives the bits of quantize_dequantize for every x, else 0:
/// docs/numerics.md says why it does.
TARE_HD float exact_reciprocal(float scale, float zero_point, float low, float high) {
  const float below = zero_point - low;
  const float above = high - zero_point;
  const float reach = below > above ? below : above;  // steps from zero to the further end
  // No branches, so that loops over grids become vectors.
  const bool is_common =
      (scale >= 0x1p-100f) & (scale <= 0x1p100f) & (reach <= 0x1p16f) & (round_half_even(zero_point) == zero_point);
  const std::uint32_t mantissa = bits_of(scale) & 0x7fffffu;
  const std::uint32_t period = 0x800000u >> ((bits_of(clamp(reach, 1.0f, 0x1p16f)) >> 23) - 127);
  const std::uint32_t beyond = mantissa & (period - 1);
  const bool may_differ = (mantissa != 0) & ((beyond < 10) | (period - beyond < 10));
  return (is_common & !may_differ) ? 1 / scale : 0;
}

/// What 1 / scale is beyond its `reciprocal`.
TARE_HD float rest_of_reciprocal(float scale, float reciprocal) {
  return multiply_add(-reciprocal, scale, 1.0f) * reciprocal;
}

/// quantize_dequantize without its division, the slowest of its operations. `lowest` and `highest` are the real values
/// of the first and the last code, as dequantize() gives them; `reciprocal` is that of exact_reciprocal, not 0, and
/// `rest` that of rest_of_reciprocal.
TARE_HD float quantize_dequantize_by_product(float x, float scale, float reciprocal, float rest, float lowest,
                                             float highest) {
#if defined(__CUDA_ARCH__)
  const float inside = ::fminf(::fmaxf(x, lowest), highest);
#else
  const float inside = clamp(x, lowest, highest);
#endif
  const float quotient = multiply_add(inside, reciprocal, inside * rest);
  return multiply_add(round_half_even(quotient), scale, 0.0f);  // the addend makes -0 what it is there: 0
}

/// AIMET's quantizer: clamps to [minimum, maximum] first, then rounds on the grid that starts at 0 (offset =
/// -zero_point), where half away from zero is half up. NaN gives the lowest code.
TARE_HD float quantize_half_up(float x, float scale, float offset, float minimum, float maximum) {
  return round_half_away(clamp(x, minimum, maximum) / scale - offset);
}

TARE_HD float quantize_dequantize_half_up(float x, float scale, float offset, float minimum, float maximum) {
  return scale * (quantize_half_up(x, scale, offset, minimum, maximum) + offset);
}

/// Nearest value with `mantissa_bits` of mantissa and exponents from `1 - bias`, ties to even; what exceeds `largest`
/// saturates, infinities too; NaN stays NaN. The value set of an ONNX float8 type, as a float.
TARE_HD float round_to_float8(float x, int mantissa_bits, int bias, float largest) {
  const std::uint32_t bits = bits_of(x);
  const std::uint32_t sign = bits & 0x80000000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const int dropped = 23 - mantissa_bits;
  const std::uint32_t half = (1u << (dropped - 1)) - 1;
  const std::uint32_t normal = (magnitude + half + ((magnitude >> dropped) & 1u)) & ~((1u << dropped) - 1);
  // Below the smallest normal value the step is constant: let the adder round at the right place.
  const float shift = float_of(static_cast<std::uint32_t>(127 + 1 - bias + dropped) << 23);
  const float subnormal = (float_of(magnitude) + shift) - shift;
  const float rounded = magnitude < static_cast<std::uint32_t>(128 - bias) << 23 ? subnormal : float_of(normal);
  const float limited = rounded > largest ? largest : rounded;
  return float_of(sign | (magnitude > 0x7f800000u ? magnitude : bits_of(limited)));
}
TARE_HD float round_to_float8e4m3fn(float x) { return round_to_float8(x, 3, 7, 448.0f); }
TARE_HD float round_to_float8e5m2(float x) { return round_to_float8(x, 2, 15, 57344.0f); }

/// An encoding (quantizer.hpp) as the float32 numbers that the functions above take.
struct Grid {
  float scale;
  float zero_point;  ///< on the unsigned grid: codes run from `low` = 0 to `high` = steps
  float low;
  float high;
  float offset;      ///< -zero_point
  float minimum;     ///< real value of the lowest code
  float maximum;     ///< real value of the highest code
  float reciprocal;  ///< exact_reciprocal
  float rest;        ///< rest_of_reciprocal
  float lowest;      ///< dequantize(low)
  float highest;     ///< dequantize(high)
};

TARE_HD Grid make_grid(double scale, double offset, double steps, double minimum, double maximum) {
  const auto step = static_cast<float>(scale);
  const auto zero_point = static_cast<float>(-offset);
  const auto high = static_cast<float>(steps);
  const float reciprocal = exact_reciprocal(step, zero_point, 0.0f, high);
  return {step,
          zero_point,
          0.0f,
          high,
          static_cast<float>(offset),
          static_cast<float>(minimum),
          static_cast<float>(maximum),
          reciprocal,
          rest_of_reciprocal(step, reciprocal),
          dequantize(0.0f, step, zero_point),
          dequantize(high, step, zero_point)};
}

/// quantize_dequantize on a grid, the faster way where it has one. For devices that fuse products and sums.
TARE_HD float quantize_dequantize(float x, const Grid& grid) {
  if (grid.reciprocal == 0) return quantize_dequantize(x, grid.scale, grid.zero_point, grid.low, grid.high);
  return quantize_dequantize_by_product(x, grid.scale, grid.reciprocal, grid.rest, grid.lowest, grid.highest);
}

/// What one element passes back: to the input, and its share of what the scale and the offset (-zero_point) of the grid
/// get. A code that was cut off moves with the grid alone. Rounding counts as the identity.
struct GradientTerms {
  float input;
  float scale;
  float offset;
};

/// Of quantize_dequantize, from the gradient of its result. NaN counts as cut off at `low`.
TARE_HD GradientTerms quantize_gradient(float x, float gradient, float scale, float zero_point, float low, float high) {
  const float steps = x / scale;
  const float code = round_half_even(steps) + zero_point;
  const bool inside = (code >= low) & (code <= high);
  const float cut = clamp(code, low, high) - zero_point;
  return {inside ? gradient : 0.0f, gradient * (inside ? cut - steps : cut), inside ? 0.0f : gradient * scale};
}

/// Of quantize_dequantize_half_up.
TARE_HD GradientTerms quantize_gradient_half_up(float x, float gradient, float scale, float offset, float minimum,
                                                float maximum) {
  const bool inside = (x >= minimum) & (x <= maximum);
  const float cut = quantize_half_up(x, scale, offset, minimum, maximum) + offset;
  return {inside ? gradient : 0.0f, gradient * (inside ? cut - x / scale : cut), inside ? 0.0f : gradient * scale};
}

/// Integers that ascend with the value: -0 is -1, just below +0. Comparing them needs no floating-point.
TARE_HD std::int32_t ascending_key(std::uint32_t bits) {
  const std::uint32_t sign = 0u - (bits >> 31);
  return static_cast<std::int32_t>(bits ^ (sign >> 1));
}
TARE_HD float value_of_key(std::int32_t key) {
  return float_of(static_cast<std::uint32_t>(ascending_key(static_cast<std::uint32_t>(key))));
}
inline constexpr std::int32_t positive_infinity_key = 0x7f800000;  // NaN lies beyond the one or the other
inline constexpr std::int32_t negative_infinity_key = -positive_infinity_key - 1;

// The histogram. A magnitude falls into one of 97 octaves below 2^-30 (the first holds the subnormals), 50 octaves of
// 64 bins up to 2^20, or one of 108 octaves above. Negative values come first, so bins ascend with the value. Zero, NaN
// and infinities have no bin: they are counted beside.
inline constexpr std::uint32_t histogram_first_fine_octave = 97;  // biased exponent of 2^-30
inline constexpr std::uint32_t histogram_end_fine_octave = 147;   // biased exponent of 2^20
inline constexpr std::uint32_t histogram_fine_bits = 6;           // mantissa bits inside, none outside
inline constexpr std::uint32_t histogram_side_count =             // bins of one sign: 3405
    255 + (histogram_end_fine_octave - histogram_first_fine_octave) * ((1u << histogram_fine_bits) - 1);
inline constexpr std::uint32_t histogram_bin_count = 2 * histogram_side_count;

/// Bin of a magnitude among those of its sign, ascending: 0 holds the subnormals. `magnitude` = bits without the sign.
TARE_HD std::uint32_t histogram_side_bin(std::uint32_t magnitude) {
  constexpr std::uint32_t first = histogram_first_fine_octave << histogram_fine_bits;
  constexpr std::uint32_t end = histogram_end_fine_octave << histogram_fine_bits;
  const std::uint32_t octave = magnitude >> 23;
  const std::uint32_t fine = magnitude >> (23 - histogram_fine_bits);
  const std::uint32_t below = octave < histogram_first_fine_octave ? octave : histogram_first_fine_octave;
  const std::uint32_t above = octave > histogram_end_fine_octave ? octave : histogram_end_fine_octave;
  const std::uint32_t raised = fine > first ? fine : first;
  const std::uint32_t inside = raised < end ? raised : end;
  return below + inside + above - (first + histogram_end_fine_octave);
}

/// Bin of a finite, non-zero float32 given by its bits, in [0, histogram_bin_count), ascending with the value.
TARE_HD std::uint32_t histogram_bin(std::uint32_t bits) {
  const std::uint32_t sign = 0u - (bits >> 31);  // all ones for negative values
  return (histogram_side_bin(bits & 0x7fffffffu) ^ sign) + histogram_side_count;
}

/// Smallest magnitude of a bin of one sign; that of bin + 1 is its open upper edge. histogram_side_count gives 2^128.
TARE_HD double histogram_side_edge(std::uint32_t side_bin) {
  constexpr std::uint32_t fine_bins = (histogram_end_fine_octave - histogram_first_fine_octave) << histogram_fine_bits;
  if (side_bin >= histogram_side_count) return 0x1p128;
  if (side_bin < histogram_first_fine_octave) return static_cast<double>(float_of(side_bin << 23));
  const std::uint32_t inside = side_bin - histogram_first_fine_octave;
  if (inside < fine_bins)
    return static_cast<double>(
        float_of(((histogram_first_fine_octave << histogram_fine_bits) + inside) << (23 - histogram_fine_bits)));
  return static_cast<double>(float_of((inside - fine_bins + histogram_end_fine_octave) << 23));
}

/// Edges of a bin, exact. A positive bin holds [lower, upper), a negative one (lower, upper].
TARE_HD double histogram_bin_lower(std::uint32_t bin) {
  return bin < histogram_side_count ? -histogram_side_edge(histogram_side_count - bin)
                                    : histogram_side_edge(bin - histogram_side_count);
}
TARE_HD double histogram_bin_upper(std::uint32_t bin) { return histogram_bin_lower(bin + 1); }

// The search. Lengths are in steps of the candidate's grid, from zero outwards, one side at a time: zero is a grid
// point, so both sides look alike. float64, no contraction, sums in the order given here: every device finds the same
// encoding.

/// Bins a block: blocks are aligned in the side's bin numbers, and summed by one fixed tree.
inline constexpr std::uint32_t noise_block = 32;

/// Nearest integer, ties to even, for |value| < 2^51.
TARE_HD double round_half_even(double value) { return (value + 0x1.8p52) - 0x1.8p52; }

/// Antiderivative of the squared rounding error at `u` steps from zero.
TARE_HD double rounding_noise_integral(double u) {
  const double level = round_half_even(u);
  const double rest = u - level;
  return level * (1.0 / 12) + rest * rest * rest * (1.0 / 3);
}

/// The same for a grid that ends at `limit` steps, with what lies beyond weighted by gamma.
TARE_HD double clipped_noise_integral(double u, double limit, double gamma) {
  const double inside = u < limit ? u : limit;
  const double beyond = u - inside;
  return rounding_noise_integral(inside) + gamma * (beyond * beyond * beyond) * (1.0 / 3);
}

/// Squared error, in squared steps, of one value at `u` steps from zero.
TARE_HD double point_noise(double u, double limit, double gamma) {
  const double inside = u < limit ? u : limit;
  const double beyond = u - inside;
  const double rest = inside - round_half_even(inside);
  return beyond > 0 ? gamma * (beyond * beyond) : rest * rest;
}

/// 2^(-n/512), n >= 0: the lattice on which candidate scales lie. From literal tables, so the same on every device.
inline constexpr int candidate_octave = 512;
TARE_HD double candidate_ratio(int n) {
  static constexpr double eighths[8] = {1.0,
                                        0.917004043204671231744,
                                        0.840896415253714543031,
                                        0.771105412703970411806,
                                        0.707106781186547524401,
                                        0.648419777325504832967,
                                        0.594603557501360533359,
                                        0.545253866332628829604};
  static constexpr double sixty_fourths[8] = {1.0,
                                              0.989228013193975484129,
                                              0.978572062087700134509,
                                              0.968030896746147225299,
                                              0.957603280698573646936,
                                              0.947287990793482820670,
                                              0.937083817055149950665,
                                              0.926989562541692784196};
  static constexpr double fine[8] = {1.0,
                                     0.998647112890970173588,
                                     0.997296056085470126258,
                                     0.995946827107305806959,
                                     0.994599423483633175652,
                                     0.993253842744953671125,
                                     0.991910082425109684930,
                                     0.990568140061280041461};
  double ratio = eighths[(n >> 6) & 7] * sixty_fourths[(n >> 3) & 7] * fine[n & 7];
  for (int octave = n >> 9; octave > 0; --octave) ratio *= 0.5;
  return ratio;
}

}  // namespace tare
