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

}  // namespace tare::calib
