// The gradient of quantize-dequantize. What the input gets is one read of two tensors and one write; what the grids get
// are float64 sums of parts (cpu::GradientShares), joined by a second launch in an order that the sizes alone decide.
#include "gradient.hpp"

#include "cpu/gradient.hpp"
#include "cpu/gradient_formula.hpp"
#include "float_element.hpp"
#include "quantize_vector.hpp"

namespace tare::cuda {
namespace {

constexpr std::int64_t least_shares = 1024;                 ///< of columns, where there are rows enough
constexpr std::int64_t most_walks = std::int64_t{1} << 19;  ///< columns times shares, beyond those
constexpr std::int64_t least_rows = 64;                     ///< of a share

using cpu::GradientShares;

struct Sums {
  double scale = 0;
  double offset = 0;

  __device__ void add(const Sums& more) {
    scale += more.scale;
    offset += more.offset;
  }
};

/// What the threads of a team have, together.
__device__ void give(const Team& team, const Sums& own, Sums& result) {
  const Sums all{team.sum(own.scale), team.sum(own.offset)};
  if (team.thread == 0) result = all;
}

/// One element after the other.
struct Elements {
  FloatInput in;
  FloatInput gradient;
  FloatOutput out;

  template <class Formula>
  __device__ void add(std::int64_t i, const Formula& terms_of, Sums& sums) const {
    put(i, terms_of(in[i], gradient[i]), sums);
  }
  /// Elements first, first + step, … below `end`, four on their way at a time.
  template <class Formula>
  __device__ void add(std::int64_t first, std::int64_t step, std::int64_t end, const Formula& terms_of,
                      Sums& sums) const {
    std::int64_t i = first;
    for (; i + 3 * step < end; i += 4 * step) {
      float x[4];
      float g[4];
      TARE_UNROLL for (int k = 0; k < 4; ++k) x[k] = in[i + k * step];
      TARE_UNROLL for (int k = 0; k < 4; ++k) g[k] = gradient[i + k * step];
      TARE_UNROLL for (int k = 0; k < 4; ++k) put(i + k * step, terms_of(x[k], g[k]), sums);
    }
    for (; i < end; i += step) add(i, terms_of, sums);
  }

