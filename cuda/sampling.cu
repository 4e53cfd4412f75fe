// GridSample, AffineGrid, RoiAlign, MaxRoiPool, DeformConv and Col2Im: operators that read an image at positions
// computed from other tensors. Plans and formulas are those of host/cpu, sums are float64 in the same order: the CPU's
// bits. Odd: the regions of RoiAlign and MaxRoiPool are read on the host, where they are checked; a deformed
// convolution is a product of the weights with what it samples, so that its sums are the library's.
#include "bias.hpp"
#include "cpu/regions.hpp"
#include "cpu/sampling.hpp"
#include "float_element.hpp"
#include "operators.hpp"

namespace tare::cuda {
namespace {

constexpr int most_spatial = 6;

/// One thread a position and a few channels: they share the taps.
struct SampleGrid {
  static constexpr std::int64_t channels_a_thread = 8;
  cpu::Sampler sampler;
  FloatInput in, grid;
  FloatOutput out;
  std::int64_t channels, plane, points, channel_groups;
  int rank;
  std::int64_t sizes[most_spatial];

  __device__ void operator()(std::int64_t i) const {
    const std::int64_t point = i % points;
    const std::int64_t group = i / points % channel_groups;
    const std::int64_t n = i / points / channel_groups;
    cpu::Taps along[most_spatial];
    int combinations = 1;
    for (int d = 0; d < rank; ++d) {
      along[d] = sampler.taps(static_cast<double>(grid[(n * points + point) * rank + rank - 1 - d]), sizes[d]);
      combinations *= along[d].count;
    }
    const std::int64_t first = group * channels_a_thread;
    double sums[channels_a_thread] = {};
    for (int c = 0; c < combinations; ++c) {
      // The last dimension's tap changes fastest.
      int below = combinations;
      int rest = c;
      std::int64_t offset = 0;
      double weight = 1.0;
      bool inside = true;
      for (int d = 0; d < rank; ++d) {
        below /= along[d].count;
        const int tap = rest / below;
        rest %= below;
        inside = inside && along[d].index[tap] >= 0;
        offset = offset * sizes[d] + along[d].index[tap];
        weight *= along[d].weight[tap];
      }
      if (!inside) continue;
      for (std::int64_t k = 0; k < channels_a_thread; ++k)
        if (first + k < channels)
          sums[k] += weight * static_cast<double>(in[(n * channels + first + k) * plane + offset]);
    }
    for (std::int64_t k = 0; k < channels_a_thread; ++k)
      if (first + k < channels) out.set((n * channels + first + k) * points + point, static_cast<float>(sums[k]));
  }
};

void require_float32(const Call& call) {
  if (call.input(0).type() != DataType::float32) cpu::fail_type(call, call.input(0).type());
}

void grid_sample(Call& call) {
  const cpu::GridSample plan = cpu::plan_grid_sample(call);
  for (const std::size_t i : {0, 1})
    if (!is_quantizable(call.input(i).type())) cpu::fail_type(call, call.input(i).type());
  const Tensor in = call.input(0);
  const std::size_t rank = in.rank() - 2;
  if (rank > most_spatial) call.fail("more than 6 spatial dimensions");
  Tensor& out = call.output(0, in.type(), plan.output);
  const std::int64_t groups = (plan.channels + SampleGrid::channels_a_thread - 1) / SampleGrid::channels_a_thread;
  SampleGrid functor{plan.sampler, in,     call.input(1),          out, plan.channels, plan.plane,
                     plan.points,  groups, static_cast<int>(rank), {}};
  for (std::size_t d = 0; d < rank; ++d) functor.sizes[d] = in.shape()[d + 2];
  if (out.elements() > 0) for_each(in.shape()[0] * groups * plan.points, stream_of(call), functor);
}

struct MakeGrid {
  cpu::AffineGrid plan;
  const float* theta;
  float* out;
  __device__ void operator()(std::int64_t i) const { out[i] = static_cast<float>(plan.coordinate(theta, i)); }
};

void affine_grid(Call& call) {
  const cpu::AffineGrid plan = cpu::plan_affine_grid(call);
  require_float32(call);
  const Tensor theta = call.input(0);
  Tensor& out = call.output(0, DataType::float32, plan.shape(theta.shape()[0]));
  for_each(out.elements(), stream_of(call), MakeGrid{plan, theta.data<float>(), out.mutable_data<float>()});
}

/// The regions of a call as bytes in device memory.
template <class Region>
Tensor upload_regions(const Call& call, const std::vector<Region>& regions) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(regions.data());
  return device_of(call).upload_to<std::uint8_t>({bytes, regions.size() * sizeof(Region)});
}

struct AlignRegions {
  cpu::RoiAlign plan;
  const cpu::RoiAlign::Region* regions;
  const float* image;
  float* out;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t column = i % plan.columns;
    const std::int64_t row = i / plan.columns % plan.rows;
    const std::int64_t channel = i / plan.columns / plan.rows % plan.channels;
    const cpu::RoiAlign::Region& region = regions[i / plan.columns / plan.rows / plan.channels];
    const float* plane = image + (region.batch * plan.channels + channel) * plan.height * plan.width;
    double result = plan.start(region);
    for (std::int64_t s = 0; s < region.samples(); ++s)
      result = plan.with(result, region.sample(row, column, s, plan.height, plan.width), plane);
    out[i] = plan.finish(result, region);
  }
};

