// The table of operators and what they share.
#include "cpu/operators.hpp"

#include <fmt/format.h>

namespace tare::cpu {

const Operator* OperatorTable::find(const Node& node) const {
  const auto it = operators_.find(node.domain.empty() ? node.op_type : node.domain + "::" + node.op_type);
  return it == operators_.end() ? nullptr : &it->second;
}

const OperatorTable& operator_table() {
  static const OperatorTable table = [] {
    OperatorTable t;
    register_attention(t);
    register_rotary_embedding(t);
    register_convolution(t);
    register_matmul(t);
    register_pooling(t);
    register_recurrent(t);
    register_fused(t);
    register_chain(t);
    register_unary(t);
    register_binary(t);
    register_cast(t);
    register_quantized(t);
    register_movement(t);
    register_indexing(t);
    register_shape(t);
    register_sorting(t);
    register_reduction(t);
    register_normalization(t);
    register_softmax(t);
    register_loss(t);
    register_linear_algebra(t);
    register_resize(t);
    register_vision(t);
    register_signal(t);
    register_sequence(t);
    register_text(t);
    return t;
  }();
  return table;
}

void Call::fail(const std::string& message) const {
  throw Error(ErrorKind::data, fmt::format("{}: {}", node.label(), message));
}

Tensor& Call::output_reusing(std::size_t o, std::size_t i, DataType type, const Shape& shape, Layout layout) {
  const Tensor& source = inputs[i];
  if (source.unique() && source.type() == type && source.shape() == shape && source.layout() == layout) {
    outputs[o] = source;
    return outputs[o];
  }
  return output(o, type, shape, layout);
}

std::size_t axis_of(const Call& call, std::int64_t axis, std::size_t rank, bool inclusive) {
  const auto limit = static_cast<std::int64_t>(rank) + (inclusive ? 1 : 0);
  const std::int64_t positive = axis < 0 ? axis + limit : axis;
  if (positive < 0 || positive >= limit)
    call.fail(fmt::format("axis {} is out of range for a tensor of rank {}", axis, rank));
  return static_cast<std::size_t>(positive);
}

Shape broadcast(const Call& call, const Shape& a, const Shape& b) {
  const std::size_t rank = std::max(a.rank(), b.rank());
  Shape result(rank, 1);
  for (std::size_t i = 0; i < rank; ++i) {
    const std::int64_t x = i + a.rank() < rank ? 1 : a[i + a.rank() - rank];
    const std::int64_t y = i + b.rank() < rank ? 1 : b[i + b.rank() - rank];
    if (x != y && x != 1 && y != 1) call.fail(fmt::format("shapes {} and {} do not broadcast", a.text(), b.text()));
    result[i] = x == 1 ? y : x;
  }
  return result;
}

Shape physical_shape(const Tensor& tensor) {
  Shape shape = tensor.shape();
  if (tensor.layout() == Layout::plain) return shape;
  for (std::size_t i = 1; i + 1 < shape.rank(); ++i) shape[i] = tensor.shape()[i + 1];
  shape.back() = tensor.shape()[1];
  return shape;
}

}  // namespace tare::cpu
