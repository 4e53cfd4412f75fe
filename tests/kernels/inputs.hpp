// Inputs that every loop over elements is tried on, and the backends it is tried with.
#pragma once

#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "tare/backend.hpp"

namespace tare::test {

/// Every exponent and both signs with several mantissas, subnormals, zeros, infinities and NaN.
inline std::vector<float> special_values() {
  std::vector<float> values;
  for (std::uint32_t sign = 0; sign < 2; ++sign)
    for (std::uint32_t exponent = 0; exponent < 256; ++exponent)
      for (const std::uint32_t mantissa : {0u, 1u, 0x1ffffu, 0x20000u, 0x400000u, 0x7fffffu})
        values.push_back(__builtin_bit_cast(float, sign << 31 | exponent << 23 | mantissa));
  return values;
}

/// The finite ones among them.
inline std::vector<float> finite_values() {
  std::vector<float> values;
  for (const float value : special_values())
    if (__builtin_isfinite(value)) values.push_back(value);
  return values;
}

inline std::vector<float> normal_values(std::size_t n, unsigned seed, float scale = 1.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(n);
  for (float& value : values) value = normal(engine);
  return values;
}

struct Device {
  std::string name;
  std::unique_ptr<Backend> backend;
};

/// Every instruction set of this machine (a set it lacks falls back to a lower one) with 1, 2 and 3 threads.
inline std::vector<Device> devices() {
  std::vector<Device> all;
  for (const auto& [name, isa] : {std::pair{"baseline", Isa::baseline}, {"avx2", Isa::avx2}, {"avx512", Isa::avx512}})
    for (const int threads : {1, 2, 3})
      all.push_back(
          {std::string(name) + " " + std::to_string(threads), make_cpu_backend({.threads = threads, .isa = isa})});
  return all;
}

inline Tensor tensor_of(const std::vector<float>& values, const Shape& shape) {
  return Tensor::of<float>(shape, std::span<const float>(values));
}

/// Same bits: NaN equals NaN, -0 differs from +0.
inline std::vector<std::uint32_t> bits_of_all(const Tensor& tensor) {
  const std::uint32_t* bits = tensor.data<std::uint32_t>();
  return {bits, bits + tensor.elements()};
}

}  // namespace tare::test
