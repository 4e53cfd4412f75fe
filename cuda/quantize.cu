// Quantize-dequantize: one read and one write of 16 bytes a thread at a time, four in flight. Four kernels: one grid
// for all; runs that share a grid (channels further out, blocks), where a vector may straddle two runs; columns
// (channels innermost), where a thread keeps the grids of its columns; and any geometry, an element at a time. Formulas
// are those of numerics.hpp. Odd: what is not a whole vector is the first block's. Pointers that are not aligned alike,
// runs shorter than a vector, runs in tensors of 2^31 elements and the last few rows of odd columns take the last
// kernel.
#include "quantize.hpp"

#include <numeric>

#include "grid_locator.hpp"
#include "launch.hpp"
#include "quantize_vector.hpp"

namespace tare::cuda {
namespace {

constexpr int threads = 256;
constexpr int in_flight = 4;
constexpr int block_items = threads * in_flight;
constexpr int waves_of_columns = 4;  ///< few, since blocks begin with their grids; not one, which would end unevenly

/// The grids of the elements from `first` on, `threads` apart.
template <Operation operation, class Index, int count>
__device__ __forceinline__ void load_grids(const GridLocator& locator, std::int64_t first, Grid (&grids)[count]) {
  Index runs[count];
  Index found[count];
#pragma unroll
  for (int i = 0; i < count; ++i) runs[i] = locator.run.quotient(static_cast<Index>(first + i * threads));
  locator.find(runs, found);
#pragma unroll
  for (int i = 0; i < count; ++i) grids[i] = unpack<operation>(locator.grids[found[i]]);
}

/// Four elements a thread.
template <DataType type, Operation operation>
__global__ void __launch_bounds__(threads)
    qdq_any(const void* input, void* output, const __grid_constant__ GridLocator locator,
            const __grid_constant__ Grid one, std::int64_t elements) {
  using Element = typename Format<type, operation>::Element;
  const auto* in = static_cast<const Element*>(input);
  auto* out = static_cast<Element*>(output);
  const std::int64_t first = std::int64_t{blockIdx.x} * block_items + threadIdx.x;
  if (locator.small && first + (in_flight - 1) * threads < elements) {
    Element values[in_flight];
    Grid grids[in_flight] = {one, one, one, one};
#pragma unroll
    for (int i = 0; i < in_flight; ++i) values[i] = in[first + i * threads];
    if (locator.grids != nullptr) load_grids<operation, std::uint32_t>(locator, first, grids);
#pragma unroll
    for (int i = 0; i < in_flight; ++i) out[first + i * threads] = apply_grid<type, operation>(values[i], grids[i]);
    return;
  }
  const std::int64_t end = first + block_items < elements ? first + block_items : elements;
  TARE_NO_UNROLL
  for (std::int64_t at = first; at < end; at += threads) {
    Grid grid[1] = {one};
    if (locator.grids != nullptr) load_grids<operation, std::int64_t>(locator, at, grid);
    out[at] = apply_grid<type, operation>(in[at], grid[0]);
  }
}

/// The elements of a tensor: `head`, then `body` vectors, and the rest. Both pointers are aligned behind the head.
struct Geometry {
  std::int64_t elements;
  std::int64_t head;
  std::int64_t body;
};

/// Where the thread's element outside the vectors lies, of which there are fewer than two vectors: all are the first
/// block's. -1: it has none.
template <DataType type>
__device__ __forceinline__ std::int64_t odd_element(const Geometry& geometry) {
  const std::int64_t tail = geometry.head + geometry.body * vector_of<type>;
  const std::int64_t odd = geometry.head + (geometry.elements - tail);
  if (blockIdx.x != 0 || threadIdx.x >= odd) return -1;
  return threadIdx.x < geometry.head ? threadIdx.x : tail + (threadIdx.x - geometry.head);
}

template <DataType type, Operation operation>
__global__ void __launch_bounds__(threads)
    qdq_uniform(const void* input, void* output, const __grid_constant__ Grid grid,
                const __grid_constant__ Geometry geometry) {
  using Element = typename Format<type, operation>::Element;
  const auto* elements = static_cast<const Element*>(input);
  const uint4* in = reinterpret_cast<const uint4*>(elements + geometry.head);
  uint4* out = reinterpret_cast<uint4*>(static_cast<Element*>(output) + geometry.head);
  const typename FormulaOf<operation>::Type quantize(grid);
  const auto same = [&](int) { return quantize; };
  const std::int64_t first = std::int64_t{blockIdx.x} * block_items + threadIdx.x;
  if (first + (in_flight - 1) * threads < geometry.body) {
    uint4 vectors[in_flight];
#pragma unroll
    for (int i = 0; i < in_flight; ++i) vectors[i] = __ldcs(in + first + i * threads);
#pragma unroll
    for (int i = 0; i < in_flight; ++i)
      __stcs(out + first + i * threads, apply_vector<type, operation>(vectors[i], same));
  } else {
    for (std::int64_t at = first; at < geometry.body; at += threads)
      out[at] = apply_vector<type, operation>(in[at], same);
  }
  const std::int64_t odd = odd_element<type>(geometry);
  if (odd >= 0) static_cast<Element*>(output)[odd] = apply_grid<type, operation>(elements[odd], grid);
}

/// The vectors from `at` on, `threads` apart. `whole_warp`: all threads of the warp are here.
template <DataType type, Operation operation, int count, bool whole_warp>
__device__ __forceinline__ void quantize_runs(const uint4* in, uint4* out, const GridLocator& locator,
                                              std::uint32_t head, std::uint32_t at) {
  constexpr int vector = vector_of<type>;
  uint4 vectors[count];
#pragma unroll
  for (int i = 0; i < count; ++i) vectors[i] = __ldcs(in + at + i * threads);
  std::uint32_t runs[count];
  std::uint32_t left[count];  // elements that are in the vector's first run, or more
  std::uint32_t found[count];
  bool straddles = false;
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const std::uint32_t element = head + (at + i * threads) * vector;
    runs[i] = locator.run.quotient(element);
    left[i] = (runs[i] + 1) * locator.run.divider.divisor - element;
    straddles = straddles || left[i] < vector;
  }
  locator.find(runs, found);
  PackedGrid own[count];
#pragma unroll
  for (int i = 0; i < count; ++i) own[i] = locator.grids[found[i]];
#ifdef __CUDA_ARCH__
  // If one thread has to choose between two grids, its whole warp does: going both ways would take longer.
  if (whole_warp) straddles = __any_sync(~0u, straddles);
#endif
  if (!straddles) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const Grid grid = unpack<operation>(own[i]);
      __stcs(out + at + i * threads, apply_grids<type, operation>(vectors[i], grid, grid, vector));
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < count; ++i) runs[i] += left[i] < vector ? 1 : 0;
  locator.find(runs, found);
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const Grid grid = unpack<operation>(own[i]);
    const Grid next = unpack<operation>(locator.grids[found[i]]);
    __stcs(out + at + i * threads, apply_grids<type, operation>(vectors[i], grid, next, static_cast<int>(left[i])));
  }
}

