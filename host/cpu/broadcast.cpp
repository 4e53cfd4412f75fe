// Strides of broadcast operands: see broadcast.hpp.
#include "cpu/broadcast.hpp"

namespace tare::cpu {
namespace {

/// Where the dimensions of a tensor of this rank and layout lie in memory: order[p] is the logical dimension at place
/// p.
Shape physical_order(std::size_t rank, Layout layout) {
  Shape order(rank, 0);
  for (std::size_t i = 0; i < rank; ++i) order[i] = static_cast<std::int64_t>(i);
  if (layout == Layout::channels_last) {
    for (std::size_t i = 1; i + 1 < rank; ++i) order[i] = static_cast<std::int64_t>(i + 1);
    order[rank - 1] = 1;
  }
  return order;
}

Layout layout_of_result(std::initializer_list<const Tensor*> operands, std::size_t rank) {
  std::int64_t largest = -1;
  Layout layout = Layout::plain;
  for (const Tensor* operand : operands) {
    if (operand->rank() != rank) continue;
    const std::int64_t elements = operand->elements();
    if (elements > largest) layout = operand->layout();
    if (elements == largest && operand->layout() == Layout::channels_last) layout = Layout::channels_last;
    largest = std::max(largest, elements);
  }
  return layout;
}

/// Strides of `operand` along the result's logical dimensions, 0 where it is repeated.
Shape logical_strides(const Tensor& operand, const Shape& result) {
  const Shape order = physical_order(operand.rank(), operand.layout());
  Shape strides(result.rank(), 0);
  const std::size_t missing = result.rank() - operand.rank();
  std::int64_t stride = 1;
  for (std::size_t p = operand.rank(); p-- > 0;) {
    const auto dimension = static_cast<std::size_t>(order[p]);
    const std::int64_t extent = operand.shape()[dimension];
    if (extent != 1) strides[missing + dimension] = stride;
    stride *= extent;
  }
  return strides;
}

}  // namespace

Broadcast plan_broadcast(const Call& call, std::initializer_list<const Tensor*> operands) {
  Broadcast plan;
  plan.operands = operands.size();
  plan.shape = (*operands.begin())->shape();
  for (const Tensor* operand : operands) plan.shape = broadcast(call, plan.shape, operand->shape());
  const std::size_t rank = plan.shape.rank();
  plan.layout = layout_of_result(operands, rank);

  std::array<Shape, Broadcast::max_operands> logical;
  std::size_t count = 0;
  for (const Tensor* operand : operands) logical[count++] = logical_strides(*operand, plan.shape);

  for (const std::int64_t place : physical_order(rank, plan.layout)) {
    const auto dimension = static_cast<std::size_t>(place);
    const std::int64_t extent = plan.shape[dimension];
    if (extent == 1) continue;
    bool merges = !plan.dims.empty();
    for (std::size_t k = 0; merges && k < count; ++k) merges = plan.strides[k].back() == logical[k][dimension] * extent;
    if (!merges) {
      plan.dims.push_back(extent);
      for (std::size_t k = 0; k < count; ++k) plan.strides[k].push_back(logical[k][dimension]);
      continue;
    }
    plan.dims.back() *= extent;
    for (std::size_t k = 0; k < count; ++k) plan.strides[k].back() = logical[k][dimension];
  }
  if (plan.dims.empty()) {
    plan.dims.push_back(1);
    for (std::size_t k = 0; k < count; ++k) plan.strides[k].push_back(1);
  }
  return plan;
}

Tensor reuse_or_allocate(Device& device, const Tensor& a, const Tensor& b, DataType type, const Broadcast& plan) {
  for (const Tensor* candidate : {&a, &b})
    if (candidate->unique() && candidate->type() == type && candidate->shape() == plan.shape &&
        candidate->layout() == plan.layout)
      return *candidate;
  return device.allocate(type, plan.shape, plan.layout);
}

}  // namespace tare::cpu
