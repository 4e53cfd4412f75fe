#include "cpu/grid_runs.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cpu/quantize_plan.hpp"
#include "tare/error.hpp"

namespace tare::cpu {

GridRuns grid_runs(const Shape& shape, Layout layout, const TensorEncodings& encodings) {
  const GridAxes axes = grid_axes(encodings, shape);
  GridRuns runs;
  runs.channels = axes.channels;
  runs.blocks = axes.blocks;
  std::vector<std::int64_t> order;
  for (std::size_t i = 0; i < shape.rank(); ++i) order.push_back(static_cast<std::int64_t>(i));
  if (layout == Layout::channels_last && shape.rank() >= 3)
    std::rotate(order.begin() + 1, order.begin() + 2, order.end());

  std::int64_t inside = 1;  // elements of the dimensions further in
  std::size_t found = 0;
  for (auto axis = order.rbegin(); axis != order.rend(); ++axis) {
    const std::int64_t size = shape[static_cast<std::size_t>(*axis)];
    if (size > 1 && (*axis == axes.channel || *axis == axes.block)) {
      GridDimension dimension{1, size, 1, 1};
      if (*axis == axes.block) {
        dimension.block = encodings.spec.block_size;
        dimension.stride = runs.channels;
      }
      if (found == 0) {
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
  runs.elements = inside;
  if (found == 0) runs.run = std::max<std::int64_t>(inside, 1);
  return runs;
}

std::vector<Grid> grids_of(const GridRuns& runs, const TensorEncodings& encodings) {
  const QuantizerSpec& spec = encodings.spec;
  if (spec.format != NumberFormat::integer && encodings.encodings.empty())  // a float format needs no range
    return {make_grid(1.0, 0.0, 0.0, 0.0, 0.0)};
  if (spec.format != NumberFormat::float16 && static_cast<std::int64_t>(encodings.encodings.size()) != runs.count())
    throw Error(ErrorKind::data, fmt::format("quantizer of '{}': {} encodings for {} channels of {} blocks",
                                             encodings.tensor, encodings.encodings.size(), runs.channels, runs.blocks));
  std::vector<Grid> grids;
  grids.reserve(static_cast<std::size_t>(runs.count()));
  for (std::int64_t grid = 0; grid < runs.count(); ++grid) {
    const Encoding& e = encodings.encodings[static_cast<std::size_t>(runs.encoding_of(grid))];
    grids.push_back(make_grid(e.scale, e.offset, static_cast<double>(spec.steps()), e.min, e.max));
  }
  return grids;
}

}  // namespace tare::cpu