/// Runs of at least a vector, in tensors of fewer than 2^31 elements.
template <DataType type, Operation operation>
__global__ void __launch_bounds__(threads)
    qdq_runs(const void* input, void* output, const __grid_constant__ GridLocator locator,
             const __grid_constant__ Geometry geometry) {
  using Element = typename Format<type, operation>::Element;
  const auto head = static_cast<std::uint32_t>(geometry.head);
  const auto body = static_cast<std::uint32_t>(geometry.body);
  const auto* elements = static_cast<const Element*>(input);
  const uint4* in = reinterpret_cast<const uint4*>(elements + head);
  uint4* out = reinterpret_cast<uint4*>(static_cast<Element*>(output) + head);
  const std::uint32_t begin = blockIdx.x * block_items;
  if (begin + block_items <= body) {
    quantize_runs<type, operation, in_flight, true>(in, out, locator, head, begin + threadIdx.x);
  } else {
    for (std::uint32_t at = begin + threadIdx.x; at < body; at += threads)
      quantize_runs<type, operation, 1, false>(in, out, locator, head, at);
  }
  const std::int64_t odd = odd_element<type>(geometry);
  if (odd < 0) return;
  Grid grid[1];
  load_grids<operation, std::uint32_t>(locator, odd, grid);
  static_cast<Element*>(output)[odd] = apply_grid<type, operation>(elements[odd], grid[0]);
}

