// Vectors of floats, for loops that the compiler would leave scalar.
#pragma once

#include <cstddef>

#include "cpu/vector_types.hpp"

#pragma GCC diagnostic ignored "-Wpsabi"  // of functions with vectors, which are all inlined

namespace tare::cpu::TARE_ISA {

#if defined(__AVX512F__)
inline constexpr std::size_t register_lanes = 16;
#elif defined(__AVX__)
inline constexpr std::size_t register_lanes = 8;
#else
inline constexpr std::size_t register_lanes = 4;
#endif

template <std::size_t count>
struct Lanes {
  typedef float Values __attribute__((vector_size(count * sizeof(float))));
  typedef float InMemory __attribute__((vector_size(count * sizeof(float)), aligned(sizeof(float)), may_alias));
  static inline __attribute__((always_inline)) Values load(const float* from) {
    return *reinterpret_cast<const InMemory*>(from);
  }
  static inline __attribute__((always_inline)) void store(float* to, Values values) {
    *reinterpret_cast<InMemory*>(to) = values;
  }
};
template <>
struct Lanes<1> {
  typedef float Values;
  static inline __attribute__((always_inline)) float load(const float* from) { return *from; }
  static inline __attribute__((always_inline)) void store(float* to, float value) { *to = value; }
};

}  // namespace tare::cpu::TARE_ISA
