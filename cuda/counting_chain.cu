// Chains that count what comes by while they have it in registers: what only the observer wants is never stored, and
// nothing is read for it again. A block holds the counters of all its taps in shared memory and takes tile after tile,
// so that it adds them to the sites once, at its end. Odd: extremes lie in shared memory, too, a set for every warp and
// tap: which tap a step has, the program says, and registers cannot be picked by a number.
#include "chain_elements.cuh"
#include "histogram_counter.cuh"

namespace tare::cuda {
namespace {

constexpr int threads = 768;  // with 80 registers each they fill a multiprocessor
constexpr int warps = threads / 32;

/// What a warp has seen at a tap; counts are those of all its lanes.
struct WarpExtremes {
  std::int32_t low = positive_infinity_key;
  std::int32_t high = negative_infinity_key;
  Bounds limits;
  std::uint32_t low_count = 0;
  std::uint32_t high_count = 0;

  /// The counter of one lane, which begins with what the warp has seen and with no counts of its own.
  __device__ __forceinline__ Counter counter(unsigned* bins) const {
    Counter made{bins};
    made.low = low;
    made.high = high;
    made.limits = limits;
    return made;
  }
  /// What the lanes' counters, which began here, have seen. Of a whole warp.
  __device__ __forceinline__ void take(const Counter& counter) {
    __syncwarp();  // all lanes have read
    if (threadIdx.x % 32 == 0) {
      if (counter.low != low) low_count = 0;
      if (counter.high != high) high_count = 0;
      low = counter.low;
      high = counter.high;
      limits = counter.limits;
    }
    __syncwarp();
    if (counter.low_count != 0) atomicAdd(&low_count, counter.low_count);
    if (counter.high_count != 0) atomicAdd(&high_count, counter.high_count);
  }
};

struct TapCounters {
  unsigned bins[histogram_slots + special_counters];
  WarpExtremes extremes[warps];
};

struct Counting {
  TapCounters* counters;
  bool inside;

