// Convolutions of a few output channels over many taps. Library kernels compute 16 output channels side by side, so
// that one of them leaves 15 of 16 lanes empty; here the lanes are taps, which lie in one piece in channels_last.
// Measured on a Xeon of 2023 with AVX-512, one thread, GFLOP/s: 1 channel 36 to 70, 8 channels 125; on Zen 4, before
// products were fused and two outputs shared a vector, 30 to 55 (the library: 7) and 84 (60).
#pragma once

#include <vector>

#include "cpu/convolution.hpp"

namespace tare::cpu {

class NarrowConvolution {
 public:
  /// Whether this is the way to compute it.
  static bool fits(const Problem& problem);
  explicit NarrowConvolution(const Problem& problem);

  /// `weights`: [out, in, kernel…], in one piece.
  void pack(const float* weights);
  /// `in` and `out` in channels_last; `bias` may be null. Every output is one sum in an order of its own: its bits
  /// depend on neither threads, nor the other outputs, nor the instruction set, if it has fused products and sums.
  void run(const Device& device, const float* in, const float* bias, float* out) const;

 private:
  struct Axis {
    std::int64_t input, output, kernel, stride, dilation, pad;
  };
  /// Where a thread computes, and what it needs for that.
  struct Output {
    const VectorKernels& vector;
    const float* bias;
    float* row;
    std::int64_t y;
    std::vector<float> strip;
  };
  static Axis axis(const Problem& problem, std::size_t number);
  void run_piece(const float* image, std::int64_t begin, std::int64_t end, Output& to) const;

  std::int64_t images_;
  std::int64_t in_channels_;
  std::int64_t out_channels_;
  Axis vertical_;
  Axis horizontal_;
  std::vector<float> weights_;  ///< [out, kernel…, in]
  std::vector<float> no_bias_;
};

}  // namespace tare::cpu
