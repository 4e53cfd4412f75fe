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

#define TARE_VECTOR_KERNEL(result, name, ...) result name(__VA_ARGS__);
#include "cpu/vector_kernels.def"
#undef TARE_VECTOR_KERNEL
}  // namespace tare::cpu::TARE_ISA
