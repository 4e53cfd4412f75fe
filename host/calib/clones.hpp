// Loops of the search that are compiled for several instruction sets, the best of which is taken when the program
// starts. No operation is reassociated or contracted, so all of them give the same bits.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define TARE_MAKES_CLONES
#define TARE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#define TARE_FUSED_CLONES __attribute__((target_clones("avx512f", "fma", "default")))
#else
#define TARE_CLONES
#define TARE_FUSED_CLONES
#endif

namespace tare::calib {

/// Whether multiply_add is one instruction in a loop of TARE_FUSED_CLONES; else it is a long function.
inline bool has_multiply_add() {
#if defined(__FMA__) || defined(__aarch64__)
  return true;
#elif defined(TARE_MAKES_CLONES)
  return __builtin_cpu_supports("fma") != 0;
#else
  return false;
#endif
}

}  // namespace tare::calib
