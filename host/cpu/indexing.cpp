// Gather, GatherElements, GatherND, OneHot. Elements are moved by size, so every element type works.
// Odd: an index out of range is an error that names its value; numpy's negative indices count from the end.
#include "cpu/indexing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/arguments.hpp"

namespace tare::cpu {
namespace {

void gather(Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t axis = axis_of(call, call.node.integer("axis", 0), in.rank());
  const std::int64_t dim = in.shape()[axis];
  const Shape& indices_shape = call.input(1).shape();
  const std::vector<std::int64_t> indices = indices_of(call, 1);
  for (const std::int64_t index : indices) position_of(call, index, dim);
  Shape shape(in.shape().begin(), in.shape().begin() + axis);
  for (const std::int64_t d : indices_shape) shape.push_back(d);
  for (std::size_t d = axis + 1; d < in.rank(); ++d) shape.push_back(in.shape()[d]);
  const std::int64_t inner = in.shape().elements(axis + 1, in.rank());
  Tensor& out = call.output(0, in.type(), shape);
  if (out.elements() == 0) return;
  const auto count = static_cast<std::int64_t>(indices.size());
  const auto run = static_cast<std::size_t>(inner) * size_of(in.type());
  // Row i of the output, counted on from the first row of a chunk: no division in the loop.
  const auto for_rows = [&](std::int64_t begin, std::int64_t end, auto&& body) {
    std::int64_t base = begin / count * dim;
    auto next = static_cast<std::size_t>(begin % count);
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t index = indices[next];
      body(i, base + (index < 0 ? index + dim : index));
      if (++next == indices.size()) {
        next = 0;
        base += dim;
      }
    }
  };
  const std::int64_t rows = out.elements() / inner;
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / inner);
  if (inner == 1) {
    dispatch_moved(in.type(), [&]<class T>() {
      const T* from = in.data<T>();
      T* to = out.mutable_data<T>();
      call.device.parallel(rows, grain, [&](std::int64_t begin, std::int64_t end) {
        for_rows(begin, end, [&](std::int64_t i, std::int64_t source) { to[i] = from[source]; });
      });
    });
  } else {
    const std::byte* from = in.data();
    std::byte* to = out.mutable_data();
    call.device.parallel(rows, grain, [&](std::int64_t begin, std::int64_t end) {
      for_rows(begin, end, [&](std::int64_t i, std::int64_t source) {
        std::memcpy(to + static_cast<std::size_t>(i) * run, from + static_cast<std::size_t>(source) * run, run);
      });
    });
  }
}

void gather_elements(Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t axis = axis_of(call, call.node.integer("axis", 0), in.rank());
  const Shape shape = call.input(1).shape();
  const std::vector<std::int64_t> indices = indices_of(call, 1);
  check_within(call, shape, in.shape(), axis);
  Tensor& out = call.output(0, in.type(), shape);
  dispatch_moved(in.type(), [&]<class T>() {
    const T* from = in.data<T>();
    T* to = out.mutable_data<T>();
    for_each_element(call, indices, shape, in.shape(), axis,
                     [&](std::int64_t i, std::int64_t source) { to[i] = from[source]; });
  });
}

void gather_nd(Call& call) {
  const Tensor& in = call.input(0);
  const Tensor& indices_tensor = call.input(1);
  const Shape& grid = indices_tensor.shape();
  const std::int64_t batch_dims = call.node.integer("batch_dims", 0);
  if (batch_dims < 0 ||
      batch_dims >= static_cast<std::int64_t>(std::min(in.rank(), std::max<std::size_t>(grid.rank(), 1))))
    call.fail(fmt::format("batch_dims {} is out of range for {} and {}", batch_dims, in.shape().text(), grid.text()));
  const auto batch = static_cast<std::size_t>(batch_dims);
  for (std::size_t d = 0; d < batch; ++d)
    if (in.shape()[d] != grid[d])
      call.fail(fmt::format("batch dimension {} of {} and {} differs", d, in.shape().text(), grid.text()));
  const IndexTuples tuples(call, 1, in.shape(), batch);
  Shape shape(grid.begin(), grid.end() - 1);
  for (std::size_t d = batch + tuples.length(); d < in.rank(); ++d) shape.push_back(in.shape()[d]);
  Tensor& out = call.output(0, in.type(), shape);
  if (out.elements() == 0) return;
  const auto run = static_cast<std::size_t>(tuples.slice()) * size_of(in.type());
  const std::int64_t per_batch = tuples.count() / grid.elements(0, batch);
  const std::int64_t batch_size = in.shape().elements(batch, in.rank());
  const std::byte* from = in.data();
  std::byte* to = out.mutable_data();
  for (std::int64_t i = 0; i < tuples.count(); ++i)
    std::memcpy(to + static_cast<std::size_t>(i) * run,
                from + static_cast<std::size_t>(i / per_batch * batch_size + tuples.offset(i)) * size_of(in.type()),
                run);
}

