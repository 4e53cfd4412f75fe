// RoiAlign, MaxRoiPool and DeformConv made ready: what a call says, checked, and the formulas of one element. Shared
// with cuda/sampling.cu; pointers lie where the operator runs.
#pragma once

#include <cmath>
#include <vector>

#include "cpu/operators.hpp"
#include "tare/numerics.hpp"

namespace tare::cpu {

/// Four pixels and their weights; all zero outside.
struct Corners {
  std::int64_t at[4] = {};
  double weight[4] = {};
};

struct RoiAlign {
  struct Region {
    std::int64_t batch;
    double top, left;
    double bin_height = 0, bin_width = 0;
    std::int64_t grid_rows = 0, grid_columns = 0;

    TARE_HD std::int64_t samples() const { return grid_rows * grid_columns; }
    /// Sample i of a bin. Positions up to one pixel outside take the border.
    TARE_HD Corners sample(std::int64_t row, std::int64_t column, std::int64_t i, std::int64_t height,
                           std::int64_t width) const {
      const auto part = [](std::int64_t bin, std::int64_t of, std::int64_t parts) {
        return static_cast<double>(bin) + (static_cast<double>(of) + 0.5) / static_cast<double>(parts);
      };
      const double y = top + part(row, i / grid_columns, grid_rows) * bin_height;
      const double x = left + part(column, i % grid_columns, grid_columns) * bin_width;
      Corners c;
      if (!(y >= -1.0 && y <= static_cast<double>(height) && x >= -1.0 && x <= static_cast<double>(width))) return c;
      std::int64_t y0 = 0, y1 = 0, x0 = 0, x1 = 0;
      const double dy = split(y, height, y0, y1);
      const double dx = split(x, width, x0, x1);
      return {{y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1},
              {(1.0 - dy) * (1.0 - dx), (1.0 - dy) * dx, dy * (1.0 - dx), dy * dx}};
    }
    TARE_HD static double split(double v, std::int64_t size, std::int64_t& low, std::int64_t& high) {
      v = v < 0.0 ? 0.0 : v;
      low = static_cast<std::int64_t>(v);
      low = low < size - 1 ? low : size - 1;
      high = low + 1 < size - 1 ? low + 1 : size - 1;
      return low >= size - 1 ? 0.0 : v - static_cast<double>(low);
    }
  };

  std::int64_t channels, height, width, rows, columns;
  bool maximum = false;

  // One bin of one channel: start, every sample, finish.
  TARE_HD double start(const Region& region) const {
    return maximum && region.samples() > 0 ? -static_cast<double>(__builtin_inff()) : 0.0;
  }
  TARE_HD double with(double result, const Corners& sample, const float* plane) const {
    for (int k = 0; k < 4; ++k) {
      const double term = sample.weight[k] * static_cast<double>(plane[sample.at[k]]);
      result = !maximum ? result + term : result < term ? term : result;
    }
    return result;
  }
  TARE_HD float finish(double result, const Region& region) const {
    const std::int64_t samples = region.samples() > 1 ? region.samples() : 1;
    return static_cast<float>(maximum ? result : result / static_cast<double>(samples));
  }
};
/// Reads regions and batch indices, not the image.
RoiAlign plan_roi_align(const Call& call, std::vector<RoiAlign::Region>& regions);

struct MaxRoiPool {
  struct Region {
    std::int64_t batch, top, left;
    double bin_height, bin_width;
  };
  std::int64_t channels, height, width, rows, columns;

