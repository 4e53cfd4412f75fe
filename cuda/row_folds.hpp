// One result from every row of a tensor seen as [outer, count, inner]: sums, extremes and where they stand. Rows that
// lie together have a team each, others a thread each, for neighbours read neighbours then. Rows too few to fill a GPU
// are dealt out to several, element by element in turn, and a second launch puts the parts together. Odd: how many
// parts, the sizes alone say, so that every GPU adds up in the same order.
//
// A fold has a RowView `view`, a type Value of 8 bytes that shuffles take, and
//   Value walk(o, first, step)   of elements first, first + step, ... of row o, of which there may be none
//   Value join(Value, Value)     of two such parts
//   void finish(o, Value)        writes the result
#pragma once

#include "float_element.hpp"
#include "operators.hpp"

namespace tare::cuda {

/// Elements at, at + step, ...
__device__ inline Four load_apart(const FloatInput& in, std::int64_t at, std::int64_t step) {
  Four x;
  if (in.type == DataType::float32) {
    const float* from = static_cast<const float*>(in.data) + at;
    TARE_UNROLL for (int k = 0; k < 4; ++k) x.of[k] = from[k * step];
  } else {
    const std::uint16_t* from = static_cast<const std::uint16_t*>(in.data) + at;
    std::uint16_t bits[4];
    TARE_UNROLL for (int k = 0; k < 4; ++k) bits[k] = from[k * step];
    TARE_UNROLL for (int k = 0; k < 4; ++k) x.of[k] = widen_bits(bits[k], in.type);
  }
  return x;
}

/// Of [outer, count, inner]: where row o begins, and how far apart its elements lie.
struct RowView {
  std::int64_t outer = 1, count = 1, inner = 1;

  TARE_HD std::int64_t rows() const { return outer * inner; }
  TARE_HD std::int64_t first(std::int64_t o) const { return o / inner * count * inner + o % inner; }
  /// body(x, i) for elements i = first, first + step, ... of row o, in this order; four are on their way at a time.
  template <class Body>
  __device__ void each(const FloatInput& in, std::int64_t o, std::int64_t begin, std::int64_t step, Body body) const {
    const std::int64_t base = first(o);
    std::int64_t i = begin;
    for (; i + 3 * step < count; i += 4 * step) {
      const Four x = load_apart(in, base + i * inner, step * inner);
      TARE_UNROLL for (int k = 0; k < 4; ++k) body(x.of[k], i + k * step);
    }
    for (; i < count; i += step) body(in[base + i * inner], i);
  }
};

/// Shares of every row, where `team` threads take one.
inline std::int64_t row_parts(std::int64_t rows, std::int64_t count, std::int64_t team) {
  constexpr std::int64_t threads_of_a_gpu = std::int64_t{1} << 18;
  constexpr std::int64_t least_of_a_thread = 32;
  constexpr std::int64_t most = 16384;  // a block joins them
  const std::int64_t room = threads_of_a_gpu / team / std::max<std::int64_t>(1, rows);
  return std::max<std::int64_t>(1, std::min({most, room, count / (least_of_a_thread * team)}));
}

template <class Fold>
struct FoldRows {
  using Value = typename Fold::Value;
  Fold fold;
  std::int64_t parts;
  Value* partials;  ///< not used when there is one part
  __device__ void operator()(std::int64_t i, const Team& team) const {
    const std::int64_t o = i / parts;
    const Value value = team.fold(fold.walk(o, i % parts * team.size + team.thread, parts * team.size),
                                  [&](Value a, Value b) { return fold.join(a, b); });
    if (team.thread != 0) return;
    if (parts > 1)
      partials[i] = value;
    else
      fold.finish(o, value);
  }
};

template <class Fold>
struct FoldColumns {
  using Value = typename Fold::Value;
  Fold fold;
  std::int64_t rows, parts;
  Value* partials;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t o = i % rows;
    const std::int64_t part = i / rows;
    const Value value = fold.walk(o, part, parts);
    if (parts > 1)
      partials[o * parts + part] = value;
    else
      fold.finish(o, value);
  }
};

template <class Fold>
struct JoinParts {
  using Value = typename Fold::Value;
  Fold fold;
  std::int64_t parts;
  const Value* partials;
  __device__ void operator()(std::int64_t o, const Team& team) const {
    Value value = fold.walk(o, fold.view.count, 1);  // of nothing
    for (std::int64_t part = team.thread; part < parts; part += team.size)
      value = fold.join(value, partials[o * parts + part]);
    value = team.fold(value, [&](Value a, Value b) { return fold.join(a, b); });
    if (team.thread == 0) fold.finish(o, value);
  }
};

template <class Fold>
void fold_rows(const Call& call, const Fold& fold) {
  using Value = typename Fold::Value;
  static_assert(sizeof(Value) == 8);
  const RowView& view = fold.view;
  const std::int64_t rows = view.rows();
  const bool columns = view.inner > 1;
  const std::int64_t parts = row_parts(rows, view.count, columns ? 1 : launch_threads);
  Tensor scratch;
  if (parts > 1) scratch = call.device.allocate(DataType::uint64, {rows * parts});
  Value* partials = scratch.mutable_data<Value>();
  if (columns)
    for_each(rows * parts, stream_of(call), FoldColumns<Fold>{fold, rows, parts, partials});
  else
    for_each_row(rows * parts, view.count, stream_of(call), FoldRows<Fold>{fold, parts, partials});
  if (parts > 1) for_each_row(rows, parts, stream_of(call), JoinParts<Fold>{fold, parts, partials});
}

}  // namespace tare::cuda
