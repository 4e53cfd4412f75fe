#include "cpu/grid_runs.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "plan/encoding_index.hpp"
#include "tare/error.hpp"

namespace tare::cpu {
namespace {

[[noreturn]] void fail(const TensorEncodings& encodings, const std::string& message) {
  throw Error(ErrorKind::data, fmt::format("quantizer of '{}': {}", encodings.tensor, message));
}

/// What a float format needs no encodings for has one grid, whatever its axes.
bool needs_encodings(const TensorEncodings& encodings) {
  return encodings.spec.format == NumberFormat::integer ||
         (encodings.spec.format != NumberFormat::float16 && !encodings.encodings.empty());
}

/// The specification with its axes counted from the front.
QuantizerSpec spec_on(const Shape& shape, const TensorEncodings& encodings) {
  QuantizerSpec spec = encodings.spec;
  const auto count_from_front = [&](std::optional<int>& axis, const char* what) {
    if (!axis) return;
    const int rank = static_cast<int>(shape.rank());
    if (*axis < -rank || *axis >= rank)
      fail(encodings, fmt::format("{} axis {} does not exist in a tensor of shape {}", what, *axis, shape.text()));
    if (*axis < 0) *axis += rank;
  };
  count_from_front(spec.channel_axis, "channel");
  count_from_front(spec.block_axis, "block");
  if (spec.block_axis && spec.block_size <= 0) fail(encodings, fmt::format("block size {}", spec.block_size));
  if (spec.block_axis && spec.block_axis == spec.channel_axis)
    fail(encodings, fmt::format("axis {} is both the channel and the block axis", *spec.block_axis));
  return spec;
}

}  // namespace

GridRuns grid_runs(const Shape& shape, Layout layout, const TensorEncodings& encodings) {
  GridRuns runs;
  runs.elements = shape.elements();
  if (!needs_encodings(encodings)) {
    runs.run = std::max<std::int64_t>(runs.elements, 1);
    return runs;
  }
  const QuantizerSpec spec = spec_on(shape, encodings);
  const EncodingIndex index(spec, shape);
  runs.channels = static_cast<std::int64_t>(index.channels());
  runs.blocks = static_cast<std::int64_t>(index.blocks());
  if (runs.elements > 0 && static_cast<std::int64_t>(encodings.encodings.size()) != runs.count())
    fail(encodings, fmt::format("{} encodings for {} channels of {} blocks", encodings.encodings.size(), runs.channels,
                                runs.blocks));
  std::vector<int> order;
  for (std::size_t i = 0; i < shape.rank(); ++i) order.push_back(static_cast<int>(i));
  if (layout == Layout::channels_last && shape.rank() >= 3)
    std::rotate(order.begin() + 1, order.begin() + 2, order.end());

  std::int64_t inside = 1;  // elements of the dimensions further in
  std::int64_t stride = 1;  // grids of those
  std::size_t found = 0;
  for (auto axis = order.rbegin(); axis != order.rend(); ++axis) {
    const std::int64_t size = shape[static_cast<std::size_t>(*axis)];
    const bool of_blocks = *axis == spec.block_axis;
    if (size > 1 && (of_blocks || *axis == spec.channel_axis)) {
      GridDimension dimension{1, size, of_blocks ? spec.block_size : 1, stride};
      stride *= of_blocks ? runs.blocks : runs.channels;
      if (found == 0) {
        runs.channels_inside = !of_blocks;
        runs.run = inside;
        if (size % dimension.block == 0) {  // whole blocks are runs
          runs.run *= dimension.block;
          dimension.size /= dimension.block;
          dimension.block = 1;
        }
      } else {
        dimension.runs_inside = inside / runs.run;
      }
      runs.dimensions[found++] = dimension;
    }
    inside *= size;
  }
  if (found == 0) runs.run = std::max<std::int64_t>(inside, 1);
  return runs;
}

std::vector<Grid> grids_of(const GridRuns& runs, const TensorEncodings& encodings) {
  if (encodings.encodings.empty()) return {make_grid(1.0, 0.0, 0.0, 0.0, 0.0)};  // a float format needs no range
  std::vector<Grid> grids;
  grids.reserve(static_cast<std::size_t>(runs.count()));
  for (std::int64_t grid = 0; grid < runs.count(); ++grid) {
    const Encoding& e = encodings.encodings[static_cast<std::size_t>(runs.encoding_of(grid))];
    grids.push_back(make_grid(e.scale, e.offset, static_cast<double>(encodings.spec.steps()), e.min, e.max));
  }
  return grids;
}

}  // namespace tare::cpu
