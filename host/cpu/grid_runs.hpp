// Which elements of a tensor share a grid, in memory order: runs of neighbours, and at most two dimensions whose
// indices pick the grid. Plain data, for the kernels of devices, too. Grids are counted as they lie in memory.
#pragma once

#include <cstdint>
#include <vector>

#include "tare/numerics.hpp"
#include "tare/quantizer.hpp"

namespace tare::cpu {

/// A dimension whose index picks the grid: index = run / runs_inside % size, grid += index / block * stride. The stride
/// of one that is not there is 0.
struct GridDimension {
  std::int64_t runs_inside = 1;
  std::int64_t size = 1;
  std::int64_t block = 1;
  std::int64_t stride = 0;
};

struct GridRuns {
  std::int64_t elements = 0;
  std::int64_t run = 1;         ///< neighbours that share a grid
  GridDimension dimensions[2];  ///< the innermost one first, which has one run inside
  std::int64_t channels = 1;
  std::int64_t blocks = 1;       ///< of a channel
  bool channels_inside = false;  ///< grids are counted [block][channel], and not, as encodings, [channel][block]

  TARE_HD std::int64_t count() const { return channels * blocks; }  ///< of grids
  /// Where the encoding of a grid stands.
  TARE_HD std::int64_t encoding_of(std::int64_t grid) const {
    return channels_inside ? grid % channels * blocks + grid / channels : grid;
  }
  /// The innermost dimension is that of the channels: neighbours have neighbouring grids.
  TARE_HD bool column_mode() const {
    return run == 1 && dimensions[0].stride == 1 && dimensions[0].block == 1 && dimensions[1].stride == 0;
  }

  TARE_HD std::int64_t grid_of(std::int64_t run_number) const {
    std::int64_t grid = 0;
    for (const GridDimension& dimension : dimensions)
      grid += run_number / dimension.runs_inside % dimension.size / dimension.block * dimension.stride;
    return grid;
  }
  /// How many runs have a grid, and which one is the i-th of them.
  TARE_HD std::int64_t runs_of(std::int64_t grid) const {
    return outer() * span(1, grid).count * middle() * span(0, grid).count;
  }
  TARE_HD std::int64_t run_of(std::int64_t grid, std::int64_t i) const {
    const Span inside = span(0, grid);
    const Span outside = span(1, grid);
    const std::int64_t at = inside.first + i % inside.count;
    i /= inside.count;
    const std::int64_t between = i % middle();
    i /= middle();
    const std::int64_t further_out = i / outside.count * dimensions[1].size + outside.first + i % outside.count;
    return (further_out * middle() + between) * dimensions[0].size + at;
  }

 private:
  struct Span {
    std::int64_t first;
    std::int64_t count;
  };
  /// Indices of a dimension that pick the grid.
  TARE_HD Span span(int d, std::int64_t grid) const {
    const GridDimension& dimension = dimensions[d];
    if (dimension.stride == 0) return {0, 1};
    const std::int64_t groups = (dimension.size + dimension.block - 1) / dimension.block;
    const std::int64_t first = grid / dimension.stride % groups * dimension.block;
    const std::int64_t left = dimension.size - first;
    return {first, dimension.block < left ? dimension.block : left};
  }
  TARE_HD std::int64_t middle() const {
    return dimensions[1].stride == 0 ? 1 : dimensions[1].runs_inside / dimensions[0].size;
  }
  TARE_HD std::int64_t outer() const { return elements / run / (dimensions[0].size * middle() * dimensions[1].size); }
};

/// A float format without encodings has one grid. Throws Error(data) naming the quantizer where its axes, blocks or
/// number of encodings do not fit the shape.
GridRuns grid_runs(const Shape& shape, Layout layout, const TensorEncodings& encodings);
std::vector<Grid> grids_of(const GridRuns& runs, const TensorEncodings& encodings);

}  // namespace tare::cpu
