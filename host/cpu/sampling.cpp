// GridSample and AffineGrid.
// A sampled position becomes, per dimension, a few taps (index, weight); the value is the sum over their product.
// Positions are shared by all channels, so the taps are made once a position. Odd: the last grid coordinate belongs to
// the first spatial dimension.
#include "cpu/sampling.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <vector>

namespace tare::cpu {
namespace {

enum class Padding { zeros, border, reflection };

struct Taps {
  std::size_t count = 0;
  std::array<std::int64_t, 4> index{};  ///< -1: outside, a zero
  std::array<double, 4> weight{};
};

double reflected(double x, double low, double high) {
  const double range = high - low;
  if (range <= 0.0) return low;
  const double distance = std::fmod(std::abs(x - low), 2.0 * range);
  return low + (distance > range ? 2.0 * range - distance : distance);
}

struct Sampler {
  std::string mode;
  Padding padding;
  bool align_corners;

  double position(double normalized, std::int64_t size) const {
    const auto n = static_cast<double>(size);
    const double x = align_corners ? (normalized + 1.0) / 2.0 * (n - 1.0) : ((normalized + 1.0) * n - 1.0) / 2.0;
    if (!std::isfinite(x)) return -1e9;
    return std::min(std::max(x, -1e9), 1e9);
  }
  double low() const { return align_corners ? 0.0 : -0.5; }
  double high(std::int64_t size) const { return static_cast<double>(size) - (align_corners ? 1.0 : 0.5); }

  std::int64_t pixel(double at, std::int64_t size) const {
    const auto last = static_cast<double>(size - 1);
    if (at >= 0.0 && at <= last) return static_cast<std::int64_t>(at);
    if (padding == Padding::zeros) return -1;
    if (padding == Padding::reflection) at = reflected(at, low(), high(size));
    return static_cast<std::int64_t>(std::min(std::max(at, 0.0), last));
  }

