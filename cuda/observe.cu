// Observers: one read of every tensor, counted in shared memory, many tensors a launch (the list travels as a kernel
// parameter, so nothing is allocated and a graph can hold the launch). A block takes a stretch of tiles; when the
// tensor changes it adds its bins to the site's and leaves its extremes in an entry of its own; the last block merges
// these. All that is kept are integers and extremes: no order can change a bit. Odd: the counters' atomicAdd must not
// use its result, then the hardware merges equal addresses of a warp (ATOMS.POPC.INC).
#include "histogram_counter.cuh"

namespace tare::cuda {
namespace {

constexpr int threads = 768;  // with 80 registers each they fill a multiprocessor: with 64 it spills
constexpr int warps = threads / 32;
constexpr int vectors_per_thread = 4;  // of 16 bytes
constexpr std::uint32_t tile_vectors = threads * vectors_per_thread;
constexpr std::uint32_t tiles_per_block = 2;  // at least: the flush of a block must not outweigh its counting
constexpr int blocks_per_multiprocessor = 1;  // two of half the threads would flush twice as many counters

TARE_HD std::uint32_t size_of_element(DataType type) { return type == DataType::float32 ? 4 : 2; }
/// Elements by which the data begin behind an address that is aligned to a vector.
TARE_HD std::uint32_t lead_of(const void* data, DataType type) {
  return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(data) % 16) / size_of_element(type);
}
TARE_HD std::uint32_t tiles_of(const void* data, std::uint32_t elements, DataType type) {
  const std::uint32_t tile_elements = tile_vectors * (16 / size_of_element(type));
  return (lead_of(data, type) + elements + tile_elements - 1) / tile_elements;
}

__device__ __forceinline__ std::uint32_t bits_of_half(std::uint32_t half, DataType type) {
  if (type == DataType::bfloat16) return half << 16;
  return bits_of(half_to_float(static_cast<std::uint16_t>(half)));
}

__device__ __forceinline__ std::uint32_t load(const char* data, std::uint32_t index, DataType type) {
  if (type == DataType::float32) return reinterpret_cast<const std::uint32_t*>(data)[index];
  return bits_of_half(reinterpret_cast<const std::uint16_t*>(data)[index], type);
}

__device__ __forceinline__ void add_floats(Counter& counter, const uint4 (&loaded)[vectors_per_thread]) {
  std::uint32_t values[vectors_per_thread * 4];
#pragma unroll
  for (int i = 0; i < vectors_per_thread; ++i) {
    values[i * 4] = loaded[i].x;
    values[i * 4 + 1] = loaded[i].y;
    values[i * 4 + 2] = loaded[i].z;
    values[i * 4 + 3] = loaded[i].w;
  }
  counter.add(values);
}

__device__ __forceinline__ void add_halves(Counter& counter, const uint4& first, const uint4& second, DataType type) {
  const std::uint32_t words[8] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
  std::uint32_t values[16];
  if (type == DataType::bfloat16) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      values[i * 2] = words[i] << 16;
      values[i * 2 + 1] = words[i] & 0xffff0000u;
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      values[i * 2] = bits_of_half(words[i] & 0xffffu, type);
      values[i * 2 + 1] = bits_of_half(words[i] >> 16, type);
    }
  }
  counter.add(values);
}

