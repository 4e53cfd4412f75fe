// Zip archives made by hand: deflated ones, which NumPy's savez_compressed writes and NpzWriter does not, and such that
// make wrong claims.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "tare/tensor.hpp"

namespace tare::test {

/// `value` in so many little-endian bytes.
std::string number(std::uint64_t value, std::size_t width);

/// One member of an archive, every claim of which can be made wrong.
struct HandMade {
  std::string name = "x.npy", data;
  std::uint64_t method = 0, claimed_size = ~0ull, flags = 0, offset = ~0ull;  ///< method 8: deflated
  std::uint32_t checksum_change = 0;
};
std::string zip(const std::vector<HandMade>& members);

void save_npz(const std::filesystem::path& path, const std::vector<std::pair<std::string, Tensor>>& arrays,
              bool deflated);

}  // namespace tare::test
