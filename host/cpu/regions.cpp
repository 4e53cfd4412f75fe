// RoiAlign, MaxRoiPool and DeformConv: bilinear reads and maxima over regions of an image. float32 only (half types are
// widened before); sums in float64.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

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

/// Four pixels and their weights; all zero outside.
struct Corners {
  std::array<std::int64_t, 4> at{};
  std::array<double, 4> weight{};
};

/// Positions up to one pixel outside take the border, as RoiAlign wants it.
Corners clamped_corners(double y, double x, std::int64_t height, std::int64_t width) {
  Corners c;
  if (!(y >= -1.0 && y <= static_cast<double>(height) && x >= -1.0 && x <= static_cast<double>(width))) return c;
  const auto split = [](double v, std::int64_t size, std::int64_t& low, std::int64_t& high) {
    v = std::max(v, 0.0);
    low = std::min(static_cast<std::int64_t>(v), size - 1);
    high = std::min(low + 1, size - 1);
    return low >= size - 1 ? 0.0 : v - static_cast<double>(low);
  };
  std::int64_t top = 0, bottom = 0, left = 0, right = 0;
  const double dy = split(y, height, top, bottom);
  const double dx = split(x, width, left, right);
  c.at = {top * width + left, top * width + right, bottom * width + left, bottom * width + right};
  c.weight = {(1.0 - dy) * (1.0 - dx), (1.0 - dy) * dx, dy * (1.0 - dx), dy * dx};
  return c;
}

std::int64_t positive(const Call& call, std::string_view name, std::int64_t otherwise) {
  const std::int64_t value = call.node.integer(name, otherwise);
  if (value < 1 || value > (std::int64_t{1} << 24)) call.fail(fmt::format("{} is {}", name, value));
  return value;
}

}  // namespace

void roi_align(Call& call) {
  const float* image = floats_of(call, 0, 4);
  const float* rois = floats_of(call, 1, 2);
  const Shape& shape = call.input(0).shape();
  const std::int64_t count = call.input(1).shape()[0];
  if (call.input(1).shape()[1] != 4) call.fail("regions have four numbers each");
  const Tensor& batches = call.input(2);
  if (batches.type() != DataType::int64 || batches.elements() != count)
    call.fail("needs one int64 batch index a region");
  const std::int64_t channels = shape[1], height = shape[2], width = shape[3];
  const std::int64_t rows = positive(call, "output_height", 1), columns = positive(call, "output_width", 1);
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
  Tensor& out = call.output(0, DataType::float32, {count, channels, rows, columns});
  if (out.elements() == 0) return;
  if (height == 0 || width == 0) call.fail("cannot sample an empty image");
  float* y = out.mutable_data<float>();
  call.device.parallel(count, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<Corners> samples;
    for (std::int64_t r = begin; r < end; ++r) {
      const double shift = half_pixel ? 0.5 : 0.0;
      const auto edge = [&](std::int64_t k) { return static_cast<double>(rois[r * 4 + k]) * scale - shift; };
      const double left = edge(0), top = edge(1);
      double roi_width = edge(2) - left, roi_height = edge(3) - top;
      if (!half_pixel) {
        roi_width = std::max(roi_width, 1.0);
        roi_height = std::max(roi_height, 1.0);
      }
      const double bin_height = roi_height / static_cast<double>(rows),
                   bin_width = roi_width / static_cast<double>(columns);
      const auto grid = [&](double bin, std::int64_t limit) {
        return sampling > 0 ? sampling
                            : std::clamp<std::int64_t>(static_cast<std::int64_t>(std::ceil(std::min(bin, 1e6))), 0,
                                                       4 * limit + 4);
      };
      const std::int64_t grid_rows = grid(bin_height, height), grid_columns = grid(bin_width, width);
      const auto samples_a_bin = static_cast<double>(std::max<std::int64_t>(grid_rows * grid_columns, 1));
      const float* plane = image + batches.data<std::int64_t>()[r] * channels * height * width;
      for (std::int64_t bin = 0; bin < rows * columns; ++bin) {
        samples.clear();
        for (std::int64_t i = 0; i < grid_rows; ++i)
          for (std::int64_t j = 0; j < grid_columns; ++j) {
            const double v = top + (static_cast<double>(bin / columns) +
                                    (static_cast<double>(i) + 0.5) / static_cast<double>(grid_rows)) *
                                       bin_height;
            const double u = left + (static_cast<double>(bin % columns) +
                                     (static_cast<double>(j) + 0.5) / static_cast<double>(grid_columns)) *
                                        bin_width;
            samples.push_back(clamped_corners(v, u, height, width));
          }
        for (std::int64_t c = 0; c < channels; ++c) {
          const float* x = plane + c * height * width;
          double result = mode == "max" && !samples.empty() ? -std::numeric_limits<double>::infinity() : 0.0;
          for (const Corners& s : samples)
            for (std::size_t k = 0; k < 4; ++k) {
              const double term = s.weight[k] * static_cast<double>(x[s.at[k]]);
              result = mode == "max" ? std::max(result, term) : result + term;
            }
          y[(r * channels + c) * rows * columns + bin] =
              static_cast<float>(mode == "max" ? result : result / samples_a_bin);
        }
      }
    }
  });
}

