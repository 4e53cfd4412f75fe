// Resize and Upsample.
// Nearest copies elements by index maps, all axes at once. Linear and cubic run one axis after the other, the last one
// first: the axes that change are few, and a pass over an axis with elements behind it is a weighted sum of rows.
// Odd: channels_last tensors are resized as they lie; the axes run in the logical order, so both layouts give the same
// bits.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "cpu/operators.hpp"
#include "cpu/resize_axis.hpp"
#include "cpu/strided_copy.hpp"
#include "cpu/vector.hpp"

namespace tare::cpu {
namespace {

/// The memory order's index of a logical axis.
std::size_t physical_axis(const Tensor& tensor, std::size_t axis) {
  if (tensor.layout() == Layout::plain || axis == 0) return axis;
  return axis == 1 ? tensor.rank() - 1 : axis - 1;
}

struct PhysicalTaps {
  std::size_t axis;
  ResizeTaps taps;
};

bool look_up_nearest(const Call& call, const Tensor& in, Tensor& out, const std::vector<PhysicalTaps>& axes) {
  std::vector<std::vector<std::int64_t>> indices(in.rank());
  for (const PhysicalTaps& axis : axes) indices[axis.axis].assign(axis.taps.indices.begin(), axis.taps.indices.end());
  return call.device.looks_up(in, out, indices);
}

template <class T>
void copy_nearest(const Call& call, const Shape& in_dims, const Shape& out_dims, const std::vector<PhysicalTaps>& axes,
                  const T* in, T* out) {
  // Everything behind the last resized axis moves as one block.
  std::size_t last = 0;
  for (const PhysicalTaps& axis : axes) last = std::max(last, axis.axis);
  const std::int64_t block = in_dims.elements(last + 1, in_dims.rank());
  std::vector<const std::int32_t*> maps(last + 1, nullptr);
  for (const PhysicalTaps& axis : axes) maps[axis.axis] = axis.taps.indices.data();
  const std::int64_t width = out_dims[last];
  const std::int64_t row = width * block;
  const std::int32_t* map = maps[last];
  call.device.parallel(out_dims.elements(0, last), std::max<std::int64_t>(1, 16384 / (row + 1)),
                       [&](std::int64_t begin, std::int64_t end) {
                         std::int64_t previous = -1;
                         for (std::int64_t r = begin; r < end; ++r) {
                           std::int64_t rest = r, source = 0, stride = 1;
                           for (std::size_t d = last; d-- > 0;) {
                             const std::int64_t at = rest % out_dims[d];
                             rest /= out_dims[d];
                             source += (maps[d] == nullptr ? at : maps[d][at]) * stride;
                             stride *= in_dims[d];
                           }
                           T* y = out + r * row;
                           if (source == previous) {
                             std::memcpy(y, y - row, static_cast<std::size_t>(row) * sizeof(T));
                             continue;
                           }
                           previous = source;
                           const T* x = in + source * in_dims[last] * block;
                           if (block == 1)
                             for (std::int64_t i = 0; i < width; ++i) y[i] = x[map[i]];
                           else
                             for (std::int64_t i = 0; i < width; ++i)
                               std::copy_n(x + map[i] * block, block, y + i * block);
                         }
                       });
}

/// One axis of a linear or cubic resize: [outer, in, inner] to [outer, out, inner].
template <class T>
void blend_axis(const Call& call, std::int64_t outer, std::int64_t in_size, std::int64_t out_size, std::int64_t inner,
                const ResizeTaps& taps, const T* in, T* out) {
  if constexpr (std::is_same_v<T, float>)
    if (call.device.blends(outer, in_size, out_size, inner, taps, in, out)) return;
  const std::vector<T> weights(taps.weights.begin(), taps.weights.end());
  const VectorKernels& v = call.device.vector();
  const auto n = static_cast<std::size_t>(out_size);
  if (inner == 1) {
    call.device.parallel(outer, std::max<std::int64_t>(1, 8192 / (out_size + 1)),
                         [&](std::int64_t begin, std::int64_t end) {
                           for (std::int64_t o = begin; o < end; ++o) {
                             const T* x = in + o * in_size;
                             T* y = out + o * out_size;
                             if constexpr (std::is_same_v<T, float>) {
                               v.blend_elements(x, taps.indices.data(), weights.data(), taps.taps, y, n);
                             } else {
                               for (std::size_t i = 0; i < n; ++i) {
                                 y[i] = T{0};
                                 for (std::size_t k = 0; k < taps.taps; ++k)
                                   y[i] += weights[k * n + i] * x[taps.indices[k * n + i]];
                               }
                             }
                           }
                         });
    return;
  }
  call.device.parallel(
      outer * out_size, std::max<std::int64_t>(1, 8192 / (inner + 1)), [&](std::int64_t begin, std::int64_t end) {
        std::vector<std::int64_t> offsets(taps.taps);
        std::vector<T> row_weights(taps.taps);
        for (std::int64_t item = begin; item < end; ++item) {
          const auto i = static_cast<std::size_t>(item % out_size);
          for (std::size_t k = 0; k < taps.taps; ++k) {
            offsets[k] = (item / out_size * in_size + taps.indices[k * n + i]) * inner;
            row_weights[k] = weights[k * n + i];
          }
          T* y = out + item * inner;
          if constexpr (std::is_same_v<T, float>) {
            v.blend_rows(in, offsets.data(), row_weights.data(), taps.taps, y, static_cast<std::size_t>(inner));
          } else {
            for (std::int64_t e = 0; e < inner; ++e) {
              y[e] = T{0};
              for (std::size_t k = 0; k < taps.taps; ++k) y[e] += row_weights[k] * in[offsets[k] + e];
            }
          }
        }
      });
}

template <class T>
Tensor blend(const Call& call, Tensor tensor, const std::vector<PhysicalTaps>& axes, Shape dims,
             const Shape& out_dims) {
  for (std::size_t a = axes.size(); a-- > 0;) {
    const std::size_t axis = axes[a].axis;
    const std::int64_t outer = dims.elements(0, axis);
    const std::int64_t inner = dims.elements(axis + 1, dims.rank());
    const std::int64_t in_size = dims[axis];
    dims[axis] = out_dims[axis];
    Tensor next = call.device.allocate(type_of<T>(), dims);
    blend_axis<T>(call, outer, in_size, dims[axis], inner, axes[a].taps, tensor.data<T>(), next.mutable_data<T>());
    tensor = std::move(next);
  }
  return tensor;
}

template <class T>
void extrapolate(const Device& device, const Shape& dims, const std::vector<PhysicalTaps>& axes, T value, T* out) {
  for (const auto& [axis, taps] : axes) {
    const std::int64_t inner = dims.elements(axis + 1, dims.rank());
    for (const std::int64_t i : taps.outside) {
      CopyPlan plan;
      plan.add(dims.elements(0, axis), 0, dims[axis] * inner);
      plan.add(inner, 0, 1);
      plan.fill(device, sizeof(T), &value, out + i * inner);
    }
  }
}

/// Toward zero, as the reference does, and never out of range.
template <class T>
T truncated(double value) {
  if constexpr (std::is_floating_point_v<T>)
    return static_cast<T>(value);
  else if constexpr (std::is_same_v<T, bool>)
    return value != 0.0;
  else {
    if (std::isnan(value) || value <= static_cast<double>(std::numeric_limits<T>::lowest()))
      return std::numeric_limits<T>::lowest();
    if (value >= static_cast<double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
    return static_cast<T>(value);
  }
}

void resize_tensor(Call& call, const std::vector<ResizeAxis>& resized, const ResizeSettings& settings,
                   double extrapolation) {
  const Tensor in = call.input(0);
  Shape shape = in.shape();
  for (const ResizeAxis& axis : resized) shape[axis.axis] = axis.out;
  if (resized.empty()) {
    call.outputs[0] = in;
    return;
  }
  if (shape.elements() == 0) {
    call.output(0, in.type(), shape, in.layout());
    return;
  }
  if (in.elements() == 0)
    call.fail(fmt::format("cannot enlarge the empty shape {} to {}", in.shape().text(), shape.text()));
  Tensor out = call.device.allocate(in.type(), shape, in.layout());
  std::vector<PhysicalTaps> axes;
  axes.reserve(resized.size());
  for (const ResizeAxis& axis : resized)
    axes.push_back({physical_axis(in, axis.axis), resize_taps(call, axis, settings)});
  const Shape in_dims = physical_shape(in);
  const Shape out_dims = physical_shape(out);
  dispatch(in.type(), call, [&]<class T>() {
    if (settings.mode == "nearest") {
      if (!look_up_nearest(call, in, out, axes))
        copy_nearest(call, in_dims, out_dims, axes, in.data<T>(), out.mutable_data<T>());
    } else if constexpr (std::is_floating_point_v<T>) {
      const Tensor blended = blend<T>(call, in, axes, in_dims, out_dims);
      out = Tensor(in.type(), shape, blended.storage(), in.layout());
    } else {
      Tensor wide = call.device.allocate(DataType::float64, in_dims);
      std::copy_n(in.data<T>(), in.elements(), wide.mutable_data<double>());
      const Tensor blended = blend<double>(call, std::move(wide), axes, in_dims, out_dims);
      std::transform(blended.data<double>(), blended.data<double>() + out.elements(), out.mutable_data<T>(),
                     truncated<T>);
    }
    extrapolate(call.device, out_dims, axes, truncated<T>(extrapolation), out.mutable_data<T>());
  });
  call.outputs[0] = out;
}

std::vector<double> floats_of(const Call& call, std::size_t input, std::string_view what) {
  const Tensor& tensor = call.input(input);
  if (tensor.type() == DataType::float64) return {tensor.data<double>(), tensor.data<double>() + tensor.elements()};
  if (tensor.type() != DataType::float32) call.fail(fmt::format("the {} must be float tensors", what));
  return {tensor.data<float>(), tensor.data<float>() + tensor.elements()};
}

/// Length after scaling, in float32 as shape inference computes it.
std::int64_t scaled_length(const Call& call, std::int64_t length, double scale) {
  if (!(scale > 0.0) || !std::isfinite(scale)) call.fail(fmt::format("the scale {} is not positive", scale));
  const float result = std::floor(static_cast<float>(length) * static_cast<float>(scale));
  if (!(result < 0x1p40f)) call.fail(fmt::format("the scale {} makes an axis of {} too long", scale, length));
  return static_cast<std::int64_t>(result);
}

ResizeSettings settings_of(const Call& call) {
  ResizeSettings settings;
  settings.mode = call.node.text("mode", "nearest");
  if (settings.mode != "nearest" && settings.mode != "linear" && settings.mode != "cubic")
    call.fail("unknown mode '" + settings.mode + "'");
  return settings;
}

void add_scaled_axes(const Call& call, const std::vector<std::size_t>& axes, const std::vector<double>& scales,
                     std::vector<ResizeAxis>& resized) {
  if (scales.size() != axes.size()) call.fail(fmt::format("{} scales for {} axes", scales.size(), axes.size()));
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::int64_t length = call.input(0).shape()[axes[i]];
    resized.push_back(
        {.axis = axes[i], .in = length, .out = scaled_length(call, length, scales[i]), .scale = scales[i]});
  }
}

/// Leaves the axes that change, in ascending order.
std::vector<ResizeAxis> changed(std::vector<ResizeAxis> axes, bool crops) {
  std::erase_if(axes, [&](const ResizeAxis& axis) {
    const bool whole = !crops || (axis.roi_begin == 0.0 && axis.roi_end == 1.0);
    return axis.in == axis.out && axis.scale == 1.0 && whole;
  });
  std::sort(axes.begin(), axes.end(), [](const ResizeAxis& a, const ResizeAxis& b) { return a.axis < b.axis; });
  return axes;
}

/// Upsample, and Resize of opset 10: index = floor(position / scale).
void resize_by_scales(Call& call, const std::vector<double>& scales) {
  ResizeSettings settings = settings_of(call);
  settings.coordinates = "asymmetric";
  settings.nearest = "floor";
  std::vector<std::size_t> axes(call.input(0).rank());
  for (std::size_t i = 0; i < axes.size(); ++i) axes[i] = i;
  std::vector<ResizeAxis> resized;
  add_scaled_axes(call, axes, scales, resized);
  resize_tensor(call, changed(std::move(resized), false), settings, 0.0);
}

void upsample(Call& call) {
  if (call.has(1)) return resize_by_scales(call, floats_of(call, 1, "scales"));
  const std::vector<float> scales = call.node.reals("scales");
  resize_by_scales(call, {scales.begin(), scales.end()});
}

void resize(Call& call) {
  if (call.node.opset == 10) return resize_by_scales(call, floats_of(call, 1, "scales"));
  const Tensor& in = call.input(0);
  ResizeSettings settings = settings_of(call);
  settings.coordinates = call.node.text("coordinate_transformation_mode", settings.coordinates);
  settings.nearest = call.node.text("nearest_mode", settings.nearest);
  settings.cubic_a = static_cast<double>(call.node.real("cubic_coeff_a", -0.75f));
  settings.exclude_outside = call.node.integer("exclude_outside", 0) != 0;
  settings.antialias = call.node.integer("antialias", 0) != 0;
  const bool crops = settings.coordinates == "tf_crop_and_resize";

  std::vector<std::size_t> axes;
  for (const std::int64_t axis : call.node.integers("axes")) axes.push_back(axis_of(call, axis, in.rank()));
  if (!call.node.has("axes"))
    for (std::size_t i = 0; i < in.rank(); ++i) axes.push_back(i);
  std::vector<std::size_t> sorted = axes;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) call.fail("an axis is named twice");

