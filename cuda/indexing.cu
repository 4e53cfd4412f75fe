// Gather, GatherElements, GatherND, Scatter…, MaxUnpool: indices lie on the host, where they are checked and become
// offsets; the device moves runs of elements. Odd: reductions of ScatterElements and ScatterND go target by target: one
// thread applies the updates of a target in their order, so that duplicates give the same bits every time.
#include <algorithm>
#include <numeric>

#include "cpu/indexing.hpp"
#include "cpu/sampling.hpp"
#include "float_element.hpp"
#include "moved_element.hpp"
#include "operators.hpp"
#include "tare/elementary.hpp"

namespace tare::cuda {
namespace {

/// Run i, of `run` elements, from offset in[i] to offset out[i]; a null list counts runs in order.
template <class T>
struct MoveRuns {
  const T* from;
  T* to;
  const std::int64_t* in;
  const std::int64_t* out;
  std::int64_t run;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t which = i / run;
    const std::int64_t within = i % run;
    to[(out != nullptr ? out[which] : which * run) + within] = from[(in != nullptr ? in[which] : which * run) + within];
  }
};

void move_runs(const Call& call, const void* from, void* to, std::size_t size, const Tensor& in, const Tensor& out,
               std::int64_t runs, std::int64_t run) {
  by_size(size, [&](auto element) {
    using T = decltype(element);
    for_each(runs * run, stream_of(call),
             MoveRuns<T>{static_cast<const T*>(from), static_cast<T*>(to), in.data<std::int64_t>(),
                         out.data<std::int64_t>(), run});
  });
}

template <class T>
struct GatherRows {
  const T* from;
  T* to;
  const std::int64_t* positions;
  std::int64_t count, dim, inner;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t row = i / inner;
    to[i] = from[(row / count * dim + positions[row % count]) * inner + i % inner];
  }
};

void gather(Call& call) {
  const Tensor in = call.input(0);
  const std::size_t axis = cpu::axis_of(call, call.node.integer("axis", 0), in.rank());
  const std::int64_t dim = in.shape()[axis];
  const Shape indices_shape = call.input(1).shape();
  std::vector<std::int64_t> positions = cpu::indices_of(call, 1);
  for (std::int64_t& index : positions) index = cpu::position_of(call, index, dim);
  Shape shape(in.shape().begin(), in.shape().begin() + axis);
  for (const std::int64_t d : indices_shape) shape.push_back(d);
  for (std::size_t d = axis + 1; d < in.rank(); ++d) shape.push_back(in.shape()[d]);
  Tensor& out = call.output(0, in.type(), shape);
  if (out.elements() == 0) return;
  const Tensor list = device_of(call).upload_to<std::int64_t>(positions);
  std::int64_t inner = in.shape().elements(axis + 1, in.rank());
  std::size_t size = size_of(in.type());
  for (; size < 16 && inner % 2 == 0; inner /= 2) size *= 2;  // device memory starts at 256 bytes
  by_size(size, [&](auto element) {
    using T = decltype(element);
    const auto count = static_cast<std::int64_t>(positions.size());
    for_each(out.elements() / in.shape().elements(axis + 1, in.rank()) * inner, stream_of(call),
             GatherRows<T>{in.data<T>(), out.mutable_data<T>(), list.data<std::int64_t>(), count, dim, inner});
  });
}

/// Offsets in `data` of the elements that an index tensor names along an axis.
std::vector<std::int64_t> element_offsets(const Call& call, const Shape& data, std::size_t axis) {
  const Shape shape = call.input(1).shape();
  cpu::check_within(call, shape, data, axis);
  std::vector<std::int64_t> offsets(static_cast<std::size_t>(shape.elements()));
  cpu::for_each_element(call, cpu::indices_of(call, 1), shape, data, axis,
                        [&](std::int64_t i, std::int64_t offset) { offsets[static_cast<std::size_t>(i)] = offset; });
  return offsets;
}

void gather_elements(Call& call) {
  const Tensor in = call.input(0);
  const std::size_t axis = cpu::axis_of(call, call.node.integer("axis", 0), in.rank());
  const std::vector<std::int64_t> offsets = element_offsets(call, in.shape(), axis);
  Tensor& out = call.output(0, in.type(), call.input(1).shape());
  const Tensor list = device_of(call).upload_to<std::int64_t>(offsets);
  move_runs(call, in.data(), out.mutable_data(), size_of(in.type()), list, Tensor(), out.elements(), 1);
}