  TARE_HD static std::int64_t edge(double at, std::int64_t start, std::int64_t limit) {
    const std::int64_t position = static_cast<std::int64_t>(at) + start;
    return position < 0 ? 0 : position > limit ? limit : position;
  }
  /// Element i of the output.
  TARE_HD float largest(const Region* list, const float* image, std::int64_t i) const {
    const auto column = static_cast<double>(i % columns);
    const auto row = static_cast<double>(i / columns % rows);
    const std::int64_t plane = i / columns / rows;
    const Region& region = list[plane / channels];
    const float* x = image + (region.batch * channels + plane % channels) * height * width;
    const std::int64_t v0 = edge(::floor(row * region.bin_height), region.top, height);
    const std::int64_t v1 = edge(::ceil((row + 1.0) * region.bin_height), region.top, height);
    const std::int64_t u0 = edge(::floor(column * region.bin_width), region.left, width);
    const std::int64_t u1 = edge(::ceil((column + 1.0) * region.bin_width), region.left, width);
    float best = v1 > v0 && u1 > u0 ? -__builtin_inff() : 0.0f;
    for (std::int64_t v = v0; v < v1; ++v)
      for (std::int64_t u = u0; u < u1; ++u) best = best < x[v * width + u] ? x[v * width + u] : best;
    return best;
  }
};
/// Reads the regions, not the image.
MaxRoiPool plan_max_roi_pool(const Call& call, std::vector<MaxRoiPool::Region>& regions);

struct DeformConv {
  const float* image = nullptr;
  const float* offsets = nullptr;
  const float* mask = nullptr;  ///< may be null
  std::int64_t batch = 0, channels = 0, height = 0, width = 0, rows = 0, columns = 0, kernel_columns = 0, taps = 0;
  std::int64_t groups = 1, offset_groups = 1, out_channels = 0;
  std::int64_t row_stride = 1, column_stride = 1, row_dilation = 1, column_dilation = 1, row_pad = 0, column_pad = 0;

  TARE_HD std::int64_t points() const { return rows * columns; }
  TARE_HD std::int64_t group_channels() const { return channels / groups; }
  TARE_HD double offset(std::int64_t n, std::int64_t g, std::int64_t t, std::int64_t k, std::int64_t point) const {
    return static_cast<double>(offsets[((n * offset_groups + g) * taps * 2 + t * 2 + k) * points() + point]);
  }
  TARE_HD double factor(std::int64_t n, std::int64_t g, std::int64_t t, std::int64_t point) const {
    if (mask == nullptr) return 1.0;
    return static_cast<double>(mask[((n * offset_groups + g) * taps + t) * points() + point]);
  }
  /// Where tap t of a point reads; zeros lie around the image.
  TARE_HD Corners corners(std::int64_t n, std::int64_t g, std::int64_t t, std::int64_t point) const {
    const std::int64_t top = point / columns * row_stride - row_pad + t / kernel_columns * row_dilation;
    const std::int64_t left = point % columns * column_stride - column_pad + t % kernel_columns * column_dilation;
    const double v = static_cast<double>(top) + offset(n, g, t, 0, point);
    const double u = static_cast<double>(left) + offset(n, g, t, 1, point);
    Corners c;
    if (!(v > -1.0 && v < static_cast<double>(height) && u > -1.0 && u < static_cast<double>(width))) return c;
    const double fv = ::floor(v), fu = ::floor(u);
    for (int k = 0; k < 4; ++k) {
      const std::int64_t row = static_cast<std::int64_t>(fv) + (k >= 2 ? 1 : 0);
      const std::int64_t column = static_cast<std::int64_t>(fu) + (k % 2 == 1 ? 1 : 0);
      if (row < 0 || row >= height || column < 0 || column >= width) continue;
      c.at[k] = row * width + column;
      c.weight[k] = (k >= 2 ? v - fv : 1.0 - (v - fv)) * (k % 2 == 1 ? u - fu : 1.0 - (u - fu));
    }
    return c;
  }
  TARE_HD double value(std::int64_t n, std::int64_t c, const Corners& from) const {
    double sum = 0.0;
    for (int k = 0; k < 4; ++k)
      if (from.weight[k] != 0.0)
        sum += from.weight[k] * static_cast<double>(image[(n * channels + c) * height * width + from.at[k]]);
    return sum;
  }
};
/// Reads no element.
DeformConv plan_deform_conv(const Call& call);

}  // namespace tare::cpu
