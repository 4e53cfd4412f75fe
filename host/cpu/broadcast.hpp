// numpy broadcasting of one to three operands, as strides over the result's physical order. Dimensions that all
// operands step through alike are merged, so same-shape tensors become one long row, and a bias or a per-channel
// operand becomes rows with a constant or a contiguous operand, which have fast loops. Odd: the result is channels_last
// when its largest full-rank operand is; the others are read with strides, never copied.
#pragma once

#include <array>
#include <initializer_list>

#include "cpu/operators.hpp"

namespace tare::cpu {

struct Broadcast {
  static constexpr std::size_t max_operands = 3;
  using Offsets = std::array<std::int64_t, max_operands>;

  Shape shape;                                ///< of the result
  Layout layout = Layout::plain;              ///< of the result
  Shape dims;                                 ///< physical, merged; the last one is the row
  std::array<Shape, max_operands> strides{};  ///< of each operand, in elements, along dims
  std::size_t operands = 0;

  std::int64_t row() const { return dims.back(); }
  std::int64_t row_stride(std::size_t operand) const { return strides[operand].back(); }
};

/// Fails naming the node when the shapes do not broadcast.
Broadcast plan_broadcast(const Call& call, std::initializer_list<const Tensor*> operands);

/// Calls body(operand offsets, result offset, count) for runs of elements that lie in one row, on the device's threads.
template <class Body>
void for_each_run(const Device& device, const Broadcast& plan, std::int64_t grain, Body&& body) {
  const std::int64_t row = plan.row();
  device.parallel(plan.dims.elements(), grain, [&](std::int64_t begin, std::int64_t end) {
    const std::size_t outer = plan.dims.rank() - 1;
    Shape index(outer, 0);
    std::int64_t rest = begin / row;
    Broadcast::Offsets offsets{};
    for (std::size_t d = outer; d-- > 0;) {
      index[d] = rest % plan.dims[d];
      rest /= plan.dims[d];
      for (std::size_t k = 0; k < plan.operands; ++k) offsets[k] += index[d] * plan.strides[k][d];
    }
    std::int64_t within = begin % row;
    for (std::int64_t at = begin; at < end;) {
      const std::int64_t count = std::min(row - within, end - at);
      Broadcast::Offsets first = offsets;
      for (std::size_t k = 0; k < plan.operands; ++k) first[k] += within * plan.row_stride(k);
      body(first, at, count);
      at += count;
      within = 0;
      for (std::size_t d = outer; d-- > 0;) {
        for (std::size_t k = 0; k < plan.operands; ++k) offsets[k] += plan.strides[k][d];
        if (++index[d] < plan.dims[d]) break;
        for (std::size_t k = 0; k < plan.operands; ++k) offsets[k] -= plan.strides[k][d] * plan.dims[d];
        index[d] = 0;
      }
    }
  });
}

/// `a` or `b` itself when it may be overwritten by a result of this type, shape and layout; else new storage.
Tensor reuse_or_allocate(Device& device, const Tensor& a, const Tensor& b, DataType type, const Broadcast& plan);

}  // namespace tare::cpu