  template <int n>
  __device__ __forceinline__ void operator()(int tap, const Lanes<n>& x) const {
    if (tap < 0) return;
    std::uint32_t bits[n];
#pragma unroll
    for (int k = 0; k < n; ++k) bits[k] = inside ? bits_of(x.of[k]) : 0;
    WarpExtremes& seen = counters[tap].extremes[threadIdx.x / 32];
    Counter counter = seen.counter(counters[tap].bins);
    if (counter.add(bits)) seen.take(counter);
  }
};

template <bool wide, bool saves>
struct CountingChain {
  ChainElements<wide, saves> elements;
  ChainTaps taps;
  const void* ahead;  ///< the input that the first step reads: loaded a tile before it is needed; null: none
};

/// By the last block: what all blocks left of every tap, into the sites. Taps may have one site in common.
__device__ void merge_taps(const ChainTaps& taps, std::int64_t elements) {
  __shared__ Exact merged[most_taps];
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int tap = static_cast<int>(threadIdx.x / 32);
  if (tap < taps.count) {
    Exact exact{};
    for (unsigned block = static_cast<unsigned>(lane); block < gridDim.x; block += 32)
      merge(exact, taps.partials[static_cast<unsigned>(tap) * gridDim.x + block]);
    exact = merge_lanes(exact);
    if (lane == 0) merged[tap] = exact;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 0; i < taps.count; ++i) {
    merge(taps.sites[i]->exact, merged[i]);
    taps.sites[i]->elements += static_cast<Count>(elements);
  }
}

template <bool wide, bool saves>
__global__ void __launch_bounds__(threads, 1)
    counting_chain_kernel(const __grid_constant__ CountingChain<wide, saves> chain) {
  auto* counters = &dynamic_shared<TapCounters>();
  const ChainTaps& taps = chain.taps;
  for (int tap = 0; tap < taps.count; ++tap) {
    for (unsigned slot = threadIdx.x; slot < histogram_slots + special_counters; slot += threads)
      counters[tap].bins[slot] = 0;
    if (threadIdx.x < warps) {
      WarpExtremes none;
      none.limits = Counter{nullptr}.limits;
      counters[tap].extremes[threadIdx.x] = none;
    }
  }
  __syncthreads();

  constexpr int lanes = ChainElements<wide, saves>::lanes;
  const std::int64_t step = std::int64_t{gridDim.x} * threads;
  const std::int64_t vectors = chain.elements.vectors;
  std::int64_t vector = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  Lanes<lanes> ahead{};
  if (chain.ahead != nullptr && vector < vectors) chain.elements.load(chain.ahead, 4 * vector, ahead);
  std::uint32_t padding = 0;  // of the block
  for (std::int64_t tile = vector - threadIdx.x; tile < vectors; tile += step, vector += step) {
    const Lanes<lanes> first = ahead;
    if (chain.ahead != nullptr && vector + step < vectors) chain.elements.load(chain.ahead, 4 * (vector + step), ahead);
    const bool inside = vector < vectors;
    chain.elements.run(inside ? 4 * vector : 0, first, Counting{counters, inside});
    if (tile + threads > vectors) padding = static_cast<std::uint32_t>(lanes * (tile + threads - vectors));
  }
  __syncthreads();

  for (int tap = 0; tap < taps.count; ++tap) {
    const WarpExtremes& seen = counters[tap].extremes[threadIdx.x / 32];
    Exact exact{};
    if (threadIdx.x % 32 == 0)
      exact = {low_rank_of(seen.low), high_rank_of(seen.high), seen.low_count, seen.high_count, 0, 0, 0, 0};
    flush<warps>(counters[tap].bins, exact, padding, *taps.sites[tap],
                 taps.partials[static_cast<unsigned>(tap) * gridDim.x + blockIdx.x]);
  }
  if (!is_last_block(taps.finished)) return;
  merge_taps(taps, lanes * vectors);
  if (threadIdx.x == 0) *taps.finished = 0;
}

template <bool wide, bool saves>
void launch(const ChainProgram& program, const ChainTaps& taps, StreamView stream) {
  CountingChain<wide, saves> chain{ChainElements<wide, saves>(program), taps, nullptr};
  static_assert(sizeof chain <= 4096, "parameters of a launch");
  ChainSource& source = chain.elements.program.step[0].sources[0];
  if (source.kind == ChainSource::Kind::block) {
    chain.ahead = program.in[source.index];
    source.kind = ChainSource::Kind::last;
  }
  const std::size_t memory = static_cast<std::size_t>(taps.count) * sizeof(TapCounters);
  const auto kernel = counting_chain_kernel<wide, saves>;
  // The limit is the kernel's, for all threads and recordings of the process: one that holds for every launch.
  TARE_CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                       cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       taps_of_a_launch() * static_cast<int>(sizeof(TapCounters))));
  const std::int64_t tiles = (chain.elements.vectors + threads - 1) / threads;
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(tiles, most_observer_blocks()));
  cuda::launch(kernel, blocks, threads, memory, stream, chain);
  TARE_CUDA_CHECK_LAUNCH("counting_chain_kernel");
}

}  // namespace

int taps_of_a_launch() {
  const std::size_t static_memory = sizeof(Exact) * (warps + most_taps) + 1024;
  const std::size_t room = most_shared_memory();
  return room <= static_memory
             ? 0
             : static_cast<int>(std::min<std::size_t>(most_taps, (room - static_memory) / sizeof(TapCounters)));
}

bool can_count(const ChainProgram& program) {
  return program.is_aligned() && program.elements % (program.saves() ? 4 : 8) == 0 &&
         program.elements < (std::int64_t{1} << 31);
}

void run_counting_chain(const ChainProgram& program, const ChainTaps& taps, StreamView stream) {
  const bool wide = program.type == DataType::float32;
  if (program.saves())
    wide ? launch<true, true>(program, taps, stream) : launch<false, true>(program, taps, stream);
  else
    wide ? launch<true, false>(program, taps, stream) : launch<false, false>(program, taps, stream);
}

}  // namespace tare::cuda
