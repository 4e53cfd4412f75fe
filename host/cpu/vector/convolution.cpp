// Convolutions of a few output channels: every output is one sum over its taps, eight lanes of them side by side, each
// in order. Several outputs and channels share what is loaded; their sums stay in registers.
// Products are added without rounding them first where the instruction set can, as in the library's convolutions.
#include "cpu/vector/isa.hpp"
#include "cpu/vector/lanes.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

constexpr std::size_t lanes = 8;

#define TARE_INLINE inline __attribute__((always_inline))

TARE_INLINE float sum_of(float a, float b, float c) { return has_multiply_add ? multiply_add(a, b, c) : a * b + c; }

/// The lanes of one output.
struct One {
  using Vector = Lanes<lanes>::Values;
  static constexpr std::size_t outputs = 1;
  static TARE_INLINE Vector values(const float* in, std::size_t) { return Lanes<lanes>::load(in); }
  static TARE_INLINE Vector weights(const float* in) { return Lanes<lanes>::load(in); }
  static TARE_INLINE Vector sum_of(Vector a, Vector b, Vector c) {
#if defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#else
    return a * b + c;
#endif
  }
  static TARE_INLINE float total(Vector s, std::size_t) {
    const auto four = __builtin_shufflevector(s, s, 0, 1, 2, 3) + __builtin_shufflevector(s, s, 4, 5, 6, 7);
    const auto two = four + __builtin_shufflevector(four, four, 2, 3, 2, 3);
    return two[0] + two[1];
  }
};

#if defined(__AVX512DQ__)
/// Those of two outputs beside each other, whose inputs are `step` apart.
struct Two {
  typedef __m512 Vector;
  static constexpr std::size_t outputs = 2;
  static TARE_INLINE Vector values(const float* in, std::size_t step) {
    if (step == lanes) return _mm512_loadu_ps(in);
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(in)), _mm256_loadu_ps(in + step), 1);
  }
  static TARE_INLINE Vector weights(const float* in) { return _mm512_broadcast_f32x8(_mm256_loadu_ps(in)); }
  static TARE_INLINE Vector sum_of(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static TARE_INLINE float total(Vector sums, std::size_t output) {
    return One::total(output == 0 ? _mm512_castps512_ps256(sums) : _mm512_extractf32x8_ps(sums, 1), 0);
  }
};
#endif

/// `vectors` of outputs beside each other, of `channels` channels each. has_rest: taps beyond the last whole lanes.
template <class Kind, std::size_t vectors, std::size_t channels, bool has_rest>
TARE_INLINE void tile(const NarrowTaps& taps, const float* in, const float* weights, const float* bias, float* out) {
  constexpr std::size_t outputs = vectors * Kind::outputs;
  typename Kind::Vector sums[channels][vectors] = {};
  float rest[channels][outputs];
  if constexpr (has_rest)
    for (std::size_t c = 0; c < channels; ++c)
      for (std::size_t o = 0; o < outputs; ++o) rest[c][o] = 0;
  for (std::size_t row = 0; row < taps.rows; ++row) {
    const float* a = in + row * taps.in_row;
    const float* b = weights + row * taps.weights_row;
    std::size_t i = 0;
    for (; i + lanes <= taps.length; i += lanes) {
      typename Kind::Vector weight[channels];
      for (std::size_t c = 0; c < channels; ++c) weight[c] = Kind::weights(b + c * taps.weights_channel + i);
      for (std::size_t v = 0; v < vectors; ++v) {
        const auto values = Kind::values(a + v * Kind::outputs * taps.step + i, taps.step);
        for (std::size_t c = 0; c < channels; ++c) sums[c][v] = Kind::sum_of(values, weight[c], sums[c][v]);
      }
    }
    for (; has_rest && i < taps.length; ++i)
      for (std::size_t c = 0; c < channels; ++c)
        for (std::size_t o = 0; o < outputs; ++o)
          rest[c][o] = sum_of(a[o * taps.step + i], b[c * taps.weights_channel + i], rest[c][o]);
  }
  for (std::size_t c = 0; c < channels; ++c)
    for (std::size_t o = 0; o < outputs; ++o) {
      const float sum = Kind::total(sums[c][o / Kind::outputs], o % Kind::outputs);
      out[o * taps.channels + c] = (has_rest ? sum + rest[c][o] : sum) + bias[c];
    }
}

/// Outputs from `o` on in whole tiles; returns how far they go.
template <class Kind, std::size_t vectors, std::size_t channels>
TARE_INLINE std::size_t tiles(const NarrowTaps& taps, const float* in, const float* weights, const float* bias,
                              float* out, std::size_t o, std::size_t n) {
  constexpr std::size_t outputs = vectors * Kind::outputs;
  const bool has_rest = taps.length % lanes != 0;
  for (; o + outputs <= n; o += outputs) {
    const float* from = in + o * taps.step;
    float* to = out + o * taps.channels;
    if (has_rest)
      tile<Kind, vectors, channels, true>(taps, from, weights, bias, to);
    else
      tile<Kind, vectors, channels, false>(taps, from, weights, bias, to);
  }
  return o;
}

template <class Kind, std::size_t vectors, std::size_t channels>
void outputs_of(const NarrowTaps& taps, const float* in, const float* weights, const float* bias, float* out,
                std::size_t n) {
  std::size_t o = tiles<Kind, vectors, channels>(taps, in, weights, bias, out, 0, n);
  if constexpr (Kind::outputs > 1) o = tiles<Kind, 1, channels>(taps, in, weights, bias, out, o, n);
  tiles<One, 1, channels>(taps, in, weights, bias, out, o, n);
}

}  // namespace

void narrow_convolution(NarrowTaps taps, const float* in, const float* weights, const float* bias, float* out,
                        std::size_t n) {
  std::size_t c = 0;
  const auto weights_of = [&](std::size_t channel) { return weights + channel * taps.weights_channel; };
#if defined(__AVX512DQ__)  // 32 registers
  for (; c + 4 <= taps.channels; c += 4) outputs_of<Two, 4, 4>(taps, in, weights_of(c), bias + c, out + c, n);
  for (; c + 2 <= taps.channels; c += 2) outputs_of<Two, 8, 2>(taps, in, weights_of(c), bias + c, out + c, n);
  if (c < taps.channels) outputs_of<Two, 8, 1>(taps, in, weights_of(c), bias + c, out + c, n);
#else
  for (; c + 4 <= taps.channels; c += 4) outputs_of<One, 3, 4>(taps, in, weights_of(c), bias + c, out + c, n);
  for (; c + 2 <= taps.channels; c += 2) outputs_of<One, 4, 2>(taps, in, weights_of(c), bias + c, out + c, n);
  if (c < taps.channels) outputs_of<One, 8, 1>(taps, in, weights_of(c), bias + c, out + c, n);
#endif
}

#undef TARE_INLINE

}  // namespace tare::cpu::TARE_ISA
