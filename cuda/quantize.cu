// Quantize-dequantize: one read and one write of 16 bytes a thread at a time, four in flight. Four kernels: one grid
// for all; runs that share a grid (channels further out, blocks), where a vector may straddle two runs; columns
// (channels innermost), where a thread keeps the grids of its columns; and any geometry, an element at a time. Formulas
// are those of numerics.hpp. Odd: what is not a whole vector, and data that are not aligned, take the last kernel's
// loop.
#include "quantize.hpp"

#include "cpu/quantize_formula.hpp"
#include "launch.hpp"

namespace tare::cuda {
namespace {

constexpr int threads = 256;
constexpr int in_flight = 4;
constexpr std::int64_t most_blocks = std::int64_t{1} << 30;

template <DataType type>
struct Format {
  using Element = std::uint16_t;
  static constexpr int vector = 8;
  __device__ static float widen(Element value) {
    return type == DataType::float16 ? half_to_float(value) : bfloat_to_float(value);
  }
  __device__ static Element narrow(float value) {
    return type == DataType::float16 ? float_to_half(value) : float_to_bfloat(value);
  }
};
template <>
struct Format<DataType::float32> {
  using Element = float;
  static constexpr int vector = 4;
  __device__ static float widen(float value) { return value; }
  __device__ static float narrow(float value) { return value; }
};

template <Operation operation>
struct FormulaOf {
  using Type = cpu::Float8<operation == Operation::float8e4m3fn ? 3 : 2>;
};
template <>
struct FormulaOf<Operation::half_even> {
  using Type = cpu::ByDivision;
};
template <>
struct FormulaOf<Operation::half_even_by_product> {
  using Type = cpu::ByProduct;
};
template <>
struct FormulaOf<Operation::half_up> {
  using Type = cpu::HalfUp;
};
template <>
struct FormulaOf<Operation::float16> {
  using Type = cpu::Float16;
};
template <Operation operation>
using Formula = typename FormulaOf<operation>::Type;

template <DataType type>
union Vector {
  uint4 words;
  typename Format<type>::Element elements[Format<type>::vector];
};

/// `formula_of(i)` is that of element i.
template <DataType type, class FormulaOfElement>
__device__ __forceinline__ uint4 apply_vector(uint4 words, FormulaOfElement formula_of) {
  using F = Format<type>;
  Vector<type> vector;
  vector.words = words;
#pragma unroll
  for (int i = 0; i < F::vector; ++i) vector.elements[i] = F::narrow(formula_of(i)(F::widen(vector.elements[i])));
  return vector.words;
}

/// Not negative by positive. 32-bit division where it will do: the 64-bit one is a long subroutine.
__device__ __forceinline__ std::int64_t divide(std::int64_t value, std::int64_t by) {
  if (((value | by) >> 32) == 0) return static_cast<std::uint32_t>(value) / static_cast<std::uint32_t>(by);
  return value / by;
}

__device__ __forceinline__ std::int64_t grid_index(const GridMap& map, std::int64_t run) {
  std::int64_t grid = 0;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const GridDimension& dimension = map.dimensions[i];
    if (dimension.stride == 0) continue;
    const std::int64_t at = divide(run, dimension.runs_inside);
    const std::int64_t index = at - divide(at, dimension.size) * dimension.size;
    grid += divide(index, dimension.block) * dimension.stride;
  }
  return grid;
}

/// Elements [begin, end), one at a time, by the whole launch.
template <DataType type, Operation operation>
__device__ __forceinline__ void walk(const void* input, void* output, const GridMap& map, std::int64_t begin,
                                     std::int64_t end) {
  using F = Format<type>;
  const auto* in = static_cast<const typename F::Element*>(input);
  auto* out = static_cast<typename F::Element*>(output);
  const std::int64_t step = std::int64_t{gridDim.x} * threads;
  for (std::int64_t i = begin + std::int64_t{blockIdx.x} * threads + threadIdx.x; i < end; i += step) {
    const Formula<operation> quantize(map.grids ? map.grids[grid_index(map, divide(i, map.run))] : map.uniform);
    out[i] = F::narrow(quantize(F::widen(in[i])));
  }
}

template <DataType type, Operation operation>
__global__ void __launch_bounds__(threads)
    qdq_any(const void* input, void* output, const __grid_constant__ GridMap map) {
  walk<type, operation>(input, output, map, 0, map.elements);
}

/// `body` vectors from element `head` on; head and tail are walked by the first block.
template <DataType type, Operation operation>
__global__ void __launch_bounds__(threads)
    qdq_uniform(const void* input, void* output, const __grid_constant__ GridMap map, std::int64_t head,
                std::int64_t body) {
  using F = Format<type>;
  const uint4* in = reinterpret_cast<const uint4*>(static_cast<const typename F::Element*>(input) + head);
  uint4* out = reinterpret_cast<uint4*>(static_cast<typename F::Element*>(output) + head);
  const Formula<operation> quantize(map.uniform);
  const auto same = [&](int) { return quantize; };
  const std::int64_t first = std::int64_t{blockIdx.x} * (threads * in_flight) + threadIdx.x;
  if (first + (in_flight - 1) * threads < body) {
    uint4 words[in_flight];
#pragma unroll
    for (int i = 0; i < in_flight; ++i) words[i] = __ldcs(in + first + i * threads);
#pragma unroll
    for (int i = 0; i < in_flight; ++i) __stcs(out + first + i * threads, apply_vector<type>(words[i], same));
  } else {
    for (std::int64_t at = first; at < body; at += threads) out[at] = apply_vector<type>(in[at], same);
  }
  if (blockIdx.x != 0) return;
  const std::int64_t tail = head + body * F::vector;
  const std::int64_t odd = head + (map.elements - tail);  // elements outside the vectors: fewer than two vectors
  if (threadIdx.x >= odd) return;
  const std::int64_t at = threadIdx.x < head ? threadIdx.x : tail + (threadIdx.x - head);
  const auto* element = static_cast<const typename F::Element*>(input) + at;
  static_cast<typename F::Element*>(output)[at] = F::narrow(quantize(F::widen(*element)));
}

/// Runs of at least a vector. Aligned data.
template <DataType type, Operation operation>
__global__ void __launch_bounds__(threads)
    qdq_runs(const void* input, void* output, const __grid_constant__ GridMap map, std::int64_t body) {
  using F = Format<type>;
  const uint4* in = static_cast<const uint4*>(input);
  uint4* out = static_cast<uint4*>(output);
  const std::int64_t first = std::int64_t{blockIdx.x} * (threads * in_flight) + threadIdx.x;
  const auto quantize_at = [&](std::int64_t at, uint4 words) {
    const std::int64_t element = at * F::vector;
    const std::int64_t run = divide(element, map.run);
    const std::int64_t left = (run + 1) * map.run - element;  // elements of this vector's first run
    // Both first: finding a grid may take a division, which is a call, and little should be kept over it.
    const std::int64_t grid = grid_index(map, run);
    const std::int64_t next_grid = left < F::vector ? grid_index(map, run + 1) : grid;
    const Formula<operation> own(map.grids[grid]);
    if (left >= F::vector) return apply_vector<type>(words, [&](int) { return own; });
    const Formula<operation> next(map.grids[next_grid]);
    return apply_vector<type>(words, [&](int i) -> const Formula<operation>& { return i < left ? own : next; });
  };
  if (first + (in_flight - 1) * threads < body) {
    uint4 words[in_flight];
#pragma unroll
    for (int i = 0; i < in_flight; ++i) words[i] = __ldcs(in + first + i * threads);
#pragma unroll
    for (int i = 0; i < in_flight; ++i) __stcs(out + first + i * threads, quantize_at(first + i * threads, words[i]));
  } else {
    for (std::int64_t at = first; at < body; at += threads) out[at] = quantize_at(at, in[at]);
  }
  walk<type, operation>(input, output, map, body * F::vector, map.elements);
}

/// Columns a multiple of the vector. A thread keeps the grids of its columns and walks down the rows.
template <DataType type, Operation operation>
__global__ void __launch_bounds__(threads)
    qdq_columns(const void* input, void* output, const __grid_constant__ GridMap map, std::int64_t rows,
                std::int64_t row_vectors) {
  using F = Format<type>;
  const std::int64_t column = std::int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  if (column >= row_vectors) return;
  const uint4* in = static_cast<const uint4*>(input) + column;
  uint4* out = static_cast<uint4*>(output) + column;
  Formula<operation> formulas[F::vector];
#pragma unroll
  for (int i = 0; i < F::vector; ++i) formulas[i] = Formula<operation>(map.grids[column * F::vector + i]);
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.y;
  std::int64_t row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const auto formula_of = [&](int i) -> const Formula<operation>& { return formulas[i]; };
  for (; row + (in_flight - 1) * step < rows; row += in_flight * step) {
    uint4 words[in_flight];
#pragma unroll
    for (int i = 0; i < in_flight; ++i) words[i] = __ldcs(in + (row + i * step) * row_vectors);
#pragma unroll
    for (int i = 0; i < in_flight; ++i)
      __stcs(out + (row + i * step) * row_vectors, apply_vector<type>(words[i], formula_of));
  }
  for (; row < rows; row += step) out[row * row_vectors] = apply_vector<type>(in[row * row_vectors], formula_of);
}

struct Geometry {
  std::int64_t head;  ///< elements before both pointers are aligned; -1: they never are together
  std::int64_t body;  ///< vectors after them
};

template <DataType type>
Geometry geometry_of(const void* input, const void* output, std::int64_t elements) {
  constexpr std::int64_t size = sizeof(typename Format<type>::Element);
  const auto from = reinterpret_cast<std::uintptr_t>(input) % 16;
  if (from != reinterpret_cast<std::uintptr_t>(output) % 16) return {-1, 0};
  std::int64_t head = from == 0 ? 0 : (16 - static_cast<std::int64_t>(from)) / size;
  head = head < elements ? head : elements;
  return {head, (elements - head) / Format<type>::vector};
}

unsigned blocks_for(std::int64_t items, std::int64_t items_per_block) {
  const std::int64_t blocks = (items + items_per_block - 1) / items_per_block;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks < most_blocks ? blocks : most_blocks);
}

