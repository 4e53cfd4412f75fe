// The loops behind the operators that move elements: strided copies and fills, look-ups by an index list a dimension,
// and the weighted sums of a resize. Elements are moved as integers of their size, up to 16 bytes where rows are whole.
// Odd: a copy is ordered by its destination, so writes are whole lines; where that would scatter the reads of another
// long dimension, blocks turn tiles of both in shared memory.
#include "device.hpp"
#include "launch.hpp"
#include "moved_element.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace tare::cuda {
namespace {

/// The loops in a nest; false when there are too many.
bool nest_of(std::span<const cpu::CopyLoop> loops, Nest<2>& nest) {
  for (const cpu::CopyLoop& loop : loops)
    if (!nest.add(loop.count, {loop.from, loop.to})) return false;
  return true;
}

template <class T>
void copy_nest(const Nest<2>& nest, std::int64_t steps, const void* from, void* to, StreamView stream) {
  const T* in = static_cast<const T*>(from);
  T* out = static_cast<T*>(to);
  for_each(steps, stream, [=] __device__(std::int64_t i) {
    const auto at = nest.at(i);
    out[at.of[1]] = in[at.of[0]];
  });
}

constexpr int tile_side = 32;
constexpr int tile_rows = 8;  ///< of a tile, that a block moves at a time

/// Tiles of two dimensions: elements of a row lie side by side in the source, those of a column in the destination.
struct Turn {
  std::int64_t rows, columns;
  std::int64_t between_rows;     ///< in the source
  std::int64_t between_columns;  ///< in the destination
  std::int64_t tiles_down, tiles_across;
};

/// A block a tile of one step of the nest around them.
template <class T>
__global__ void __launch_bounds__(tile_side* tile_rows)
    turn_kernel(const __grid_constant__ Nest<2> outer, const __grid_constant__ Turn turn, const T* in, T* out) {
  __shared__ T tile[tile_side][tile_side + 1];
  const std::int64_t block = blockIdx.x;
  const auto offsets = outer.at(block / (turn.tiles_down * turn.tiles_across));
  const std::int64_t row = block / turn.tiles_across % turn.tiles_down * tile_side;
  const std::int64_t column = block % turn.tiles_across * tile_side;
  const auto x = static_cast<int>(threadIdx.x);
  for (int y = static_cast<int>(threadIdx.y); y < tile_side; y += tile_rows)
    if (row + y < turn.rows && column + x < turn.columns)
      tile[y][x] = in[offsets.of[0] + (row + y) * turn.between_rows + column + x];
  __syncthreads();
  for (int y = static_cast<int>(threadIdx.y); y < tile_side; y += tile_rows)
    if (column + y < turn.columns && row + x < turn.rows)
      out[offsets.of[1] + (column + y) * turn.between_columns + row + x] = tile[x][y];
}

/// Whether the copy turns two long dimensions, and then does it.
bool turns(std::span<const cpu::CopyLoop> loops, std::size_t element_size, const void* from, void* to,
           StreamView stream) {
  constexpr std::int64_t least = 16;
  if (loops.size() < 2 || loops.back().to != 1 || loops.back().from == 1 || loops.back().count < least) return false;
  const auto across = std::find_if(loops.begin(), loops.end() - 1,
                                   [](const cpu::CopyLoop& loop) { return loop.from == 1 && loop.count >= least; });
  if (across == loops.end() - 1) return false;
  Turn turn{loops.back().count, across->count, loops.back().from, across->to, 0, 0};
  turn.tiles_down = (turn.rows + tile_side - 1) / tile_side;
  turn.tiles_across = (turn.columns + tile_side - 1) / tile_side;
  Nest<2> outer;
  for (auto loop = loops.begin(); loop != loops.end() - 1; ++loop)
    if (loop != across) outer.add(loop->count, {loop->from, loop->to});
  const std::int64_t blocks = outer.finish() * turn.tiles_down * turn.tiles_across;
  constexpr std::int64_t most = std::int64_t{1} << 30;
  if (blocks > most) return false;
  by_size(element_size, [&](auto element) {
    using T = decltype(element);
    launch(turn_kernel<T>, static_cast<unsigned>(blocks), dim3(tile_side, tile_rows), 0, stream, outer, turn,
           static_cast<const T*>(from), static_cast<T*>(to));
    TARE_CUDA_CHECK_LAUNCH("turn_kernel");
  });
  return true;
}

template <class T>
void fill_nest(const Nest<2>& nest, std::int64_t steps, const void* value, void* to, StreamView stream) {
  T element;
  std::memcpy(&element, value, sizeof element);
  T* out = static_cast<T*>(to);
  for_each(steps, stream, [=] __device__(std::int64_t i) { out[nest.at(i).of[1]] = element; });
}

/// Pairs of neighbours as one element of twice the size, as long as every row is made of such pairs.
void widen_elements(Nest<2>& nest, std::size_t& size, const void* from, const void* to) {
  while (size < 16 && nest.rank > 0) {
    const int last = nest.rank - 1;
    const std::size_t wide = 2 * size;
    bool pairs = nest.strides[0][last] == 1 && nest.strides[1][last] == 1 && nest.sizes[last] % 2 == 0 &&
                 reinterpret_cast<std::uintptr_t>(from) % wide == 0 && reinterpret_cast<std::uintptr_t>(to) % wide == 0;
    for (int d = 0; d < last; ++d) pairs = pairs && nest.strides[0][d] % 2 == 0 && nest.strides[1][d] % 2 == 0;
    if (!pairs) return;
    for (int d = 0; d < last; ++d) {
      nest.strides[0][d] /= 2;
      nest.strides[1][d] /= 2;
    }
    nest.sizes[last] /= 2;
    size = wide;
  }
}

/// Copies of nests with more loops than a kernel takes: the outermost one runs here.
template <class Run>
void split_outer(std::span<const cpu::CopyLoop> loops, std::size_t size, const void* from, void* to, Run&& run) {
  if (loops.size() <= most_loops) return run(loops, from, to);
  for (std::int64_t i = 0; i < loops[0].count; ++i)
    split_outer(loops.subspan(1), size,
                static_cast<const std::byte*>(from) + i * loops[0].from * static_cast<std::int64_t>(size),
                static_cast<std::byte*>(to) + i * loops[0].to * static_cast<std::int64_t>(size), run);
}

template <class T>
void look_up(const Nest<1>& nest, std::int64_t steps, const std::int64_t* positions, const void* from, void* to,
             StreamView stream) {
  const T* in = static_cast<const T*>(from);
  T* out = static_cast<T*>(to);
  // Per dimension, `strides` says where its list of source offsets starts.
  for_each(steps, stream, [=] __device__(std::int64_t i) {
    std::int64_t rest = i;
    std::int64_t offset = 0;
    for (int d = nest.rank - 1; d >= 0; --d) {
      offset += positions[nest.strides[0][d] + rest % nest.sizes[d]];
      rest /= nest.sizes[d];
    }
    out[i] = in[offset];
  });
}

}  // namespace

