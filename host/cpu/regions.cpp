// RoiAlign, MaxRoiPool and DeformConv: bilinear reads and maxima over regions of an image. float32 only (half types are
// widened before); sums in float64.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/regions.hpp"
#include "cpu/sampling.hpp"

namespace tare::cpu {
namespace {

const float* floats_of(const Call& call, std::size_t input, std::size_t rank) {
  const Tensor& tensor = call.input(input);
  if (tensor.type() != DataType::float32 || tensor.rank() != rank)
    call.fail(fmt::format("input {} must be a float32 tensor of rank {}, not {} {}", input, rank,
                          name_of(tensor.type()), tensor.shape().text()));
  return tensor.data<float>();
}

std::int64_t positive(const Call& call, std::string_view name, std::int64_t otherwise) {
  const std::int64_t value = call.node.integer(name, otherwise);
  if (value < 1 || value > (std::int64_t{1} << 24)) call.fail(fmt::format("{} is {}", name, value));
  return value;
}

}  // namespace

RoiAlign plan_roi_align(const Call& call, std::vector<RoiAlign::Region>& regions) {
  floats_of(call, 0, 4);
  const float* rois = floats_of(call, 1, 2);
  const Shape& shape = call.input(0).shape();
  const std::int64_t count = call.input(1).shape()[0];
  if (call.input(1).shape()[1] != 4) call.fail("regions have four numbers each");
  const Tensor& batches = call.input(2);
  if (batches.type() != DataType::int64 || batches.elements() != count)
    call.fail("needs one int64 batch index a region");
  RoiAlign plan{shape[1], shape[2], shape[3], positive(call, "output_height", 1), positive(call, "output_width", 1)};
  const std::int64_t sampling = call.node.integer("sampling_ratio", 0);
  const auto scale = static_cast<double>(call.node.real("spatial_scale", 1.0f));
  const bool half_pixel = call.node.text("coordinate_transformation_mode",
                                         call.node.opset >= 16 ? "half_pixel" : "output_half_pixel") == "half_pixel";
  const std::string mode = call.node.text("mode", "avg");
  if (mode != "avg" && mode != "max") call.fail("unknown mode '" + mode + "'");
  for (std::int64_t r = 0; r < count; ++r) {
    const std::int64_t batch = batches.data<std::int64_t>()[r];
    if (batch < 0 || batch >= shape[0]) call.fail(fmt::format("batch index {} of region {} is out of range", batch, r));
    for (std::int64_t k = 0; k < 4; ++k)
      if (!(std::abs(rois[r * 4 + k]) < 1e6f)) call.fail(fmt::format("region {} is not finite or too large", r));
  }
  if (sampling > 4096) call.fail(fmt::format("sampling_ratio is {}", sampling));
  plan.maximum = mode == "max";
  if (count * plan.channels > 0 && plan.height * plan.width == 0) call.fail("cannot sample an empty image");
  const double shift = half_pixel ? 0.5 : 0.0;
  for (std::int64_t r = 0; r < count; ++r) {
    const auto edge = [&](std::int64_t k) { return static_cast<double>(rois[r * 4 + k]) * scale - shift; };
    RoiAlign::Region region{batches.data<std::int64_t>()[r], edge(1), edge(0)};
    double roi_width = edge(2) - region.left, roi_height = edge(3) - region.top;
    if (!half_pixel) {
      roi_width = std::max(roi_width, 1.0);
      roi_height = std::max(roi_height, 1.0);
    }
    region.bin_height = roi_height / static_cast<double>(plan.rows);
    region.bin_width = roi_width / static_cast<double>(plan.columns);
    const auto grid = [&](double bin, std::int64_t limit) {
      return sampling > 0
                 ? sampling
                 : std::clamp<std::int64_t>(static_cast<std::int64_t>(std::ceil(std::min(bin, 1e6))), 0, 4 * limit + 4);
    };
    region.grid_rows = grid(region.bin_height, plan.height);
    region.grid_columns = grid(region.bin_width, plan.width);
    regions.push_back(region);
  }
  return plan;
}

void roi_align(Call& call) {
  std::vector<RoiAlign::Region> regions;
  const RoiAlign plan = plan_roi_align(call, regions);
  const float* image = call.input(0).data<float>();
  const auto count = static_cast<std::int64_t>(regions.size());
  const std::int64_t bins = plan.rows * plan.columns, pixels = plan.height * plan.width;
  Tensor& out = call.output(0, DataType::float32, {count, plan.channels, plan.rows, plan.columns});
  if (out.elements() == 0) return;
  float* y = out.mutable_data<float>();
  call.device.parallel(count, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<Corners> samples;
    for (std::int64_t r = begin; r < end; ++r) {
      const RoiAlign::Region& region = regions[static_cast<std::size_t>(r)];
      const float* plane = image + region.batch * plan.channels * pixels;
      for (std::int64_t bin = 0; bin < bins; ++bin) {
        samples.clear();
        for (std::int64_t i = 0; i < region.samples(); ++i)
          samples.push_back(region.sample(bin / plan.columns, bin % plan.columns, i, plan.height, plan.width));
        for (std::int64_t c = 0; c < plan.channels; ++c) {
          const float* x = plane + c * pixels;
          double result = plan.start(region);
          for (const Corners& sample : samples) result = plan.with(result, sample, x);
          y[(r * plan.channels + c) * bins + bin] = plan.finish(result, region);
        }
      }
    }
  });
}

