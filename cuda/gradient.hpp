// The gradient of quantize-dequantize on the device; mirrors host/cpu/gradient.hpp.
#pragma once

#include "device.hpp"
#include "quantize.hpp"

namespace tare::cuda {

/// `input` and `gradient` lie on the device and fit (cpu::check_gradient). Waits for the sums.
QuantizeGradient quantize_gradient(Device& device, const Tensor& input, const Tensor& gradient, const GridMap& map);

}  // namespace tare::cuda
