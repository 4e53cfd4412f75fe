// Low-power blocks (LPBQ): see QuantizerSpec::decompressed_bitwidth.
#pragma once

#include <cstddef>

#include "tare/quantizer.hpp"

namespace tare::calib {

/// Moves the scales of each channel's blocks onto whole multiples of one scale. Throws Error(usage) naming the tensor
/// when its quantizer is not symmetric, not block-wise, or not narrower than decompressed_bitwidth.
void snap_to_low_power_blocks(TensorEncodings& tensor, std::size_t channels);

}  // namespace tare::calib