template <DataType type, Operation operation>
void launch_operation(const void* input, void* output, const GridMap& map, StreamView stream) {
  constexpr bool integer = operation == Operation::half_even || operation == Operation::half_even_by_product ||
                           operation == Operation::half_up;
  constexpr std::int64_t vector = Format<type>::vector;
  const Geometry geometry = geometry_of<type>(input, output, map.elements);
  const unsigned blocks = blocks_for(geometry.body, threads * in_flight);
  const bool vectors = geometry.body <= most_blocks * threads * in_flight;
  if (!map.grids && geometry.head >= 0 && vectors) {
    launch(qdq_uniform<type, operation>, blocks, threads, 0, stream, input, output, map, geometry.head, geometry.body);
    TARE_CUDA_CHECK_LAUNCH("qdq_uniform");
    return;
  }
  if constexpr (integer) {
    if (map.grids && geometry.head == 0 && vectors && map.run >= vector) {
      launch(qdq_runs<type, operation>, blocks, threads, 0, stream, input, output, map, geometry.body);
      TARE_CUDA_CHECK_LAUNCH("qdq_runs");
      return;
    }
    if (map.grids && geometry.head == 0 && map.column_mode() && map.dimensions[0].size % vector == 0) {
      const std::int64_t row_vectors = map.dimensions[0].size / vector;
      const std::int64_t rows = map.elements / map.dimensions[0].size;
      unsigned width = 1;
      while (width < threads && width < row_vectors) width *= 2;
      const dim3 block(width, threads / width);
      const std::int64_t column_blocks = (row_vectors + width - 1) / width;
      const std::int64_t wanted = (std::int64_t{multiprocessors()} * 16 + column_blocks - 1) / column_blocks;
      const std::int64_t row_blocks = (rows + block.y * in_flight - 1) / (block.y * in_flight);
      if (column_blocks <= 65535) {
        const dim3 grid(static_cast<unsigned>(wanted < row_blocks ? wanted : row_blocks),
                        static_cast<unsigned>(column_blocks));
        launch(qdq_columns<type, operation>, grid, block, 0, stream, input, output, map, rows, row_vectors);
        TARE_CUDA_CHECK_LAUNCH("qdq_columns");
        return;
      }
    }
  }
  launch(qdq_any<type, operation>, blocks_for(map.elements, threads), threads, 0, stream, input, output, map);
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
