// How kernels are launched, and the two shapes that operators are written in: one call an element, and one team of
// threads a row. A functor holds plain values and device pointers, and indexes with 64 bits. Compiled by a C++ compiler
// functors of an element run as a loop on the host, and kernels in turns of their threads (host_form.hpp):
// tests/cuda_host runs every operator so, where no device is.
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime.hpp"
#include "tare/numerics.hpp"

#ifndef __CUDACC__
#include "host_form.hpp"
#endif
#ifdef __CUDA_ARCH__  // compilers of the host do not know the word
#define TARE_UNROLL _Pragma("unroll")
#define TARE_NO_UNROLL _Pragma("unroll 1")
#else
#define TARE_UNROLL
#define TARE_NO_UNROLL
#endif

namespace tare::cuda {

inline constexpr int launch_threads = 256;
inline constexpr std::int64_t short_row = 1024;  ///< elements up to which a warp takes a row
inline constexpr std::int64_t many_rows = 4096;  ///< from which on warps share blocks

/// The threads of one row: a block, a warp, or one thread alone.
struct Team {
  int thread;
  int size;

  /// Of the values of all threads, in a fixed order, in all threads. All threads of the team must call it.
  __device__ double sum(double value) const {
    return fold(value, [](double a, double b) { return a + b; });
  }
  __device__ double product(double value) const {
    return fold(value, [](double a, double b) { return a * b; });
  }
  /// NaN when any is NaN.
  __device__ float maximum(float value) const {
    return fold(value, [](float a, float b) { return a > b || a != a ? a : b; });
  }
  __device__ float minimum(float value) const {
    return fold(value, [](float a, float b) { return a < b || a != a ? a : b; });
  }
  /// What the threads wrote before is seen by all after it.
  __device__ void barrier() const {
    if (size == 32)
      __syncwarp();
    else if (size > 32)
      __syncthreads();
  }

  template <class T, class Combine>
  __device__ T fold(T value, Combine combine) const {
    if (size == 1) return value;
    for (int distance = 16; distance > 0; distance /= 2) value = combine(value, __shfl_xor_sync(~0u, value, distance));
    if (size == 32) return value;
    __shared__ T partial[launch_threads / 32];
    __syncthreads();  // the fold before has been read
    if (thread % 32 == 0) partial[thread / 32] = value;
    __syncthreads();
    value = partial[0];
    for (int warp = 1; warp < size / 32; ++warp) value = combine(value, partial[warp]);
    return value;
  }
};

/// The dynamic shared memory of the block, at a multiple of 16.
template <class T>
__device__ T& dynamic_shared() {
#ifdef __CUDACC__
  extern __shared__ __align__(16) double dynamic_memory[];
  return *reinterpret_cast<T*>(dynamic_memory);
#else
  return *static_cast<T*>(shared_memory());
#endif
}

/// Queues a kernel; TARE_CUDA_CHECK_LAUNCH says what became of it.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, std::size_t shared_bytes, StreamView stream,
            const Arguments&... arguments) {
#ifdef __CUDACC__
  kernel<<<blocks, threads, shared_bytes, stream.get()>>>(arguments...);
#else
  launch_on_host(stream, [=] { run_blocks(blocks, threads, shared_bytes, [&] { kernel(arguments...); }); });
#endif
}

/// `blocks` of a multiprocessor there is room for: the compiler may otherwise hold registers so short that they spill.
template <int blocks, class Functor>
__global__ void __launch_bounds__(launch_threads, blocks)
    each_kernel(std::int64_t count, const __grid_constant__ Functor functor) {
  const std::int64_t step = std::int64_t{gridDim.x} * launch_threads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * launch_threads + threadIdx.x; i < count; i += step) functor(i);
}

/// A team is a line of the block's threads.
template <int blocks, class Functor>
__global__ void __launch_bounds__(launch_threads, blocks)
    row_kernel(std::int64_t rows, const __grid_constant__ Functor functor) {
  const Team team{static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)};
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.y;
  for (std::int64_t row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y; row < rows; row += step)
    functor(row, team);
}

