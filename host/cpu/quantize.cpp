// Quantize-dequantize of whole tensors: one read and one write, on all threads, in place where nobody else looks.
// Every granularity becomes rows over the physical order of the tensor: a row of one grid (per tensor, channel or block
// further out), a row cut into blocks (block axis innermost), or a row whose grid changes with every element (channel
// axis innermost). Half types pass through a chunk of floats on the stack, and so do copies too large for caches.
#include "cpu/quantize.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <vector>

#include "cpu/vector.hpp"

namespace tare::cpu {
namespace {

constexpr std::int64_t grain = 16384;
constexpr std::int64_t half_chunk = 4096;
constexpr std::size_t past_caches = std::size_t{64} << 20;  // bytes from which on a copy is not kept in caches
constexpr std::int64_t rows_together = 64;
constexpr std::int64_t most_kept = 4096;  // grids
constexpr std::int64_t narrow_row = 64;   // rows with fewer grids than this are laid side by side

using Uniform = void (*)(const float*, float*, std::size_t, Grid);
using ByColumn = void (*)(const float*, float*, std::size_t, GridColumns);
using ByRow = void (*)(const float*, float*, std::size_t, std::size_t, const Grid*);

/// The loops of one number format.
struct Loops {
  Uniform uniform;
  ByColumn columns;
  ByRow rows = nullptr;  ///< of integers, the formats that tensors with many short rows have
};

Loops loops_of(const VectorKernels& vector, NumberFormat format, Rounding rounding) {
  switch (format) {
    case NumberFormat::float16: return {vector.qdq_float16, nullptr};
    case NumberFormat::float8e4m3fn: return {vector.qdq_float8e4m3fn, vector.qdq_float8e4m3fn_columns};
    case NumberFormat::float8e5m2: return {vector.qdq_float8e5m2, vector.qdq_float8e5m2_columns};
    case NumberFormat::integer: break;
  }
  if (rounding == Rounding::half_up) return {vector.qdq_half_up, vector.qdq_half_up_columns, vector.qdq_half_up_rows};
  return {vector.qdq_half_even, vector.qdq_half_even_columns, vector.qdq_half_even_rows};
}

/// A dimension in memory order and what it does to the index of the grid.
struct Dimension {
  std::int64_t size = 1;
  std::int64_t stride = 0;  ///< grids between two neighbours (two neighbouring blocks)
  std::int64_t block = 1;   ///< neighbours that share a grid

  /// As the innermost dimension: the grids lie beside each other as the elements do.
  bool column_mode() const { return stride == 1 && block == 1; }
};

/// Grids of channels that lie side by side in memory.
struct Columns {
  std::vector<float> scale, zero_point, offset, minimum, maximum, reciprocal, rest, lowest, highest;
  bool by_product = true;
  float low = 0;
  float high = 0;

  void add(const Grid& grid) {
    scale.push_back(grid.scale);
    zero_point.push_back(grid.zero_point);
    offset.push_back(grid.offset);
    minimum.push_back(grid.minimum);
    maximum.push_back(grid.maximum);
    reciprocal.push_back(grid.reciprocal);
    rest.push_back(grid.rest);
    lowest.push_back(dequantize(grid.low, grid.scale, grid.zero_point));
    highest.push_back(dequantize(grid.high, grid.scale, grid.zero_point));
    by_product &= grid.reciprocal != 0;
    low = grid.low;
    high = grid.high;
  }
  GridColumns from(std::int64_t first) const {
    return {scale.data() + first,
            zero_point.data() + first,
            offset.data() + first,
            minimum.data() + first,
            maximum.data() + first,
            by_product ? reciprocal.data() + first : nullptr,
            rest.data() + first,
            lowest.data() + first,
            highest.data() + first,
            low,
            high};
  }
};

class Plan {
 public:
  /// `encodings` must outlive the plan.
  Plan(const VectorKernels& vector, const Tensor& tensor, const TensorEncodings& encodings, Rounding rounding)
      : encodings_(encodings.encodings),
        steps_(static_cast<double>(encodings.spec.steps())),
        loops_(loops_of(vector, encodings.spec.format, rounding)) {
    lay_out(tensor, encodings);
    check_count(encodings);
    if (channels_ * blocks_ <= most_kept)
      for (std::int64_t g = 0; g < channels_ * blocks_; ++g) grids_.push_back(make(g));
    if (dimensions_.back().column_mode()) make_columns();
  }

