// Operators that read an image at positions computed from other tensors: parts of register_vision. Plans and formulas
// are shared with cuda/sampling.cu.
#pragma once

#include <cmath>

#include "cpu/operators.hpp"
#include "tare/numerics.hpp"

namespace tare::cpu {

void grid_sample(Call& call);
void affine_grid(Call& call);
void roi_align(Call& call);
void max_roi_pool(Call& call);
void deform_conv(Call& call);

/// What a position reads along one dimension.
struct Taps {
  int count = 0;
  std::int64_t index[4] = {};  ///< -1: outside, a zero
  double weight[4] = {};
  TARE_HD void add(std::int64_t at, double of) {
    index[count] = at;
    weight[count++] = of;
  }
};

enum class Padding : std::uint8_t { zeros, border, reflection };
enum class Sampling : std::uint8_t { nearest, linear, cubic };

struct Sampler {
  Sampling mode;
  Padding padding;
  bool align_corners;

  TARE_HD static double within(double x, double low, double high) { return x < low ? low : x > high ? high : x; }
  TARE_HD static double reflected(double x, double low, double high) {
    const double range = high - low;
    if (range <= 0.0) return low;
    const double distance = ::fmod(::fabs(x - low), 2.0 * range);
    return low + (distance > range ? 2.0 * range - distance : distance);
  }
  TARE_HD double position(double normalized, std::int64_t size) const {
    const auto n = static_cast<double>(size);
    const double x = align_corners ? (normalized + 1.0) / 2.0 * (n - 1.0) : ((normalized + 1.0) * n - 1.0) / 2.0;
    return x - x == 0.0 ? within(x, -1e9, 1e9) : -1e9;
  }
  TARE_HD double low() const { return align_corners ? 0.0 : -0.5; }
  TARE_HD double high(std::int64_t size) const { return static_cast<double>(size) - (align_corners ? 1.0 : 0.5); }

  TARE_HD std::int64_t pixel(double at, std::int64_t size) const {
    const auto last = static_cast<double>(size - 1);
    if (at >= 0.0 && at <= last) return static_cast<std::int64_t>(at);
    if (padding == Padding::zeros) return -1;
    if (padding == Padding::reflection) at = reflected(at, low(), high(size));
    return static_cast<std::int64_t>(within(at, 0.0, last));
  }

  TARE_HD Taps taps(double normalized, std::int64_t size) const {
    double x = position(normalized, size);
    if (mode == Sampling::nearest) x = round_half_even(x);
    if (x < low() || x > high(size)) {
      if (padding == Padding::border) x = within(x, 0.0, static_cast<double>(size - 1));
      if (padding == Padding::reflection) x = reflected(x, low(), high(size));
    }
    Taps result;
    const double base = ::floor(x);
    const double ratio = x - base;
    if (mode == Sampling::nearest) {
      result.add(pixel(round_half_even(x), size), 1.0);
    } else if (mode == Sampling::linear) {
      result.add(pixel(base, size), 1.0 - ratio);
      result.add(pixel(base + 1.0, size), ratio);
    } else {
      result.add(pixel(base - 1.0, size), far_cubic(ratio + 1.0));
      result.add(pixel(base, size), near_cubic(ratio));
      result.add(pixel(base + 1.0, size), near_cubic(1.0 - ratio));
      result.add(pixel(base + 2.0, size), far_cubic(2.0 - ratio));
    }
    return result;
  }

  /// The cubic kernel of a = -0.75 at distances up to 1, and from 1 to 2.
  TARE_HD static double near_cubic(double d) { return ((-0.75 + 2.0) * d - (-0.75 + 3.0)) * d * d + 1.0; }
  TARE_HD static double far_cubic(double d) { return ((-0.75 * d - 5.0 * -0.75) * d + 8.0 * -0.75) * d - 4.0 * -0.75; }
};

struct GridSample {
  Sampler sampler;
  std::int64_t channels;
  std::int64_t plane;   ///< pixels of an image
  std::int64_t points;  ///< positions an image
  Shape output;
};
/// Checks what can be wrong; reads no element.
GridSample plan_grid_sample(const Call& call);

/// The matrices' images of the centers (or corners) of all pixels.
struct AffineGrid {
  std::int64_t sizes[3] = {};  ///< the last dimension first
  int rank = 0;
  bool corners = false;
  std::int64_t points = 0;

  Shape shape(std::int64_t batch) const {
    Shape result{batch};
    for (int d = rank; d-- > 0;) result.push_back(sizes[d]);
    result.push_back(rank);
    return result;
  }
  /// Element i of the grid.
  template <class T>
  TARE_HD double coordinate(const T* theta, std::int64_t i) const {
    std::int64_t rest = i / rank % points;
    const T* row = theta + (i / rank / points * rank + i % rank) * (rank + 1);
    double sum = 0.0;
    for (int d = 0; d < rank; ++d) {
      const auto at = static_cast<double>(rest % sizes[d]);
      rest /= sizes[d];
      const auto n = static_cast<double>(sizes[d]);
      const double x = !corners ? (2.0 * at + 1.0) / n - 1.0 : sizes[d] == 1 ? 0.0 : 2.0 * at / (n - 1.0) - 1.0;
      sum += static_cast<double>(row[d]) * x;
    }
    return sum + static_cast<double>(row[rank]);
  }
};
AffineGrid plan_affine_grid(const Call& call);

/// Blocks of an image, side by side: [batch, channels * block, columns].
struct Col2Im {
  Shape image, block, columns;
  std::vector<std::int64_t> strides, dilations, pads;
  Shape output;
};
Col2Im plan_col2im(const Call& call);

struct MaxUnpool {
  Shape output;
  std::vector<std::int64_t> offsets;  ///< of the elements, in the output
};
/// Reads the indices.
MaxUnpool plan_max_unpool(const Call& call);

}  // namespace tare::cpu
