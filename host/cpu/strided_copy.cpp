// The nest is sorted and merged until its two innermost loops form a plane: rows that are copied whole, filled, or
// transposed in tiles. Planes are cut into blocks and the blocks shared among the threads.
// Odd: elements are moved as unsigned integers of their size; nothing here looks at a value.
#include "cpu/strided_copy.hpp"

#include <algorithm>
#include <cstring>

namespace tare::cpu {
namespace {

struct Element16 {
  std::uint64_t halves[2];
};

struct Plane {
  std::int64_t rows, columns;
  std::int64_t from_row, from_column;
  std::int64_t to_row, to_column;
};

/// 4 x 4 elements of 4 bytes: in columns become out rows.
void transpose_tile(const std::uint32_t* from, std::int64_t from_column, std::uint32_t* to, std::int64_t to_row) {
  using Four = std::uint32_t __attribute__((vector_size(16)));
  Four a, b, c, d;
  std::memcpy(&a, from, 16);
  std::memcpy(&b, from + from_column, 16);
  std::memcpy(&c, from + 2 * from_column, 16);
  std::memcpy(&d, from + 3 * from_column, 16);
  const Four ac_low = __builtin_shuffle(a, c, Four{0, 4, 1, 5});
  const Four ac_high = __builtin_shuffle(a, c, Four{2, 6, 3, 7});
  const Four bd_low = __builtin_shuffle(b, d, Four{0, 4, 1, 5});
  const Four bd_high = __builtin_shuffle(b, d, Four{2, 6, 3, 7});
  a = __builtin_shuffle(ac_low, bd_low, Four{0, 4, 1, 5});
  b = __builtin_shuffle(ac_low, bd_low, Four{2, 6, 3, 7});
  c = __builtin_shuffle(ac_high, bd_high, Four{0, 4, 1, 5});
  d = __builtin_shuffle(ac_high, bd_high, Four{2, 6, 3, 7});
  std::memcpy(to, &a, 16);
  std::memcpy(to + to_row, &b, 16);
  std::memcpy(to + 2 * to_row, &c, 16);
  std::memcpy(to + 3 * to_row, &d, 16);
}

/// from_row == 1 and to_column == 1: reads run down the rows, writes along the columns. Tiles of 16 x 16 keep both on
/// few cache lines.
template <class T>
void transpose_plane(const T* from, T* to, const Plane& p) {
  constexpr std::int64_t tile = 16;
  for (std::int64_t row = 0; row < p.rows; row += tile) {
    const std::int64_t row_end = std::min(row + tile, p.rows);
    for (std::int64_t column = 0; column < p.columns; column += tile) {
      const std::int64_t column_end = std::min(column + tile, p.columns);
      std::int64_t r = row;
      if constexpr (std::is_same_v<T, std::uint32_t>) {
        for (; r + 4 <= row_end; r += 4) {
          std::int64_t c = column;
          for (; c + 4 <= column_end; c += 4)
            transpose_tile(from + r + c * p.from_column, p.from_column, to + r * p.to_row + c, p.to_row);
          for (; c < column_end; ++c)
            for (std::int64_t i = r; i < r + 4; ++i) to[i * p.to_row + c] = from[i + c * p.from_column];
        }
      }
      for (; r < row_end; ++r)
        for (std::int64_t c = column; c < column_end; ++c) to[r * p.to_row + c] = from[r + c * p.from_column];
    }
  }
}

template <class T>
void copy_plane(const T* from, T* to, const Plane& p) {
  if (p.to_column == 1 && p.from_column == 1) {
    // Below this a call of memcpy costs more than the copy.
    if (p.columns * static_cast<std::int64_t>(sizeof(T)) >= 64) {
      for (std::int64_t r = 0; r < p.rows; ++r)
        std::memcpy(to + r * p.to_row, from + r * p.from_row, static_cast<std::size_t>(p.columns) * sizeof(T));
    } else {
      for (std::int64_t r = 0; r < p.rows; ++r)
        for (std::int64_t c = 0; c < p.columns; ++c) to[r * p.to_row + c] = from[r * p.from_row + c];
    }
  } else if (p.to_column == 1 && p.from_column == 0) {
    for (std::int64_t r = 0; r < p.rows; ++r) std::fill_n(to + r * p.to_row, p.columns, from[r * p.from_row]);
  } else if (p.to_column == 1 && p.from_row == 1) {
    transpose_plane(from, to, p);
  } else {
    for (std::int64_t r = 0; r < p.rows; ++r)
      for (std::int64_t c = 0; c < p.columns; ++c)
        to[r * p.to_row + c * p.to_column] = from[r * p.from_row + c * p.from_column];
  }
}

/// The outer loops of a nest as an odometer of source and destination offsets.
class Odometer {
 public:
  Odometer(std::span<const CopyPlan::Loop> loops, std::int64_t position) : loops_(loops) {
    for (std::size_t i = loops.size(); i-- > 0;) {
      index_[i] = position % loops[i].count;
      position /= loops[i].count;
      from += index_[i] * loops[i].from;
      to += index_[i] * loops[i].to;
    }
  }
  void next() {
    for (std::size_t i = loops_.size(); i-- > 0;) {
      from += loops_[i].from;
      to += loops_[i].to;
      if (++index_[i] < loops_[i].count) return;
      from -= loops_[i].from * loops_[i].count;
      to -= loops_[i].to * loops_[i].count;
      index_[i] = 0;
    }
  }
  std::int64_t from = 0;
  std::int64_t to = 0;

