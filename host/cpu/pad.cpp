// Pad in its four modes. A constant border is filled slab by slab around a strided copy of the inside; the other modes
// look every coordinate up in a table a dimension.
// Odd: the work is done in physical order, so channels_last tensors are padded where they are.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "cpu/arguments.hpp"
#include "cpu/movement.hpp"
#include "cpu/strided_copy.hpp"
#include "tare/numerics.hpp"

namespace tare::cpu {
namespace {

/// Where output coordinates of one dimension come from: [0, count) of the input after `skip` elements.
std::vector<std::int64_t> source_indices(PadMode mode, std::int64_t before, std::int64_t after, std::int64_t dim) {
  const std::int64_t skip = std::max<std::int64_t>(-before, 0);
  const std::int64_t count = dim - skip - std::max<std::int64_t>(-after, 0);
  const std::int64_t size = dim + before + after;
  std::vector<std::int64_t> indices(static_cast<std::size_t>(size));
  for (std::int64_t i = 0; i < size; ++i) {
    std::int64_t at = i - std::max<std::int64_t>(before, 0);
    if (at < 0 || at >= count) {
      if (mode == PadMode::edge) {
        at = std::clamp<std::int64_t>(at, 0, count - 1);
      } else if (mode == PadMode::wrap) {
        at = (at % count + count) % count;
      } else if (count == 1) {
        at = 0;
      } else {
        const std::int64_t period = 2 * (count - 1);
        at = (at % period + period) % period;
        at = std::min(at, period - at);
      }
    }
    indices[static_cast<std::size_t>(i)] = skip + at;
  }
  return indices;
}

template <class T>
void pad_by_index(const Device& device, const T* in, T* out, const Shape& in_shape, const Shape& out_shape,
                  const std::vector<std::vector<std::int64_t>>& indices) {
  const std::size_t rank = out_shape.rank();
  const std::int64_t columns = out_shape.back();
  const Shape strides = dense_strides(in_shape);
  // The inside of a row is copied as one run; only its ends are looked up.
  const std::vector<std::int64_t>& column = indices.back();
  std::int64_t run_begin = 0;
  std::int64_t run_length = 1;
  for (std::int64_t i = 0, begin = 0; i < columns; ++i) {
    if (i > 0 && column[static_cast<std::size_t>(i)] != column[static_cast<std::size_t>(i - 1)] + 1) begin = i;
    if (i - begin + 1 > run_length) {
      run_begin = begin;
      run_length = i - begin + 1;
    }
  }
  device.parallel(out_shape.elements(0, rank - 1), std::max<std::int64_t>(1, 16384 / columns),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t row = begin; row < end; ++row) {
                      std::int64_t rest = row;
                      const T* from = in;
                      for (std::size_t d = rank - 1; d-- > 0;) {
                        from += indices[d][static_cast<std::size_t>(rest % out_shape[d])] * strides[d];
                        rest /= out_shape[d];
                      }
                      T* to = out + row * columns;
                      for (std::int64_t i = 0; i < run_begin; ++i) to[i] = from[column[static_cast<std::size_t>(i)]];
                      std::memcpy(to + run_begin, from + column[static_cast<std::size_t>(run_begin)],
                                  static_cast<std::size_t>(run_length) * sizeof(T));
                      for (std::int64_t i = run_begin + run_length; i < columns; ++i)
                        to[i] = from[column[static_cast<std::size_t>(i)]];
                    }
                  });
}

void pad_by_value(const Device& device, const Tensor& in, Tensor& out, const Shape& in_shape, const Shape& out_shape,
                  std::span<const std::int64_t> before, std::span<const std::int64_t> after, const void* value) {
  const std::size_t rank = out_shape.rank();
  const std::size_t size = size_of(in.type());
  const Shape from = dense_strides(in_shape);
  const Shape to = dense_strides(out_shape);
  Shape inside(rank, 0);
  Shape first(rank, 0);
  std::int64_t from_offset = 0;
  std::int64_t to_offset = 0;
  CopyPlan plan;
  for (std::size_t d = 0; d < rank; ++d) {
    first[d] = std::max<std::int64_t>(before[d], 0);
    inside[d] = std::max<std::int64_t>(
        0, in_shape[d] + std::min<std::int64_t>(before[d], 0) + std::min<std::int64_t>(after[d], 0));
    from_offset += std::max<std::int64_t>(-before[d], 0) * from[d];
    to_offset += first[d] * to[d];
    plan.add(inside[d], from[d], to[d]);
  }
  if (inside.elements() != 0)
    plan.run(device, size, in.data() + static_cast<std::size_t>(from_offset) * size,
             out.mutable_data() + static_cast<std::size_t>(to_offset) * size);
  // Slabs before and after dimension d: outer dimensions inside only, inner ones whole. Together they are the border.
  for (std::size_t d = 0; d < rank; ++d) {
    const std::int64_t last = first[d] + inside[d];
    const std::array<std::array<std::int64_t, 2>, 2> slabs{{{0, first[d]}, {last, out_shape[d] - last}}};
    for (const auto& [start, count] : slabs) {
      std::int64_t offset = start * to[d];
      CopyPlan slab;
      for (std::size_t i = 0; i < d; ++i) {
        slab.add(inside[i], 0, to[i]);
        offset += first[i] * to[i];
      }
      slab.add(count, 0, to[d]);
      for (std::size_t i = d + 1; i < rank; ++i) slab.add(out_shape[i], 0, to[i]);
      slab.fill(device, size, value, out.mutable_data() + static_cast<std::size_t>(offset) * size);
    }
  }
}