void roi_align(Call& call) {
  std::vector<cpu::RoiAlign::Region> regions;
  const cpu::RoiAlign plan = cpu::plan_roi_align(call, regions);
  const Tensor image = call.input(0);
  const auto count = static_cast<std::int64_t>(regions.size());
  Tensor& out = call.output(0, DataType::float32, {count, plan.channels, plan.rows, plan.columns});
  if (out.elements() == 0) return;
  const Tensor list = upload_regions(call, regions);
  for_each(out.elements(), stream_of(call),
           AlignRegions{plan, reinterpret_cast<const cpu::RoiAlign::Region*>(list.data()), image.data<float>(),
                        out.mutable_data<float>()});
}

struct PoolRegions {
  cpu::MaxRoiPool plan;
  const cpu::MaxRoiPool::Region* regions;
  const float* image;
  float* out;
  __device__ void operator()(std::int64_t i) const { out[i] = plan.largest(regions, image, i); }
};

void max_roi_pool(Call& call) {
  std::vector<cpu::MaxRoiPool::Region> regions;
  const cpu::MaxRoiPool plan = cpu::plan_max_roi_pool(call, regions);
  const Tensor image = call.input(0);
  const auto count = static_cast<std::int64_t>(regions.size());
  Tensor& out = call.output(0, DataType::float32, {count, plan.channels, plan.rows, plan.columns});
  if (out.elements() == 0) return;
  const Tensor list = upload_regions(call, regions);
  for_each(out.elements(), stream_of(call),
           PoolRegions{plan, reinterpret_cast<const cpu::MaxRoiPool::Region*>(list.data()), image.data<float>(),
                       out.mutable_data<float>()});
}

/// What the weights of image n multiply: [channels, taps, points].
struct SampleTaps {
  cpu::DeformConv plan;
  std::int64_t n;
  float* out;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t point = i % plan.points();
    const std::int64_t tap = i / plan.points() % plan.taps;
    const std::int64_t channel = i / plan.points() / plan.taps;
    const std::int64_t group = channel / (plan.channels / plan.offset_groups);
    out[i] = static_cast<float>(plan.value(n, channel, plan.corners(n, group, tap, point)) *
                                plan.factor(n, group, tap, point));
  }
};

