// Operators that keep, drop or reorder runs of elements: Trilu, ReverseSequence, Compress.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "cpu/arguments.hpp"
#include "cpu/movement.hpp"

namespace tare::cpu {
namespace {

void trilu(Call& call) {
  const Tensor& in = call.input(0);
  if (in.rank() < 2) call.fail(fmt::format("needs rank 2 or more, not {}", in.shape().text()));
  const std::int64_t rows = in.shape()[in.rank() - 2];
  const std::int64_t columns = in.shape().back();
  const bool upper = call.node.integer("upper", 1) != 0;
  const std::int64_t k = std::clamp(call.has(1) ? integer_of(call, 1, "k") : 0, -rows - 1, columns + 1);
  const std::size_t size = size_of(in.type());
  Tensor& out = call.output_reusing(0, 0, in.type(), in.shape());
  if (out.elements() == 0) return;
  const std::byte* from = call.input(0).data();
  std::byte* to = out.mutable_data();
  const auto row_bytes = static_cast<std::size_t>(columns) * size;
  call.device.parallel(
      out.elements() / columns, std::max<std::int64_t>(1, 16384 / columns), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
          const std::size_t offset = static_cast<std::size_t>(r) * row_bytes;
          // Columns before `diagonal` belong below it.
          const std::int64_t diagonal = std::clamp<std::int64_t>(r % rows + k + (upper ? 0 : 1), 0, columns);
          const auto cut = static_cast<std::size_t>(diagonal) * size;
          const std::size_t keep_begin = upper ? cut : 0;
          const std::size_t keep_end = upper ? row_bytes : cut;
          if (from != to) std::memcpy(to + offset + keep_begin, from + offset + keep_begin, keep_end - keep_begin);
          std::memset(to + offset, 0, keep_begin);
          std::memset(to + offset + keep_end, 0, row_bytes - keep_end);
        }
      });
}

void reverse_sequence(Call& call) {
  const Tensor& in = call.input(0);
  const std::int64_t batch_axis = call.node.integer("batch_axis", 1);
  const std::int64_t time_axis = call.node.integer("time_axis", 0);
  if (in.rank() < 2) call.fail(fmt::format("needs rank 2 or more, not {}", in.shape().text()));
  if (!((batch_axis == 0 && time_axis == 1) || (batch_axis == 1 && time_axis == 0)))
    call.fail(fmt::format("batch_axis {} and time_axis {} must be 0 and 1", batch_axis, time_axis));
  const std::int64_t batch = in.shape()[static_cast<std::size_t>(batch_axis)];
  const std::int64_t time = in.shape()[static_cast<std::size_t>(time_axis)];
  const std::vector<std::int64_t> lengths = integers_of(call, 1, "sequence_lens");
  if (static_cast<std::int64_t>(lengths.size()) != batch)
    call.fail(fmt::format("{} sequence lengths for a batch of {}", lengths.size(), batch));
  for (const std::int64_t length : lengths)
    if (length < 0 || length > time) call.fail(fmt::format("a sequence length of {} in {} steps", length, time));
  const auto bytes = static_cast<std::size_t>(in.shape().elements(2, in.rank())) * size_of(in.type());
  Tensor& out = call.output(0, in.type(), in.shape());
  const std::byte* from = in.data();
  std::byte* to = out.mutable_data();
  const std::int64_t batch_stride = batch_axis == 0 ? time : 1;
  const std::int64_t time_stride = batch_axis == 0 ? 1 : batch;
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t t = 0; t < time; ++t) {
      const std::int64_t length = lengths[static_cast<std::size_t>(b)];
      const std::int64_t source = t < length ? length - 1 - t : t;
      std::memcpy(to + static_cast<std::size_t>(b * batch_stride + t * time_stride) * bytes,
                  from + static_cast<std::size_t>(b * batch_stride + source * time_stride) * bytes, bytes);
    }
}

void compress(Call& call) {
  const Tensor& condition = call.input(1);
  if (condition.type() != DataType::boolean || condition.rank() != 1)
    call.fail(fmt::format("condition must be a list of booleans, not {} of shape {}", name_of(condition.type()),
                          condition.shape().text()));
  const bool flat = !call.node.has("axis");
  const Tensor in = flat ? call.input(0).reshaped({call.input(0).elements()}) : call.input(0);
  const std::size_t axis = flat ? 0 : axis_of(call, call.node.integer("axis"), in.rank());
  std::vector<std::int64_t> kept;
  const std::uint8_t* flags = condition.data<std::uint8_t>();
  for (std::int64_t i = 0; i < condition.elements(); ++i)
    if (flags[i] != 0) kept.push_back(i);
  if (!kept.empty() && kept.back() >= in.shape()[axis])
    call.fail(fmt::format("condition selects element {} of {}", kept.back(), in.shape()[axis]));
  Shape shape = in.shape();
  shape[axis] = static_cast<std::int64_t>(kept.size());
  Tensor& out = call.output(0, in.type(), shape);
  const std::int64_t outer = shape.elements(0, axis);
  const auto run = static_cast<std::size_t>(shape.elements(axis + 1, shape.rank())) * size_of(in.type());
  const std::byte* from = in.data();
  std::byte* to = out.mutable_data();
  for (std::int64_t o = 0; o < outer; ++o)
    for (const std::int64_t i : kept) {
      std::memcpy(to, from + static_cast<std::size_t>(o * in.shape()[axis] + i) * run, run);
      to += run;
    }
}

}  // namespace

void register_selection(OperatorTable& table) {
  table.add("Trilu", checked<trilu>, Half::native);
  table.add("ReverseSequence", checked<reverse_sequence, 2>, Half::native);
  table.add("Compress", checked<compress, 2>, Half::native);
}

}  // namespace tare::cpu
