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
  const Axis& h = horizontal_;
  const std::int64_t pieces = (h.output + piece - 1) / piece;
  const std::int64_t taps = static_cast<std::int64_t>(weights_.size()) * std::min(piece, h.output);
  // Outputs from `whole` to `whole_end` meet all taps of a row.
  const std::int64_t whole = std::min((h.pad + h.stride - 1) / h.stride, h.output);
  const std::int64_t reach = h.input - h.kernel + h.pad;
  const std::int64_t whole_end = std::clamp(reach < 0 ? whole : reach / h.stride + 1, whole, h.output);
  device.parallel(images_ * vertical_.output * pieces, std::max<std::int64_t>(1, thread_taps / taps),
                  [&](std::int64_t begin, std::int64_t end) {
                    Output to{device.vector(), bias != nullptr ? bias : no_bias_.data(), nullptr, 0, {}};
                    for (std::int64_t i = begin; i < end; ++i) {
                      const std::int64_t row = i / pieces;  // of all images
                      const float* image = in + row / vertical_.output * vertical_.input * h.input * in_channels_;
                      to.row = out + row * h.output * out_channels_;
                      to.y = row % vertical_.output;
                      const std::int64_t first = i % pieces * piece;
                      const std::int64_t last = std::min(first + piece, h.output);
                      run_piece(image, first, std::min(last, whole), to);
                      run_piece(image, std::max(first, whole), std::min(last, whole_end), to);
                      run_piece(image, std::max(first, whole_end), last, to);
                    }
                  });
}

/// Outputs `begin` to `end` of a row. Rows of taps outside of the image are left out; outputs that meet taps beyond its
/// sides are computed on a copy with zeros there, so that they can be computed together.
void NarrowConvolution::run_piece(const float* image, std::int64_t begin, std::int64_t end, Output& to) const {
  if (begin >= end) return;
  const Axis& v = vertical_;
  const Axis& h = horizontal_;
  const auto at = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  const std::int64_t top = to.y * v.stride - v.pad;
  const std::int64_t skipped = top >= 0 ? 0 : std::min(v.kernel, (-top + v.dilation - 1) / v.dilation);
  const std::int64_t below = (v.input - top + v.dilation - 1) / v.dilation;  // rows of taps above the image's end
  const std::int64_t rows = std::clamp<std::int64_t>(below - skipped, 0, v.kernel - skipped);
  const std::int64_t left = begin * h.stride - h.pad;
  const std::int64_t width = (end - begin - 1) * h.stride + h.kernel;
  const float* from = rows > 0 ? image + (top + skipped * v.dilation) * h.input * in_channels_ : image;
  std::int64_t row_size = h.input * v.dilation * in_channels_;
  if (left >= 0 && left + width <= h.input) {
    from += left * in_channels_;
  } else {
    const std::int64_t first = std::clamp<std::int64_t>(-left, 0, width);
    const std::int64_t last = std::clamp(h.input - left, first, width);
    to.strip.assign(at(rows * width * in_channels_), 0.0f);
    if (first < last)
      for (std::int64_t row = 0; row < rows; ++row)
        std::copy_n(from + row * row_size + (left + first) * in_channels_, (last - first) * in_channels_,
                    to.strip.data() + (row * width + first) * in_channels_);
    from = to.strip.data();
    row_size = width * in_channels_;
  }
  const NarrowTaps taps{at(rows),
                        at(h.kernel * in_channels_),
                        at(row_size),
                        at(h.kernel * in_channels_),
                        at(v.kernel * h.kernel * in_channels_),
                        at(h.stride * in_channels_),
                        at(out_channels_)};
  to.vector.narrow_convolution(taps, from, weights_.data() + skipped * h.kernel * in_channels_, to.bias,
                               to.row + begin * out_channels_, at(end - begin));
}

}  // namespace tare::cpu
