#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cpu/attention.hpp"
#include "cpu/strided_copy.hpp"

namespace tare::cpu {
namespace {

using View = AttentionView;

/// An operand as [batch, heads, positions, features].
struct Operand {
  std::int64_t batch, heads, positions, features;
  HeadStrides strides;
};

/// tare::Attention: [batch, position, head, feature] where its list says so.
bool has_positions_first(const Node& node, std::size_t operand) {
  const std::vector<std::int64_t> list = node.integers("positions_first");
  return operand < list.size() && list[operand] != 0;
}

Operand operand_of(const Call& call, std::size_t input, std::int64_t heads) {
  const Shape& shape = call.input(input).shape();
  if (call.input(input).type() != call.input(View::query_input).type())
    call.fail(fmt::format("input {} is {}, but the queries are {}", input, name_of(call.input(input).type()),
                          name_of(call.input(View::query_input).type())));
  if (shape.rank() == 3 && call.node.domain.empty()) {
    if (heads <= 0) call.fail("operands of rank 3 need q_num_heads and kv_num_heads");
    if (shape[2] % heads != 0)
      call.fail(fmt::format("input {} of shape {} is not {} heads", input, shape.text(), heads));
    const std::int64_t features = shape[2] / heads;
    return {shape[0], heads, shape[1], features, {shape[1] * shape[2], features, shape[2]}};
  }
  if (shape.rank() != 4) call.fail(fmt::format("input {} has the shape {}", input, shape.text()));
  if (has_positions_first(call.node, input))
    return {shape[0], shape[2], shape[1], shape[3], {shape.elements(1, 4), shape[3], shape.elements(2, 4)}};
  return {shape[0], shape[1], shape[2], shape[3], dense_heads(shape)};
}

/// Positions of a cache of past keys or values, which must fit the new ones.
std::int64_t past_of(const Call& call, std::size_t input, const Operand& now) {
  const Tensor& tensor = call.input(input);
  const Shape& shape = tensor.shape();
  if (tensor.type() != call.input(View::query_input).type() || shape.rank() != 4 || shape[0] != now.batch ||
      shape[1] != now.heads || shape[3] != now.features)
    call.fail(fmt::format("input {} of shape {} does not continue one of {} x {} heads of {} features", input,
                          shape.text(), now.batch, now.heads, now.features));
  return shape[2];
}

/// A size that operands share, or that those of one broadcast to.
void share(const Call& call, std::int64_t& size, std::int64_t other, const char* what) {
  if (other == size || (other == 1 && !call.node.domain.empty())) return;
  if (size != 1 || call.node.domain.empty()) call.fail(fmt::format("{} of {} and {}", what, size, other));
  size = other;
}

AttentionMask mask_of(const Call& call, View& view) {
  const Tensor& tensor = call.input(View::mask_input);
  Shape shape = tensor.shape();
  AttentionMask mask{.present = true, .boolean = tensor.type() == DataType::boolean, .keys = view.keys};
  if (!mask.boolean && tensor.type() != call.input(View::query_input).type())
    call.fail(fmt::format("the mask is {}", name_of(tensor.type())));
  if (shape.rank() > 4) call.fail(fmt::format("a mask of shape {}", shape.text()));
  while (shape.rank() < 4) shape.insert(0, 1);
  share(call, view.batch, shape[0] == 1 ? view.batch : shape[0], "batches");
  share(call, view.heads, shape[1] == 1 ? view.heads : shape[1], "heads");
  // Since opset 24 a mask of few keys is one whose other keys do not count.
  const bool may_be_short = call.node.domain.empty() && call.node.opset >= 24;
  if (may_be_short && shape[3] <= view.keys)
    mask.keys = shape[3];
  else if (shape[3] != view.keys && shape[3] != 1)
    call.fail(fmt::format("a mask of {} keys for {}", shape[3], view.keys));
  share(call, view.queries, shape[2] == 1 ? view.queries : shape[2], "queries");
  const bool has_column_each = may_be_short || shape[3] != 1;
  mask.batch = shape[0] == 1 ? 0 : shape.elements(1, 4);
  mask.head = shape[1] == 1 ? 0 : shape.elements(2, 4);
  mask.query = shape[2] == 1 ? 0 : shape[3];
  mask.key = has_column_each ? 1 : 0;
  return mask;
}

View::Scores scores_of(const Call& call) {
  const std::int64_t mode = call.node.integer("qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3) call.fail(fmt::format("there is no qk_matmul_output_mode {}", mode));
  return static_cast<View::Scores>(mode);
}

}  // namespace

HeadStrides dense_heads(const Shape& shape) { return {shape.elements(1, 4), shape.elements(2, 4), shape[3]}; }

AttentionView attention_view(const Call& call) {
  const Operand query = operand_of(call, View::query_input, call.node.integer("q_num_heads", 0));
  const Operand key = operand_of(call, View::key_input, call.node.integer("kv_num_heads", 0));
  const Operand value = operand_of(call, View::value_input, call.node.integer("kv_num_heads", 0));
  View view;
  view.batch = query.batch;
  share(call, view.batch, key.batch, "batches");
  share(call, view.batch, value.batch, "batches");
  view.heads = query.heads;
  view.key_heads = key.heads;
  if (call.node.domain.empty()) {
    share(call, view.key_heads, value.heads, "heads of keys and values");
    if (view.key_heads == 0 || view.heads % view.key_heads != 0)
      call.fail(fmt::format("{} heads of queries cannot share {} of keys", view.heads, view.key_heads));
    view.heads_a_key = std::max<std::int64_t>(1, view.heads / view.key_heads);
  } else {
    share(call, view.heads, key.heads, "heads");
    share(call, view.heads, value.heads, "heads");
  }
  // A mask may make several of one score, before it meets the values.
  const bool repeats_key = !call.node.domain.empty() && key.positions == 1 && value.positions != 1 &&
                           call.has(View::mask_input) && call.input(View::mask_input).rank() > 0 &&
                           call.input(View::mask_input).shape().back() == value.positions;
  if (key.features != query.features || (key.positions != value.positions && !repeats_key))
    call.fail(fmt::format("queries of shape {}, keys of {} and values of {}", call.inputs[0].shape().text(),
                          call.inputs[1].shape().text(), call.inputs[2].shape().text()));
  view.queries = query.positions;
  view.features = query.features;
  view.value_features = value.features;
  if (call.has(View::past_key_input) != call.has(View::past_value_input))
    call.fail("past keys and past values come together");
  if (call.has(View::past_key_input)) {
    view.past = past_of(call, View::past_key_input, key);
    const std::int64_t values = past_of(call, View::past_value_input, value);
    if (values != view.past) call.fail(fmt::format("{} past keys and {} past values", view.past, values));
  }
  view.keys = view.past + value.positions;
  if (call.has(View::mask_input)) view.mask = mask_of(call, view);
  if (!call.node.domain.empty()) view.key_heads = view.heads;  // what broadcasts is repeated
  if (call.has(View::lengths_input)) {
    const Tensor& lengths = call.input(View::lengths_input);
    if (lengths.type() != DataType::int64 || lengths.rank() != 1 || lengths.shape()[0] != view.batch)
      call.fail(fmt::format("nonpad_kv_seqlen of type {} and shape {} for {} batches", name_of(lengths.type()),
                            lengths.shape().text(), view.batch));
  }
  const auto shared = [](const Operand& operand) {
    HeadStrides strides = operand.strides;
    if (operand.batch == 1) strides.batch = 0;
    if (operand.heads == 1) strides.head = 0;
    if (operand.positions == 1) strides.position = 0;
    return strides;
  };
  view.query = shared(query);
  view.key = shared(key);
  view.value = shared(value);
  const std::int64_t row = view.value_features;
  const bool positions_first = call.inputs[0].rank() == 3 || has_positions_first(call.node, 3);
  view.result = positions_first ? HeadStrides{view.queries * view.heads * row, row, view.heads * row}
                                : HeadStrides{view.heads * view.queries * row, view.queries * row, row};
  view.scale = call.node.has("scale") ? static_cast<double>(call.node.real("scale"))
                                      : 1.0 / std::sqrt(static_cast<double>(view.features));
  view.softcap = call.node.real("softcap", 0.0f);
  view.fills = call.node.integer("fills", 0) != 0;
  view.causal = call.node.integer("is_causal", 0) != 0;
  view.scores = scores_of(call);
  return view;
}

Shape attention_shape(const Call& call, const AttentionView& view) {
  if (call.inputs[0].rank() == 3) return {view.batch, view.queries, view.heads * view.value_features};
  if (has_positions_first(call.node, 3)) return {view.batch, view.queries, view.heads, view.value_features};
  return {view.batch, view.heads, view.queries, view.value_features};
}

Tensor in_order(const Call& call, std::size_t input, std::size_t cache, std::int64_t past, const HeadStrides& strides,
                const Shape& shape) {
  const Tensor& tensor = call.input(input);
  const bool lies_so = tensor.rank() == 4 && tensor.shape() == shape && strides.position == shape[3];
  if (past == 0 && lies_so) return tensor;
  Tensor all = call.device.allocate(tensor.type(), shape);
  const std::size_t size = size_of(tensor.type());
  const HeadStrides dense = dense_heads(shape);
  const auto copy = [&](const Tensor& from, const HeadStrides& own, std::int64_t positions, std::int64_t at) {
    CopyPlan plan;
    plan.add(shape[0], own.batch, dense.batch);
    plan.add(shape[1], own.head, dense.head);
    plan.add(positions, own.position, dense.position);
    plan.add(shape[3], 1, 1);
    plan.run(call.device, size, from.data(),
             all.mutable_data<std::byte>() + static_cast<std::size_t>(at * dense.position) * size);
  };
  if (past > 0) copy(call.input(cache), dense_heads(call.input(cache).shape()), past, 0);
  copy(tensor, strides, shape[2] - past, past);
  return all;
}

}  // namespace tare::cpu