MaxRoiPool plan_max_roi_pool(const Call& call, std::vector<MaxRoiPool::Region>& regions) {
  floats_of(call, 0, 4);
  const float* rois = floats_of(call, 1, 2);
  const Shape& shape = call.input(0).shape();
  const std::int64_t count = call.input(1).shape()[0];
  if (call.input(1).shape()[1] != 5) call.fail("regions have five numbers each");
  const std::vector<std::int64_t> pooled = call.node.integers("pooled_shape");
  if (pooled.size() != 2 || pooled[0] < 1 || pooled[1] < 1) call.fail("pooled_shape must be two positive numbers");
  const auto scale = static_cast<double>(call.node.real("spatial_scale", 1.0f));
  MaxRoiPool plan{shape[1], shape[2], shape[3], pooled[0], pooled[1]};
  for (std::int64_t r = 0; r < count; ++r) {
    if (!(rois[r * 5] >= 0.0f && rois[r * 5] < static_cast<float>(shape[0])))
      call.fail(fmt::format("batch index {} of region {} is out of range", rois[r * 5], r));
    for (std::int64_t k = 1; k < 5; ++k)
      if (!(std::abs(rois[r * 5 + k] * static_cast<float>(scale)) < 1e9f))
        call.fail(fmt::format("region {} is not finite", r));
    const auto edge = [&](std::int64_t k) {
      return static_cast<std::int64_t>(std::round(static_cast<double>(rois[r * 5 + k]) * scale));
    };
    const auto bin = [&](std::int64_t length, std::int64_t bins) {
      return static_cast<double>(std::max<std::int64_t>(length + 1, 1)) / static_cast<double>(bins);
    };
    regions.push_back({static_cast<std::int64_t>(rois[r * 5]), edge(2), edge(1), bin(edge(4) - edge(2), plan.rows),
                       bin(edge(3) - edge(1), plan.columns)});
  }
  return plan;
}

void max_roi_pool(Call& call) {
  std::vector<MaxRoiPool::Region> regions;
  const MaxRoiPool plan = plan_max_roi_pool(call, regions);
  const auto count = static_cast<std::int64_t>(regions.size());
  Tensor& out = call.output(0, DataType::float32, {count, plan.channels, plan.rows, plan.columns});
  const float* image = call.input(0).data<float>();
  for (std::int64_t i = 0; i < out.elements(); ++i)
    out.mutable_data<float>()[i] = plan.largest(regions.data(), image, i);
}

