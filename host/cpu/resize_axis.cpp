// Coordinates and filter weights of Resize, in float64, as the operator's specification defines them.
// Odd: "the resized length" in the formulas is scale * length, which is no integer when scales are given; and a window
// that reaches over the edge repeats the edge, unless `exclude_outside` takes those taps out.
#include "cpu/resize_axis.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tare::cpu {
namespace {

double source_coordinate(const Call& call, const ResizeAxis& axis, const std::string& mode, std::int64_t position) {
  const auto x = static_cast<double>(position);
  const auto in = static_cast<double>(axis.in);
  const double resized = axis.scale * in;
  const double centered = (x + 0.5) / axis.scale - 0.5;
  if (mode == "half_pixel") return centered;
  if (mode == "asymmetric") return x / axis.scale;
  if (mode == "pytorch_half_pixel") return axis.out > 1 ? centered : 0.0;
  if (mode == "align_corners") return axis.out == 1 || resized == 1.0 ? 0.0 : x * (in - 1.0) / (resized - 1.0);
  if (mode == "half_pixel_symmetric") {
    const double adjustment = static_cast<double>(axis.out) / resized;
    return in / 2.0 * (1.0 - adjustment) + centered;
  }
  if (mode == "tf_crop_and_resize") {
    const double width = axis.roi_end - axis.roi_begin;
    if (axis.out == 1) return 0.5 * (axis.roi_begin + axis.roi_end) * (in - 1.0);
    return axis.roi_begin * (in - 1.0) + x * width * (in - 1.0) / (resized - 1.0);
  }
  call.fail("unknown coordinate_transformation_mode '" + mode + "'");
}

double rounded(const Call& call, double x, const std::string& mode) {
  if (mode == "round_prefer_floor") return std::ceil(x - 0.5);
  if (mode == "round_prefer_ceil") return std::floor(x + 0.5);
  if (mode == "floor") return std::floor(x);
  if (mode == "ceil") return std::ceil(x);
  call.fail("unknown nearest_mode '" + mode + "'");
}

double cubic_weight(double distance, double a) {
  const double x = std::abs(distance);
  if (x <= 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
  return 0.0;
}

double linear_weight(double distance) { return std::max(0.0, 1.0 - std::abs(distance)); }

}  // namespace

ResizeTaps resize_taps(const Call& call, const ResizeAxis& axis, const ResizeSettings& settings) {
  if (axis.in > std::numeric_limits<std::int32_t>::max()) call.fail("an axis of more than 2^31 elements");
  ResizeTaps result;
  const bool nearest = settings.mode == "nearest";
  const bool cubic = settings.mode == "cubic";
  // Downsampling with antialias stretches the filter over the pixels that one output pixel covers.
  const double stretch = settings.antialias ? std::min(axis.scale, 1.0) : 1.0;
  const double reach = (cubic ? 2.0 : 1.0) / stretch;
  const auto first_tap = nearest ? 0 : static_cast<std::int64_t>(std::floor(-reach)) + 1;
  result.taps = nearest ? 1 : static_cast<std::size_t>(2 - 2 * first_tap);
  const auto out = static_cast<std::size_t>(axis.out);
  result.indices.resize(result.taps * out);
  result.weights.resize(result.taps * out, 1.0);
  const auto last = static_cast<double>(axis.in - 1);
  for (std::size_t o = 0; o < out; ++o) {
    const double x = source_coordinate(call, axis, settings.coordinates, static_cast<std::int64_t>(o));
    if (!std::isfinite(x)) call.fail("a scale or a region of interest gives no finite coordinate");
    if (settings.coordinates == "tf_crop_and_resize" && (x < 0.0 || x > last))
      result.outside.push_back(static_cast<std::int64_t>(o));
    if (nearest) {
      result.indices[o] = static_cast<std::int32_t>(std::clamp(rounded(call, x, settings.nearest), 0.0, last));
      continue;
    }
    // The pixel on the left, strictly: x - base lies in (0, 1].
    const double base = std::ceil(std::clamp(x, -1e9, 4e9)) - 1.0;
    double sum = 0.0;
    for (std::size_t k = 0; k < result.taps; ++k) {
      const double at = base + static_cast<double>(first_tap + static_cast<std::int64_t>(k));
      const double distance = (at - x) * stretch;
      double weight = cubic ? cubic_weight(distance, settings.cubic_a) : linear_weight(distance);
      if (settings.exclude_outside && (at < 0.0 || at > last)) weight = 0.0;
      sum += weight;
      result.indices[k * out + o] = static_cast<std::int32_t>(std::clamp(at, 0.0, last));
      result.weights[k * out + o] = weight;
    }
    if ((settings.antialias || settings.exclude_outside) && sum != 0.0)
      for (std::size_t k = 0; k < result.taps; ++k) result.weights[k * out + o] /= sum;
  }
  return result;
}

}  // namespace tare::cpu