  std::vector<ResizeAxis> resized;
  const bool by_scales = call.has(2) && call.input(2).elements() > 0;
  if (by_scales) {
    add_scaled_axes(call, axes, floats_of(call, 2, "scales"), resized);
  } else if (call.has(3)) {
    const Shape sizes = call.input(3).to_shape(call.node.label() + ": sizes");
    if (sizes.rank() != axes.size()) call.fail(fmt::format("{} sizes for {} axes", sizes.rank(), axes.size()));
    const std::string policy = call.node.text("keep_aspect_ratio_policy", "stretch");
    if (policy != "stretch" && policy != "not_larger" && policy != "not_smaller")
      call.fail("unknown keep_aspect_ratio_policy '" + policy + "'");
    std::optional<double> common;
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const std::int64_t length = in.shape()[axes[i]];
      if (sizes[i] < 0) call.fail(fmt::format("the size {} is negative", sizes[i]));
      const double scale = length == 0 ? 1.0 : static_cast<double>(sizes[i]) / static_cast<double>(length);
      resized.push_back({.axis = axes[i], .in = length, .out = sizes[i], .scale = scale});
      if (!common) common = scale;
      common = policy == "not_larger" ? std::min(*common, scale) : std::max(*common, scale);
    }
    if (policy != "stretch")
      for (ResizeAxis& axis : resized) {
        axis.scale = *common;
        const double length = std::floor(*common * static_cast<double>(axis.in) + 0.5);
        if (!(length < 0x1p40)) call.fail(fmt::format("the scale {} makes an axis of {} too long", *common, axis.in));
        axis.out = static_cast<std::int64_t>(length);
      }
  } else {
    call.fail("has neither scales nor sizes");
  }
  if (crops) {
    const std::vector<double> roi = floats_of(call, 1, "roi");
    if (roi.size() != 2 * axes.size()) call.fail(fmt::format("{} roi numbers for {} axes", roi.size(), axes.size()));
    for (std::size_t i = 0; i < axes.size(); ++i) {
      resized[i].roi_begin = roi[i];
      resized[i].roi_end = roi[axes.size() + i];
    }
  }
  resize_tensor(call, changed(std::move(resized), crops), settings,
                static_cast<double>(call.node.real("extrapolation_value", 0.0f)));
}

}  // namespace

void register_resize(OperatorTable& table) {
  table.add("Resize", Operator{.function = resize, .channels_last = true, .first_opset = 10});
  table.add("Upsample", Operator{.function = upsample, .channels_last = true, .first_opset = 7});
}

}  // namespace tare::cpu