 private:
  std::span<const CopyPlan::Loop> loops_;
  std::array<std::int64_t, CopyPlan::max_loops> index_;
};

CopyPlan::Loop take(std::array<CopyPlan::Loop, CopyPlan::max_loops>& loops, std::size_t& size, std::size_t at) {
  const CopyPlan::Loop loop = loops[at];
  for (std::size_t i = at; i + 1 < size; ++i) loops[i] = loops[i + 1];
  --size;
  return loop;
}

constexpr std::int64_t parallel_elements = 32768;

template <class T>
void run_nest(const Device& device, std::span<const CopyPlan::Loop> nest, const T* from, T* to) {
  std::array<CopyPlan::Loop, CopyPlan::max_loops> loops;
  std::copy(nest.begin(), nest.end(), loops.begin());
  std::size_t size = nest.size();
  CopyPlan::Loop column{1, 1, 1};
  CopyPlan::Loop row{1, 0, 0};
  if (size > 0) column = take(loops, size, size - 1);
  if (size > 0) {
    std::size_t at = size - 1;
    if (column.from != 1 && column.from != 0)
      for (std::size_t i = 0; i < size; ++i)
        if (loops[i].from == 1) at = i;
    row = take(loops, size, at);
  }
  const std::span<const CopyPlan::Loop> outer(loops.data(), size);
  std::int64_t planes = 1;
  for (const auto& loop : outer) planes *= loop.count;

  const bool transposed = column.to == 1 && row.from == 1 && column.from != 1 && column.from != 0;
  const std::int64_t column_block = std::min<std::int64_t>(column.count, transposed ? 256 : 16384);
  const std::int64_t row_block = std::min(row.count, std::max<std::int64_t>(transposed ? 64 : 1, 16384 / column_block));
  const std::int64_t row_blocks = (row.count + row_block - 1) / row_block;
  const std::int64_t column_blocks = (column.count + column_block - 1) / column_block;
  const std::int64_t blocks = row_blocks * column_blocks;

  device.parallel(planes * blocks, std::max<std::int64_t>(1, parallel_elements / (row_block * column_block)),
                  [&](std::int64_t begin, std::int64_t end) {
                    Odometer odometer(outer, begin / blocks);
                    std::int64_t block = begin % blocks;
                    for (std::int64_t unit = begin; unit < end; ++unit) {
                      const std::int64_t r = block / column_blocks * row_block;
                      const std::int64_t c = block % column_blocks * column_block;
                      const Plane plane{std::min(row_block, row.count - r),
                                        std::min(column_block, column.count - c),
                                        row.from,
                                        column.from,
                                        row.to,
                                        column.to};
                      copy_plane(from + odometer.from + r * row.from + c * column.from,
                                 to + odometer.to + r * row.to + c * column.to, plane);
                      if (++block == blocks) {
                        block = 0;
                        odometer.next();
                      }
                    }
                  });
}

}  // namespace

CopyPlan CopyPlan::collapsed() const {
  CopyPlan sorted = *this;
  std::stable_sort(sorted.loops_.begin(), sorted.loops_.begin() + static_cast<std::ptrdiff_t>(size_),
                   [](const Loop& a, const Loop& b) { return a.to > b.to; });
  CopyPlan merged;
  merged.empty_ = empty_;
  for (const Loop& loop : sorted.loops()) {
    if (merged.size_ > 0) {
      Loop& last = merged.loops_[merged.size_ - 1];
      if (last.from == loop.from * loop.count && last.to == loop.to * loop.count) {
        last = {last.count * loop.count, loop.from, loop.to};
        continue;
      }
    }
    merged.loops_[merged.size_++] = loop;
  }
  return merged;
}

bool CopyPlan::contiguous() const {
  const CopyPlan plan = collapsed();
  return plan.empty_ || plan.size_ == 0 || (plan.size_ == 1 && plan.loops_[0].from == 1 && plan.loops_[0].to == 1);
}

void CopyPlan::run(const Device& device, std::size_t element_size, const void* from, void* to) const {
  if (empty_) return;
  const CopyPlan plan = collapsed();
  if (!device.copies(plan.loops(), element_size, from, to)) plan.run_on_host(device, element_size, from, to);
}

void CopyPlan::fill(const Device& device, std::size_t element_size, const void* value, void* to) const {
  if (empty_) return;
  const CopyPlan plan = collapsed();
  if (!device.fills(plan.loops(), element_size, value, to)) plan.run_on_host(device, element_size, value, to);
}

void CopyPlan::run_on_host(const Device& device, std::size_t element_size, const void* from, void* to) const {
  const auto typed = [&]<class T>() { run_nest(device, loops(), static_cast<const T*>(from), static_cast<T*>(to)); };
  switch (element_size) {
    case 1: return typed.operator()<std::uint8_t>();
    case 2: return typed.operator()<std::uint16_t>();
    case 4: return typed.operator()<std::uint32_t>();
    case 8: return typed.operator()<std::uint64_t>();
    default: return typed.operator()<Element16>();
  }
}

Shape dense_strides(const Shape& shape) {
  Shape strides(shape.rank(), 1);
  for (std::size_t i = shape.rank(); i-- > 1;) {
    // Unsigned: a shape without elements may have dimensions whose product overflows.
    strides[i - 1] =
        static_cast<std::int64_t>(static_cast<std::uint64_t>(strides[i]) * static_cast<std::uint64_t>(shape[i]));
  }
  return strides;
}

Shape strides_of(const Tensor& tensor) {
  if (tensor.layout() == Layout::plain) return dense_strides(tensor.shape());
  const Shape physical = dense_strides(physical_shape(tensor));
  Shape strides = physical;
  strides[1] = physical.back();
  for (std::size_t i = 2; i < strides.rank(); ++i) strides[i] = physical[i - 1];
  return strides;
}

void fill(const Device& device, std::size_t element_size, const void* value, void* to, std::int64_t elements) {
  CopyPlan plan;
  plan.add(elements, 0, 1);
  plan.fill(device, element_size, value, to);
}

}  // namespace tare::cpu
