// Quantize-dequantize on the device: how an element finds its grid, and the launcher. Plain data for host and device.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cpu/grid_runs.hpp"
#include "runtime.hpp"
#include "tare/numerics.hpp"
#include "tare/quantizer.hpp"
#include "tare/tensor.hpp"

namespace tare::cuda {

/// half_even_by_product: every grid has a reciprocal.
enum class Operation : std::uint8_t { half_even, half_even_by_product, half_up, float16, float8e4m3fn, float8e5m2 };

/// The fastest one of integers on these grids.
Operation operation_of(Rounding rounding, std::span<const Grid> grids);

/// A grid as kernels read it, in one load: what the operation's formula needs, or makes by the functions that make_grid
/// makes it with.
struct alignas(16) PackedGrid {
  float scale;
  float zero_point;
  float third;   ///< the reciprocal; half_up: the minimum
  float fourth;  ///< the highest code; half_up: the maximum
};

/// Which elements share a grid, and the grids.
struct GridMap : cpu::GridRuns {
  const PackedGrid* grids = nullptr;  ///< on the device; null: one grid for all, `uniform`
  Grid uniform{};
  Operation operation = Operation::half_even;
};

/// A quantizer's map, which lacks `grids`, and these, in its order: one alone is the uniform one.
struct QuantizerPlan {
  GridMap map;
  std::vector<PackedGrid> grids;
};
/// Throws Error(data) naming the tensor when axes, blocks or the number of encodings do not fit.
QuantizerPlan plan_quantizer(const Shape& shape, Layout layout, const TensorEncodings& encodings, Rounding rounding);
/// quantize_dequantize(), refusing types and addresses that it does not take; `tensor` is its name.
void quantize_checked(const std::string& tensor, const void* input, void* output, DataType type, const GridMap& map,
                      StreamView stream);

void quantize_dequantize(const void* input, void* output, DataType type, const GridMap& map, StreamView stream);

}  // namespace tare::cuda