/// functor(i) for i in [0, count).
template <int blocks_of_a_multiprocessor = 1, class Functor>
void for_each(std::int64_t count, StreamView stream, const Functor& functor) {
  if (count <= 0) return;
#ifdef __CUDACC__
  constexpr std::int64_t most = std::int64_t{1} << 30;
  const auto blocks = static_cast<unsigned>(std::min(most, (count + launch_threads - 1) / launch_threads));
  launch(each_kernel<blocks_of_a_multiprocessor, Functor>, blocks, launch_threads, 0, stream, count, functor);
  TARE_CUDA_CHECK_LAUNCH("each_kernel");
#else
  launch_on_host(stream, [=] {
    for (std::int64_t i = 0; i < count; ++i) functor(i);
  });
#endif
}

/// functor(row, team) for rows in [0, rows) of `length` elements. A row is whole: what threads write of it nobody else
/// reads. Every team has so many bytes of dynamic shared memory, one after the other.
template <int blocks_of_a_multiprocessor = 1, class Functor>
void for_each_row(std::int64_t rows, std::int64_t length, StreamView stream, const Functor& functor,
                  std::size_t shared_bytes = 0) {
  if (rows <= 0) return;
#ifdef __CUDACC__
  constexpr std::int64_t most = std::int64_t{1} << 30;
#else
  constexpr std::int64_t most = 3;  // starting a block takes longer than a row there
#endif
  const unsigned threads = length <= short_row ? 32 : launch_threads;
  // A multiprocessor holds 32 blocks: few rows are spread by a warp each, many fill it with whole blocks.
  const unsigned teams = rows < many_rows ? 1 : launch_threads / threads;
  launch(row_kernel<blocks_of_a_multiprocessor, Functor>,
         static_cast<unsigned>(std::min(most, (rows + teams - 1) / teams)), dim3(threads, teams), teams * shared_bytes,
         stream, rows, functor);
  TARE_CUDA_CHECK_LAUNCH("row_kernel");
}

/// Division of numbers below 2^31 by multiplication.
struct Divider {
  std::uint32_t divisor = 1;
  std::uint32_t multiplier = 1;
  std::uint32_t shift = 0;

  Divider() = default;
  explicit Divider(std::uint32_t by) : divisor(by) {
    while (shift < 32 && (std::uint64_t{1} << shift) < by) ++shift;
    multiplier = static_cast<std::uint32_t>(((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift) - by)) / by + 1);
  }
  TARE_HD std::uint32_t quotient(std::uint32_t value) const {
    const auto high = static_cast<std::uint32_t>((std::uint64_t{value} * multiplier) >> 32);
    return (high + value) >> shift;
  }
};

/// The most loops of a nest on the device.
inline constexpr int most_loops = 12;

/// Offsets into `operands` arrays for the i-th step of a nest of loops, the last one innermost.
template <int operands>
struct Nest {
  int rank = 0;
  bool small = false;  ///< fewer than 2^31 steps
  std::int64_t sizes[most_loops];
  std::int64_t strides[operands][most_loops];
  Divider dividers[most_loops];

  struct Offsets {
    std::int64_t of[operands];
  };
  TARE_HD Offsets at(std::int64_t step) const {
    Offsets offsets{};
    auto rest = static_cast<std::uint32_t>(step);
    for (int d = rank - 1; d >= 0; --d) {
      std::int64_t index = 0;
      if (d == 0) {
        index = small ? static_cast<std::int64_t>(rest) : step;
      } else if (small) {
        const std::uint32_t quotient = dividers[d].quotient(rest);
        index = rest - quotient * dividers[d].divisor;
        rest = quotient;
      } else {
        index = step % sizes[d];
        step /= sizes[d];
      }
      for (int k = 0; k < operands; ++k) offsets.of[k] += index * strides[k][d];
    }
    return offsets;
  }
  /// Appends a loop inside the others. False when there are too many.
  bool add(std::int64_t size, const std::int64_t (&steps)[operands]) {
    if (rank == most_loops) return false;
    sizes[rank] = size;
    for (int k = 0; k < operands; ++k) strides[k][rank] = steps[k];
    ++rank;
    return true;
  }
  /// Steps of the whole nest; makes at() ready.
  std::int64_t finish() {
    std::int64_t steps = 1;
    for (int d = 0; d < rank; ++d) steps *= sizes[d];
    small = steps < (std::int64_t{1} << 31);
    if (small && steps > 0)
      for (int d = 0; d < rank; ++d) dividers[d] = Divider(static_cast<std::uint32_t>(sizes[d]));
    return steps;
  }
};

}  // namespace tare::cuda
