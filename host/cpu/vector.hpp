// The inner loops of the CPU backend, compiled once per instruction set and called through this table. Loops only: no
// allocation, no threads, no error handling. Adding one: declare it here, write it in host/cpu/vector/.
// Every loop gives the same bits on every instruction set: no reassociation, no contraction, IEEE division.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/vector_types.hpp"
#include "tare/backend.hpp"
#include "tare/numerics.hpp"

namespace tare::cpu {

struct VectorKernels {
#define TARE_VECTOR_KERNEL(result, name, ...) result (*name)(__VA_ARGS__);
#include "cpu/vector_kernels.def"
#undef TARE_VECTOR_KERNEL
};

/// The best instruction set that is no higher than `wanted` and that this machine has.
Isa supported_isa(Isa wanted);
const VectorKernels& vector_kernels(Isa isa);

}  // namespace tare::cpu
