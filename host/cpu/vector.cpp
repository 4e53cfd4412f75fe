// Picks the table of inner loops for an instruction set.
#include "cpu/vector.hpp"

#include <array>

namespace tare::cpu {

#define TARE_VECTOR_KERNEL(result, name, ...) result name(__VA_ARGS__);
#define TARE_DECLARE_ISA(isa) namespace isa {
TARE_DECLARE_ISA(baseline)
#include "cpu/vector_kernels.def"
}  // namespace tare::cpu
#if defined(__x86_64__)
TARE_DECLARE_ISA(avx2)
#include "cpu/vector_kernels.def"
}
TARE_DECLARE_ISA(avx512)
#include "cpu/vector_kernels.def"
}
#endif
#undef TARE_VECTOR_KERNEL
#undef TARE_DECLARE_ISA

namespace {

constexpr VectorKernels baseline_kernels = {
#define TARE_VECTOR_KERNEL(result, name, ...) baseline::name,
#include "cpu/vector_kernels.def"
#undef TARE_VECTOR_KERNEL
};
#if defined(__x86_64__)
constexpr VectorKernels avx2_kernels = {
#define TARE_VECTOR_KERNEL(result, name, ...) avx2::name,
#include "cpu/vector_kernels.def"
#undef TARE_VECTOR_KERNEL
};
constexpr VectorKernels avx512_kernels = {
#define TARE_VECTOR_KERNEL(result, name, ...) avx512::name,
#include "cpu/vector_kernels.def"
#undef TARE_VECTOR_KERNEL
};
#endif

}  // namespace

Isa supported_isa(Isa wanted) {
#if defined(__x86_64__)
  const Isa limit = wanted == Isa::automatic ? Isa::avx512 : wanted;
  if (limit >= Isa::avx512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
    return Isa::avx512;
  if (limit >= Isa::avx2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c"))
    return Isa::avx2;
#else
  (void)wanted;
#endif
  return Isa::baseline;
}

const VectorKernels& vector_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return avx512_kernels;
  if (isa == Isa::avx2) return avx2_kernels;
#else
  (void)isa;
#endif
  return baseline_kernels;
}

}  // namespace tare::cpu