  Taps taps(double normalized, std::int64_t size) const {
    double x = position(normalized, size);
    if (mode == "nearest") x = std::nearbyint(x);
    if (x < low() || x > high(size)) {
      if (padding == Padding::border) x = std::min(std::max(x, 0.0), static_cast<double>(size - 1));
      if (padding == Padding::reflection) x = reflected(x, low(), high(size));
    }
    Taps result;
    const auto add = [&](double at, double weight) {
      result.index[result.count] = pixel(at, size);
      result.weight[result.count++] = weight;
    };
    const double base = std::floor(x);
    const double ratio = x - base;
    if (mode == "nearest") {
      add(std::nearbyint(x), 1.0);
    } else if (mode == "linear") {
      add(base, 1.0 - ratio);
      add(base + 1.0, ratio);
    } else {
      constexpr double a = -0.75;
      const auto near = [](double d) { return ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0; };
      const auto far = [](double d) { return ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a; };
      add(base - 1.0, far(ratio + 1.0));
      add(base, near(ratio));
      add(base + 1.0, near(1.0 - ratio));
      add(base + 2.0, far(2.0 - ratio));
    }
    return result;
  }
};

Sampler sampler_of(const Call& call) {
  Sampler sampler{call.node.text("mode", "linear"), Padding::zeros, call.node.integer("align_corners", 0) != 0};
  if (sampler.mode == "bilinear") sampler.mode = "linear";
  if (sampler.mode == "bicubic") sampler.mode = "cubic";
  if (sampler.mode != "nearest" && sampler.mode != "linear" && sampler.mode != "cubic")
    call.fail("unknown mode '" + sampler.mode + "'");
  const std::string padding = call.node.text("padding_mode", "zeros");
  if (padding == "border")
    sampler.padding = Padding::border;
  else if (padding == "reflection")
    sampler.padding = Padding::reflection;
  else if (padding != "zeros")
    call.fail("unknown padding_mode '" + padding + "'");
  return sampler;
}

double grid_value(const Tensor& grid, std::int64_t at) {
  return grid.type() == DataType::float32 ? static_cast<double>(grid.data<float>()[at]) : grid.data<double>()[at];
}

}  // namespace

void grid_sample(Call& call) {
  const Tensor& in = call.input(0);
  const Tensor& grid = call.input(1);
  const std::size_t rank = in.rank();
  if (rank < 3 || grid.rank() != rank || grid.shape()[0] != in.shape()[0] ||
      grid.shape().back() != static_cast<std::int64_t>(rank - 2))
    call.fail(
        fmt::format("a grid of shape {} does not fit an input of shape {}", grid.shape().text(), in.shape().text()));
  if (grid.type() != DataType::float32 && grid.type() != DataType::float64)
    call.fail("the grid must be a float tensor");
  const Sampler sampler = sampler_of(call);
  const std::size_t spatial_rank = rank - 2;
  const std::int64_t channels = in.shape()[1];
  const std::int64_t plane = in.shape().elements(2, rank);
  const std::int64_t points = grid.shape().elements(1, rank - 1);
  Shape shape{in.shape()[0], channels};
  for (std::size_t d = 1; d + 1 < rank; ++d) shape.push_back(grid.shape()[d]);
  Tensor& out = call.output(0, in.type(), shape);
  if (out.elements() == 0) return;
  if (plane == 0) call.fail("cannot sample an empty image");
  dispatch(in.type(), call, [&]<class T>() {
    call.device.parallel(
        in.shape()[0] * points, std::max<std::int64_t>(1, 512 / channels), [&](std::int64_t begin, std::int64_t end) {
          std::vector<std::pair<std::int64_t, double>> taps;
          std::vector<std::pair<std::int64_t, double>> next;
          for (std::int64_t point = begin; point < end; ++point) {
            taps.assign(1, {0, 1.0});
            for (std::size_t d = 0; d < spatial_rank; ++d) {
              const std::int64_t size = in.shape()[d + 2];
              const Taps along = sampler.taps(grid_value(grid, point * static_cast<std::int64_t>(spatial_rank) +
                                                                   static_cast<std::int64_t>(spatial_rank - 1 - d)),
                                              size);
              next.clear();
              for (const auto& [offset, weight] : taps)
                for (std::size_t k = 0; k < along.count; ++k)
                  if (along.index[k] >= 0) next.emplace_back(offset * size + along.index[k], weight * along.weight[k]);
              taps.swap(next);
            }
            const std::int64_t n = point / points;
            for (std::int64_t c = 0; c < channels; ++c) {
              const T* image = in.data<T>() + (n * channels + c) * plane;
              double sum = 0.0;
              for (const auto& [offset, weight] : taps) sum += weight * static_cast<double>(image[offset]);
              out.mutable_data<T>()[(n * channels + c) * points + point % points] = static_cast<T>(sum);
            }
          }
        });
  });
}

void affine_grid(Call& call) {
  const Tensor& theta = call.input(0);
  const Shape size = call.input(1).to_shape(call.node.label() + ": size");
  if (size.rank() != 4 && size.rank() != 5) call.fail("the size must name 4 or 5 dimensions");
  const auto dims = static_cast<std::int64_t>(size.rank()) - 2;
  if (!(theta.shape() == Shape{size[0], dims, dims + 1}))
    call.fail(fmt::format("theta of shape {} does not fit the size {}", theta.shape().text(), size.text()));
  const bool corners = call.node.integer("align_corners", 0) != 0;
  Shape shape{size[0]};
  for (std::size_t d = 2; d < size.rank(); ++d) shape.push_back(size[d]);
  shape.push_back(dims);
  Tensor& out = call.output(0, theta.type(), shape);
  const std::int64_t points = size.elements(2, size.rank());
  const auto run = [&]<class T>() {
    for (std::int64_t i = 0; i < size[0] * points; ++i) {
      std::array<double, 4> x{0.0, 0.0, 0.0, 0.0};
      std::int64_t rest = i % points;
      for (std::int64_t d = 0; d < dims; ++d) {
        const std::int64_t length = size[size.rank() - 1 - static_cast<std::size_t>(d)];
        const auto at = static_cast<double>(rest % length);
        rest /= length;
        const auto n = static_cast<double>(length);
        x[static_cast<std::size_t>(d)] = !corners      ? (2.0 * at + 1.0) / n - 1.0
                                         : length == 1 ? 0.0
                                                       : 2.0 * at / (n - 1.0) - 1.0;
      }
      x[static_cast<std::size_t>(dims)] = 1.0;
      const T* matrix = theta.data<T>() + i / points * dims * (dims + 1);
      for (std::int64_t row = 0; row < dims; ++row) {
        double sum = 0.0;
        for (std::int64_t k = 0; k <= dims; ++k)
          sum += static_cast<double>(matrix[row * (dims + 1) + k]) * x[static_cast<std::size_t>(k)];
        out.mutable_data<T>()[i * dims + row] = static_cast<T>(sum);
      }
    }
  };
  if (theta.type() == DataType::float32)
    run.template operator()<float>();
  else if (theta.type() == DataType::float64)
    run.template operator()<double>();
  else
    call.fail("theta must be a float tensor");
}

}  // namespace tare::cpu
