// Scatter, ScatterElements, ScatterND, with their reductions, and TensorScatter.
// Odd: updates are applied in order on one thread, so that duplicate indices give the same bits every time.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "cpu/arguments.hpp"
#include "cpu/indexing.hpp"
#include "tare/numerics.hpp"

namespace tare::cpu {
ScatterReduction reduction_of(const Call& call) {
  const std::string text = call.node.text("reduction", "none");
  if (text == "none") return ScatterReduction::none;
  if (text == "add") return ScatterReduction::add;
  if (text == "mul") return ScatterReduction::multiply;
  if (text == "min") return ScatterReduction::minimum;
  if (text == "max") return ScatterReduction::maximum;
  call.fail(fmt::format("unknown reduction '{}'", text));
}

namespace {

template <class T>
T reduced(ScatterReduction reduction, T old, T update) {
  if constexpr (std::is_same_v<T, bool>) {
    // Of booleans, the sum is "or" and the product "and".
    return reduction == ScatterReduction::add || reduction == ScatterReduction::maximum ? old || update : old && update;
  } else if constexpr (std::is_integral_v<T>) {
    // Unsigned, so that an overflow wraps.
    using Wide = std::uint64_t;
    switch (reduction) {
      case ScatterReduction::add: return static_cast<T>(static_cast<Wide>(old) + static_cast<Wide>(update));
      case ScatterReduction::multiply: return static_cast<T>(static_cast<Wide>(old) * static_cast<Wide>(update));
      case ScatterReduction::minimum: return std::min(old, update);
      case ScatterReduction::maximum: return std::max(old, update);
      case ScatterReduction::none: break;
    }
    return update;
  } else {
    switch (reduction) {
      case ScatterReduction::add: return old + update;
      case ScatterReduction::multiply: return old * update;
      // A NaN on either side stays.
      case ScatterReduction::minimum: return old < update || old != old ? old : update;
      case ScatterReduction::maximum: return old > update || old != old ? old : update;
      case ScatterReduction::none: break;
    }
    return update;
  }
}

struct Float16 {
  std::uint16_t bits;
};
struct Bfloat16 {
  std::uint16_t bits;
};
Float16 reduced(ScatterReduction reduction, Float16 old, Float16 update) {
  return {float_to_half(reduced(reduction, half_to_float(old.bits), half_to_float(update.bits)))};
}
Bfloat16 reduced(ScatterReduction reduction, Bfloat16 old, Bfloat16 update) {
  return {float_to_bfloat(reduced(reduction, bfloat_to_float(old.bits), bfloat_to_float(update.bits)))};
}

template <class Function>
void dispatch_reduced(const Call& call, DataType type, Function&& function) {
  if (type == DataType::float16) return function.template operator()<Float16>();
  if (type == DataType::bfloat16) return function.template operator()<Bfloat16>();
  dispatch(type, call, function);
}

/// outputs[0]: a copy of inputs[0], in its own memory when it can be.
Tensor& copied(Call& call) {
  const DataType type = call.input(0).type();
  const Shape shape = call.input(0).shape();
  Tensor& out = call.output_reusing(0, 0, type, shape);
  if (out.data() != call.input(0).data()) {
    CopyPlan plan;
    plan.add(out.elements(), 1, 1);
    plan.run(call.device, size_of(type), call.input(0).data(), out.mutable_data());
  }
  return out;
}

void check_updates(const Call& call) {
  if (call.input(2).type() != call.input(0).type())
    call.fail(fmt::format("updates are {}, data {}", name_of(call.input(2).type()), name_of(call.input(0).type())));
}

void scatter_elements(Call& call) {
  const Shape data = call.input(0).shape();
  const std::size_t axis = axis_of(call, call.node.integer("axis", 0), data.rank());
  const Tensor& updates = call.input(2);
  const Shape& shape = call.input(1).shape();
  check_updates(call);
  check_within(call, shape, data, axis);
  if (updates.shape() != shape)
    call.fail(fmt::format("indices of shape {} and updates of shape {}", shape.text(), updates.shape().text()));
  const ScatterReduction reduction = reduction_of(call);
  const std::vector<std::int64_t> indices = indices_of(call, 1);
  Tensor& out = copied(call);
  if (reduction == ScatterReduction::none)
    return dispatch_moved(out.type(), [&]<class T>() {
      T* to = out.mutable_data<T>();
      for_each_element(call, indices, shape, data, axis,
                       [&](std::int64_t i, std::int64_t offset) { to[offset] = updates.data<T>()[i]; });
    });
  dispatch_reduced(call, out.type(), [&]<class T>() {
    T* to = out.mutable_data<T>();
    for_each_element(call, indices, shape, data, axis, [&](std::int64_t i, std::int64_t offset) {
      to[offset] = reduced(reduction, to[offset], updates.data<T>()[i]);
    });
  });
}

void scatter_nd(Call& call) {
  const Shape data = call.input(0).shape();
  const Tensor& updates = call.input(2);
  check_updates(call);
  const IndexTuples tuples(call, 1, data, 0);
  const Shape& grid = call.input(1).shape();
  Shape expected(grid.begin(), grid.end() - 1);
  for (std::size_t d = tuples.length(); d < data.rank(); ++d) expected.push_back(data[d]);
  if (updates.shape() != expected)
    call.fail(fmt::format("updates have the shape {}, not {}", updates.shape().text(), expected.text()));
  const ScatterReduction reduction = reduction_of(call);
  Tensor& out = copied(call);
  if (reduction == ScatterReduction::none) {
    const std::size_t size = size_of(out.type());
    const std::size_t run = static_cast<std::size_t>(tuples.slice()) * size;
    for (std::int64_t i = 0; i < tuples.count(); ++i)
      std::memcpy(out.mutable_data() + static_cast<std::size_t>(tuples.offset(i)) * size,
                  updates.data() + static_cast<std::size_t>(i) * run, run);
    return;
  }
  dispatch_reduced(call, out.type(), [&]<class T>() {
    const T* update = updates.data<T>();
    for (std::int64_t i = 0; i < tuples.count(); ++i) {
      T* to = out.mutable_data<T>() + tuples.offset(i);
      for (std::int64_t j = 0; j < tuples.slice(); ++j) to[j] = reduced(reduction, to[j], *update++);
    }
  });
}

/// A cache with an update written into it, each sample of the batch at a place of its own. Only copies, which other
/// devices make as well.
void tensor_scatter(Call& call) {
  const Tensor update = call.input(1);
  const Shape cache = call.input(0).shape();
  const std::size_t axis = axis_of(call, call.node.integer("axis", -2), cache.rank());
  if (axis == 0) call.fail("axis is 0, that of the batch");
  const std::string mode = call.node.text("mode", "linear");
  if (mode != "linear" && mode != "circular") call.fail(fmt::format("unknown mode '{}'", mode));
  if (update.type() != call.input(0).type())
    call.fail(fmt::format("the update is {}, the cache {}", name_of(update.type()), name_of(call.input(0).type())));
  Shape expected = cache;
  if (update.rank() == cache.rank()) expected[axis] = std::min(update.shape()[axis], cache[axis]);
  if (update.shape() != expected)
    call.fail(fmt::format("an update of shape {} does not fit along axis {} of a cache of shape {}",
                          update.shape().text(), axis, cache.text()));
  const std::int64_t room = cache[axis];
  const std::int64_t length = expected[axis];
  std::vector<std::int64_t> starts(static_cast<std::size_t>(cache[0]), 0);
  if (call.has(2)) {
    const std::size_t batch = starts.size();
    starts = integers_of(call, 2, "write_indices");
    if (starts.size() != batch) call.fail(fmt::format("{} write_indices for a batch of {}", starts.size(), batch));
  }
  for (std::int64_t& start : starts) {
    if (mode == "circular" && room > 0) start = (start % room + room) % room;
    if (start < 0 || start > (mode == "circular" ? room : room - length))
      call.fail(fmt::format("write index {}: {} elements from there on do not lie within the {} of the cache", start,
                            length, room));
  }
  Tensor& out = copied(call);
  if (update.elements() == 0) return;
  const std::int64_t inner = cache.elements(axis + 1, cache.rank());
  const std::int64_t outer = cache.elements(1, axis);
  const std::size_t size = size_of(out.type());
  for (std::size_t sample = 0; sample < starts.size(); ++sample) {
    const auto write = [&](std::int64_t from, std::int64_t to, std::int64_t count) {
      CopyPlan plan;
      plan.add(outer, length * inner, room * inner);
      plan.add(count * inner, 1, 1);
      const std::int64_t lane = static_cast<std::int64_t>(sample) * outer;
      plan.run(call.device, size, update.data() + static_cast<std::size_t>((lane * length + from) * inner) * size,
               out.mutable_data() + static_cast<std::size_t>((lane * room + to) * inner) * size);
    };
    const std::int64_t start = starts[sample];
    const std::int64_t before_end = std::min(length, room - start);
    write(0, start, before_end);
    write(before_end, 0, length - before_end);
  }
}

}  // namespace

void register_scatter(OperatorTable& table) {
  table.add("Scatter", checked<scatter_elements, 3>, Half::native);
  table.add("ScatterElements", checked<scatter_elements, 3>, Half::native);
  table.add("ScatterND", checked<scatter_nd, 3>, Half::native);
  table.add("TensorScatter", checked<tensor_scatter, 2>, Half::native);
}

}  // namespace tare::cpu
