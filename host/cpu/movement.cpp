// Operators that rearrange whole tensors: each is one or a few nests of strided loops (strided_copy.hpp).
// Odd: a rearrangement that moves nothing (only dimensions of one change places) shares the storage of its input.
#include "cpu/movement.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cpu/arguments.hpp"
#include "cpu/dnnl_shim.hpp"
#include "cpu/strided_copy.hpp"

namespace tare::cpu {
namespace {

void transpose(Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t rank = in.rank();
  std::vector<std::int64_t> permutation = call.node.integers("perm");
  if (!call.node.has("perm"))
    for (std::size_t i = rank; i-- > 0;) permutation.push_back(static_cast<std::int64_t>(i));
  if (permutation.size() != rank)
    call.fail(fmt::format("perm has {} entries for a tensor of rank {}", permutation.size(), rank));
  const std::vector<std::size_t> axes = unique_axes(call, permutation, rank);
  const Shape from = strides_of(in);
  Shape shape(rank, 0);
  for (std::size_t i = 0; i < rank; ++i) shape[i] = in.shape()[axes[i]];
  const Shape to = dense_strides(shape);
  CopyPlan plan;
  for (std::size_t i = 0; i < rank; ++i) plan.add(shape[i], from[axes[i]], to[i]);
  if (plan.contiguous()) {
    call.outputs[0] = in.reshaped(shape);
    return;
  }
  Tensor& out = call.output(0, in.type(), shape);
  plan.run(call.device, size_of(in.type()), in.data(), out.mutable_data());
}

void concat(Call& call) {
  const Tensor& first = call.input(0);
  const std::size_t axis = axis_of(call, call.node.integer("axis"), first.rank());
  Shape shape = first.shape();
  shape[axis] = 0;
  std::int64_t channels_last = 0;
  for (std::size_t i = 0; i < call.inputs.size(); ++i) {
    if (!call.has(i)) call.fail(fmt::format("input {} is missing", i));
    const Tensor& in = call.input(i);
    if (in.type() != first.type())
      call.fail(fmt::format("cannot join {} with {}", name_of(first.type()), name_of(in.type())));
    bool fits = in.rank() == shape.rank();
    for (std::size_t d = 0; fits && d < shape.rank(); ++d) fits = d == axis || in.shape()[d] == shape[d];
    if (!fits)
      call.fail(
          fmt::format("cannot join shapes {} and {} along axis {}", first.shape().text(), in.shape().text(), axis));
    shape[axis] += in.shape()[axis];
    channels_last += in.layout() == Layout::channels_last ? in.elements() : -in.elements();
  }
  if (call.inputs.size() == 1) {
    call.outputs[0] = first;
    return;
  }
  // The layout that leaves most elements in order.
  Tensor& out = call.output(0, first.type(), shape, channels_last > 0 ? Layout::channels_last : Layout::plain);
  const Shape to = strides_of(out);
  const std::size_t size = size_of(out.type());
  std::int64_t offset = 0;
  for (const Tensor& in : call.inputs) {
    const Shape from = strides_of(in);
    CopyPlan plan;
    for (std::size_t d = 0; d < shape.rank(); ++d) plan.add(in.shape()[d], from[d], to[d]);
    plan.run(call.device, size, in.data(), out.mutable_data() + static_cast<std::size_t>(offset * to[axis]) * size);
    offset += in.shape()[axis];
  }
}

void split(Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t axis = axis_of(call, call.node.integer("axis", 0), in.rank());
  const std::int64_t dim = in.shape()[axis];
  std::vector<std::int64_t> sizes = call.node.integers("split");
  if (call.has(1)) sizes = integers_of(call, 1, "split");
  if (sizes.empty()) {
    const auto parts = call.node.integer("num_outputs", static_cast<std::int64_t>(call.node.outputs.size()));
    if (parts < 1 || static_cast<std::size_t>(parts) < call.node.outputs.size())
      call.fail(fmt::format("num_outputs {} does not fit {} outputs", parts, call.node.outputs.size()));
    if (!call.node.has("num_outputs") && dim % parts != 0)
      call.fail(fmt::format("a dimension of {} cannot be split in {} equal parts", dim, parts));
    const std::int64_t size = dim / parts + (dim % parts != 0 ? 1 : 0);
    for (std::size_t i = 0; i < call.node.outputs.size(); ++i) {
      const auto done = std::min(dim, static_cast<std::int64_t>(i) * size);
      sizes.push_back(std::min(size, dim - done));
    }
  } else {
    std::int64_t sum = 0;
    for (const std::int64_t size : sizes)
      if (size < 0 || size > dim || (sum += size) > dim)
        call.fail(fmt::format("a part of {} in a dimension of {}", size, dim));
    if (sum != dim) call.fail(fmt::format("parts add up to {}, not to the dimension of {}", sum, dim));
  }
  if (sizes.size() < call.node.outputs.size())
    call.fail(fmt::format("{} parts for {} outputs", sizes.size(), call.node.outputs.size()));
  const Shape from = strides_of(in);
  const std::size_t element = size_of(in.type());
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < call.node.outputs.size(); offset += sizes[i], ++i) {
    if (!call.wants(i)) continue;
    Shape shape = in.shape();
    shape[axis] = sizes[i];
    Tensor& out = call.output(i, in.type(), shape, in.layout());
    const Shape to = strides_of(out);
    CopyPlan plan;
    for (std::size_t d = 0; d < shape.rank(); ++d) plan.add(shape[d], from[d], to[d]);
    plan.run(call.device, element, in.data() + static_cast<std::size_t>(offset * from[axis]) * element,
             out.mutable_data());
  }
}

void expand(Call& call) {
  const Tensor& in = call.input(0);
  const std::vector<std::int64_t> wanted = integers_of(call, 1, "shape");
  const Shape shape = broadcast(call, in.shape(), Shape(wanted.begin(), wanted.end()));
  if (shape == in.shape()) {
    call.outputs[0] = in;
    return;
  }
  Tensor& out = call.output(0, in.type(), shape);
  const Shape from = dense_strides(in.shape());
  const Shape to = dense_strides(shape);
  const std::size_t added = shape.rank() - in.rank();
  CopyPlan plan;
  for (std::size_t d = 0; d < shape.rank(); ++d)
    plan.add(shape[d], d < added || in.shape()[d - added] != shape[d] ? 0 : from[d - added], to[d]);
  plan.run(call.device, size_of(in.type()), in.data(), out.mutable_data());
}

void tile(Call& call) {
  const Tensor& in = call.input(0);
  const std::vector<std::int64_t> repeats = integers_of(call, 1, "repeats");
  if (repeats.size() != in.rank())
    call.fail(fmt::format("{} repeats for a tensor of rank {}", repeats.size(), in.rank()));
  Shape shape = in.shape();
  for (std::size_t d = 0; d < shape.rank(); ++d) {
    if (repeats[d] < 0) call.fail(fmt::format("a tensor cannot be repeated {} times", repeats[d]));
    shape[d] = checked_product(call, shape[d], repeats[d]);
  }
  if (shape == in.shape()) {
    call.outputs[0] = in;
    return;
  }
  Tensor& out = call.output(0, in.type(), shape);
  const Shape from = dense_strides(in.shape());
  const Shape to = dense_strides(shape);
  CopyPlan plan;
  for (std::size_t d = 0; d < shape.rank(); ++d) {
    plan.add(repeats[d], 0, in.shape()[d] * to[d]);
    plan.add(in.shape()[d], from[d], to[d]);
  }
  plan.run(call.device, size_of(in.type()), in.data(), out.mutable_data());
}

std::int64_t block_size(const Call& call) {
  if (call.input(0).rank() != 4) call.fail(fmt::format("needs rank 4, not {}", call.input(0).shape().text()));
  const std::int64_t block = call.node.integer("blocksize");
  if (block < 1 || block > 1 << 15) call.fail(fmt::format("blocksize {} is out of range", block));
  return block;
}

void depth_to_space(Call& call) {
  const Tensor& in = call.input(0);
  const std::int64_t block = block_size(call);
  const Shape& shape = in.shape();
  const std::string mode = call.node.text("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") call.fail(fmt::format("unknown mode '{}'", mode));
  if (shape[1] % (block * block) != 0)
    call.fail(fmt::format("{} channels cannot be cut in blocks of {} x {}", shape[1], block, block));
  const std::int64_t depth = shape[1] / (block * block);
  Tensor& out = call.output(
      0, in.type(), {shape[0], depth, checked_product(call, shape[2], block), checked_product(call, shape[3], block)},
      in.layout());
  const Shape from = strides_of(in);
  const Shape to = strides_of(out);
  const bool depth_first = mode == "DCR";
  CopyPlan plan;
  plan.add(shape[0], from[0], to[0]);
  plan.add(depth, from[1] * (depth_first ? 1 : block * block), to[1]);
  plan.add(block, from[1] * block * (depth_first ? depth : 1), to[2]);
  plan.add(block, from[1] * (depth_first ? depth : 1), to[3]);
  plan.add(shape[2], from[2], to[2] * block);
  plan.add(shape[3], from[3], to[3] * block);
  plan.run(call.device, size_of(in.type()), in.data(), out.mutable_data());
}

void space_to_depth(Call& call) {
  const Tensor& in = call.input(0);
  const std::int64_t block = block_size(call);
  const Shape& shape = in.shape();
  if (shape[2] % block != 0 || shape[3] % block != 0)
    call.fail(fmt::format("{} x {} cannot be cut in blocks of {}", shape[2], shape[3], block));
  Tensor& out = call.output(
      0, in.type(), {shape[0], checked_product(call, shape[1], block * block), shape[2] / block, shape[3] / block},
      in.layout());
  const Shape from = strides_of(in);
  const Shape to = strides_of(out);
  CopyPlan plan;
  plan.add(shape[0], from[0], to[0]);
  plan.add(block, from[2], to[1] * block * shape[1]);
  plan.add(block, from[3], to[1] * shape[1]);
  plan.add(shape[1], from[1], to[1]);
  plan.add(shape[2] / block, from[2] * block, to[2]);
  plan.add(shape[3] / block, from[3] * block, to[3]);
  plan.run(call.device, size_of(in.type()), in.data(), out.mutable_data());
}

/// Internal (plan/fuse): Reshape to five dimensions, an exchange of the second and third, Reshape to four. Where that
/// only deals channels out anew, it does so in the layout that they lie in.
void channel_shuffle(Call& call) {
  Tensor in = call.input(0);
  const Shape split = reshaped_shape(call, in.shape(), call.node.integers("split"), false);
  const Shape exchanged{split[0], split[2], split[1], split[3], split[4]};
  const Shape joined = reshaped_shape(call, exchanged, call.node.integers("joined"), false);
  const bool within_channels = joined == in.shape() && split[0] == joined[0] && split[1] * split[2] == joined[1] &&
                               split[3] == joined[2] && split[4] == joined[3];
  if (!within_channels) in = dnn::with_layout(call.device, in, Layout::plain);
  Tensor& out = call.output(0, in.type(), joined, in.layout());
  Shape from = dense_strides(split);
  Shape to = dense_strides(exchanged);
  std::swap(to[1], to[2]);
  if (within_channels) {
    const Shape in_strides = strides_of(in);
    const Shape out_strides = strides_of(out);
    from = {in_strides[0], in_strides[1] * split[2], in_strides[1], in_strides[2], in_strides[3]};
    to = {out_strides[0], out_strides[1], out_strides[1] * split[1], out_strides[2], out_strides[3]};
  }
  CopyPlan plan;
  for (std::size_t d = 0; d < split.rank(); ++d) plan.add(split[d], from[d], to[d]);
  plan.run(call.device, size_of(in.type()), in.data(), out.mutable_data());
}

}  // namespace

void register_movement(OperatorTable& table) {
  const auto any_layout = [](Function function) {
    return Operator{.function = function, .half = Half::native, .channels_last = true};
  };
  table.add("Transpose", any_layout(checked<transpose>));
  table.add("Concat", any_layout(checked<concat>));
  table.add("Split", any_layout(checked<split>));
  table.add("DepthToSpace", any_layout(checked<depth_to_space>));
  table.add("tare::ChannelShuffle", any_layout(checked<channel_shuffle>));
  table.add("SpaceToDepth", any_layout(checked<space_to_depth>));
  table.add("Expand", checked<expand, 2>, Half::native);
  table.add("Tile", checked<tile, 2>, Half::native);
  register_reshape(table);
  register_slice(table);
  register_pad(table);
  register_selection(table);
}

}  // namespace tare::cpu
