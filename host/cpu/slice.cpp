// Slice and CenterCropPad.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cpu/arguments.hpp"
#include "cpu/movement.hpp"
#include "cpu/strided_copy.hpp"

namespace tare::cpu {
namespace {

struct Range {
  std::int64_t start;
  std::int64_t step;
  std::int64_t count;
};

/// numpy's rule for start:end:step in a dimension.
Range clamp_range(const Call& call, std::int64_t start, std::int64_t end, std::int64_t step, std::int64_t dim) {
  if (step == 0) call.fail("a step of 0");
  // A longer step reaches no further element; clamped, nothing below overflows.
  step = std::clamp(step, -dim - 1, dim + 1);
  if (start < 0) start += dim;
  if (end < 0) end += dim;
  const std::int64_t lowest = step > 0 ? 0 : -1;
  const std::int64_t highest = step > 0 ? dim : dim - 1;
  start = std::clamp(start, lowest, std::max(lowest, highest));
  end = std::clamp(end, lowest, std::max(lowest, highest));
  const std::int64_t length = step > 0 ? end - start : start - end;
  const std::int64_t stride = step > 0 ? step : -step;
  return {start, step, length <= 0 ? 0 : (length + stride - 1) / stride};
}

void slice(Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t rank = in.rank();
  const bool by_inputs = call.inputs.size() > 1;
  const auto starts = by_inputs ? integers_of(call, 1, "starts") : call.node.integers("starts");
  const auto ends = by_inputs ? integers_of(call, 2, "ends") : call.node.integers("ends");
  std::vector<std::int64_t> axes = by_inputs && call.has(3) ? integers_of(call, 3, "axes") : call.node.integers("axes");
  const auto steps = call.has(4) ? integers_of(call, 4, "steps") : std::vector<std::int64_t>(starts.size(), 1);
  if (axes.empty() && !call.has(3) && !call.node.has("axes"))
    for (std::size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<std::int64_t>(i));
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size())
    call.fail(
        fmt::format("{} starts, {} ends, {} axes, {} steps", starts.size(), ends.size(), axes.size(), steps.size()));

  std::array<Range, Shape::max_rank> ranges;
  for (std::size_t d = 0; d < rank; ++d) ranges[d] = {0, 1, in.shape()[d]};
  const std::vector<std::size_t> dims = unique_axes(call, axes, rank);
  for (std::size_t i = 0; i < dims.size(); ++i)
    ranges[dims[i]] = clamp_range(call, starts[i], ends[i], steps[i], in.shape()[dims[i]]);

  Shape shape = in.shape();
  bool whole = true;
  for (std::size_t d = 0; d < rank; ++d) {
    shape[d] = ranges[d].count;
    whole = whole && shape[d] == in.shape()[d] && (ranges[d].step > 0 || shape[d] <= 1);
  }
  if (whole) {
    call.outputs[0] = in;
    return;
  }
  Tensor& out = call.output(0, in.type(), shape, in.layout());
  const Shape from = strides_of(in);
  const Shape to = strides_of(out);
  std::int64_t offset = 0;
  CopyPlan plan;
  for (std::size_t d = 0; d < rank; ++d) {
    plan.add(shape[d], from[d] * ranges[d].step, to[d]);
    offset += from[d] * ranges[d].start;
  }
  if (out.elements() == 0) return;
  const std::size_t size = size_of(in.type());
  plan.run(call.device, size, in.data() + offset * static_cast<std::ptrdiff_t>(size), out.mutable_data());
}

void center_crop_pad(Call& call) {
  const Tensor& in = call.input(0);
  const std::vector<std::int64_t> wanted = integers_of(call, 1, "shape");
  std::vector<std::int64_t> axes = call.node.integers("axes");
  if (!call.node.has("axes"))
    for (std::size_t i = 0; i < in.rank(); ++i) axes.push_back(static_cast<std::int64_t>(i));
  if (axes.size() != wanted.size()) call.fail(fmt::format("{} sizes for {} axes", wanted.size(), axes.size()));
  const std::vector<std::size_t> dims = unique_axes(call, axes, in.rank());
  std::vector<std::int64_t> before(in.rank(), 0);
  std::vector<std::int64_t> after(in.rank(), 0);
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (wanted[i] < 0) call.fail(fmt::format("a size of {}", wanted[i]));
    const std::int64_t added = wanted[i] - in.shape()[dims[i]];
    // Both halves round towards zero: an odd element goes to the end.
    before[dims[i]] = added / 2;
    after[dims[i]] = added - added / 2;
  }
  const std::array<std::uint64_t, 2> zero{};
  pad(call, PadMode::constant, before, after, zero.data());
}

}  // namespace

void register_slice(OperatorTable& table) {
  table.add("Slice", Operator{.function = checked<slice>, .half = Half::native, .channels_last = true});
  table.add("CenterCropPad",
            Operator{.function = checked<center_crop_pad, 2>, .half = Half::native, .channels_last = true});
}

}  // namespace tare::cpu