  /// Elements [begin, end) in memory order; `in` and `out` point at the first of them.
  void run(const float* in, float* out, std::int64_t begin, std::int64_t end) const {
    const Dimension& inner = dimensions_.back();
    while (begin < end) {
      const std::int64_t at = begin % inner.size;
      const std::int64_t first = first_grid(begin / inner.size);
      std::int64_t done = std::min(inner.size - at, end - begin);
      if (inner.column_mode()) {
        loops_.columns(in, out, static_cast<std::size_t>(done), columns_.from(first + at));
      } else if (inner.stride == 0) {
        const std::int64_t rows = rows_from(begin, end);
        if (rows > 1) {
          run_rows(in, out, rows, inner.size, first, dimensions_[dimensions_.size() - 2].stride);
          done = rows * inner.size;
        } else {
          loops_.uniform(in, out, static_cast<std::size_t>(done), grid(first));
        }
      } else {
        const std::int64_t of_block = first + at / inner.block * inner.stride;
        if (at % inner.block == 0 && done >= inner.block) {
          const std::int64_t blocks = done / inner.block;
          run_rows(in, out, blocks, inner.block, of_block, inner.stride);
          done = blocks * inner.block;
        } else {
          done = std::min(done, inner.block - at % inner.block);
          loops_.uniform(in, out, static_cast<std::size_t>(done), grid(of_block));
        }
      }
      begin += done;
      in += done;
      out += done;
    }
  }

 private:
  /// Whole rows of one grid each from `begin` on whose grids are equally far apart.
  std::int64_t rows_from(std::int64_t begin, std::int64_t end) const {
    const Dimension& inner = dimensions_.back();
    if (dimensions_.size() < 2 || begin % inner.size != 0) return 0;
    const Dimension& outer = dimensions_[dimensions_.size() - 2];
    if (outer.block != 1) return 0;
    return std::min((end - begin) / inner.size, outer.size - begin / inner.size % outer.size);
  }

  /// Rows of n elements, the grid of each `stride` grids after that of the row before.
  void run_rows(const float* in, float* out, std::int64_t rows, std::int64_t n, std::int64_t first,
                std::int64_t stride) const {
    if (loops_.rows == nullptr) {
      for (std::int64_t row = 0; row < rows; ++row)
        loops_.uniform(in + row * n, out + row * n, static_cast<std::size_t>(n), grid(first + row * stride));
      return;
    }
    std::array<Grid, rows_together> grids;
    for (std::int64_t row = 0; row < rows; row += rows_together) {
      const std::int64_t together = std::min(rows_together, rows - row);
      for (std::int64_t i = 0; i < together; ++i) grids[static_cast<std::size_t>(i)] = grid(first + (row + i) * stride);
      loops_.rows(in + row * n, out + row * n, static_cast<std::size_t>(together), static_cast<std::size_t>(n),
                  grids.data());
    }
  }

  /// Grids are counted [block][channel], so that channels that lie side by side in memory do so here.
  Grid grid(std::int64_t index) const { return grids_.empty() ? make(index) : grids_[static_cast<std::size_t>(index)]; }
  Grid make(std::int64_t index) const {
    if (encodings_.empty()) return make_grid(1.0, 0.0, 0.0, 0.0, 0.0);  // a float format needs no range
    const bool one_order = channels_ == 1 || blocks_ == 1;
    const Encoding& e =
        encodings_[static_cast<std::size_t>(one_order ? index : index % channels_ * blocks_ + index / channels_)];
    return make_grid(e.scale, e.offset, steps_, e.min, e.max);
  }

