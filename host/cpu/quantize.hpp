// Quantize-dequantize and observers of the CPU backend (mirrored by cuda/quantize.cu and cuda/observe.cu).
#pragma once

#include <memory>

#include "cpu/operators.hpp"

namespace tare::cpu {

Tensor quantize_dequantize(Device& device, Tensor tensor, const TensorEncodings& encodings, Rounding rounding);
std::unique_ptr<Observer> make_observer(Device& device, ObserverKind kind, std::size_t sites);

}  // namespace tare::cpu
