#include "cpu/narrow_convolution.hpp"

#include <algorithm>

#include "cpu/vector.hpp"

namespace tare::cpu {
namespace {

constexpr std::int64_t most_out_channels = 8;
constexpr std::int64_t fewest_taps = 64;  ///< of an output: adding up the lanes takes as long as 8 taps of each
constexpr std::int64_t fewest_row_taps = 16;
constexpr std::int64_t piece = 64;             ///< outputs of a row that one thread computes at least
constexpr std::int64_t thread_taps = 1 << 18;  ///< fewer are not worth another thread

}  // namespace

bool NarrowConvolution::fits(const Problem& p) {
  if (p.groups != 1 || p.input.rank() > 2 || p.out_channels > most_out_channels) return false;
  const std::size_t last = p.input.rank() - 1;
  const std::int64_t row_taps = p.window.kernel[last] * p.in_channels;
  return (p.window.dilations[last] == 1 || p.window.kernel[last] == 1) && row_taps >= fewest_row_taps &&
         p.window.kernel.elements() * p.in_channels >= fewest_taps;
}

NarrowConvolution::NarrowConvolution(const Problem& p)
    : images_(p.output[0]),
      in_channels_(p.in_channels),
      out_channels_(p.out_channels),
      vertical_(p.input.rank() == 2 ? axis(p, 0) : Axis{1, 1, 1, 1, 1, 0}),
      horizontal_(axis(p, p.input.rank() - 1)),
      no_bias_(static_cast<std::size_t>(p.out_channels)) {}

NarrowConvolution::Axis NarrowConvolution::axis(const Problem& p, std::size_t number) {
  const Window& window = p.window;
  return {p.input[number],        window.output[number],    window.kernel[number],
          window.strides[number], window.dilations[number], window.pads_begin[number]};
}

void NarrowConvolution::pack(const float* weights) {
  const std::int64_t taps = vertical_.kernel * horizontal_.kernel;
  weights_.resize(static_cast<std::size_t>(out_channels_ * taps * in_channels_));
  float* to = weights_.data();
  for (std::int64_t o = 0; o < out_channels_; ++o)
    for (std::int64_t tap = 0; tap < taps; ++tap)
      for (std::int64_t c = 0; c < in_channels_; ++c) *to++ = weights[(o * in_channels_ + c) * taps + tap];
}

void NarrowConvolution::run(const Device& device, const float* in, const float* bias, float* out) const {
  const std::int64_t pieces = (horizontal_.output + piece - 1) / piece;
  const std::int64_t taps = static_cast<std::int64_t>(weights_.size()) * std::min(piece, horizontal_.output);
  const float* shift = bias != nullptr ? bias : no_bias_.data();
  device.parallel(
      images_ * vertical_.output * pieces, std::max<std::int64_t>(1, thread_taps / taps),
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t row = i / pieces;  // of all images
          const std::int64_t first = i % pieces * piece;
          const float* image = in + row / vertical_.output * vertical_.input * horizontal_.input * in_channels_;
          run_row(device.vector(), image, shift, row % vertical_.output, first,
                  std::min(first + piece, horizontal_.output), out + row * horizontal_.output * out_channels_);
        }
      });
}

/// Outputs `begin` to `end` of row `y`. Taps outside of the image are left out.
void NarrowConvolution::run_row(const VectorKernels& vector, const float* image, const float* bias, std::int64_t y,
                                std::int64_t begin, std::int64_t end, float* out) const {
  const Axis& v = vertical_;
  const Axis& h = horizontal_;
  const std::int64_t top = y * v.stride - v.pad;
  const std::int64_t skipped = top >= 0 ? 0 : (-top + v.dilation - 1) / v.dilation;
  const std::int64_t rows = std::min(v.kernel, (v.input - top + v.dilation - 1) / v.dilation) - skipped;
  const std::int64_t row_size = h.input * in_channels_;
  const float* from = rows > 0 ? image + (top + skipped * v.dilation) * row_size : image;
  const auto at = [](std::int64_t n) { return static_cast<std::size_t>(std::max<std::int64_t>(n, 0)); };
  // `count` outputs from x on, of which each meets the taps from `first` to `last` of a row.
  const auto some = [&](std::int64_t x, std::int64_t count, std::int64_t first, std::int64_t last) {
    const NarrowTaps taps{at(rows),
                          at((last - first) * in_channels_),
                          at(row_size * v.dilation),
                          at(h.kernel * in_channels_),
                          at(v.kernel * h.kernel * in_channels_),
                          at(h.stride * in_channels_),
                          at(out_channels_)};
    const float* weights = weights_.data() + (skipped * h.kernel + first) * in_channels_;
    const std::int64_t left = x * h.stride - h.pad + first;
    vector.narrow_convolution(taps, from + left * in_channels_, weights, bias, out + x * out_channels_, at(count));
  };
  // Outputs from `whole` to `whole_end` meet all taps of a row.
  const std::int64_t whole = std::clamp((h.pad + h.stride - 1) / h.stride, begin, end);
  const std::int64_t reach = h.input - h.kernel + h.pad;
  const std::int64_t whole_end = std::clamp(reach < 0 ? whole : reach / h.stride + 1, whole, end);
  const auto edge = [&](std::int64_t x) {
    const std::int64_t left = x * h.stride - h.pad;
    const std::int64_t first = std::clamp<std::int64_t>(-left, 0, h.kernel);
    some(x, 1, first, std::clamp(h.input - left, first, h.kernel));
  };
  for (std::int64_t x = begin; x < whole; ++x) edge(x);
  if (whole_end > whole) some(whole, whole_end - whole, 0, h.kernel);
  for (std::int64_t x = whole_end; x < end; ++x) edge(x);
}

}  // namespace tare::cpu
