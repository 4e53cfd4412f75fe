// Where two simulations of one model part that differ in the order of their sums alone: the first quantizer whose input
// lies so close to the middle of two codes that it rounds the other way. What follows is computed from another number.
// And how far outputs move by that: in runs whose sums are float64, and in runs that move every value by at most one
// unit in its last place before it is quantized, which is less than sums in another order do.
#pragma once

#include <cstddef>
#include <functional>
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
  double largest_steps = 0;  ///< of the grid

  /// Outputs of a run that differs in no more than that: 0 sums in float64, the others move values. Made when asked
  /// for.
  const std::vector<Tensor>& nearby_run(std::size_t number);

  std::vector<std::vector<Tensor>> nearby;
  std::function<std::vector<Tensor>(unsigned seed)> run_moved;
};

/// Sums in float32 beside sums in float64, both with AIMET's rounding.
Divergence find_divergence(const Graph& graph, const EncodingSet& encodings, std::span<const Tensor> inputs);

}  // namespace tare::parity
