// Which grid a run of elements has: a GridMap made ready for kernels, which divide by multiplication where every number
// is below 2^31.
#pragma once

#include "launch.hpp"
#include "quantize.hpp"

namespace tare::cuda {

/// Divides numbers that are not negative; those that have 32 bits are below 2^31.
struct Divisor {
  std::int64_t value = 1;
  Divider divider;

  Divisor() = default;
  explicit Divisor(std::int64_t by)
      : value(by), divider(static_cast<std::uint32_t>(std::min(by, std::int64_t{1} << 31))) {}
  TARE_HD std::uint32_t quotient(std::uint32_t number) const { return divider.quotient(number); }
  TARE_HD std::int64_t quotient(std::int64_t number) const { return number / value; }
};

struct GridLocator {
  struct Dimension {
    Divisor runs_inside, size, block;
    std::int64_t stride = 0;
  };
  const PackedGrid* grids;
  Divisor run;
  Dimension dimensions[2];
  bool small;  ///< fewer than 2^31 elements: an Index may be std::uint32_t, else it is std::int64_t

  explicit GridLocator(const GridMap& map)
      : grids(map.grids), run(map.run), small(map.elements < (std::int64_t{1} << 31)) {
    for (int d = 0; d < 2; ++d) {
      const cpu::GridDimension& from = map.dimensions[d];
      dimensions[d] = {Divisor(from.runs_inside), Divisor(from.size), Divisor(from.block), from.stride};
    }
  }

  /// Indices of the grids of some runs: all together, so that the launch's geometry is asked once.
  template <class Index, int count>
  TARE_HD void find(const Index (&runs)[count], Index (&found)[count]) const {
    TARE_UNROLL
    for (int i = 0; i < count; ++i) found[i] = 0;
    TARE_UNROLL
    for (int d = 0; d < 2; ++d) {
      const Dimension& dimension = dimensions[d];
      if (dimension.stride == 0) continue;
      Index index[count];
      TARE_UNROLL
      for (int i = 0; i < count; ++i) {
        index[i] = d == 0 ? runs[i] : dimension.runs_inside.quotient(runs[i]);
        index[i] -= dimension.size.quotient(index[i]) * static_cast<Index>(dimension.size.value);
      }
      if (dimension.block.value != 1) {
        TARE_UNROLL
        for (int i = 0; i < count; ++i) index[i] = dimension.block.quotient(index[i]);
      }
      TARE_UNROLL
      for (int i = 0; i < count; ++i) found[i] += index[i] * static_cast<Index>(dimension.stride);
    }
  }
};

}  // namespace tare::cuda
