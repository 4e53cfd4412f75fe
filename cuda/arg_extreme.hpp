// Where the extreme of every row stands, by keys: the order of the value above, that of the index below, and the
// largest key wins, in whatever order threads meet.
#pragma once

#include "row_folds.hpp"

namespace tare::cuda {

struct ArgRule {
  bool largest = true;
  bool last = false;               ///< of equal values the last one
  bool nan_only_as_first = false;  ///< NaN is beyond all numbers in the first place, and behind all in every other one
};

struct ArgFold {
  using Value = std::uint64_t;
  RowView view;
  ArgRule rule;
  FloatInput in;
  std::int64_t* out;

  __device__ Value key_of(float x, std::int64_t i) const {
    // Numbers take 0x007fffff to 0xff800000, so NaN has room on both sides.
    std::uint32_t order = 0;
    if (x == x) {
      order = static_cast<std::uint32_t>(ascending_key(bits_of(x == 0.0f ? 0.0f : x))) ^ 0x80000000u;
      if (!rule.largest) order = ~order;
    } else if (!rule.nan_only_as_first || i == 0) {
      order = ~0u;
    }
    const auto index = static_cast<std::uint32_t>(i);
    return Value{order} << 32 | (rule.last ? index : ~index);
  }
  __device__ Value walk(std::int64_t o, std::int64_t first, std::int64_t step) const {
    Value best = 0;
    view.each(in, o, first, step, [&](float x, std::int64_t i) { best = join(best, key_of(x, i)); });
    return best;
  }
  __device__ Value join(Value a, Value b) const { return a > b ? a : b; }
  __device__ void finish(std::int64_t o, Value key) const {
    const auto index = static_cast<std::uint32_t>(key);
    out[o] = static_cast<std::int64_t>(rule.last ? index : ~index);
  }
};

/// Indices of int64 into `out`, one a row; rows are not empty.
inline void find_extremes(const Call& call, const Tensor& in, const RowView& view, const ArgRule& rule, Tensor& out) {
  if (view.count > std::int64_t{0xffffffff}) call.fail(joined("a dimension of ", view.count, " is too long to search"));
  fold_rows(call, ArgFold{view, rule, in, out.mutable_data<std::int64_t>()});
}

}  // namespace tare::cuda
