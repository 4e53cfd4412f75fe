// Half types to and from float32.
#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {

void widen_float16(const std::uint16_t* in, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = half_to_float(in[i]);
}
void widen_bfloat16(const std::uint16_t* in, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = bfloat_to_float(in[i]);
}
void narrow_float16(const float* in, std::uint16_t* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = float_to_half(in[i]);
}
void narrow_bfloat16(const float* in, std::uint16_t* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = float_to_bfloat(in[i]);
}

}  // namespace tare::cpu::TARE_ISA
