// Included by every file of this folder, and nothing else is, but numerics.hpp, plain data and intrinsics: see
// CMakeLists.txt.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 on its own _mm512_undefined_epi32
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

#include "cpu/vector_types.hpp"
#include "tare/numerics.hpp"

namespace tare::cpu::TARE_ISA {
/// Whether multiply_add is one instruction here; else it is a long function.
#if defined(__FMA__) || defined(__aarch64__)
inline constexpr bool has_multiply_add = true;
#else
inline constexpr bool has_multiply_add = false;
#endif

/// NaN when any is NaN; of a float or of lanes of them.
struct Maximum {
  template <class T>
  TARE_HD T operator()(T best, T x) const {
    return ((x > best) | (x != x)) ? x : best;
  }
};

/// Calls body(in, out, rows) for as many rows of n elements as stay in the first-level cache with their results.
template <class Body>
TARE_HD void for_cached_rows(const float* in, float* out, std::size_t rows, std::size_t n, Body body) {
  constexpr std::size_t cached = 4096;
  const std::size_t together = n < cached ? cached / n : 1;
  for (; rows > together; rows -= together, in += together * n, out += together * n) body(in, out, together);
  if (rows > 0) body(in, out, rows);
}

#define TARE_VECTOR_KERNEL(result, name, ...) result name(__VA_ARGS__);
#include "cpu/vector_kernels.def"
#undef TARE_VECTOR_KERNEL
}  // namespace tare::cpu::TARE_ISA
