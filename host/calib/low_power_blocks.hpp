// Low-power blocks (LPBQ): see QuantizerSpec::decompressed_bitwidth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tare/quantizer.hpp"

namespace tare::calib {

/// Moves the scales of each channel's blocks onto whole multiples of one scale. Throws Error(usage) naming the tensor
/// when its quantizer is not symmetric, not block-wise, or not narrower than decompressed_bitwidth.
void snap_to_low_power_blocks(TensorEncodings& tensor, std::size_t channels);

/// The scales of low-power blocks in their parts: scale of block b of channel c = units[c] * multiples[c * blocks + b].
struct LowPowerScales {
  std::vector<double> units;
  std::vector<std::int64_t> multiples;
};
/// Throws Error(usage) naming the tensor when the scales of a channel are no whole multiples, up to
/// 2^(decompressed_bitwidth - bitwidth), of one.
LowPowerScales low_power_scales(const TensorEncodings& tensor, std::size_t channels);

}  // namespace tare::calib
