// All floats in their order, and a checksum of results, both on the device.
#pragma once

#include <cstdint>

namespace tare::test {

/// The same on host and device; the sum over all elements does not depend on their order.
inline constexpr std::uint64_t sweep_factor = 0x9e3779b97f4a7c15u;

/// values[i] has the bits first + i.
void fill_with_bits(float* values, std::uint32_t first, std::int64_t count);
/// Sum of (bits(values[i]) + 1) * (2 * (first + i) + sweep_factor), modulo 2^64.
std::uint64_t checksum(const float* values, std::uint32_t first, std::int64_t count);

}  // namespace tare::test
