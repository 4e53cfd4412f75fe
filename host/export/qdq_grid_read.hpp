// The grid that a QuantizeLinear / DequantizeLinear pair of a model stands for.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "model/source.hpp"
#include "tare/quantizer.hpp"

namespace tare::qdq {

std::int64_t attribute(const onnx::NodeProto& node, std::string_view name, std::int64_t otherwise);

/// Code of an integer or float8 tensor, as the number that it is.
float code_at(const Tensor& tensor, std::int64_t i);

/// The lowest and highest value that a clamp lets through: one each, or a channel each.
struct Bounds {
  const Tensor* low = nullptr;
  const Tensor* high = nullptr;
};

struct Grid {
  const Tensor* scales = nullptr;       ///< null: not constant
  const Tensor* zero_points = nullptr;  ///< null: none
  DataType codes = DataType::undefined;
  std::optional<Shape> shape;  ///< of the tensor, as far as it is known
};

/// `node` says the axis, and how many elements make a block. None: not a grid that tare has, also where `bounds`
/// leave codes that are no grid, or all of them.
std::optional<TensorEncodings> read_grid(const onnx::NodeProto& node, const Grid& grid,
                                         const std::optional<Bounds>& bounds);

/// The zero point, in codes of this type, of one of the grids that read_grid gives.
float zero_point_of(const Encoding& encoding, DataType codes);

}  // namespace tare::qdq