void deform_conv(Call& call) {
  const cpu::DeformConv plan = cpu::plan_deform_conv(call);
  const Tensor w = call.input(1);
  const Tensor bias = call.has(3) ? call.input(3) : Tensor();
  Tensor y = call.device.allocate(DataType::float32, {plan.batch, plan.out_channels, plan.rows, plan.columns});
  const std::int64_t inner = plan.group_channels() * plan.taps;
  const std::int64_t points = plan.points();
  const Tensor sampled = call.device.allocate(DataType::float32, {plan.channels, plan.taps, points});
  Tensor columns = sampled;
  Product product;
  product.rows = plan.out_channels / plan.groups;
  product.inner = inner;
  product.columns = points;
  product.batch = plan.groups;
  product.stride_a = product.rows * inner;
  product.stride_b = inner * points;
  product.stride_c = product.rows * points;
  for (std::int64_t n = 0; n < plan.batch && y.elements() > 0; ++n) {
    for_each(columns.elements(), stream_of(call), SampleTaps{plan, n, columns.mutable_data<float>()});
    device_of(call).products().multiply(product, w.data<float>(), columns.data<float>(),
                                        y.mutable_data<float>() + n * plan.out_channels * points);
  }
  add_bias(call, bias, y);
  call.outputs[0] = std::move(y);
}

/// One thread a pixel, which gathers what the blocks over it hold, tap by tap.
struct GatherBlocks {
  int rank;
  std::int64_t image[most_spatial], block[most_spatial], columns[most_spatial];
  std::int64_t strides[most_spatial], dilations[most_spatial], pads[most_spatial];
  std::int64_t pixels, taps, positions;
  const float* in;
  float* out;

  __device__ void operator()(std::int64_t i) const {
    std::int64_t at[most_spatial];
    std::int64_t rest = i % pixels;
    for (int d = rank - 1; d >= 0; --d) {
      at[d] = rest % image[d] + pads[d];
      rest /= image[d];
    }
    const float* plane = in + i / pixels * taps * positions;
    float sum = 0;
    for (std::int64_t t = 0; t < taps; ++t) {
      std::int64_t tap = t;
      std::int64_t column = 0;
      std::int64_t stride = 1;
      bool inside = true;
      for (int d = rank - 1; d >= 0; --d) {
        const std::int64_t begin = at[d] - tap % block[d] * dilations[d];
        tap /= block[d];
        inside = inside && begin >= 0 && begin % strides[d] == 0 && begin / strides[d] < columns[d];
        column += begin / strides[d] * stride;
        stride *= columns[d];
      }
      if (inside) sum = sum + plane[t * positions + column];
    }
    out[i] = sum;
  }
};

void col2im(Call& call) {
  require_float32(call);
  const Tensor in = call.input(0);
  const cpu::Col2Im plan = cpu::plan_col2im(call);
  const std::size_t rank = plan.image.rank();
  if (rank > most_spatial) call.fail("more than 6 spatial dimensions");
  GatherBlocks functor{};
  functor.rank = static_cast<int>(rank);
  for (std::size_t d = 0; d < rank; ++d) {
    functor.image[d] = plan.image[d];
    functor.block[d] = plan.block[d];
    functor.columns[d] = plan.columns[d];
    functor.strides[d] = plan.strides[d];
    functor.dilations[d] = plan.dilations[d];
    functor.pads[d] = plan.pads[d];
  }
  functor.pixels = plan.image.elements();
  functor.taps = plan.block.elements();
  functor.positions = plan.columns.elements();
  functor.in = in.data<float>();
  Tensor& out = call.output(0, DataType::float32, plan.output);
  functor.out = out.mutable_data<float>();
  for_each(out.elements(), stream_of(call), functor);
}

}  // namespace

void register_sampling(OperatorTable& table) {
  table.add("AffineGrid", cpu::checked<affine_grid, 2>);
  table.add("Col2Im", cpu::checked<col2im, 3>);
  table.add("DeformConv", cpu::checked<deform_conv, 3>);
  table.add("GridSample", cpu::checked<grid_sample, 2>, cpu::Half::native);
  table.add("MaxRoiPool", cpu::checked<max_roi_pool, 2>, cpu::Half::widen, {.host = 2});
  table.add("RoiAlign", cpu::checked<roi_align, 3>, cpu::Half::widen, {.host = 2});
}

}  // namespace tare::cuda