/// The value of element i of an arithmetic tensor as an integer, fractions cut off; NaN and what does not fit give the
/// lowest.
std::vector<std::int64_t> as_integers(const Call& call, const Tensor& tensor) {
  std::vector<std::int64_t> result;
  result.reserve(static_cast<std::size_t>(tensor.elements()));
  dispatch(tensor.type(), call, [&]<class T>() {
    for (const T value : tensor.span<T>()) {
      if constexpr (std::is_floating_point_v<T>)
        result.push_back(std::abs(value) < T(0x1p62) ? static_cast<std::int64_t>(value) : INT64_MIN);
      else
        result.push_back(static_cast<std::int64_t>(value));
    }
  });
  return result;
}

void one_hot(Call& call) {
  const Tensor& indices = call.input(0);
  const Tensor& pair = call.input(2);
  if (call.input(1).elements() != 1) call.fail("depth must be one number");
  const std::int64_t depth = as_integers(call, call.input(1))[0];
  if (depth < 0) call.fail(fmt::format("a depth of {}", depth));
  if (pair.elements() != 2)
    call.fail(fmt::format("values must be the off and the on value, not {}", pair.shape().text()));
  const std::size_t axis = axis_of(call, call.node.integer("axis", -1), indices.rank() + 1);
  Shape shape = indices.shape();
  shape.insert(axis, depth);
  const std::vector<std::int64_t> at = as_integers(call, indices);
  const std::int64_t inner = shape.elements(axis + 1, shape.rank());
  Tensor& out = call.output(0, pair.type(), shape);
  dispatch_moved(pair.type(), [&]<class T>() {
    const T off = pair.data<T>()[0];
    const T on = pair.data<T>()[1];
    T* to = out.mutable_data<T>();
    std::fill_n(to, out.elements(), off);
    for (std::size_t i = 0; i < at.size(); ++i) {
      if (at[i] < -depth || at[i] >= depth) continue;
      const std::int64_t hot = at[i] < 0 ? at[i] + depth : at[i];
      const auto position = static_cast<std::int64_t>(i);
      to[(position / inner * depth + hot) * inner + position % inner] = on;
    }
  });
}

}  // namespace

std::vector<std::int64_t> indices_of(const Call& call, std::size_t input) {
  const Tensor& tensor = call.input(input);
  if (tensor.type() == DataType::int64) {
    const auto span = tensor.span<std::int64_t>();
    return {span.begin(), span.end()};
  }
  if (tensor.type() == DataType::int32) {
    const auto span = tensor.span<std::int32_t>();
    return {span.begin(), span.end()};
  }
  call.fail(fmt::format("indices must be int32 or int64, not {}", name_of(tensor.type())));
}

std::int64_t position_of(const Call& call, std::int64_t index, std::int64_t dim) {
  const std::int64_t position = index < 0 ? index + dim : index;
  if (position < 0 || position >= dim)
    call.fail(fmt::format("index {} is out of range for a dimension of {}", index, dim));
  return position;
}

void check_within(const Call& call, const Shape& indices, const Shape& data, std::size_t axis) {
  bool fits = indices.rank() == data.rank();
  for (std::size_t d = 0; fits && d < data.rank(); ++d) fits = d == axis || indices[d] <= data[d];
  if (!fits) call.fail(fmt::format("indices of shape {} do not fit data of shape {}", indices.text(), data.text()));
}

IndexTuples::IndexTuples(const Call& call, std::size_t input, const Shape& data, std::size_t batch) {
  const Shape& grid = call.input(input).shape();
  if (grid.rank() == 0) call.fail("indices must have rank 1 or more");
  const std::int64_t length = grid.back();
  if (length < 0 || batch + static_cast<std::size_t>(length) > data.rank())
    call.fail(fmt::format("index tuples of {} entries for data of shape {}", length, data.text()));
  length_ = static_cast<std::size_t>(length);
  slice_ = data.elements(batch + length_, data.rank());
  count_ = grid.elements(0, grid.rank() - 1);
  const std::vector<std::int64_t> indices = indices_of(call, input);
  offsets_.resize(static_cast<std::size_t>(count_), 0);
  for (std::size_t i = 0; i < offsets_.size(); ++i) {
    std::int64_t offset = 0;
    for (std::size_t d = 0; d < length_; ++d)
      offset = offset * data[batch + d] + position_of(call, indices[i * length_ + d], data[batch + d]);
    offsets_[i] = offset * slice_;
  }
}

void register_indexing(OperatorTable& table) {
  table.add("Gather", checked<gather, 2>, Half::native);
  table.add("GatherElements", checked<gather_elements, 2>, Half::native);
  table.add("GatherND", checked<gather_nd, 2>, Half::native);
  table.add("OneHot", checked<one_hot, 3>, Half::native);
  register_scatter(table);
}

}  // namespace tare::cpu
