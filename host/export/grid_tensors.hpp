// A TensorEncodings as ONNX says it: an integer type, a scale, a zero point, and the bounds of a grid that does not use
// the whole range of its type.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/source.hpp"
#include "tare/export.hpp"

namespace tare {

struct OnnxGrid {
  DataType type = DataType::undefined;
  std::vector<float> scales;
  std::vector<std::int64_t> zero_points;
  std::vector<std::int64_t> lowest;  ///< codes of the type, zero point included
  std::vector<std::int64_t> highest;
  bool whole_range = true;  ///< every code of the type is one of the grid
  std::int64_t opset = 13;  ///< what QuantizeLinear needs for it
};

/// By how much the codes of a tensor lie below those of its encodings, which start at 0; none: its type is unsigned.
std::optional<std::int64_t> shift_of_signed_codes(const TensorEncodings& encodings, ActivationCodes activations);

/// Throws Error naming the tensor when no ONNX type holds the grid.
OnnxGrid onnx_grid(const TensorEncodings& encodings, ActivationCodes activations);

/// Shape of the scale: [] per tensor, [C] per channel, the tensor's own with blocks counted along the block axis.
/// Throws Error when the encodings do not fit a tensor of this shape (not checked per tensor).
std::vector<std::int64_t> scale_shape(const TensorEncodings& encodings, const Shape& shape);
/// The encoding's index of every element of the scale (blocks repeat it along the other axes).
std::vector<std::size_t> scale_indices(const TensorEncodings& encodings, const std::vector<std::int64_t>& shape);

/// Integer codes as a TensorProto, 4-bit ones packed.
onnx::TensorProto integer_tensor(DataType type, const std::vector<std::int64_t>& dims,
                                 const std::vector<std::int64_t>& values);
/// Reals as a TensorProto of a float32, float16 or bfloat16 type.
onnx::TensorProto real_tensor(DataType type, const std::vector<std::int64_t>& dims, const std::vector<float>& values);

}  // namespace tare
