// ArgMax and ArgMin. Ties go to the first (or last) index; NaN counts as more extreme than any number.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "cpu/arguments.hpp"
#include "cpu/sorting.hpp"

namespace tare::cpu {
namespace {

/// Without branches, so that the loop over lanes becomes vector code.
template <class T, bool largest, bool last>
bool wins(T challenger, T best) {
  const bool beyond = largest ? challenger > best : challenger < best;
  if constexpr (std::is_floating_point_v<T>) {
    const bool nan = challenger != challenger;
    return last ? beyond | (challenger == best) | nan : beyond | (nan & (best == best));
  } else {
    return last ? beyond | (challenger == best) : beyond;
  }
}

template <class T, bool largest, bool last>
void search(const Device& device, const T* in, std::int64_t* out, std::int64_t outer, std::int64_t dim,
            std::int64_t inner) {
  // Lanes in blocks: the axis is walked once for many neighbouring lanes.
  constexpr std::int64_t block = 256;
  const std::int64_t blocks = (inner + block - 1) / block;
  const std::int64_t work = dim * std::min(inner, block);
  device.parallel(outer * blocks, std::max<std::int64_t>(1, 16384 / work), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t o = unit / blocks;
      const std::int64_t first = unit % blocks * block;
      const std::int64_t lanes = std::min(block, inner - first);
      const T* from = in + o * dim * inner + first;
      std::int64_t* to = out + o * inner + first;
      if (lanes == 1) {
        std::int64_t best = 0;
        for (std::int64_t d = 1; d < dim; ++d)
          if (wins<T, largest, last>(from[d * inner], from[best * inner])) best = d;
        *to = best;
        continue;
      }
      // Indices of the width of a float: comparison and choice run at the same width.
      T best[block];
      std::int32_t index[block] = {};
      std::copy_n(from, lanes, best);
      for (std::int64_t d = 1; d < dim; ++d)
        for (std::int64_t i = 0; i < lanes; ++i) {
          const T value = from[d * inner + i];
          const bool win = wins<T, largest, last>(value, best[i]);
          best[i] = win ? value : best[i];
          index[i] = win ? static_cast<std::int32_t>(d) : index[i];
        }
      std::copy_n(index, lanes, to);
    }
  });
}

template <bool largest>
void arg_extreme(Call& call) {
  const Tensor in = call.input(0);
  // A scalar is searched as a list of one.
  const std::size_t rank = std::max<std::size_t>(in.rank(), 1);
  const std::size_t axis = axis_of(call, call.node.integer("axis", 0), rank);
  const std::int64_t dim = in.rank() == 0 ? 1 : in.shape()[axis];
  Shape shape = in.shape();
  if (in.rank() > 0) {
    if (call.node.integer("keepdims", 1) != 0)
      shape[axis] = 1;
    else
      shape.erase(axis);
  }
  Tensor& out = call.output(0, DataType::int64, shape);
  if (out.elements() == 0) return;
  if (dim > std::numeric_limits<std::int32_t>::max()) call.fail(fmt::format("a dimension of {} is too long", dim));
  if (dim == 0) call.fail(fmt::format("nothing to search along axis {} of {}", axis, in.shape().text()));
  const std::int64_t outer = in.shape().elements(0, std::min(axis, in.rank()));
  const std::int64_t inner = in.elements() / (outer * dim);
  std::int64_t* to = out.mutable_data<std::int64_t>();
  const bool last = call.node.integer("select_last_index", 0) != 0;
  dispatch(in.type(), call, [&]<class T>() {
    if (last)
      search<T, largest, true>(call.device, in.data<T>(), to, outer, dim, inner);
    else
      search<T, largest, false>(call.device, in.data<T>(), to, outer, dim, inner);
  });
}

}  // namespace

void register_arguments_of_extremes(OperatorTable& table) {
  table.add("ArgMax", checked<arg_extreme<true>>);
  table.add("ArgMin", checked<arg_extreme<false>>);
}

}  // namespace tare::cpu
