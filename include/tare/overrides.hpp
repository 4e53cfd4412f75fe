// What the user says of single quantizers, on top of a config: which operators to quantize at all, settings by the
// tensor's name, and encodings that are known already. All of it works on the list of sites that place() makes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tare/placement.hpp"
#include "tare/quantizer.hpp"

namespace tare {

/// A quantizer stays on where a chosen operator makes its tensor or reads it (tensors that are only moved count for
/// whoever reads them then).
struct SiteSelection {
  std::vector<std::string> op_types_to_quantize;  ///< empty: all
  std::vector<std::string> op_types_to_exclude;
  std::vector<std::string> nodes_to_exclude;
};

/// Throws Error(usage) naming an operator type or node that the graph does not have.
void select_sites(std::vector<QuantSite>& sites, const Graph& graph, const SiteSelection& selection);

/// New settings for the quantizers of all tensors whose name matches.
struct SiteOverride {
  std::string pattern;  ///< regular expression (ECMAScript) for the whole name
  std::optional<bool> enabled{};
  std::optional<QuantizedType> type{};
  std::optional<int> bitwidth{};
  std::optional<bool> symmetric{};
  std::optional<bool> strict_symmetric{};
  std::optional<bool> unsigned_symmetric{};
  std::optional<Scheme> scheme{};
  std::optional<double> min{};                 ///< a fixed range from here …
  std::optional<double> max{};                 ///< … to here, or to the largest value that the search finds
  std::optional<int> block_size{};             ///< of weights: a range for every so many inputs of a channel
  std::optional<int> decompressed_bitwidth{};  ///< low-power blocks (quantizer.hpp)
};

/// "regex:bits=16,symmetric=true,scheme=mse,enabled=false"; keys: enabled, type, bits, symmetric, strict, unsigned,
/// scheme, min, max, block, decompressed_bits. The last colon with a key behind it ends the expression. Throws
/// Error(usage) with the text.
SiteOverride parse_override(std::string_view text);

/// In their order: later ones win. Tensors that share a range take each other's. Throws Error(usage) naming a pattern
/// that is no expression or matches no quantizer, or a tensor that cannot be cut into blocks.
void apply_overrides(std::vector<QuantSite>& sites, const Graph& graph, const std::vector<SiteOverride>& overrides);

/// "min_max" ("tf"), "sqnr", "mse", "percentile", "entropy", "tf_enhanced"; '-' as '_'. None for another text.
std::optional<Scheme> scheme_of(std::string_view name);
std::string_view name_of(Scheme scheme);

/// Encodings that are not to be searched: of a file, of a QDQ model, of an earlier run.
struct GivenEncodings {
  EncodingSet set;
  bool parameters_only = false;  ///< those of activations are left aside
  /// A quantizer of another kind, or without a given encoding, is an error; else it becomes the given kind, or is
  /// searched.
  bool strict = false;
  bool only_quantizers = false;  ///< tensors without a given encoding have no quantizer
  bool tells_symmetry = true;    ///< false of version 2.0.0: a signed grid around 0 may be of an asymmetric quantizer
};

struct AdoptedEncodings {
  EncodingSet set;  ///< one for every site that needs no search, axes filled in
  /// "'x': given 16 bits, placed 8 bits": one line a tensor; quantizers that the file leaves out are among them
  std::vector<std::string> mismatches;
};

/// Gives the sites of the given tensors the given kind, and enables them. Encodings of more than 16 bits (biases) and
/// those that follow from others (add_derived_encodings) are left aside. Sites that share a range with a given one take
/// its encoding. Throws Error(model) listing tensors that the graph does not have, and mismatches when strict.
AdoptedEncodings adopt_encodings(std::vector<QuantSite>& sites, const Graph& graph, const GivenEncodings& given);

}  // namespace tare
