// Unique: distinct elements, or distinct slices along an axis, with where they came from and how often.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "cpu/arguments.hpp"
#include "cpu/sorting.hpp"
#include "cpu/strided_copy.hpp"

namespace tare::cpu {
namespace {

/// NaN above every number.
template <class T>
int compare(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    if (a != a || b != b) return static_cast<int>(a != a) - static_cast<int>(b != b);
  return static_cast<int>(b < a) - static_cast<int>(a < b);
}

/// Slices as rows: what is compared.
template <class T>
struct Rows {
  const T* data;
  std::int64_t length;
  int operator()(std::int64_t a, std::int64_t b) const {
    for (std::int64_t i = 0; i < length; ++i)
      if (const int order = compare(data[a * length + i], data[b * length + i]); order != 0) return order;
    return 0;
  }
};

void unique(Call& call) {
  const bool flat = !call.node.has("axis");
  const Tensor in = flat ? call.input(0).reshaped({call.input(0).elements()}) : call.input(0);
  const std::size_t axis = flat ? 0 : axis_of(call, call.node.integer("axis"), in.rank());
  const bool sorted = call.node.integer("sorted", 1) != 0;
  const std::int64_t count = in.shape()[axis];
  const std::int64_t length = in.elements() == 0 ? 0 : in.elements() / count;

  // The axis moved to the front makes every slice a row.
  Shape moved = in.shape();
  moved.erase(axis);
  moved.insert(0, count);
  Tensor rows = call.device.allocate(in.type(), moved);
  const std::size_t size = size_of(in.type());
  const Shape strides = strides_of(in);
  const auto copy_rows = [&](const Tensor& from, const Shape& from_strides, Tensor& to, const Shape& to_strides,
                             const Shape& shape) {
    CopyPlan plan;
    for (std::size_t d = 0; d < shape.rank(); ++d) plan.add(shape[d], from_strides[d], to_strides[d]);
    plan.run(call.device, size, from.data(), to.mutable_data());
  };
  const auto moved_strides = [&](const Shape& shape) {
    Shape result = dense_strides(shape);
    const std::int64_t first = result[0];
    result.erase(0);
    result.insert(axis, first);
    return result;
  };
  copy_rows(in, strides, rows, moved_strides(moved), in.shape());

  std::vector<std::int64_t> firsts;  // of every distinct row, the first occurrence
  std::vector<std::int64_t> inverse(static_cast<std::size_t>(count));
  std::vector<std::int64_t> counts;
  dispatch(in.type(), call, [&]<class T>() {
    const Rows<T> order{rows.data<T>(), length};
    std::vector<std::int64_t> by_value(static_cast<std::size_t>(count));
    std::iota(by_value.begin(), by_value.end(), std::int64_t{0});
    std::sort(by_value.begin(), by_value.end(), [&](std::int64_t a, std::int64_t b) {
      const int difference = order(a, b);
      return difference != 0 ? difference < 0 : a < b;
    });
    for (std::size_t i = 0; i < by_value.size(); ++i) {
      if (i == 0 || order(by_value[i - 1], by_value[i]) != 0) {
        firsts.push_back(by_value[i]);
        counts.push_back(0);
      }
      inverse[static_cast<std::size_t>(by_value[i])] = static_cast<std::int64_t>(firsts.size()) - 1;
      ++counts.back();
    }
  });
  const std::size_t distinct = firsts.size();
  if (!sorted) {
    std::vector<std::size_t> by_occurrence(distinct);
    std::iota(by_occurrence.begin(), by_occurrence.end(), std::size_t{0});
    std::sort(by_occurrence.begin(), by_occurrence.end(),
              [&](std::size_t a, std::size_t b) { return firsts[a] < firsts[b]; });
    std::vector<std::int64_t> rank(distinct);
    std::vector<std::int64_t> old_firsts = firsts;
    std::vector<std::int64_t> old_counts = counts;
    for (std::size_t i = 0; i < distinct; ++i) {
      rank[by_occurrence[i]] = static_cast<std::int64_t>(i);
      firsts[i] = old_firsts[by_occurrence[i]];
      counts[i] = old_counts[by_occurrence[i]];
    }
    for (std::int64_t& entry : inverse) entry = rank[static_cast<std::size_t>(entry)];
  }

  Shape packed_shape = moved;
  packed_shape[0] = static_cast<std::int64_t>(distinct);
  Tensor packed = call.device.allocate(in.type(), packed_shape);
  const std::size_t row_bytes = static_cast<std::size_t>(length) * size;
  for (std::size_t i = 0; i < distinct; ++i)
    std::copy_n(rows.data() + static_cast<std::size_t>(firsts[i]) * row_bytes, row_bytes,
                packed.mutable_data() + i * row_bytes);
  if (call.wants(0)) {
    Shape shape = in.shape();
    shape[axis] = static_cast<std::int64_t>(distinct);
    Tensor& out = call.output(0, in.type(), shape);
    copy_rows(packed, moved_strides(packed_shape), out, dense_strides(shape), shape);
  }
  const auto list = [&](std::size_t output, const std::vector<std::int64_t>& values) {
    if (!call.wants(output)) return;
    Tensor& out = call.output(output, DataType::int64, {static_cast<std::int64_t>(values.size())});
    std::copy(values.begin(), values.end(), out.mutable_data<std::int64_t>());
  };
  list(1, firsts);
  list(2, inverse);
  list(3, counts);
}

}  // namespace

void register_unique(OperatorTable& table) { table.add("Unique", checked<unique>); }

}  // namespace tare::cpu