void gather_nd(Call& call) {
  const Tensor in = call.input(0);
  const Shape grid = call.input(1).shape();
  const std::int64_t batch_dims = call.node.integer("batch_dims", 0);
  if (batch_dims < 0 ||
      batch_dims >= static_cast<std::int64_t>(std::min(in.rank(), std::max<std::size_t>(grid.rank(), 1))))
    call.fail(joined("batch_dims ", batch_dims, " is out of range for ", in.shape().text(), " and ", grid.text()));
  const auto batch = static_cast<std::size_t>(batch_dims);
  for (std::size_t d = 0; d < batch; ++d)
    if (in.shape()[d] != grid[d])
      call.fail(joined("batch dimension ", d, " of ", in.shape().text(), " and ", grid.text(), " differs"));
  const cpu::IndexTuples tuples(call, 1, in.shape(), batch);
  Shape shape(grid.begin(), grid.end() - 1);
  for (std::size_t d = batch + tuples.length(); d < in.rank(); ++d) shape.push_back(in.shape()[d]);
  Tensor& out = call.output(0, in.type(), shape);
  if (out.elements() == 0) return;
  const std::int64_t per_batch = tuples.count() / grid.elements(0, batch);
  const std::int64_t batch_size = in.shape().elements(batch, in.rank());
  std::vector<std::int64_t> offsets;
  for (std::int64_t i = 0; i < tuples.count(); ++i) offsets.push_back(i / per_batch * batch_size + tuples.offset(i));
  const Tensor list = device_of(call).upload_to<std::int64_t>(offsets);
  move_runs(call, in.data(), out.mutable_data(), size_of(in.type()), list, Tensor(), tuples.count(), tuples.slice());
}

/// Target t takes the updates order[begins[t]] … order[begins[t + 1] - 1].
struct ApplyUpdates {
  FloatInput data, updates;
  FloatOutput out;              ///< the memory of `data`
  const std::int64_t* targets;  ///< offsets
  const std::int64_t* begins;
  const std::int64_t* order;
  std::int64_t run;
  cpu::ScatterReduction reduction;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t target = i / run;
    const std::int64_t within = i % run;
    float value = data[targets[target] + within];
    for (std::int64_t k = begins[target]; k < begins[target + 1]; ++k) {
      const float update = updates[order[k] * run + within];
      switch (reduction) {  // halves are rounded after every update, as on the host
        case cpu::ScatterReduction::add: value = value + update; break;
        case cpu::ScatterReduction::multiply: value = value * update; break;
        case cpu::ScatterReduction::minimum: value = value < update || value != value ? value : update; break;
        case cpu::ScatterReduction::maximum: value = value > update || value != value ? value : update; break;
        case cpu::ScatterReduction::none: value = update; break;
      }
      value = rounded_to(value, out.type);
    }
    out.set(targets[target] + within, value);
  }
};

