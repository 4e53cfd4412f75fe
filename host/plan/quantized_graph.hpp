// A graph whose constants have been quantized once, and which values are left to quantize while it runs.
#pragma once

#include <vector>

#include "tare/backend.hpp"
#include "tare/graph.hpp"
#include "tare/quantizer.hpp"

namespace tare {

struct QuantizedGraph {
  Graph graph;
  std::vector<TensorEncodings> sites;       ///< encodings of values that exist only while the graph runs
  std::vector<std::int32_t> site_of_value;  ///< index into `sites`, or -1
  std::vector<bool> visible() const;
  /// Makes nodes of the quantizers with one integer grid for a float32 tensor, where `backend` has a kernel for such
  /// nodes: those can be joined with others (chains.hpp). What is left stays in `sites`.
  void quantize_in_nodes(Rounding rounding, const Backend& backend);
};

/// Replaces every constant that has an encoding by its quantized-dequantized values. Encodings of more than 16 bits
/// (int32 biases) are left alone. Per-channel encodings without an axis get the one their operator implies. Throws
/// Error(model) naming encodings of tensors that the graph does not have, and encodings whose count does not fit.
QuantizedGraph quantize_constants(const Graph& graph, const EncodingSet& encodings, Backend& backend,
                                  Rounding rounding);

/// What an executor takes to simulate a model: constants quantized, quantizers in nodes, and made runnable.
QuantizedGraph make_simulated(const Graph& graph, const EncodingSet& encodings, Backend& backend, Rounding rounding);

}  // namespace tare
