// What a run leaves behind for other runtimes: the model with its quantizers written into it.
#pragma once

#include <filesystem>

#include "tare/model.hpp"
#include "tare/quantizer.hpp"

namespace tare {

struct QdqOptions {
  /// Parameters as integers behind one DequantizeLinear; otherwise as floats behind QuantizeLinear and
  /// DequantizeLinear. Block-wise and 32-bit parameters are always integers.
  bool prequantize_constants = false;
  SaveOptions save = {};
};

/// Writes the original model with a QuantizeLinear / DequantizeLinear pair at every tensor of `encodings`. Tensors keep
/// their names: what a node produced as `t` is now `t_unquantized`, and `t` is the dequantized value, also where it is
/// an output of the graph. Graph inputs keep their names, too; their readers read `<input>_dequantized`. The opset is
/// raised to what the grids need (13; 19 for half types; 21 for 4 and 16 bits and for blocks), and nodes whose meaning
/// changes on the way are rewritten. Throws Error(unsupported) naming the node or tensor when that cannot be done.
void save_qdq_model(const Model& model, const EncodingSet& encodings, const std::filesystem::path& file,
                    const QdqOptions& options = {});

}  // namespace tare
