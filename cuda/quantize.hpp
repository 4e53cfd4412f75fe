// Quantize-dequantize on the device: how an element finds its grid, and the launcher. Plain data for host and device.
#pragma once

#include <span>
#include <string>
#include <vector>

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

/// A dimension whose index picks the grid: index = run / runs_inside % size, grid += index / block * stride. The stride
/// of one that is not there is 0.
struct GridDimension {
  std::int64_t runs_inside = 1;
  std::int64_t size = 1;
  std::int64_t block = 1;
  std::int64_t stride = 0;
};

/// Elements in memory order: `run` neighbours share a grid; which one follows from at most two dimensions.
struct GridMap {
  std::int64_t elements = 0;
  std::int64_t run = 1;
  GridDimension dimensions[2];        ///< the innermost one first, which has one run inside
  const PackedGrid* grids = nullptr;  ///< on the device; null: one grid for all, `uniform`
  Grid uniform{};
  Operation operation = Operation::half_even;

  /// The innermost dimension is that of the channels: neighbours have neighbouring grids.
  TARE_HD bool column_mode() const {
    return run == 1 && dimensions[0].stride == 1 && dimensions[0].block == 1 && dimensions[1].stride == 0;
  }
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
