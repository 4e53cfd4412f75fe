// Images written by the tests themselves: uncompressed bitmaps.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>

namespace tare::test {

using Pixel = std::array<int, 3>;  // red, green, blue

inline std::string little(std::int64_t value, int width) {
  std::string bytes;
  for (int i = 0; i < width; ++i) bytes += static_cast<char>(i < 8 ? (value >> (8 * i)) & 0xff : 0);
  return bytes;
}

/// An uncompressed 24-bit bitmap; rows lie bottom first, channels blue first.
inline std::string bitmap(int width, int height, const std::function<Pixel(int x, int y)>& pixel) {
  std::string rows;
  for (int y = height; y-- > 0;) {
    for (int x = 0; x < width; ++x)
      for (const std::size_t c : {2u, 1u, 0u}) rows += static_cast<char>(pixel(x, y)[c]);
    while (rows.size() % 4 != 0) rows += '\0';
  }
  return "BM" + little(54 + static_cast<std::int64_t>(rows.size()), 4) + little(0, 4) + little(54, 4) + little(40, 4) +
         little(width, 4) + little(height, 4) + little(1, 2) + little(24, 2) + little(0, 24) + rows;
}

}  // namespace tare::test