bool Device::copies(std::span<const cpu::CopyLoop> loops, std::size_t element_size, const void* from, void* to) const {
  const bool block = loops.empty() || (loops.size() == 1 && loops[0].from == 1 && loops[0].to == 1);
  if (block) {
    const std::size_t bytes = (loops.empty() ? 1 : static_cast<std::size_t>(loops[0].count)) * element_size;
    TARE_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream().get()));
    return true;
  }
  split_outer(
      loops, element_size, from, to, [&](std::span<const cpu::CopyLoop> inner, const void* source, void* destination) {
        if (turns(inner, element_size, source, destination, stream())) return;
        Nest<2> nest;
        nest_of(inner, nest);
        std::size_t size = element_size;
        widen_elements(nest, size, source, destination);
        const std::int64_t steps = nest.finish();
        by_size(size, [&](auto element) { copy_nest<decltype(element)>(nest, steps, source, destination, stream()); });
      });
  return true;
}

bool Device::fills(std::span<const cpu::CopyLoop> loops, std::size_t element_size, const void* value, void* to) const {
  split_outer(loops, element_size, value, to,
              [&](std::span<const cpu::CopyLoop> inner, const void*, void* destination) {
                Nest<2> nest;
                nest_of(inner, nest);
                const std::int64_t steps = nest.finish();
                by_size(element_size,
                        [&](auto element) { fill_nest<decltype(element)>(nest, steps, value, destination, stream()); });
              });
  return true;
}

bool Device::looks_up(const Tensor& in, Tensor& out, std::span<const std::vector<std::int64_t>> indices) const {
  const std::size_t rank = out.rank();
  if (rank > most_loops) return false;
  std::vector<std::int64_t> positions;
  Nest<1> nest;
  std::vector<std::int64_t> strides(rank, 1);
  for (std::size_t d = rank; d-- > 1;) strides[d - 1] = strides[d] * in.shape()[d];
  for (std::size_t d = 0; d < rank; ++d) {
    nest.add(out.shape()[d], {static_cast<std::int64_t>(positions.size())});
    for (std::int64_t i = 0; i < out.shape()[d]; ++i)
      positions.push_back((indices[d].empty() ? i : indices[d][static_cast<std::size_t>(i)]) * strides[d]);
  }
  const Tensor list = upload_to<std::int64_t>(positions);
  by_size(size_of(out.type()), [&](auto element) {
    look_up<decltype(element)>(nest, out.elements(), list.data<std::int64_t>(), in.data(), out.mutable_data(),
                               stream());
  });
  return true;
}

bool Device::blends(std::int64_t outer, std::int64_t in_size, std::int64_t out_size, std::int64_t inner,
                    const cpu::ResizeTaps& taps, const float* in, float* out) const {
  const std::vector<float> rounded(taps.weights.begin(), taps.weights.end());
  const Tensor index_list = upload_to<std::int32_t>(taps.indices);
  const Tensor weight_list = upload_to<float>(rounded);
  const std::int32_t* indices = index_list.data<std::int32_t>();
  const float* weights = weight_list.data<float>();
  const auto count = static_cast<std::int64_t>(taps.taps);
  for_each(outer * out_size * inner, stream(), [=] __device__(std::int64_t i) {
    const std::int64_t column = i % inner;
    const std::int64_t position = i / inner % out_size;
    const std::int64_t plane = i / inner / out_size;
    float sum = 0.0f;
    for (std::int64_t k = 0; k < count; ++k) {
      const std::int64_t tap = k * out_size + position;
      const float part = weights[tap] * in[(plane * in_size + indices[tap]) * inner + column];
      sum = k == 0 ? part : sum + part;
    }
    out[i] = sum;
  });
  return true;
}

}  // namespace tare::cuda