/// Of a thread's columns, down the rows. `in` and `out` are those of the first row.
template <DataType type, Operation operation, class Formula>
__device__ __forceinline__ void walk_columns(const uint4* in, uint4* out, const Grid* grids, std::int64_t rows,
                                             std::int64_t row_vectors) {
  Formula formulas[vector_of<type>];
#pragma unroll
  for (int i = 0; i < vector_of<type>; ++i) formulas[i] = Formula(grids[i]);
  const auto formula_of = [&](int i) -> const Formula& { return formulas[i]; };
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.y;
  std::int64_t row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  for (; row + (in_flight - 1) * step < rows; row += in_flight * step) {
    uint4 vectors[in_flight];
#pragma unroll
    for (int i = 0; i < in_flight; ++i) vectors[i] = __ldcs(in + (row + i * step) * row_vectors);
#pragma unroll
    for (int i = 0; i < in_flight; ++i)
      __stcs(out + (row + i * step) * row_vectors, apply_vector<type, operation>(vectors[i], formula_of));
  }
  for (; row < rows; row += step)
    out[row * row_vectors] = apply_vector<type, operation>(in[row * row_vectors], formula_of);
}

/// Rows of whole vectors whose grids come again after `columns` elements. A thread keeps the grids of its vector of a
/// row and walks down the rows.
template <DataType type, Operation operation>
__global__ void __launch_bounds__(threads)
    qdq_columns(const void* input, void* output, const PackedGrid* packed, std::uint32_t columns, std::int64_t rows,
                std::int64_t row_vectors) {
  constexpr int vector = vector_of<type>;
  const std::int64_t column = std::int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  if (column >= row_vectors) return;
  const uint4* in = static_cast<const uint4*>(input) + column;
  uint4* out = static_cast<uint4*>(output) + column;
  Grid grids[vector];
  bool by_product = operation == Operation::half_even;
#pragma unroll
  for (int i = 0; i < vector; ++i) {
    grids[i] = unpack<operation>(packed[static_cast<std::uint32_t>(column * vector + i) % columns]);
    by_product = by_product && grids[i].reciprocal != 0;
  }
  if (by_product)
    walk_columns<type, operation, cpu::ByProduct>(in, out, grids, rows, row_vectors);
  else
    walk_columns<type, operation, typename FormulaOf<operation>::Type>(in, out, grids, rows, row_vectors);
}

template <DataType type>
bool find_geometry(const void* input, const void* output, std::int64_t elements, Geometry& geometry) {
  constexpr std::int64_t vector = vector_of<type>;
  const auto from = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(input) % 16);
  if (from != static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(output) % 16)) return false;
  const std::int64_t head = std::min((16 - from) % 16 / (16 / vector), elements);
  geometry = {elements, head, (elements - head) / vector};
  return true;
}

unsigned blocks_for(std::int64_t items, std::int64_t items_per_block) {
  return static_cast<unsigned>(std::max<std::int64_t>((items + items_per_block - 1) / items_per_block, 1));
}

/// Blocks of qdq_columns that run at a time.
template <DataType type, Operation operation>
std::int64_t resident_columns() {
  int a_multiprocessor = 1;
#ifdef __CUDACC__
  static const int found = [] {
    int blocks = 0;
    TARE_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, qdq_columns<type, operation>, threads, 0));
    return blocks;
  }();
  a_multiprocessor = found;
#endif
  return std::int64_t{multiprocessors()} * a_multiprocessor;
}