void pad_operator(Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t rank = in.rank();
  const std::string mode = call.node.text("mode", "constant");
  PadMode kind = PadMode::constant;
  if (mode == "reflect")
    kind = PadMode::reflect;
  else if (mode == "edge")
    kind = PadMode::edge;
  else if (mode == "wrap")
    kind = PadMode::wrap;
  else if (mode != "constant")
    call.fail(fmt::format("unknown mode '{}'", mode));

  const bool by_inputs = call.inputs.size() > 1;
  const std::vector<std::int64_t> pads = by_inputs ? integers_of(call, 1, "pads") : call.node.integers("pads");
  std::vector<std::size_t> axes;
  if (call.has(3)) {
    axes = unique_axes(call, integers_of(call, 3, "axes"), rank);
  } else {
    for (std::size_t i = 0; i < rank; ++i) axes.push_back(i);
  }
  if (pads.size() != 2 * axes.size()) call.fail(fmt::format("{} pads for {} axes", pads.size(), axes.size()));
  std::vector<std::int64_t> before(rank, 0);
  std::vector<std::int64_t> after(rank, 0);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    before[axes[i]] = pads[i];
    after[axes[i]] = pads[i + axes.size()];
  }

  alignas(16) std::array<std::byte, 16> value{};
  if (call.has(2)) {
    const Tensor& constant = call.input(2);
    if (constant.elements() != 1 || constant.type() != in.type())
      call.fail(fmt::format("constant_value must be one {}", name_of(in.type())));
    std::memcpy(value.data(), constant.data(), size_of(in.type()));
  } else if (call.node.has("value")) {
    const float constant = call.node.real("value");
    switch (in.type()) {
      case DataType::float32: std::memcpy(value.data(), &constant, sizeof constant); break;
      case DataType::float64: {
        const double wide = constant;
        std::memcpy(value.data(), &wide, sizeof wide);
        break;
      }
      case DataType::float16: {
        const std::uint16_t half = float_to_half(constant);
        std::memcpy(value.data(), &half, sizeof half);
        break;
      }
      default:
        if (constant != 0)
          call.fail(fmt::format("a value of {} for elements of type {}", constant, name_of(in.type())));
    }
  }
  pad(call, kind, before, after, value.data());
}

}  // namespace

void pad(Call& call, PadMode mode, std::span<const std::int64_t> before, std::span<const std::int64_t> after,
         const void* value) {
  const Tensor& in = call.input(0);
  const std::size_t rank = in.rank();
  Shape shape = in.shape();
  bool changed = false;
  for (std::size_t d = 0; d < rank; ++d) {
    constexpr std::int64_t limit = std::int64_t{1} << 40;
    if (before[d] < -limit || before[d] > limit || after[d] < -limit || after[d] > limit || shape[d] > limit)
      call.fail(fmt::format("pads {} and {} are too large", before[d], after[d]));
    const std::int64_t kept = shape[d] + std::min<std::int64_t>(before[d], 0) + std::min<std::int64_t>(after[d], 0);
    shape[d] += before[d] + after[d];
    if (shape[d] < 0 || kept < 0)
      call.fail(fmt::format("pads {} and {} leave nothing of a dimension of {}", before[d], after[d], in.shape()[d]));
    if (mode != PadMode::constant && kept == 0 && shape[d] > 0)
      call.fail(fmt::format("dimension {} of {} has no element to repeat", d, in.shape().text()));
    changed = changed || before[d] != 0 || after[d] != 0;
  }
  if (!changed) {
    call.outputs[0] = in;
    return;
  }
  const Shape in_shape = physical_shape(in);
  std::vector<std::int64_t> first(before.begin(), before.end());
  std::vector<std::int64_t> last(after.begin(), after.end());
  if (in.layout() == Layout::channels_last) {
    std::rotate(first.begin() + 1, first.begin() + 2, first.end());
    std::rotate(last.begin() + 1, last.begin() + 2, last.end());
  }
  Tensor& out = call.output(0, in.type(), shape, in.layout());
  if (out.elements() == 0) return;
  const Shape out_shape = physical_shape(out);
  if (mode == PadMode::constant) {
    pad_by_value(call.device, in, out, in_shape, out_shape, first, last, value);
    return;
  }
  std::vector<std::vector<std::int64_t>> indices;
  for (std::size_t d = 0; d < rank; ++d) indices.push_back(source_indices(mode, first[d], last[d], in_shape[d]));
  if (call.device.looks_up(in, out, indices)) return;
  dispatch_size(in.type(), call, [&]<class T>() {
    pad_by_index(call.device, in.data<T>(), out.mutable_data<T>(), in_shape, out_shape, indices);
  });
}

void register_pad(OperatorTable& table) {
  table.add("Pad", Operator{.function = checked<pad_operator>, .half = Half::native, .channels_last = true});
}

}  // namespace tare::cpu