  [[noreturn]] static void fail(const TensorEncodings& encodings, const std::string& message) {
    throw Error(ErrorKind::data, fmt::format("quantizer of '{}': {}", encodings.tensor, message));
  }

  void lay_out(const Tensor& tensor, const TensorEncodings& encodings) {
    const Shape& shape = tensor.shape();
    const auto axis_of = [&](int axis, const char* what) {
      const std::int64_t rank = static_cast<std::int64_t>(shape.rank());
      const std::int64_t positive = axis < 0 ? axis + rank : axis;
      if (positive < 0 || positive >= rank)
        fail(encodings, fmt::format("{} axis {} does not exist in a tensor of shape {}", what, axis, shape.text()));
      return positive;
    };
    const QuantizerSpec& spec = encodings.spec;
    const bool has_grids = spec.format != NumberFormat::float16;
    const std::int64_t channel_axis = has_grids && spec.channel_axis ? axis_of(*spec.channel_axis, "channel") : -1;
    const std::int64_t block_axis = has_grids && spec.block_axis ? axis_of(*spec.block_axis, "block") : -1;
    if (block_axis >= 0 && spec.block_size <= 0) fail(encodings, fmt::format("block size {}", spec.block_size));
    if (block_axis >= 0 && block_axis == channel_axis)
      fail(encodings, fmt::format("axis {} is both the channel and the block axis", block_axis));

    channels_ = channel_axis >= 0 ? shape[static_cast<std::size_t>(channel_axis)] : 1;
    if (block_axis >= 0) {
      const std::int64_t size = shape[static_cast<std::size_t>(block_axis)];
      blocks_ = (size + spec.block_size - 1) / spec.block_size;
    }

    // Memory order; neighbouring dimensions without grids become one.
    std::vector<std::int64_t> order;
    for (std::size_t i = 0; i < shape.rank(); ++i) order.push_back(static_cast<std::int64_t>(i));
    if (tensor.layout() == Layout::channels_last && shape.rank() >= 3)
      std::rotate(order.begin() + 1, order.begin() + 2, order.end());
    for (const std::int64_t axis : order) {
      Dimension dimension{shape[static_cast<std::size_t>(axis)], 0, 1};
      if (axis == channel_axis) dimension.stride = 1;
      if (axis == block_axis) {
        dimension.stride = channels_;
        dimension.block = spec.block_size;
      }
      if (dimension.size == 1) continue;
      if (dimension.stride == 0 && !dimensions_.empty() && dimensions_.back().stride == 0)
        dimensions_.back().size *= dimension.size;
      else
        dimensions_.push_back(dimension);
    }
    if (dimensions_.empty()) dimensions_.push_back({});
  }

  void check_count(const TensorEncodings& encodings) const {
    const NumberFormat format = encodings.spec.format;
    if (format == NumberFormat::float16 || (format != NumberFormat::integer && encodings_.empty())) return;
    if (static_cast<std::int64_t>(encodings_.size()) != channels_ * blocks_)
      fail(encodings, fmt::format("{} encodings for {} channels of {} blocks", encodings_.size(), channels_, blocks_));
  }

  /// Channels innermost. Few of them and no blocks: several rows become one, so that the loop over a row pays.
  void make_columns() {
    Dimension& inner = dimensions_.back();
    std::int64_t together = 1;
    if (blocks_ == 1 && inner.size < narrow_row && dimensions_.size() == 2) {
      const std::int64_t rows = dimensions_[0].size;
      while (together * inner.size < narrow_row && rows % (together * 2) == 0) together *= 2;
      dimensions_[0].size /= together;
      inner.size *= together;
    }
    for (std::int64_t i = 0; i < together; ++i)
      for (std::int64_t g = 0; g < channels_ * blocks_; ++g) columns_.add(grid(g));
  }

