// What a run leaves behind for other runtimes: the encodings as a file of AIMET's three formats (docs/encodings.md),
// and the model with its quantizers written into it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tare/model.hpp"
#include "tare/quantizer.hpp"

namespace tare {

/// With which integers the grid of an activation is written; the grid is the same. AIMET calls it force_activation_as.
enum class ActivationCodes : std::uint8_t {
  as_unsigned,  ///< from 0, whatever the symmetry: AIMET's default
  as_signed,    ///< around 0: a symmetric grid has zero point 0
  as_is,        ///< symmetric grids signed, others unsigned
};

struct QdqOptions {
  /// Parameters as integers behind one DequantizeLinear; otherwise as floats behind QuantizeLinear and
  /// DequantizeLinear. Block-wise and 32-bit parameters are always integers.
  bool prequantize_constants = false;
  ActivationCodes activations = ActivationCodes::as_unsigned;
  /// Also a pair at tensors that follow by moving or selecting values alone (add_moved_encodings): runtimes that look
  /// for quantizers around each operator find them. Tensors outside of the main graph are left out, and half types of a
  /// precision that the pair would change.
  bool moved_tensors = false;
  SaveOptions save = {};
};

/// Writes the original model with a QuantizeLinear / DequantizeLinear pair at every tensor of `encodings`. Tensors keep
/// their names: what a node produced as `t` is now `t_unquantized`, and `t` is the dequantized value, also where it is
/// an output of the graph. Graph inputs keep their names, too; their readers read `<input>_dequantized`. The opset is
/// raised to what the grids need (13; 19 for half types and 8-bit floats; 21 for 4 and 16 bits and for blocks), and
/// nodes whose meaning changes on the way are rewritten. Throws Error(unsupported) naming the node or tensor when that
/// cannot be done.
void save_qdq_model(const Model& model, const EncodingSet& encodings, const std::filesystem::path& file,
                    const QdqOptions& options = {});

/// A QDQ model, of tare or another tool, in its parts.
struct UnquantizedModel {
  Model model;
  EncodingSet encodings;
  std::vector<std::string> kept;  ///< pairs of tensors that are also used unquantized, and why: one line each
};
/// Every QuantizeLinear / DequantizeLinear pair with constant grids, and every constant of codes behind a
/// DequantizeLinear, becomes an encoding and leaves the graph; a clamp that only narrows a grid goes with it. Tensors
/// have the names they had before they were quantized. What tare has no grid for stays, and so does a pair that only
/// some readers of its tensor have: an encoding is for all. A model without quantizers comes back as it is, with no
/// encodings.
UnquantizedModel take_quantizers(const Model& model);

enum class EncodingVersion : std::uint8_t { v0_6_1, v1_0_0, v2_0_0 };

/// "0.6.1", "1.0.0" or "2.0.0". Throws Error(usage) for another text.
EncodingVersion parse_encoding_version(std::string_view text);
std::string_view name_of(EncodingVersion version);

/// What an encodings file says beside the encodings.
struct ExportInfo {
  Scheme scheme = Scheme::min_max;  ///< quantizer_args.quant_scheme has AIMET's name of it, or ours if AIMET has none
  int activation_bitwidth = 8;
  int parameter_bitwidth = 8;
  const Graph* graph = nullptr;  ///< for the shapes of tensors with blocks, which version 2.0.0 needs
  ActivationCodes activations = ActivationCodes::as_unsigned;  ///< in version 2.0.0
};

/// JSON as AIMET writes it: keys sorted, four spaces. Throws Error(unsupported) naming the tensor when the version
/// cannot hold it, Error(usage) for a per-channel tensor whose axis is not known where the version needs it.
std::string encodings_to_json(const EncodingSet& encodings, EncodingVersion version, const ExportInfo& info = {});
/// The same as a file that is written whole or not at all.
void save_encodings(const EncodingSet& encodings, EncodingVersion version, const std::filesystem::path& file,
                    const ExportInfo& info = {});

/// What version 2.0.0 says of tensors that have no quantizer of their own: outputs that lie on the grid of an input
/// (reshaped, moved, selected, clipped or padded), inputs that lie on the grid of the output they go into, and 32-bit
/// grids for the biases of quantized operators. Adds them to `encodings`; what is there is kept. `sites`: as placed for
/// this graph, they say which constants are biases; without them it is those that are so for AIMET's default config.
void add_derived_encodings(EncodingSet& encodings, const Graph& graph, std::span<const QuantSite> sites = {});

/// Of these, the tensors that hold the very values of others: behind and in front of operators that only move or select
/// (MaxPool, Reshape, Transpose; not Clip, nor Pad with another number than 0). A quantizer there changes nothing.
void add_moved_encodings(EncodingSet& encodings, const Graph& graph);

/// TensorRT's calibration cache: one symmetric scale of 8 bits an activation, as wide as its range. Parameters are left
/// out: TensorRT finds their scales itself.
std::string to_tensorrt_cache(const EncodingSet& encodings);
/// What ONNX Runtime's quantizer takes as TensorQuantOverrides: by tensor, scale, zero point and axis. A type is said
/// only where it is not the usual one of activations or of parameters: those are options of its run. Throws
/// Error(unsupported) naming a tensor whose grid has no such type (4, 8, 16 bits).
std::string to_onnxruntime_overrides(const EncodingSet& encodings);

/// Reads a file of any of the three versions, AIMET's or tare's; or the section of parameters alone, as AIMET's
/// AdaRound writes it: an object as in 0.6.1, a list as in 1.0.0. A section that is missing is empty. `source` names
/// the text in messages. Versions 0.6.1 and 1.0.0 do not say which axis the channels are on: channel_axis and
/// block_axis stay unset. Version 2.0.0 does not say what is a parameter: taken for one are signed grids and those with
/// an axis. Throws Error(model) naming the place in the file for whatever does not hold together, Error(unsupported)
/// for kinds of encodings that tare does not have.
EncodingSet encodings_from_json(std::string_view json, const std::string& source);
/// Throws Error(io) when the file cannot be read.
EncodingSet load_encodings(const std::filesystem::path& file);

struct EncodingsFile {
  EncodingSet set;
  EncodingVersion version = EncodingVersion::v1_0_0;
};
/// The same, with the version: 2.0.0 promises to list every tensor, also those that follow from others.
EncodingsFile load_encodings_file(const std::filesystem::path& file);

}  // namespace tare
