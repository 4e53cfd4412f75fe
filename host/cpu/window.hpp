// Kernel shape, strides, dilations and padding of convolution and pooling, as attributes and resolved against an input.
#pragma once

#include <algorithm>

#include "cpu/operators.hpp"

namespace tare::cpu {

/// Resolved: one entry a spatial dimension.
struct Window {
  Shape kernel;
  Shape strides;
  Shape dilations;
  Shape pads_begin;
  Shape pads_end;
  Shape output;
};

struct WindowAttributes {
  enum class Padding { given, same_upper, same_lower, valid };

  explicit WindowAttributes(const Node& node);

  /// For a sliding window over `input` (spatial dimensions only). Fails naming the node when it does not fit.
  Window resolve(const Call& call, const Shape& input, const Shape& kernel) const;
  /// For ConvTranspose: `output` follows from the input, the padding, output_padding and output_shape.
  Window resolve_transposed(const Call& call, const Shape& input, const Shape& kernel) const;

  Shape kernel_shape;  ///< empty when not given
  Shape strides;
  Shape dilations;
  Shape pads;
  Shape output_padding;
  Shape output_shape;
  Padding padding = Padding::given;
  bool ceil_mode = false;

 private:
  Window base(const Call& call, std::size_t rank, const Shape& kernel) const;
};

/// Taps of the window at output `position` that lie in the input or its padding: with ceil_mode the last windows may
/// reach beyond both.
inline std::int64_t padded_taps(const Window& window, const Shape& input, std::int64_t position) {
  std::int64_t taps = 1;
  for (std::size_t i = input.rank(); i-- > 0;) {
    const std::int64_t start = position % window.output[i] * window.strides[i];
    position /= window.output[i];
    const std::int64_t room = input[i] + window.pads_begin[i] + window.pads_end[i] - start;
    taps *= std::min(window.kernel[i], (room - 1) / window.dilations[i] + 1);
  }
  return taps;
}

/// Calls body(tap, element) for every tap of the window at output `position` that lies inside `input`; all three are
/// linear row-major indices.
template <class Body>
void for_each_tap(const Window& window, const Shape& input, std::int64_t position, Body&& body) {
  const std::size_t rank = input.rank();
  std::int64_t start[Shape::max_rank];
  std::int64_t at[Shape::max_rank] = {};
  for (std::size_t i = rank; i-- > 0;) {
    start[i] = position % window.output[i] * window.strides[i] - window.pads_begin[i];
    position /= window.output[i];
  }
  const std::int64_t taps = window.kernel.elements();
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    std::int64_t element = 0;
    bool inside = true;
    for (std::size_t i = 0; i < rank; ++i) {
      const std::int64_t x = start[i] + at[i] * window.dilations[i];
      inside = inside && x >= 0 && x < input[i];
      element = element * input[i] + x;
    }
    if (inside) body(tap, element);
    for (std::size_t i = rank; i-- > 0 && ++at[i] == window.kernel[i];) at[i] = 0;
  }
}

}  // namespace tare::cpu
