#include "cpu/quantize.hpp"

namespace tare::cpu {

Tensor quantize_dequantize(Device&, Tensor tensor, const TensorEncodings&, Rounding) { return tensor; }

}  // namespace tare::cpu