 private:
  __device__ void put(std::int64_t i, const GradientTerms& terms, Sums& sums) const {
    out.set(i, terms.input);
    sums.add({static_cast<double>(terms.scale), static_cast<double>(terms.offset)});
  }
};

template <class Formula>
struct Grids {
  static constexpr Operation operation =
      std::is_same_v<Formula, cpu::GradientHalfUp> ? Operation::half_up : Operation::half_even;
  const PackedGrid* packed;
  Grid one;
  __device__ Formula operator[](std::int64_t grid) const {
    return Formula(packed == nullptr ? one : unpack<operation>(packed[grid]));
  }
};

/// A team a segment of a run.
template <class Formula>
struct OfSegments {
  Elements elements;
  Grids<Formula> grids;
  cpu::GridRuns runs;
  std::int64_t segments_a_run;
  Sums* parts;
  __device__ void operator()(std::int64_t s, const Team& team) const {
    const std::int64_t run = s / segments_a_run;
    const std::int64_t first = run * runs.run + s % segments_a_run * GradientShares::segment;
    const std::int64_t whole = first + GradientShares::segment;
    const std::int64_t run_end = (run + 1) * runs.run;
    Sums sums;
    elements.add(first + team.thread, team.size, whole < run_end ? whole : run_end, grids[runs.grid_of(run)], sums);
    give(team, sums, parts[s]);
  }
};

/// A team a grid.
struct JoinSegments {
  cpu::GridRuns runs;
  std::int64_t segments_a_run;
  const Sums* parts;
  Sums* results;
  __device__ void operator()(std::int64_t grid, const Team& team) const {
    const std::int64_t count = runs.runs_of(grid) * segments_a_run;
    Sums sums;
    for (std::int64_t i = team.thread; i < count; i += team.size)
      sums.add(parts[runs.run_of(grid, i / segments_a_run) * segments_a_run + i % segments_a_run]);
    give(team, sums, results[grid]);
  }
};

/// A team a grid, whose runs are short.
template <class Formula>
struct OfGrids {
  Elements elements;
  Grids<Formula> grids;
  cpu::GridRuns runs;
  Sums* results;
  __device__ void operator()(std::int64_t grid, const Team& team) const {
    const std::int64_t count = runs.runs_of(grid) * runs.run;
    const Formula terms_of = grids[grid];
    Sums sums;
    for (std::int64_t i = team.thread; i < count; i += team.size)
      elements.add(runs.run_of(grid, i / runs.run) * runs.run + i % runs.run, terms_of, sums);
    give(team, sums, results[grid]);
  }
};

/// A thread a column of a share of the rows.
template <class Formula>
struct OfColumns {
  Elements elements;
  Grids<Formula> grids;
  std::int64_t width, rows, shares;
  Sums* parts;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t column = i % width;
    const std::int64_t share = i / width;
    Sums sums;
    elements.add(rows * share / shares * width + column, width, rows * (share + 1) / shares * width, grids[column],
                 sums);
    parts[i] = sums;
  }
};
/// A team a column.
struct JoinColumns {
  std::int64_t width, shares;
  const Sums* parts;
  Sums* results;
  __device__ void operator()(std::int64_t column, const Team& team) const {
    Sums sums;
    for (std::int64_t share = team.thread; share < shares; share += team.size) sums.add(parts[share * width + column]);
    give(team, sums, results[column]);
  }
};

template <class Formula>
void launch_gradient(Device& device, const Elements& elements, const GridMap& map, Sums* results) {
  const StreamView stream = device.stream();
  const Grids<Formula> grids{map.grids, map.uniform};
  const GradientShares shares(map);
  const auto scratch = [&](std::int64_t parts) { return device.allocate(DataType::float64, {2 * parts}); };
  switch (shares.way) {
    case GradientShares::Way::columns: {
      const std::int64_t width = map.dimensions[0].size;
      const std::int64_t rows = map.elements / width;
      const std::int64_t count =
          std::clamp<std::int64_t>(rows / least_rows, 1, std::max(least_shares, most_walks / width));
      Tensor parts = scratch(count * width);
      for_each(count * width, stream,
               OfColumns<Formula>{elements, grids, width, rows, count, parts.mutable_data<Sums>()});
      for_each_row(width, count, stream, JoinColumns{width, count, parts.data<Sums>(), results});
      return;
    }
    case GradientShares::Way::runs: {
      Tensor parts = scratch(shares.segments);
      for_each_row(shares.segments, std::min(map.run, GradientShares::segment), stream,
                   OfSegments<Formula>{elements, grids, map, shares.segments_a_run, parts.mutable_data<Sums>()});
      for_each_row(map.count(), shares.segments / map.count(), stream,
                   JoinSegments{map, shares.segments_a_run, parts.data<Sums>(), results});
      return;
    }
    case GradientShares::Way::grids:
      for_each_row(map.count(), map.elements / map.count(), stream, OfGrids<Formula>{elements, grids, map, results});
      return;
  }
}

}  // namespace

QuantizeGradient quantize_gradient(Device& device, const Tensor& input, const Tensor& gradient, const GridMap& map) {
  const std::int64_t grids = map.count();
  Tensor result = device.allocate(input.type(), input.shape(), input.layout());
  Tensor sums = device.allocate(DataType::float64, {grids, 2});
  if (map.elements > 0) {
    const Elements elements{input, gradient, result};
    if (map.operation == Operation::half_up)
      launch_gradient<cpu::GradientHalfUp>(device, elements, map, sums.mutable_data<Sums>());
    else
      launch_gradient<cpu::GradientHalfEven>(device, elements, map, sums.mutable_data<Sums>());
  }
  std::vector<double> scale(static_cast<std::size_t>(grids));
  std::vector<double> offset(scale.size());
  if (map.elements > 0) {
    sums = device.download(sums);
    for (std::size_t grid = 0; grid < scale.size(); ++grid) {
      scale[grid] = sums.data<double>()[2 * grid];
      offset[grid] = sums.data<double>()[2 * grid + 1];
    }
  }
  return cpu::in_order_of_encodings(std::move(result), map, scale, offset);
}

}  // namespace tare::cuda