void max_roi_pool(Call& call) {
  const float* image = floats_of(call, 0, 4);
  const float* rois = floats_of(call, 1, 2);
  const Shape& shape = call.input(0).shape();
  const std::int64_t count = call.input(1).shape()[0];
  if (call.input(1).shape()[1] != 5) call.fail("regions have five numbers each");
  const std::vector<std::int64_t> pooled = call.node.integers("pooled_shape");
  if (pooled.size() != 2 || pooled[0] < 1 || pooled[1] < 1) call.fail("pooled_shape must be two positive numbers");
  const auto scale = static_cast<double>(call.node.real("spatial_scale", 1.0f));
  const std::int64_t channels = shape[1], height = shape[2], width = shape[3];
  for (std::int64_t r = 0; r < count; ++r) {
    if (!(rois[r * 5] >= 0.0f && rois[r * 5] < static_cast<float>(shape[0])))
      call.fail(fmt::format("batch index {} of region {} is out of range", rois[r * 5], r));
    for (std::int64_t k = 1; k < 5; ++k)
      if (!(std::abs(rois[r * 5 + k] * static_cast<float>(scale)) < 1e9f))
        call.fail(fmt::format("region {} is not finite", r));
  }
  Tensor& out = call.output(0, DataType::float32, {count, channels, pooled[0], pooled[1]});
  float* y = out.mutable_data<float>();
  for (std::int64_t r = 0; r < count; ++r) {
    const auto edge = [&](std::int64_t k) {
      return static_cast<std::int64_t>(std::round(static_cast<double>(rois[r * 5 + k]) * scale));
    };
    const std::int64_t left = edge(1), top = edge(2);
    const double bin_width =
        static_cast<double>(std::max<std::int64_t>(edge(3) - left + 1, 1)) / static_cast<double>(pooled[1]);
    const double bin_height =
        static_cast<double>(std::max<std::int64_t>(edge(4) - top + 1, 1)) / static_cast<double>(pooled[0]);
    const auto low = [](std::int64_t i, double bin, std::int64_t start, std::int64_t limit) {
      return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(static_cast<double>(i) * bin)) + start, 0,
                                      limit);
    };
    const auto high = [](std::int64_t i, double bin, std::int64_t start, std::int64_t limit) {
      return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::ceil(static_cast<double>(i + 1) * bin)) + start, 0,
                                      limit);
    };
    for (std::int64_t c = 0; c < channels; ++c) {
      const float* x = image + (static_cast<std::int64_t>(rois[r * 5]) * channels + c) * height * width;
      for (std::int64_t i = 0; i < pooled[0]; ++i)
        for (std::int64_t j = 0; j < pooled[1]; ++j) {
          const std::int64_t v0 = low(i, bin_height, top, height), v1 = high(i, bin_height, top, height);
          const std::int64_t u0 = low(j, bin_width, left, width), u1 = high(j, bin_width, left, width);
          float best = v1 > v0 && u1 > u0 ? -std::numeric_limits<float>::infinity() : 0.0f;
          for (std::int64_t v = v0; v < v1; ++v)
            for (std::int64_t u = u0; u < u1; ++u) best = std::max(best, x[v * width + u]);
          *y++ = best;
        }
    }
  }
}

