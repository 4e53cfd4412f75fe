// What a C++ compiler lacks of CUDA's device language, so that kernels run on the host: tests/cuda_host/threads.cpp
// runs the threads of a block in turns, each on a stack of its own, and lets them go on where CUDA would. Odd: the
// names are CUDA's own.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>

#include "runtime.hpp"

#undef __shared__
#define __shared__ static  // one block runs at a time; what the one before left is still there, as on a GPU
#define __launch_bounds__(...)

namespace tare::cuda {

/// Does `work` as the stream would: now, or with every launch of the graph that the stream is captured into. Meanwhile
/// the host may touch what stands for device memory.
void launch_on_host(StreamView stream, std::function<void()> work);

/// All blocks of a launch, one after the other, in an order that changes from launch to launch as that of threads does.
/// Ends the program when threads wait for others that never come, or meet at different places.
void run_blocks(dim3 blocks, dim3 threads, std::size_t shared_bytes, const std::function<void()>& kernel);

// NOLINTBEGIN(bugprone-reserved-identifier): the names that kernels use

extern dim3 threadIdx, blockIdx, blockDim, gridDim;
using std::max;
using std::min;

/// The dynamic shared memory of the block that runs.
void* shared_memory();

/// Waits for all lanes of the warp to come here with the same `operation`; what each of them brought.
const std::array<std::uint64_t, 32>& meet_warp(const char* operation, std::uint64_t value);
/// Waits for all threads of the block.
void __syncthreads();
inline void __syncwarp() { meet_warp("__syncwarp", 0); }
inline void __threadfence() {}

inline unsigned lane_of_thread() { return (threadIdx.x + threadIdx.y * blockDim.x) % 32; }

template <class T>
std::uint64_t to_word(T value) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t word = 0;
  std::memcpy(&word, &value, sizeof(T));
  return word;
}
template <class T>
T from_word(std::uint64_t word) {
  T value;
  std::memcpy(&value, &word, sizeof(T));
  return value;
}

template <class T>
T __shfl_xor_sync(unsigned, T value, int distance) {
  const auto& all = meet_warp("__shfl_xor_sync", to_word(value));
  return from_word<T>(all[lane_of_thread() ^ static_cast<unsigned>(distance)]);
}
template <class T>
T __shfl_down_sync(unsigned, T value, int distance) {
  const auto& all = meet_warp("__shfl_down_sync", to_word(value));
  const unsigned from = lane_of_thread() + static_cast<unsigned>(distance);
  return from < 32 ? from_word<T>(all[from]) : value;
}
template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  return from_word<T>(meet_warp("__shfl_sync", to_word(value))[static_cast<unsigned>(lane) % 32]);
}
inline std::int32_t __reduce_min_sync(unsigned, std::int32_t value) {
  for (const std::uint64_t word : meet_warp("__reduce_min_sync", to_word(value)))
    value = min(value, from_word<std::int32_t>(word));
  return value;
}
inline std::int32_t __reduce_max_sync(unsigned, std::int32_t value) {
  for (const std::uint64_t word : meet_warp("__reduce_max_sync", to_word(value)))
    value = max(value, from_word<std::int32_t>(word));
  return value;
}

template <class T>
T atomicAdd(T* to, T value) {
  return __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
}
template <class T>
T __ldg(const T* from) {
  return *from;
}
template <class T>
T __ldcs(const T* from) {
  return *from;
}
template <class T>
void __stcs(T* to, T value) {
  *to = value;
}

// NOLINTEND(bugprone-reserved-identifier)

}  // namespace tare::cuda
