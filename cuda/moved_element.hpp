// Elements that are only moved: as integers of their size, up to 16 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tare::cuda {

struct alignas(16) Sixteen {
  std::uint64_t halves[2];
};

/// Calls function(T{}) with the type of `size` bytes.
template <class Function>
void by_size(std::size_t size, Function&& function) {
  switch (size) {
    case 1: return function(std::uint8_t{});
    case 2: return function(std::uint16_t{});
    case 4: return function(std::uint32_t{});
    case 8: return function(std::uint64_t{});
    default: return function(Sixteen{});
  }
}

}  // namespace tare::cuda