/// Applies updates to `out`, runs of `run` elements at `offsets`.
void apply_updates(const Call& call, const Tensor& updates, const std::vector<std::int64_t>& offsets, std::int64_t run,
                   cpu::ScatterReduction reduction, Tensor& out) {
  if (offsets.empty() || run == 0) return;
  // Updates by target, those of one target in their order.
  std::vector<std::int64_t> order(offsets.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto offset_of = [&](std::int64_t i) { return offsets[static_cast<std::size_t>(i)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return offset_of(a) < offset_of(b); });
  std::vector<std::int64_t> targets;
  std::vector<std::int64_t> begins;
  for (std::size_t k = 0; k < order.size(); ++k)
    if (k == 0 || offset_of(order[k]) != targets.back()) {
      targets.push_back(offset_of(order[k]));
      begins.push_back(static_cast<std::int64_t>(k));
    }
  begins.push_back(static_cast<std::int64_t>(order.size()));
  Device& device = device_of(call);
  const auto count = static_cast<std::int64_t>(targets.size());
  const Tensor target_list = device.upload_to<std::int64_t>(targets);
  if (reduction == cpu::ScatterReduction::none) {  // the last update of a target stays: any type may be moved
    std::vector<std::int64_t> sources;
    for (std::size_t t = 0; t < targets.size(); ++t)
      sources.push_back(order[static_cast<std::size_t>(begins[t + 1] - 1)] * run);
    const Tensor source_list = device.upload_to<std::int64_t>(sources);
    return move_runs(call, updates.data(), out.mutable_data(), size_of(out.type()), source_list, target_list, count,
                     run);
  }
  const Tensor begin_list = device.upload_to<std::int64_t>(begins);
  const Tensor order_list = device.upload_to<std::int64_t>(order);
  for_each(count * run, stream_of(call),
           ApplyUpdates{out, updates, out, target_list.data<std::int64_t>(), begin_list.data<std::int64_t>(),
                        order_list.data<std::int64_t>(), run, reduction});
}

/// outputs[0]: a copy of inputs[0] with the updates applied.
void scatter(Call& call, const std::vector<std::int64_t>& offsets, std::int64_t run) {
  const Tensor data = call.input(0);
  const Tensor updates = call.input(2);
  if (updates.type() != data.type())
    call.fail(joined("updates are ", name_of(updates.type()), ", data ", name_of(data.type())));
  const cpu::ScatterReduction reduction = cpu::reduction_of(call);
  if (reduction != cpu::ScatterReduction::none && !is_quantizable(data.type())) return run_on_host(call);
  Tensor& out = call.output(0, data.type(), data.shape());
  if (out.bytes() == 0) return;
  TARE_CUDA_CHECK(
      cudaMemcpyAsync(out.mutable_data(), data.data(), out.bytes(), cudaMemcpyDeviceToDevice, stream_of(call).get()));
  apply_updates(call, updates, offsets, run, reduction, out);
}

/// Zeros, with the elements at their indices; of several at one place the last one stays.
void max_unpool(Call& call) {
  const Tensor in = call.input(0);
  const cpu::MaxUnpool plan = cpu::plan_max_unpool(call);
  Tensor& out = call.output(0, in.type(), plan.output);
  const std::uint64_t zero = 0;
  if (out.elements() == 0) return;
  cpu::fill(call.device, size_of(out.type()), &zero, out.mutable_data(), out.elements());
  apply_updates(call, in, plan.offsets, 1, cpu::ScatterReduction::none, out);
}

void scatter_elements(Call& call) {
  const Shape data = call.input(0).shape();
  const std::size_t axis = cpu::axis_of(call, call.node.integer("axis", 0), data.rank());
  if (call.input(2).shape() != call.input(1).shape())
    call.fail(joined("indices of shape ", call.input(1).shape().text(), " and updates of shape ",
                     call.input(2).shape().text()));
  scatter(call, element_offsets(call, data, axis), 1);
}

void scatter_nd(Call& call) {
  const Shape data = call.input(0).shape();
  const cpu::IndexTuples tuples(call, 1, data, 0);
  const Shape& grid = call.input(1).shape();
  Shape expected(grid.begin(), grid.end() - 1);
  for (std::size_t d = tuples.length(); d < data.rank(); ++d) expected.push_back(data[d]);
  if (call.input(2).shape() != expected)
    call.fail(joined("updates have the shape ", call.input(2).shape().text(), ", not ", expected.text()));
  std::vector<std::int64_t> offsets;
  for (std::int64_t i = 0; i < tuples.count(); ++i) offsets.push_back(tuples.offset(i));
  scatter(call, offsets, tuples.slice());
}

}  // namespace

void register_indexing(OperatorTable& table) {
  constexpr Places data{.device = 1};
  table.add("Gather", cpu::checked<gather, 2>, cpu::Half::native, data);
  table.add("GatherElements", cpu::checked<gather_elements, 2>, cpu::Half::native, data);
  table.add("GatherND", cpu::checked<gather_nd, 2>, cpu::Half::native, data);
  table.add("MaxUnpool", cpu::checked<max_unpool, 2>, cpu::Half::native, data);
  table.add("Scatter", cpu::checked<scatter_elements, 3>, cpu::Half::native, {.device = 5});
  table.add("ScatterElements", cpu::checked<scatter_elements, 3>, cpu::Half::native, {.device = 5});
  table.add("ScatterND", cpu::checked<scatter_nd, 3>, cpu::Half::native, {.device = 5});
}

}  // namespace tare::cuda
