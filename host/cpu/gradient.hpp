// The gradient of quantize-dequantize on the CPU (mirrored by cuda/gradient.cu), and what both have in common.
#pragma once

#include <span>

#include "cpu/grid_runs.hpp"
#include "cpu/operators.hpp"

namespace tare::cpu {

/// How the sums of the grids are shared out: by what a tensor and its grids are alone, so that they have one order.
struct GradientShares {
  enum class Way {
    columns,  ///< rows of columns with a grid each
    runs,     ///< segments of runs
    grids,    ///< runs too short for that: all elements of a grid
  };
  static constexpr std::int64_t segment = 8192;
  static constexpr std::int64_t short_run = 32;

  explicit GradientShares(const GridRuns& runs)
      : way(runs.column_mode()      ? Way::columns
            : runs.run >= short_run ? Way::runs
                                    : Way::grids),
        segments_a_run((runs.run + segment - 1) / segment),
        segments(runs.elements / runs.run * segments_a_run) {}

  Way way;
  std::int64_t segments_a_run;
  std::int64_t segments;
};

/// Throws Error(data) or Error(unsupported), naming the quantizer, as Backend::quantize_gradient says.
void check_gradient(const Tensor& input, const Tensor& gradient, const TensorEncodings& encodings);
/// `scale` and `offset` of every grid, as encodings stand.
QuantizeGradient in_order_of_encodings(Tensor input, const GridRuns& runs, std::span<const double> scale,
                                       std::span<const double> offset);

QuantizeGradient quantize_gradient(Device& device, const Tensor& input, const Tensor& gradient,
                                   const TensorEncodings& encodings, Rounding rounding);

}  // namespace tare::cpu
