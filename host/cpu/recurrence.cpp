#include "cpu/recurrence.hpp"

#include <fmt/format.h>

namespace tare::cpu {

Recurrence::Recurrence(const Node& node, Cell kind)
    : cell(kind),
      batch_first(node.integer("layout", 0) != 0),
      coupled(node.integer("input_forget", 0) != 0),
      reset_after(node.integer("linear_before_reset", 0) != 0),
      clip(node.real("clip", 0.0f)) {
  const std::string direction = node.text("direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional")
    throw Error(ErrorKind::model, fmt::format("{}: direction is '{}'", node.label(), direction));
  reverse_first = direction == "reverse";
  directions = direction == "bidirectional" ? 2 : 1;
  const std::string_view defaults[] = {cell == Cell::rnn ? "tanh" : "sigmoid", "tanh", "tanh"};
  per_direction = cell == Cell::lstm ? 3 : cell == Cell::gru ? 2 : 1;
  activations = activations_of(node, static_cast<std::size_t>(directions), std::span(defaults, per_direction));
}

Recurrence::Sizes Recurrence::check(const Call& call) const {
  for (const std::size_t i : {0, 1, 2})
    if (!call.has(i) || call.input(i).rank() != 3) call.fail("X, W and R of rank 3 are needed");
  const Shape& x = call.input(0).shape();
  const Shape& r = call.input(2).shape();
  const std::int64_t gates = cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1;
  const Sizes s{x[batch_first ? 1 : 0], x[batch_first ? 0 : 1], x[2], r[2], r[2] * gates};
  const auto want = [&](std::size_t i, const Shape& shape, std::string_view name) {
    if (!call.has(i)) return;
    if (!(call.input(i).shape() == shape))
      call.fail(fmt::format("{} is {} instead of {}", name, call.input(i).shape().text(), shape.text()));
    if (name != "sequence_lens" && call.input(i).type() != call.input(0).type())
      call.fail(
          fmt::format("{} is {}, but X is {}", name, name_of(call.input(i).type()), name_of(call.input(0).type())));
  };
  if (call.node.has("hidden_size") && call.node.integer("hidden_size") != s.hidden)
    call.fail(fmt::format("hidden_size is {}, but R is {}", call.node.integer("hidden_size"), r.text()));
  want(1, {directions, s.gates, s.input}, "W");
  want(2, {directions, s.gates, s.hidden}, "R");
  want(3, {directions, 2 * s.gates}, "B");
  want(4, {s.batch}, "sequence_lens");
  const Shape state = batch_first ? Shape{s.batch, directions, s.hidden} : Shape{directions, s.batch, s.hidden};
  want(5, state, "initial_h");
  if (cell == Cell::lstm) {
    want(6, state, "initial_c");
    want(7, {directions, 3 * s.hidden}, "P");
  }
  return s;
}

std::vector<std::int64_t> lengths_of(const Call& call, const Recurrence::Sizes& sizes) {
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(sizes.batch), sizes.steps);
  if (!call.has(4)) return lengths;
  if (call.input(4).type() != DataType::int32) call.fail("sequence_lens must be int32");
  for (std::size_t b = 0; b < lengths.size(); ++b) {
    lengths[b] = call.input(4).data<std::int32_t>()[b];
    if (lengths[b] < 0 || lengths[b] > sizes.steps)
      call.fail(fmt::format("a sequence of {} steps in an input of {}", lengths[b], sizes.steps));
  }
  return lengths;
}

}  // namespace tare::cpu