DeformConv plan_deform_conv(const Call& call) {
  DeformConv plan;
  plan.image = floats_of(call, 0, 4);
  floats_of(call, 1, 4);
  plan.offsets = floats_of(call, 2, 4);
  if (call.has(3)) floats_of(call, 3, 1);
  plan.mask = call.has(4) ? floats_of(call, 4, 4) : nullptr;
  const Shape& in = call.input(0).shape();
  const Shape& kernel = call.input(1).shape();
  const auto pair = [&](std::string_view name, std::size_t n, std::int64_t otherwise) {
    std::vector<std::int64_t> values = call.node.integers(name);
    if (values.empty()) values.assign(n, otherwise);
    if (values.size() != n) call.fail(fmt::format("{} must be {} numbers", name, n));
    for (const std::int64_t v : values)
      if (v < otherwise || v > (std::int64_t{1} << 24)) call.fail(fmt::format("{} holds {}", name, v));
    return values;
  };
  const auto strides = pair("strides", 2, 1), dilations = pair("dilations", 2, 1), pads = pair("pads", 4, 0);
  const std::int64_t groups = positive(call, "group", 1), offset_groups = positive(call, "offset_group", 1);
  const std::int64_t taps = kernel[2] * kernel[3];
  if (in[1] != kernel[1] * groups || kernel[0] % groups != 0 || in[1] % offset_groups != 0)
    call.fail(fmt::format("weights {} with {} groups and {} offset groups do not fit the input {}", kernel.text(),
                          groups, offset_groups, in.text()));
  const auto length = [&](std::size_t d) {
    const std::int64_t room = in[d + 2] + pads[d] + pads[d + 2] - (kernel[d + 2] - 1) * dilations[d] - 1;
    if (room < 0 || kernel[d + 2] < 1) call.fail("the kernel is larger than the padded image");
    return room / strides[d] + 1;
  };
  const std::int64_t rows = length(0), columns = length(1);
  if (!(call.input(2).shape() == Shape{in[0], offset_groups * taps * 2, rows, columns}))
    call.fail("offsets of shape " + call.input(2).shape().text() + " do not fit");
  if (plan.mask != nullptr && !(call.input(4).shape() == Shape{in[0], offset_groups * taps, rows, columns}))
    call.fail("a mask of shape " + call.input(4).shape().text() + " does not fit");
  if (call.has(3) && call.input(3).elements() != kernel[0]) call.fail("needs one bias an output channel");
  plan.batch = in[0];
  plan.channels = in[1];
  plan.height = in[2];
  plan.width = in[3];
  plan.rows = rows;
  plan.columns = columns;
  plan.kernel_columns = kernel[3];
  plan.taps = taps;
  plan.groups = groups;
  plan.offset_groups = offset_groups;
  plan.out_channels = kernel[0];
  plan.row_stride = strides[0];
  plan.column_stride = strides[1];
  plan.row_dilation = dilations[0];
  plan.column_dilation = dilations[1];
  plan.row_pad = pads[0];
  plan.column_pad = pads[1];
  return plan;
}

void deform_conv(Call& call) {
  const DeformConv plan = plan_deform_conv(call);
  const float* weights = call.input(1).data<float>();
  const float* bias = call.has(3) ? call.input(3).data<float>() : nullptr;
  const std::int64_t points = plan.points(), taps = plan.taps, inner = plan.group_channels() * taps;
  Tensor& out = call.output(0, DataType::float32, {plan.batch, plan.out_channels, plan.rows, plan.columns});
  float* y = out.mutable_data<float>();
  call.device.parallel(plan.batch * points, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sampled(static_cast<std::size_t>(plan.channels * taps));
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t n = item / points, point = item % points;
      for (std::int64_t g = 0; g < plan.offset_groups; ++g)
        for (std::int64_t t = 0; t < taps; ++t) {
          const Corners corners = plan.corners(n, g, t, point);
          const double factor = plan.factor(n, g, t, point);
          const std::int64_t members = plan.channels / plan.offset_groups;
          for (std::int64_t c = g * members; c < (g + 1) * members; ++c)
            sampled[static_cast<std::size_t>(c * taps + t)] = plan.value(n, c, corners) * factor;
        }
      for (std::int64_t o = 0; o < plan.out_channels; ++o) {
        const std::int64_t first = o / (plan.out_channels / plan.groups) * inner;
        double sum = bias == nullptr ? 0.0 : static_cast<double>(bias[o]);
        for (std::int64_t k = 0; k < inner; ++k)
          sum += static_cast<double>(weights[o * inner + k]) * sampled[static_cast<std::size_t>(first + k)];
        y[(n * plan.out_channels + o) * points + point] = static_cast<float>(sum);
      }
    }
  });
}

}  // namespace tare::cpu
