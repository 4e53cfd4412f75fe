// Quantizers as a side table: which value is quantized, how (QuantizerSpec), and with which grid (Encoding).
// Conventions of AIMET's files: offset = -zero_point on the unsigned grid, real = scale * (code + offset), code in
// [0, steps]. Sources of the formulas: docs/numerics.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tare/graph.hpp"

namespace tare {

enum class NumberFormat : std::uint8_t { integer, float16, float8e4m3fn, float8e5m2 };

enum class Scheme : std::uint8_t { min_max, sqnr, mse, percentile, entropy, tf_enhanced };

enum class Rounding : std::uint8_t {
  half_even,  ///< ONNX QuantizeLinear: round(x / scale) to even, then add the zero point
  half_up,    ///< AIMET: clamp to [min, max], then floor(x / scale - offset + 0.5)
};

/// How one tensor is quantized: everything but the range.
struct QuantizerSpec {
  NumberFormat format = NumberFormat::integer;
  int bitwidth = 8;
  bool symmetric = false;
  bool strict_symmetric = false;      ///< symmetric without the lowest code: [-127, 127]
  bool unsigned_symmetric = false;    ///< symmetric data that is never negative uses codes [0, 255]
  std::optional<int> channel_axis{};  ///< per channel along this axis; none: per tensor
  std::optional<int> block_axis{};    ///< per block of `block_size` along this axis (within each channel)
  int block_size = 0;
  /// Low-power blocks: scales of the blocks are whole multiples, up to 2^(this - bitwidth), of one scale a channel, so
  /// that hardware can widen the codes to this many bits with integers alone. 0: no such tie.
  int decompressed_bitwidth = 0;
  std::optional<Scheme> scheme{};     ///< this quantizer's own scheme; none: the run's
  std::optional<double> fixed_min{};  ///< range constraints applied after the search
  std::optional<double> fixed_max{};
  /// Number of steps of the grid: 2^bitwidth - 1, one less when symmetric and strict.
  std::int64_t steps() const { return (std::int64_t{1} << bitwidth) - 1 - (symmetric && strict_symmetric ? 1 : 0); }
};

/// One grid: min = scale * offset, max = scale * (offset + steps).
struct Encoding {
  double min = 0;
  double max = 0;
  double scale = 0;
  double offset = 0;
  friend bool operator==(const Encoding&, const Encoding&) = default;
};

/// How much a loss changes with the two ends of a grid.
struct RangeGradient {
  double min = 0;
  double max = 0;
};
/// From the gradients of its scale and offset, for training that learns ranges: scale = (max - min) / steps, and where
/// the grid is asymmetric offset = min / scale; a symmetric one keeps its offset. AIMET's rule (docs/numerics.md).
RangeGradient range_gradient(const Encoding& encoding, const QuantizerSpec& spec, double of_scale, double of_offset);

enum class SiteRole : std::uint8_t { activation, parameter };

/// One quantizer: a value, how it is quantized, and whom it shares its range with.
struct QuantSite {
  ValueId value = absent;
  std::string tensor;  ///< the value's name, the key in every file
  SiteRole role = SiteRole::activation;
  bool enabled = true;
  QuantizerSpec spec;
  std::int32_t group = -1;  ///< sites with the same group >= 0 share one range: their statistics are merged
  std::string reason;       ///< why it is where it is (or disabled): for `tare inspect`
};

/// The encodings of one tensor: one entry per tensor, per channel, or per block (row-major over [channel, block]).
struct TensorEncodings {
  std::string tensor;
  SiteRole role = SiteRole::activation;
  QuantizerSpec spec;
  std::vector<Encoding> encodings;
};

/// What a run with one config found: file contents, in a stable order (activations, then parameters, each by name).
struct EncodingSet {
  std::vector<TensorEncodings> tensors;
  /// Linear in the number of tensors.
  const TensorEncodings* find(std::string_view tensor, SiteRole role) const;
  /// Into that order; tensors of one name keep theirs.
  void sort();
};

}  // namespace tare