/// Of the elements from the first one on: a multiple of the columns, and none where these are too many. Columns that
/// are no whole vectors become so: several rows are taken as one.
template <DataType type, Operation operation>
std::int64_t launch_columns(const void* input, void* output, const GridMap& map, StreamView stream) {
  const std::int64_t columns = map.dimensions[0].size;
  const std::int64_t together = vector_of<type> / std::gcd<std::int64_t>(columns, vector_of<type>);
  const std::int64_t row_vectors = columns * together / vector_of<type>;
  const std::int64_t rows = map.elements / (columns * together);
  unsigned width = 1;
  while (width < threads && width < row_vectors) width *= 2;
  const dim3 block(width, threads / width);
  const std::int64_t column_blocks = (row_vectors + width - 1) / width;
  if (rows == 0 || column_blocks > 65535) return 0;
  const std::int64_t wanted =
      std::max<std::int64_t>(resident_columns<type, operation>() * waves_of_columns / column_blocks, 1);
  const dim3 grid(static_cast<unsigned>(std::min<std::int64_t>(wanted, blocks_for(rows, block.y * in_flight))),
                  static_cast<unsigned>(column_blocks));
  launch(qdq_columns<type, operation>, grid, block, 0, stream, input, output, static_cast<const PackedGrid*>(map.grids),
         static_cast<std::uint32_t>(columns), rows, row_vectors);
  TARE_CUDA_CHECK_LAUNCH("qdq_columns");
  return rows * together * columns;
}

template <DataType type, Operation operation>
void launch_operation(const void* input, void* output, const GridMap& map, StreamView stream) {
  Geometry geometry{};
  const bool has_vectors = find_geometry<type>(input, output, map.elements, geometry);
  const unsigned blocks = blocks_for(geometry.body, block_items);
  if (map.grids == nullptr && has_vectors) {
    launch(qdq_uniform<type, operation>, blocks, threads, 0, stream, input, output, map.uniform, geometry);
    TARE_CUDA_CHECK_LAUNCH("qdq_uniform");
    return;
  }
  const GridLocator locator(map);
  std::int64_t done = 0;
  if constexpr (operation != Operation::float16) {  // which has no grids
    if (map.grids != nullptr && has_vectors && map.run >= vector_of<type> && locator.small) {
      launch(qdq_runs<type, operation>, blocks, threads, 0, stream, input, output, locator, geometry);
      TARE_CUDA_CHECK_LAUNCH("qdq_runs");
      return;
    }
    if (map.grids != nullptr && has_vectors && geometry.head == 0 && map.column_mode())
      done = launch_columns<type, operation>(input, output, map, stream);
    if (done == map.elements) return;
  }
  using Element = typename Format<type, operation>::Element;
  launch(qdq_any<type, operation>, blocks_for(map.elements - done, block_items), threads, 0, stream,
         static_cast<const void*>(static_cast<const Element*>(input) + done),
         static_cast<void*>(static_cast<Element*>(output) + done), locator, map.uniform, map.elements - done);
  TARE_CUDA_CHECK_LAUNCH("qdq_any");
}

template <DataType type>
void launch_type(const void* input, void* output, const GridMap& map, StreamView stream) {
  switch (map.operation) {
    case Operation::half_even: return launch_operation<type, Operation::half_even>(input, output, map, stream);
    case Operation::half_even_by_product:
      return launch_operation<type, Operation::half_even_by_product>(input, output, map, stream);
    case Operation::half_up: return launch_operation<type, Operation::half_up>(input, output, map, stream);
    case Operation::float16: return launch_operation<type, Operation::float16>(input, output, map, stream);
    case Operation::float8e4m3fn: return launch_operation<type, Operation::float8e4m3fn>(input, output, map, stream);
    case Operation::float8e5m2: return launch_operation<type, Operation::float8e5m2>(input, output, map, stream);
  }
}

}  // namespace

void quantize_dequantize(const void* input, void* output, DataType type, const GridMap& map, StreamView stream) {
  if (map.elements == 0) return;
  if (type == DataType::float32) return launch_type<DataType::float32>(input, output, map, stream);
  if (type == DataType::float16) return launch_type<DataType::float16>(input, output, map, stream);
  launch_type<DataType::bfloat16>(input, output, map, stream);
}

}  // namespace tare::cuda
