// Convolutions of a few output channels: every output is one sum over its taps, eight lanes of them side by side, each
// in order. Several outputs and channels share what is loaded; their sums stay in registers.
#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

constexpr std::size_t lanes = 8;
typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));
typedef float LanesInMemory __attribute__((vector_size(lanes * sizeof(float)), aligned(sizeof(float)), may_alias));

template <std::size_t outputs, std::size_t channels>
inline __attribute__((always_inline)) void tile(const NarrowTaps& taps, const float* in, const float* weights,
                                                const float* bias, float* out) {
  Lanes sums[channels][outputs] = {};
  float rest[channels][outputs] = {};
  for (std::size_t row = 0; row < taps.rows; ++row) {
    const float* a = in + row * taps.in_row;
    const float* b = weights + row * taps.weights_row;
    std::size_t i = 0;
    for (; i + lanes <= taps.length; i += lanes) {
      Lanes weight[channels];
      for (std::size_t c = 0; c < channels; ++c)
        weight[c] = *reinterpret_cast<const LanesInMemory*>(b + c * taps.weights_channel + i);
      for (std::size_t o = 0; o < outputs; ++o) {
        const Lanes value = *reinterpret_cast<const LanesInMemory*>(a + o * taps.step + i);
        for (std::size_t c = 0; c < channels; ++c) sums[c][o] += value * weight[c];
      }
    }
    for (; i < taps.length; ++i)
      for (std::size_t c = 0; c < channels; ++c)
        for (std::size_t o = 0; o < outputs; ++o) rest[c][o] += a[o * taps.step + i] * b[c * taps.weights_channel + i];
  }
  for (std::size_t c = 0; c < channels; ++c)
    for (std::size_t o = 0; o < outputs; ++o) {
      const Lanes& s = sums[c][o];
      const float sum = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
      out[o * taps.channels + c] = (sum + rest[c][o]) + bias[c];
    }
}

template <std::size_t outputs, std::size_t channels>
inline __attribute__((always_inline)) void tiles(const NarrowTaps& taps, const float* in, const float* weights,
                                                 const float* bias, float* out, std::size_t n) {
  std::size_t o = 0;
  for (; o + outputs <= n; o += outputs)
    tile<outputs, channels>(taps, in + o * taps.step, weights, bias, out + o * taps.channels);
  for (; o < n; ++o) tile<1, channels>(taps, in + o * taps.step, weights, bias, out + o * taps.channels);
}

}  // namespace

void narrow_convolution(NarrowTaps taps, const float* in, const float* weights, const float* bias, float* out,
                        std::size_t n) {
#if defined(__AVX512VL__)
  constexpr std::size_t outputs_of_four = 4;  // 32 registers
#else
  constexpr std::size_t outputs_of_four = 3;
#endif
  std::size_t c = 0;
  for (; c + 4 <= taps.channels; c += 4)
    tiles<outputs_of_four, 4>(taps, in, weights + c * taps.weights_channel, bias + c, out + c, n);
  for (; c + 2 <= taps.channels; c += 2)
    tiles<4, 2>(taps, in, weights + c * taps.weights_channel, bias + c, out + c, n);
  if (c < taps.channels) tiles<8, 1>(taps, in, weights + c * taps.weights_channel, bias + c, out + c, n);
}

}  // namespace tare::cpu::TARE_ISA
