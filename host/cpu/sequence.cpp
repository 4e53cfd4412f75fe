// Sequences and optional values: lists of tensors that share the storage of what went in. Elements are copied only
// where a tensor is cut into a sequence or a sequence is joined into a tensor. Odd: an optional value that is there is
// the tensor or sequence itself; only a missing one has a form of its own.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "cpu/arguments.hpp"

namespace tare::cpu {
namespace {

/// The items of input 0, taken over when nobody else holds the sequence.
std::vector<Tensor> take_items(Call& call) {
  const std::vector<Tensor>& items = call.input(0).items();
  Tensor& sequence = call.inputs[0];
  if (sequence.unique()) return std::move(*sequence.mutable_data<std::vector<Tensor>>());
  return items;
}

/// Input `input` as a position in [-size, size), made positive; `otherwise` when it is not given.
std::size_t position(const Call& call, std::size_t input, std::size_t size, std::size_t otherwise) {
  if (!call.has(input)) return otherwise;
  const std::int64_t given = integer_of(call, input, "the position");
  const auto count = static_cast<std::int64_t>(size);
  const std::int64_t positive = given < 0 ? given + count : given;
  if (positive < 0 || positive >= count)
    call.fail(fmt::format("position {} is out of range for {} items", given, size));
  return static_cast<std::size_t>(positive);
}

void require_tensor(const Call& call, const Tensor& item) {
  if (item.type() == DataType::sequence || item.type() == DataType::optional)
    call.fail(fmt::format("an item of a sequence must be a tensor, not of type {}", name_of(item.type())));
}

void require_one_type(const Call& call, const std::vector<Tensor>& items) {
  for (const Tensor& item : items) {
    require_tensor(call, item);
    if (item.type() != items.front().type())
      call.fail(
          fmt::format("a sequence cannot hold {} beside {}", name_of(item.type()), name_of(items.front().type())));
  }
}

void sequence_construct(Call& call) {
  std::vector<Tensor> items;
  for (std::size_t i = 0; i < call.inputs.size(); ++i) items.push_back(call.input(i));
  require_one_type(call, items);
  call.outputs[0] = Tensor::sequence(std::move(items));
}

void sequence_empty(Call& call) { call.outputs[0] = Tensor::sequence({}); }

void sequence_insert(Call& call) {
  const Tensor item = call.input(1);
  const std::size_t size = call.input(0).items().size();
  // The end is a position too, but only a positive one.
  std::size_t at = size;
  if (call.has(2) && integer_of(call, 2, "the position") != static_cast<std::int64_t>(size))
    at = position(call, 2, size, size);
  require_tensor(call, item);
  if (size > 0) require_one_type(call, {call.input(0).items().front(), item});
  std::vector<Tensor> items = take_items(call);
  items.insert(items.begin() + static_cast<std::ptrdiff_t>(at), item);
  call.outputs[0] = Tensor::sequence(std::move(items));
}

void sequence_erase(Call& call) {
  const std::size_t size = call.input(0).items().size();
  if (size == 0) call.fail("nothing can be erased from an empty sequence");
  const std::size_t at = position(call, 1, size, size - 1);
  std::vector<Tensor> items = take_items(call);
  items.erase(items.begin() + static_cast<std::ptrdiff_t>(at));
  call.outputs[0] = Tensor::sequence(std::move(items));
}

void sequence_at(Call& call) {
  const std::vector<Tensor>& items = call.input(0).items();
  if (!call.has(1)) call.fail("the position is missing");
  call.outputs[0] = items[position(call, 1, items.size(), 0)];
}

void sequence_length(Call& call) {
  const auto length = static_cast<std::int64_t>(call.input(0).items().size());
  call.outputs[0] = Tensor::of<std::int64_t>({}, {{length}});
}

void copy_elements(const Tensor& from, std::int64_t first, Tensor& to, std::int64_t at, std::int64_t count) {
  if (from.type() == DataType::string) {
    std::copy_n(from.data<std::string>() + first, count, to.mutable_data<std::string>() + at);
    return;
  }
  const std::size_t width = size_of(from.type());
  if (count > 0)
    std::memcpy(to.mutable_data() + static_cast<std::size_t>(at) * width,
                from.data() + static_cast<std::size_t>(first) * width, static_cast<std::size_t>(count) * width);
}

/// How many of the `length` slices along the axis go into each item.
std::vector<std::int64_t> split_sizes(const Call& call, std::int64_t length) {
  std::vector<std::int64_t> sizes;
  if (call.has(1) && call.input(1).rank() == 1) {
    sizes = integers_of(call, 1, "split");
    std::int64_t sum = 0;
    for (const std::int64_t size : sizes) {
      if (size < 0 || size > length - sum) call.fail(fmt::format("split does not cut a dimension of {}", length));
      sum += size;
    }
    if (sum != length) call.fail(fmt::format("split adds up to {}, the dimension is {}", sum, length));
    return sizes;
  }
  const std::int64_t size = call.has(1) ? integer_of(call, 1, "split") : 1;
  if (size < 1) call.fail(fmt::format("split of {}", size));
  for (std::int64_t rest = length; rest > 0; rest -= sizes.back()) sizes.push_back(std::min(size, rest));
  return sizes;
}

void split_to_sequence(Call& call) {
  const Tensor in = call.input(0);
  require_tensor(call, in);
  const std::size_t axis = axis_of(call, call.node.integer("axis", 0), in.rank());
  const bool drop_axis = !call.has(1) && call.node.integer("keepdims", 1) == 0;
  const std::int64_t length = in.shape()[axis];
  const std::int64_t outer = in.shape().elements(0, axis);
  const std::int64_t inner = in.shape().elements(axis + 1, in.rank());
  std::vector<Tensor> items;
  std::int64_t first = 0;
  for (const std::int64_t size : split_sizes(call, length)) {
    Shape shape = in.shape();
    shape[axis] = size;
    Tensor part = call.device.allocate(in.type(), shape);
    for (std::int64_t o = 0; o < outer; ++o)
      copy_elements(in, (o * length + first) * inner, part, o * size * inner, size * inner);
    if (drop_axis) {
      shape.erase(axis);
      part = part.reshaped(shape);
    }
    items.push_back(std::move(part));
    first += size;
  }
  call.outputs[0] = Tensor::sequence(std::move(items));
}

void concat_from_sequence(Call& call) {
  std::vector<Tensor> items = call.input(0).items();
  if (items.empty()) call.fail("an empty sequence cannot be joined");
  require_one_type(call, items);
  const bool stack = call.node.integer("new_axis", 0) != 0;
  const std::size_t axis = axis_of(call, call.node.integer("axis"), items.front().rank(), stack);
  for (Tensor& item : items) {
    if (!stack) continue;
    Shape shape = item.shape();
    if (axis > shape.rank()) call.fail("the items differ in rank");
    shape.insert(axis, 1);
    item = item.reshaped(shape);
  }
  Shape shape = items.front().shape();
  shape[axis] = 0;
  for (const Tensor& item : items) {
    if (item.rank() != shape.rank()) call.fail("the items differ in rank");
    for (std::size_t d = 0; d < shape.rank(); ++d)
      if (d != axis && item.shape()[d] != shape[d])
        call.fail(fmt::format("items of shapes {} and {} cannot be joined along axis {}", items.front().shape().text(),
                              item.shape().text(), axis));
    shape[axis] += item.shape()[axis];
  }
  Tensor& out = call.output(0, items.front().type(), shape);
  const std::int64_t outer = shape.elements(0, axis);
  const std::int64_t inner = shape.elements(axis + 1, shape.rank());
  std::int64_t first = 0;
  for (const Tensor& item : items) {
    const std::int64_t run = item.shape()[axis] * inner;
    for (std::int64_t o = 0; o < outer; ++o) copy_elements(item, o * run, out, (o * shape[axis] + first) * inner, run);
    first += item.shape()[axis];
  }
}

void optional(Call& call) { call.outputs[0] = call.has(0) ? call.input(0) : Tensor::none(); }

void optional_has_element(Call& call) {
  const bool there = call.has(0) && call.input(0).type() != DataType::optional;
  call.outputs[0] = Tensor::of<bool>({}, {{there}});
}

void optional_get_element(Call& call) {
  if (call.input(0).type() == DataType::optional) call.fail("the optional value is missing");
  call.outputs[0] = call.input(0);
}

}  // namespace

void register_sequence(OperatorTable& table) {
  const auto add = [&](std::string_view name, Function function) {
    table.add(name, Operator{.function = function, .half = Half::native, .objects = true});
  };
  add("SequenceConstruct", checked<sequence_construct>);
  add("SequenceEmpty", checked<sequence_empty, 0>);
  add("SequenceInsert", checked<sequence_insert, 2>);
  add("SequenceErase", checked<sequence_erase>);
  add("SequenceAt", checked<sequence_at, 2>);
  add("SequenceLength", checked<sequence_length>);
  add("SplitToSequence", checked<split_to_sequence>);
  add("ConcatFromSequence", checked<concat_from_sequence>);
  add("Optional", checked<optional, 0>);
  add("OptionalHasElement", checked<optional_has_element, 0>);
  add("OptionalGetElement", checked<optional_get_element>);
}

}  // namespace tare::cpu
