// One of many grids, as make_grids of quantize.cpp lays them out.
#pragma once

#include <cstddef>

#include "cpu/vector_types.hpp"

namespace tare::cpu::TARE_ISA {

TARE_HD Grid grid_of(const Grids& grids, std::size_t i) {
  const float* of = grids.members + i;
  const std::size_t pitch = grids.pitch;
  return {of[0 * pitch], of[1 * pitch], 0.0f,          grids.high,    of[2 * pitch], of[3 * pitch],
          of[4 * pitch], of[5 * pitch], of[6 * pitch], of[7 * pitch], of[8 * pitch]};
}

}  // namespace tare::cpu::TARE_ISA
