#include "calib/low_power_blocks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tare/error.hpp"

namespace tare::calib {

void snap_to_low_power_blocks(TensorEncodings& tensor, std::size_t channels) {
  const QuantizerSpec& spec = tensor.spec;
  const int ratio_bits = spec.decompressed_bitwidth - spec.bitwidth;
  if (spec.format != NumberFormat::integer || !spec.symmetric || !spec.block_axis || ratio_bits < 1 || ratio_bits > 16)
    throw Error(
        ErrorKind::usage,
        fmt::format("'{}': low-power blocks need a symmetric integer grid, blocks, and {} bits or fewer, not {}",
                    tensor.tensor, spec.decompressed_bitwidth - 1, spec.bitwidth));
  if (channels == 0) return;
  const double largest_ratio = std::exp2(ratio_bits);
  const std::size_t blocks = tensor.encodings.size() / channels;
  for (std::size_t channel = 0; channel < channels; ++channel) {
    const auto begin = tensor.encodings.begin() + static_cast<std::ptrdiff_t>(channel * blocks);
    const auto end = begin + static_cast<std::ptrdiff_t>(blocks);
    const auto largest =
        std::max_element(begin, end, [](const Encoding& a, const Encoding& b) { return a.scale < b.scale; });
    if (largest == end) continue;
    const double unit = largest->scale / largest_ratio;
    for (auto encoding = begin; encoding != end; ++encoding) {
      encoding->scale = unit * std::clamp(std::nearbyint(encoding->scale / unit), 1.0, largest_ratio);
      encoding->min = encoding->scale * encoding->offset;
      encoding->max = encoding->scale * (encoding->offset + static_cast<double>(spec.steps()));
    }
  }
}

LowPowerScales low_power_scales(const TensorEncodings& tensor, std::size_t channels) {
  constexpr double tolerance = 1e-5;  // of one multiple: scales may have gone through float32
  const std::int64_t largest_multiple = std::int64_t{1} << (tensor.spec.decompressed_bitwidth - tensor.spec.bitwidth);
  const std::size_t blocks = channels == 0 ? 0 : tensor.encodings.size() / channels;
  LowPowerScales result;
  for (std::size_t channel = 0; channel < channels; ++channel) {
    const auto* first = tensor.encodings.data() + channel * blocks;
    double largest = 0;
    for (std::size_t b = 0; b < blocks; ++b) largest = std::max(largest, first[b].scale);
    const auto divides = [&](std::int64_t multiple) {
      const double unit = largest / static_cast<double>(multiple);
      return std::all_of(first, first + blocks, [&](const Encoding& encoding) {
        const double ratio = encoding.scale / unit;
        return ratio > 0.5 && std::fabs(ratio - std::nearbyint(ratio)) <= tolerance;
      });
    };
    // The search gives the largest scale of a channel the largest multiple; other tools' files need not.
    std::int64_t multiple = largest_multiple;
    while (multiple > 0 && !divides(multiple)) --multiple;
    if (multiple == 0)
      throw Error(
          ErrorKind::usage,
          fmt::format("'{}': the scales of channel {} are no whole multiples, up to {}, of one scale: they are no "
                      "low-power blocks",
                      tensor.tensor, channel, largest_multiple));
    const double unit = largest / static_cast<double>(multiple);
    result.units.push_back(unit);
    for (std::size_t b = 0; b < blocks; ++b)
      result.multiples.push_back(static_cast<std::int64_t>(std::nearbyint(first[b].scale / unit)));
  }
  return result;
}

}  // namespace tare::calib
