// The steps of a chain (chain.cpp), read from the nodes that it stands for: which loop, with what.
#pragma once

#include <vector>

#include "cpu/binary.hpp"
#include "cpu/normalization.hpp"

namespace tare::cpu {

/// One integer grid for a whole tensor, from a node tare::QuantizeDequantize.
struct Quantizer {
  void (*loop)(const float*, float*, std::size_t, Grid) = nullptr;
  Grid grid{};
  Rounding rounding = Rounding::half_even;
};
Quantizer quantizer_of(const Node& node, const VectorKernels& vector);

/// Where a step reads: an input of the chain, an earlier step, or a number.
struct Operand {
  enum class Kind { input, step, number };
  Kind kind = Kind::number;
  std::size_t index = 0;
  float number = 0;
  std::size_t rank = 0;  ///< of a number
};

/// What a unary or binary step computes, for devices that have no loops of vector.hpp.
enum class Formula : std::uint8_t {
  absolute,
  clip,
  erf,
  exp,
  hard_sigmoid,
  hard_swish,
  leaky_relu,
  negate,
  relu,
  sigmoid,
  softplus,
  sqrt,
  tanh,
  add,
  divide,
  multiply,
  subtract
};

/// What a step makes of rows, for devices that take them along (Backend::chains_take_rows).
struct RowOperation {
  enum class Kind : std::uint8_t { layer_normalization, rms_normalization, softmax, log_softmax };
  Kind kind = Kind::softmax;
  std::int64_t axis = -1;     ///< where a row begins; it must be the last one
  double epsilon = 0;         ///< of a normalization, as the next
  std::vector<float> scales;  ///< one an element of the row
  std::vector<float> biases;  ///< the same, or empty
};

struct Step {
  enum class Kind : std::uint8_t { unary, binary, affine, quantize, row };
  Kind kind = Kind::unary;
  Formula formula = Formula::absolute;
  void (*unary)(const float*, float*, std::size_t, float, float) = nullptr;
  float a = 0;  ///< of `unary`
  float b = 0;
  BinaryLoops binary{};
  ChannelAffine<float> affine;  ///< empty when the parameters are not what the operator takes: then it fails by itself
  Quantizer quantizer;
  RowOperation row;
  std::vector<Operand> operands;
};

/// Throws Error(internal) for a node that is no part of a chain.
Step step_of(const Graph& steps, const Node& node, const VectorKernels& vector);

}  // namespace tare::cpu