  std::int64_t first_grid(std::int64_t row) const {
    std::int64_t grid = 0;
    for (std::size_t i = dimensions_.size() - 1; i-- > 0;) {
      const Dimension& dimension = dimensions_[i];
      grid += row % dimension.size / dimension.block * dimension.stride;
      row /= dimension.size;
    }
    return grid;
  }

  std::span<const Encoding> encodings_;
  double steps_;
  Loops loops_;
  std::vector<Dimension> dimensions_;  ///< memory order, the last one is a row
  std::int64_t channels_ = 1;
  std::int64_t blocks_ = 1;
  std::vector<Grid> grids_;  ///< all of them, unless they are more than caches should hold
  Columns columns_;          ///< in column mode
};

/// As Plan::run, on whole tensors, with stores that do not read the line they go to. Pieces of four pages take turns,
/// so that the processor fetches all four ahead; beyond a page it must be asked to. Returns the end of what was done.
std::int64_t run_past_caches(const Plan& plan, const VectorKernels& vector, const float* in, float* out,
                             std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t line = 64 / sizeof(float);
  constexpr std::int64_t page = 4096 / sizeof(float);
  constexpr std::int64_t pages = 4;
  constexpr std::int64_t piece = 256;
  alignas(64) std::array<float, piece> quantized;
  for (; begin + pages * page <= end; begin += pages * page)
    for (std::int64_t within = 0; within < page; within += piece)
      for (std::int64_t at = begin + within; at < begin + pages * page; at += page) {
        const std::int64_t next = within + piece < page ? at + piece : at + pages * page - within;
        if (next + piece <= end)
          for (std::int64_t i = 0; i < piece; i += line) __builtin_prefetch(in + next + i);
        plan.run(in + at, quantized.data(), at, at + piece);
        vector.copy_past_caches(quantized.data(), out + at, static_cast<std::size_t>(piece));
      }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // such stores keep no order by themselves
  return begin;
}

}  // namespace

Tensor quantize_dequantize(Device& device, Tensor tensor, const TensorEncodings& encodings, Rounding rounding) {
  if (!is_quantizable(tensor.type()))
    throw Error(ErrorKind::data,
                fmt::format("quantizer of '{}': a tensor of type {} cannot be quantized; float32, float16 "
                            "and bfloat16 can",
                            encodings.tensor, name_of(tensor.type())));
  const VectorKernels& vector = device.vector();
  if (tensor.elements() == 0) return tensor;
  const Plan plan(vector, tensor, encodings, rounding);
  Tensor result = tensor.unique() ? tensor : device.allocate(tensor.type(), tensor.shape(), tensor.layout());
  if (tensor.type() == DataType::float32) {
    const float* in = tensor.data<float>();
    float* out = result.mutable_data<float>();
    const bool past = out != in && tensor.bytes() >= past_caches;
    device.parallel(tensor.elements(), grain, [&](std::int64_t begin, std::int64_t end) {
      if (past) begin = run_past_caches(plan, vector, in, out, begin, end);
      plan.run(in + begin, out + begin, begin, end);
    });
    return result;
  }
  const bool half = tensor.type() == DataType::float16;
  const auto widen = half ? vector.widen_float16 : vector.widen_bfloat16;
  const auto narrow = half ? vector.narrow_float16 : vector.narrow_bfloat16;
  const std::uint16_t* in = tensor.data<std::uint16_t>();
  std::uint16_t* out = result.mutable_data<std::uint16_t>();
  device.parallel(tensor.elements(), grain, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) std::array<float, half_chunk> wide;
    for (; begin < end; begin += half_chunk) {
      const std::int64_t stop = std::min(end, begin + half_chunk);
      widen(in + begin, wide.data(), static_cast<std::size_t>(stop - begin));
      plan.run(wide.data(), wide.data(), begin, stop);
      narrow(wide.data(), out + begin, static_cast<std::size_t>(stop - begin));
    }
  });
  return result;
}

}  // namespace tare::cpu
