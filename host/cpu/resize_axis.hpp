// Where the elements of one resized axis come from: indices and weights for every output position. Every interpolation
// of Resize is separable, so an N-dimensional resize is one of these an axis.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cpu/operators.hpp"

namespace tare::cpu {

struct ResizeSettings {
  std::string mode = "nearest";
  std::string coordinates = "half_pixel";
  std::string nearest = "round_prefer_floor";
  double cubic_a = -0.75;
  bool exclude_outside = false;
  bool antialias = false;
};

/// One axis: its length before and after, and the scale that maps between them (not always their quotient).
struct ResizeAxis {
  std::size_t axis = 0;
  std::int64_t in = 0, out = 0;
  double scale = 1.0;
  double roi_begin = 0.0, roi_end = 1.0;
};

struct ResizeTaps {
  std::size_t taps = 1;
  std::vector<std::int32_t> indices;  ///< [taps, out], within the input
  std::vector<double> weights;        ///< [taps, out]
  std::vector<std::int64_t> outside;  ///< output positions beyond the region of interest (tf_crop_and_resize)
};

/// axis.in and axis.out are positive.
ResizeTaps resize_taps(const Call& call, const ResizeAxis& axis, const ResizeSettings& settings);

}  // namespace tare::cpu
