// Observers: one read of every tensor, counted in shared memory, many tensors a launch (the list travels as a kernel
// parameter, so nothing is allocated and a graph can hold the launch). A block takes a stretch of tiles; when the
// tensor changes it adds its bins to the site's and leaves its extremes in an entry of its own; the last block merges
// these. All that is kept are integers and extremes: no order can change a bit. Odd: the counters' atomicAdd must not
// use its result, then the hardware merges equal addresses of a warp (ATOMS.POPC.INC).
#include "histogram_counter.cuh"

namespace tare::cuda {
namespace {

constexpr int threads = 384;  // two blocks of a multiprocessor may use 80 registers a thread: with 64 it spills
constexpr int warps = threads / 32;
constexpr int values_per_thread = 16;
constexpr std::uint32_t tile_elements = threads * values_per_thread;
constexpr std::uint32_t tiles_per_block = 4;  // at least: the flush of a block must not outweigh its counting
constexpr int blocks_per_multiprocessor = 2;

__device__ __forceinline__ std::uint32_t bits_of_half(std::uint32_t half, DataType type) {
  if (type == DataType::bfloat16) return half << 16;
  return bits_of(half_to_float(static_cast<std::uint16_t>(half)));
}

__device__ __forceinline__ std::uint32_t load(const char* data, std::uint32_t index, DataType type) {
  if (type == DataType::float32) return reinterpret_cast<const std::uint32_t*>(data)[index];
  return bits_of_half(reinterpret_cast<const std::uint16_t*>(data)[index], type);
}

/// This thread's share of a whole tile; `from` is aligned.
__device__ __forceinline__ void load_tile(const uint4* from, DataType type,
                                          std::uint32_t (&values)[values_per_thread]) {
  constexpr int vectors = values_per_thread / 4;
  if (type == DataType::float32) {
    uint4 loaded[vectors];
#pragma unroll
    for (int i = 0; i < vectors; ++i) loaded[i] = __ldg(from + i * threads);
#pragma unroll
    for (int i = 0; i < vectors; ++i) {
      values[i * 4] = loaded[i].x;
      values[i * 4 + 1] = loaded[i].y;
      values[i * 4 + 2] = loaded[i].z;
      values[i * 4 + 3] = loaded[i].w;
    }
    return;
  }
  uint4 loaded[vectors / 2];
#pragma unroll
  for (int i = 0; i < vectors / 2; ++i) loaded[i] = __ldg(from + i * threads);
#pragma unroll
  for (int i = 0; i < vectors / 2; ++i) {
    const std::uint32_t words[4] = {loaded[i].x, loaded[i].y, loaded[i].z, loaded[i].w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      values[i * 8 + j * 2] = bits_of_half(words[j] & 0xffffu, type);
      values[i * 8 + j * 2 + 1] = bits_of_half(words[j] >> 16, type);
    }
  }
}

/// Elements of tiles [begin, end) of one tensor. Its head up to 16-byte alignment belongs to the first tile.
__device__ __forceinline__ void count_tiles(Counter& counter, const ListedTensor& tensor, std::uint32_t begin,
                                            std::uint32_t end) {
  const DataType type = tensor.type;
  const std::uint32_t size = type == DataType::float32 ? 4 : 2;
  const char* data = static_cast<const char*>(tensor.data);
  const std::uint32_t misaligned = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(data) % 16);
  std::uint32_t head = misaligned == 0 ? 0 : (16 - misaligned) / size;
  head = head < tensor.elements ? head : tensor.elements;
  std::uint32_t rest = tensor.elements;  // first element of what does not fill a tile
  for (std::uint32_t tile = begin; tile < end; ++tile) {
    const std::uint32_t start = head + tile * tile_elements;
    if (start >= tensor.elements || tensor.elements - start < tile_elements) {
      rest = start;
      break;
    }
    std::uint32_t values[values_per_thread];
    load_tile(reinterpret_cast<const uint4*>(data + std::size_t{start} * size) + threadIdx.x, type, values);
    counter.add(values, true);
  }
  // One element a thread: the rest, and before it the head.
  std::uint32_t index = begin == 0 && head > 0 ? 0 : rest;
#pragma unroll 1
  while (index < tensor.elements) {
    const std::uint32_t stop = index < head ? head : tensor.elements;
    const bool valid = index + threadIdx.x < stop;
    const std::uint32_t value[1] = {valid ? load(data, index + threadIdx.x, type) : 0u};
    counter.add(value, valid);
    index = index < head ? (rest > head ? rest : head) : index + threads;
  }
}

__device__ std::uint32_t first_tile_of(std::uint32_t block, std::uint32_t tiles) {
  return static_cast<std::uint32_t>(static_cast<std::uint64_t>(block) * tiles / gridDim.x);
}
__device__ std::uint32_t block_of(std::uint32_t tile, std::uint32_t tiles) {
  return static_cast<std::uint32_t>(((tile + std::uint64_t{1}) * gridDim.x - 1) / tiles);
}
__device__ std::uint32_t end_tile_of(const TensorList& list, std::uint32_t entry) {
  return entry + 1 < list.count ? list.tensors[entry + 1].first_tile : list.tiles;
}

/// By the last block: the entries that all blocks left, into the sites. Tensors of one site have one thread.
__device__ void merge_sites(const TensorList& list, Site* sites, const Exact* partials) {
  __shared__ Exact merged[most_tensors];
  const std::uint32_t lane = threadIdx.x % 32;
  for (std::uint32_t entry = threadIdx.x / 32; entry < list.count; entry += warps) {
    const std::uint32_t last = block_of(end_tile_of(list, entry) - 1, list.tiles);
    Exact exact{};
    for (std::uint32_t block = block_of(list.tensors[entry].first_tile, list.tiles) + lane; block <= last; block += 32)
      merge(exact, partials[block + entry]);
    exact = merge_lanes(exact);
    if (lane == 0) merged[entry] = exact;
  }
  __syncthreads();
  if (threadIdx.x >= list.count) return;
  const std::uint32_t site = list.tensors[threadIdx.x].site;
  for (std::uint32_t i = 0; i < threadIdx.x; ++i)
    if (list.tensors[i].site == site) return;
  for (std::uint32_t i = threadIdx.x; i < list.count; ++i) {
    if (list.tensors[i].site != site) continue;
    merge(sites[site].exact, merged[i]);
    sites[site].elements += list.tensors[i].elements;
  }
}

/// What the block counted of one tensor: its bins to the site, the rest to an entry of its own. Leaves all counters 0
/// and ends with the block together.
__device__ void flush(unsigned* bins, const Counter& counter, Site& site, Exact& partial) {
  __shared__ Exact warp_exact[warps];
  Exact exact = merge_lanes(counter.exact());
  if (threadIdx.x % 32 == 0) warp_exact[threadIdx.x / 32] = exact;
  __syncthreads();  // the bins are complete, too
  if (threadIdx.x < 32) {
    exact = threadIdx.x < warps ? warp_exact[threadIdx.x] : Exact{};
    exact = merge_lanes(exact);
    if (threadIdx.x == 0) {
      unsigned* special = bins + histogram_slots;
      exact.nan_count = special[0];
      exact.positive_infinity_count = special[1];
      exact.negative_infinity_count = special[2];
      special[0] = special[1] = special[2] = 0;
      exact.zero_count = Count{bins[zero_slot]} + bins[negative_zero_slot];
      bins[zero_slot] = bins[negative_zero_slot] = 0;
      if (exact.zero_count != 0) {
        merge_extreme(exact.low_rank, exact.low_count, low_rank_of(0), 0);
        merge_extreme(exact.high_rank, exact.high_count, high_rank_of(0), 0);
      }
      partial = exact;
    }
  }
  for (std::uint32_t begin = threadIdx.x * 4; begin < histogram_slots; begin += threads * 4) {
    const uint4 four = *reinterpret_cast<const uint4*>(bins + begin);
    if ((four.x | four.y | four.z | four.w) == 0) continue;  // most are
    const unsigned counts[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (std::uint32_t i = 0; i < 4; ++i) {
      const std::uint32_t slot = begin + i;
      if (counts[i] == 0 || slot == zero_slot || slot == negative_zero_slot) continue;
      bins[slot] = 0;
      atomicAdd(&site.bins[histogram_bin(bits_of_slot(slot))], Count{counts[i]});
    }
  }
  __syncthreads();
}

__global__ void __launch_bounds__(threads, blocks_per_multiprocessor)
    observe_kernel(const __grid_constant__ TensorList list, Site* sites, Exact* partials, unsigned* finished) {
  __shared__ __align__(16) unsigned bins[histogram_slots + 3];  // the last three: NaN, +inf, -inf
  __shared__ bool is_last;
  for (std::uint32_t slot = threadIdx.x; slot < histogram_slots + 3; slot += threads) bins[slot] = 0;
  __syncthreads();

  std::uint32_t tile = first_tile_of(blockIdx.x, list.tiles);
  const std::uint32_t end = first_tile_of(blockIdx.x + 1, list.tiles);
  std::uint32_t index = 0;
  while (tile < end) {
    while (end_tile_of(list, index) <= tile) ++index;
    const ListedTensor& tensor = list.tensors[index];
    const std::uint32_t stop = min(end, end_tile_of(list, index));
    Counter counter{bins};
    count_tiles(counter, tensor, tile - tensor.first_tile, stop - tensor.first_tile);
    tile = stop;
    flush(bins, counter, sites[tensor.site], partials[blockIdx.x + index]);
  }

  if (threadIdx.x == 0) {
    __threadfence();
    is_last = atomicAdd(finished, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!is_last) return;
  __threadfence();  // every thread reads what other blocks wrote
  merge_sites(list, sites, partials);
  if (threadIdx.x == 0) *finished = 0;
}

}  // namespace

void TensorList::add(const void* data, std::uint32_t elements, std::uint32_t site, DataType type) {
  tensors[count++] = {data, elements, site, tiles, type};
  tiles += (elements + tile_elements - 1) / tile_elements;
}

std::uint32_t most_observer_blocks() {
  return static_cast<std::uint32_t>(multiprocessors() * blocks_per_multiprocessor);
}

void observe(const TensorList& list, Site* sites, Exact* partials, unsigned* finished, StreamView stream) {
  if (list.count == 0) return;
  const std::uint32_t wanted = (list.tiles + tiles_per_block - 1) / tiles_per_block;
  const std::uint32_t most = most_observer_blocks();
  const std::uint32_t blocks = wanted < most ? wanted : most;
  launch(observe_kernel, blocks, threads, 0, stream, list, sites, partials, finished);
  TARE_CUDA_CHECK_LAUNCH("observe_kernel");
}

}  // namespace tare::cuda
