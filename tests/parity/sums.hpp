// How convolutions and products sum in a comparison. float64 is `--math fp64`; both are as with `--isa avx2
// --reproducible`: float32 sums depend on the vector length and on the threads, and with them which codes and encodings
// fall to the other side. The tables of known differences are to hold on every machine.
#pragma once

#include <cstdint>
#include <string_view>

#include "tare/backend.hpp"

namespace tare::parity {

enum class Sums : std::uint8_t { float32, float64 };

constexpr std::string_view name_of(Sums sums) { return sums == Sums::float32 ? "float32" : "float64"; }

inline CpuOptions cpu_options(Sums sums) {
  return {.isa = Isa::avx2, .reproducible = true, .wide_sums = sums == Sums::float64};
}

}  // namespace tare::parity
