// Where two simulations of one model part that differ in the order of their sums alone: the first quantizer whose input
// lies so close to the middle of two codes that it rounds the other way. What follows is computed from another number.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "parity/reference.hpp"
#include "tare/graph.hpp"
#include "tare/tensor.hpp"

namespace tare::parity {

struct Divergence {
  std::string tensor;  ///< empty: none
  std::size_t codes = 0;
  std::size_t elements = 0;
  double largest_steps = 0;             ///< of the grid
  std::vector<Tensor> float64_outputs;  ///< of the run whose convolutions and products sum in float64
};

/// Sums in float32 beside sums in float64, both with AIMET's rounding.
Divergence find_divergence(const Graph& graph, const EncodingSet& encodings, std::span<const Tensor> inputs);

}  // namespace tare::parity
