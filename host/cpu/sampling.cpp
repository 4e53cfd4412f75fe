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

Sampler sampler_of(const Call& call) {
  Sampler sampler{Sampling::linear, Padding::zeros, call.node.integer("align_corners", 0) != 0};
  const std::string mode = call.node.text("mode", "linear");
  if (mode == "nearest")
    sampler.mode = Sampling::nearest;
  else if (mode == "cubic" || mode == "bicubic")
    sampler.mode = Sampling::cubic;
  else if (mode != "linear" && mode != "bilinear")
    call.fail("unknown mode '" + mode + "'");
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

GridSample plan_grid_sample(const Call& call) {
  const Tensor& in = call.input(0);
  const Tensor& grid = call.input(1);
  const std::size_t rank = in.rank();
  if (rank < 3 || grid.rank() != rank || grid.shape()[0] != in.shape()[0] ||
      grid.shape().back() != static_cast<std::int64_t>(rank - 2))
    call.fail(
        fmt::format("a grid of shape {} does not fit an input of shape {}", grid.shape().text(), in.shape().text()));
  if (!is_quantizable(grid.type()) && grid.type() != DataType::float64) call.fail("the grid must be a float tensor");
  GridSample plan{
      sampler_of(call), in.shape()[1], in.shape().elements(2, rank), grid.shape().elements(1, rank - 1), {}};
  plan.output = Shape{in.shape()[0], plan.channels};
  for (std::size_t d = 1; d + 1 < rank; ++d) plan.output.push_back(grid.shape()[d]);
  if (plan.output.elements() > 0 && plan.plane == 0) call.fail("cannot sample an empty image");
  return plan;
}

void grid_sample(Call& call) {
  const Tensor& in = call.input(0);
  const Tensor& grid = call.input(1);
  const GridSample plan = plan_grid_sample(call);
  const std::size_t spatial_rank = in.rank() - 2;
  Tensor& out = call.output(0, in.type(), plan.output);
  if (out.elements() == 0) return;
  dispatch(in.type(), call, [&]<class T>() {
    call.device.parallel(
        in.shape()[0] * plan.points, std::max<std::int64_t>(1, 512 / plan.channels),
        [&, &sampler = plan.sampler, channels = plan.channels, plane = plan.plane, points = plan.points](
            std::int64_t begin, std::int64_t end) {
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
                for (int k = 0; k < along.count; ++k)
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

AffineGrid plan_affine_grid(const Call& call) {
  const Tensor& theta = call.input(0);
  const Shape size = call.input(1).to_shape(call.node.label() + ": size");
  if (size.rank() != 4 && size.rank() != 5) call.fail("the size must name 4 or 5 dimensions");
  const auto dims = static_cast<std::int64_t>(size.rank()) - 2;
  if (!(theta.shape() == Shape{size[0], dims, dims + 1}))
    call.fail(fmt::format("theta of shape {} does not fit the size {}", theta.shape().text(), size.text()));
  AffineGrid plan{
      {}, static_cast<int>(dims), call.node.integer("align_corners", 0) != 0, size.elements(2, size.rank())};
  for (std::int64_t d = 0; d < dims; ++d) plan.sizes[d] = size[size.rank() - 1 - static_cast<std::size_t>(d)];
  return plan;
}

void affine_grid(Call& call) {
  const Tensor& theta = call.input(0);
  const AffineGrid plan = plan_affine_grid(call);
  Tensor& out = call.output(0, theta.type(), plan.shape(theta.shape()[0]));
  const auto run = [&]<class T>() {
    for (std::int64_t i = 0; i < out.elements(); ++i)
      out.mutable_data<T>()[i] = static_cast<T>(plan.coordinate(theta.data<T>(), i));
  };
  if (theta.type() == DataType::float32)
    run.template operator()<float>();
  else if (theta.type() == DataType::float64)
    run.template operator()<double>();
  else
    call.fail("theta must be a float tensor");
}

}  // namespace tare::cpu