/// Elements of tiles [begin, end) of one tensor. Tiles begin with the aligned vector that holds the first element; what
/// the tensor lacks of them is counted as zeros, whose number is returned. Vectors at its ends that are not wholly the
/// tensor's are left out of the tiles and read by element.
__device__ __forceinline__ std::uint32_t count_tiles(Counter& counter, const ListedTensor& tensor, std::uint32_t begin,
                                                     std::uint32_t end) {
  const DataType type = tensor.type;
  const std::uint32_t per_vector = 16 / size_of_element(type);
  const std::uint32_t lead = lead_of(tensor.data, type);
  const std::uint32_t total = lead + tensor.elements;
  const char* data = static_cast<const char*>(tensor.data) - lead * size_of_element(type);
  const std::uint32_t first = lead == 0 ? 0 : 1;
  const std::uint32_t stop = type == DataType::float32 ? total / 4 : total / 8;
  const auto* from = reinterpret_cast<const uint4*>(data) + std::size_t{begin} * tile_vectors + threadIdx.x;
  for (std::uint32_t tile = begin; tile < end; ++tile, from += tile_vectors) {
    uint4 loaded[vectors_per_thread];
    if (tile >= first && tile < stop / tile_vectors) {
#pragma unroll
      for (int i = 0; i < vectors_per_thread; ++i) loaded[i] = __ldg(from + i * threads);
    } else {
#pragma unroll
      for (int i = 0; i < vectors_per_thread; ++i) {
        const std::uint32_t vector = tile * tile_vectors + threadIdx.x + i * threads;
        const bool inside = vector >= first && vector < stop;
        loaded[i] = inside ? __ldg(reinterpret_cast<const uint4*>(data) + vector) : uint4{};
      }
    }
    if (type == DataType::float32) {
      add_floats(counter, loaded);
    } else {
#pragma unroll 1
      for (int half = 0; half < 2; ++half) {
        add_halves(counter, loaded[0], loaded[1], type);
        loaded[0] = loaded[2];
        loaded[1] = loaded[3];
      }
    }
  }
  const std::uint32_t head = first == 0 ? 0 : min(per_vector, total);  // its elements end there
  const std::uint32_t tail = max(first, stop) * per_vector;            // its elements begin there
  const bool has_head = begin == 0 && head > 0;
  const bool has_tail = end == tiles_of(tensor.data, tensor.elements, type) && tail < total;
  const std::uint32_t tile_elements = tile_vectors * per_vector;
  const std::uint32_t elements = min(end * tile_elements, total) - max(begin * tile_elements, lead);
  const std::uint32_t padding = (end - begin) * tile_elements - elements;
  if (!has_head && !has_tail) return padding;
  const bool in_head = threadIdx.x < per_vector;
  const std::uint32_t element = in_head ? lead + threadIdx.x : tail + threadIdx.x - per_vector;
  const bool inside = in_head ? has_head && element < head : has_tail && element < total;
  const std::uint32_t value[1] = {inside ? load(data, element, type) : 0u};
  counter.add(value);
  return padding + threads;
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
  static_assert(warps <= static_cast<int>(most_tensors));
  const std::uint32_t lane = threadIdx.x % 32;
  const std::uint32_t share = max(1u, warps / list.count);  // warps that a tensor has
  for (std::uint32_t part = threadIdx.x / 32; part < list.count * share; part += warps) {
    const std::uint32_t entry = part / share;
    const std::uint32_t first = block_of(list.tensors[entry].first_tile, list.tiles);
    const std::uint32_t last = block_of(end_tile_of(list, entry) - 1, list.tiles);
    Exact exact{};
    for (std::uint32_t block = first + part % share * 32 + lane; block <= last; block += share * 32)
      merge(exact, partials[block + entry]);
    exact = merge_lanes(exact);
    if (lane == 0) merged[part] = exact;
  }
  __syncthreads();
  if (threadIdx.x >= list.count) return;
  const std::uint32_t site = list.tensors[threadIdx.x].site;
  for (std::uint32_t i = 0; i < threadIdx.x; ++i)
    if (list.tensors[i].site == site) return;
  Exact exact = sites[site].exact;
  for (std::uint32_t i = threadIdx.x; i < list.count; ++i) {
    if (list.tensors[i].site != site) continue;
    for (std::uint32_t part = i * share; part < (i + 1) * share; ++part) merge(exact, merged[part]);
    sites[site].elements += list.tensors[i].elements;
  }
  sites[site].exact = exact;
}

__global__ void __launch_bounds__(threads, blocks_per_multiprocessor)
    observe_kernel(const __grid_constant__ TensorList list, Site* sites, Exact* partials, unsigned* finished) {
  __shared__ __align__(16) unsigned bins[histogram_slots + special_counters];
  for (std::uint32_t slot = threadIdx.x; slot < histogram_slots + special_counters; slot += threads) bins[slot] = 0;
  __syncthreads();

  std::uint32_t tile = first_tile_of(blockIdx.x, list.tiles);
  const std::uint32_t end = first_tile_of(blockIdx.x + 1, list.tiles);
  std::uint32_t index = 0;
  while (tile < end) {
    while (end_tile_of(list, index) <= tile) ++index;
    const ListedTensor& tensor = list.tensors[index];
    const std::uint32_t stop = min(end, end_tile_of(list, index));
    Counter counter{bins};
    const std::uint32_t padding = count_tiles(counter, tensor, tile - tensor.first_tile, stop - tensor.first_tile);
    tile = stop;
    flush<warps>(bins, counter.exact(), padding, sites[tensor.site], partials[blockIdx.x + index]);
  }

  if (!is_last_block(finished)) return;
  merge_sites(list, sites, partials);
  if (threadIdx.x == 0) *finished = 0;
}

}  // namespace

void TensorList::add(const void* data, std::uint32_t elements, std::uint32_t site, DataType type) {
  tensors[count++] = {data, elements, site, tiles, type};
  tiles += tiles_of(data, elements, type);
}

std::uint32_t most_observer_blocks() {
  return static_cast<std::uint32_t>(multiprocessors() * blocks_per_multiprocessor);
}

std::size_t most_observer_partials() {
  const std::size_t blocks = most_observer_blocks();
  return std::max(blocks * most_taps, blocks + most_tensors);
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