void deform_conv(Call& call) {
  const float* image = floats_of(call, 0, 4);
  const float* weights = floats_of(call, 1, 4);
  const float* offsets = floats_of(call, 2, 4);
  const float* bias = call.has(3) ? floats_of(call, 3, 1) : nullptr;
  const float* mask = call.has(4) ? floats_of(call, 4, 4) : nullptr;
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
  const std::int64_t rows = length(0), columns = length(1), points = rows * columns;
  if (!(call.input(2).shape() == Shape{in[0], offset_groups * taps * 2, rows, columns}))
    call.fail("offsets of shape " + call.input(2).shape().text() + " do not fit");
  if (mask != nullptr && !(call.input(4).shape() == Shape{in[0], offset_groups * taps, rows, columns}))
    call.fail("a mask of shape " + call.input(4).shape().text() + " does not fit");
  if (bias != nullptr && call.input(3).elements() != kernel[0]) call.fail("needs one bias an output channel");
  const std::int64_t height = in[2], width = in[3], plane = height * width;
  Tensor& out = call.output(0, DataType::float32, {in[0], kernel[0], rows, columns});
  float* y = out.mutable_data<float>();
  call.device.parallel(in[0] * points, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sampled(static_cast<std::size_t>(in[1] * taps));
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t n = item / points, point = item % points;
      for (std::int64_t g = 0; g < offset_groups; ++g)
        for (std::int64_t t = 0; t < taps; ++t) {
          const auto offset = [&](std::int64_t k) {
            return static_cast<double>(offsets[((n * offset_groups + g) * taps * 2 + t * 2 + k) * points + point]);
          };
          const double v =
              static_cast<double>(point / columns * strides[0] - pads[0] + t / kernel[3] * dilations[0]) + offset(0);
          const double u =
              static_cast<double>(point % columns * strides[1] - pads[1] + t % kernel[3] * dilations[1]) + offset(1);
          Corners corners;
          if (v > -1.0 && v < static_cast<double>(height) && u > -1.0 && u < static_cast<double>(width)) {
            const double fv = std::floor(v), fu = std::floor(u);
            for (std::size_t k = 0; k < 4; ++k) {
              const std::int64_t row = static_cast<std::int64_t>(fv) + (k >= 2 ? 1 : 0);
              const std::int64_t column = static_cast<std::int64_t>(fu) + (k % 2 == 1 ? 1 : 0);
              if (row < 0 || row >= height || column < 0 || column >= width) continue;
              corners.at[k] = row * width + column;
              corners.weight[k] = (k >= 2 ? v - fv : 1.0 - (v - fv)) * (k % 2 == 1 ? u - fu : 1.0 - (u - fu));
            }
          }
          const double factor =
              mask == nullptr ? 1.0 : static_cast<double>(mask[((n * offset_groups + g) * taps + t) * points + point]);
          const std::int64_t members = in[1] / offset_groups;
          for (std::int64_t c = g * members; c < (g + 1) * members; ++c) {
            double value = 0.0;
            for (std::size_t k = 0; k < 4; ++k)
              if (corners.weight[k] != 0.0)
                value += corners.weight[k] * static_cast<double>(image[(n * in[1] + c) * plane + corners.at[k]]);
            sampled[static_cast<std::size_t>(c * taps + t)] = value * factor;
          }
        }
      for (std::int64_t o = 0; o < kernel[0]; ++o) {
        const std::int64_t first = o / (kernel[0] / groups) * kernel[1] * taps;
        double sum = bias == nullptr ? 0.0 : static_cast<double>(bias[o]);
        for (std::int64_t k = 0; k < kernel[1] * taps; ++k)
          sum += static_cast<double>(weights[o * kernel[1] * taps + k]) * sampled[static_cast<std::size_t>(first + k)];
        y[(n * kernel[0] + o) * points + point] = static_cast<float>(sum);
      }
    }
  });
}

}  // namespace tare::cpu
