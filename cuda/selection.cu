// Trilu, ReverseSequence, Compress, ArrayFeatureExtractor, CumSum, CumProd: operators that keep, drop, reorder or add
// up elements along an axis.
#include "float_element.hpp"
#include "operators.hpp"

namespace tare::cuda {
namespace {

template <class T>
struct Triangle {
  const T* in;
  T* out;
  std::int64_t rows, columns, k;
  bool upper;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t column = i % columns;
    const std::int64_t row = i / columns % rows;
    const bool kept = upper ? column >= row + k : column <= row + k;
    out[i] = kept ? in[i] : T{0};
  }
};

void trilu(Call& call) {
  const Tensor in = call.input(0);
  if (in.rank() < 2) call.fail(joined("needs rank 2 or more, not ", in.shape().text()));
  const std::int64_t rows = in.shape()[in.rank() - 2];
  const std::int64_t columns = in.shape().back();
  const std::int64_t k = std::clamp(call.has(1) ? cpu::integer_of(call, 1, "k") : 0, -rows - 1, columns + 1);
  const bool upper = call.node.integer("upper", 1) != 0;
  Tensor& out = call.output(0, in.type(), in.shape());
  const auto run = [&](auto element) {
    using T = decltype(element);
    for_each(out.elements(), stream_of(call),
             Triangle<T>{in.data<T>(), out.mutable_data<T>(), rows, columns, k, upper});
  };
  switch (size_of(in.type())) {
    case 1: return run(std::uint8_t{});
    case 2: return run(std::uint16_t{});
    case 4: return run(std::uint32_t{});
    case 8: return run(std::uint64_t{});
    default: cpu::fail_type(call, in.type());
  }
}

/// Whole slices along an axis, by a list of sources: [outer, kept, inner] from [outer, dim, inner].
void take_slices(Call& call, const Tensor& in, std::size_t axis, const std::vector<std::int64_t>& kept) {
  Shape shape = in.shape();
  shape[axis] = static_cast<std::int64_t>(kept.size());
  Tensor& out = call.output(0, in.type(), shape);
  if (out.elements() == 0) return;
  std::vector<std::vector<std::int64_t>> indices(in.rank());
  indices[axis] = kept;
  if (!call.device.looks_up(in, out, indices)) call.fail("a tensor of too many dimensions");
}

void compress(Call& call) {
  const Tensor& condition = call.input(1);
  if (condition.type() != DataType::boolean || condition.rank() != 1)
    call.fail(joined("condition must be a list of booleans, not ", name_of(condition.type()), " of shape ",
                     condition.shape().text()));
  const bool flat = !call.node.has("axis");
  const Tensor in = flat ? call.input(0).reshaped({call.input(0).elements()}) : call.input(0);
  const std::size_t axis = flat ? 0 : cpu::axis_of(call, call.node.integer("axis"), in.rank());
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < condition.elements(); ++i)
    if (condition.data<std::uint8_t>()[i] != 0) kept.push_back(i);
  if (!kept.empty() && kept.back() >= in.shape()[axis])
    call.fail(joined("condition selects element ", kept.back(), " of ", in.shape()[axis]));
  take_slices(call, in, axis, kept);
}

void reverse_sequence(Call& call) {
  const Tensor in = call.input(0);
  const std::int64_t batch_axis = call.node.integer("batch_axis", 1);
  const std::int64_t time_axis = call.node.integer("time_axis", 0);
  if (in.rank() < 2) call.fail(joined("needs rank 2 or more, not ", in.shape().text()));
  if (!((batch_axis == 0 && time_axis == 1) || (batch_axis == 1 && time_axis == 0)))
    call.fail(joined("batch_axis ", batch_axis, " and time_axis ", time_axis, " must be 0 and 1"));
  const std::int64_t batch = in.shape()[static_cast<std::size_t>(batch_axis)];
  const std::int64_t time = in.shape()[static_cast<std::size_t>(time_axis)];
  const std::vector<std::int64_t> lengths = cpu::integers_of(call, 1, "sequence_lens");
  if (static_cast<std::int64_t>(lengths.size()) != batch)
    call.fail(joined(lengths.size(), " sequence lengths for a batch of ", batch));
  for (const std::int64_t length : lengths)
    if (length < 0 || length > time) call.fail(joined("a sequence length of ", length, " in ", time, " steps"));
  // Both leading dimensions as one: row r of the output is row `sources[r]` of the input.
  std::vector<std::int64_t> sources;
  for (std::int64_t r = 0; r < batch * time; ++r) {
    const std::int64_t b = batch_axis == 0 ? r / time : r % batch;
    const std::int64_t t = batch_axis == 0 ? r % time : r / batch;
    const std::int64_t length = lengths[static_cast<std::size_t>(b)];
    const std::int64_t source = t < length ? length - 1 - t : t;
    sources.push_back(batch_axis == 0 ? b * time + source : source * batch + b);
  }
  const Shape shape = in.shape();
  take_slices(call, in.reshaped({batch * time, shape.elements(2, shape.rank())}), 0, sources);
  call.outputs[0] = call.outputs[0].reshaped(shape);
}

struct AddUp {
  static constexpr float neutral = 0;
  TARE_HD static float combine(float a, float b) { return a + b; }
};
struct MultiplyUp {
  static constexpr float neutral = 1;
  TARE_HD static float combine(float a, float b) { return a * b; }
};

/// One sum after the other, as on the host, so that rounding is the host's.
template <class Combine>
struct Cumulate {
  FloatInput in;
  FloatOutput out;
  std::int64_t length, inner;
  bool exclusive, reverse;

  /// A thread a row, where neighbours read neighbours.
  __device__ void operator()(std::int64_t row) const {
    const std::int64_t base = row / inner * length * inner + row % inner;
    float result = Combine::neutral;
    for (std::int64_t k = 0; k < length; ++k) {
      const std::int64_t at = base + (reverse ? length - 1 - k : k) * inner;
      const float before = result;
      const float x = in[at];
      result = k == 0 ? x : Combine::combine(result, x);
      out.set(at, exclusive ? before : result);
    }
  }
  /// A warp a row whose elements lie together: it reads 32 at once, and all lanes add up all of them.
  __device__ void operator()(std::int64_t row, const Team& team) const {
    float result = Combine::neutral;
    for (std::int64_t tile = 0; tile < length; tile += 32) {
      const std::int64_t k = tile + team.thread;
      const std::int64_t at = row * length + (reverse ? length - 1 - k : k);
      const float own = k < length ? in[at] : 0.0f;
      float kept = 0;
      for (int lane = 0; lane < 32; ++lane) {
        const float before = result;
        const float x = __shfl_sync(~0u, own, lane);
        result = tile + lane == 0 ? x : Combine::combine(result, x);
        if (lane == team.thread) kept = exclusive ? before : result;
      }
      if (k < length) out.set(at, kept);
    }
  }
};

template <class Combine>
void cumulate(Call& call) {
  const Tensor in = call.input(0);
  if (!is_quantizable(in.type())) cpu::fail_type(call, in.type());
  const std::size_t axis = cpu::axis_of(call, cpu::integer_of(call, 1, "axis"), in.rank());
  const std::int64_t inner = in.shape().elements(axis + 1, in.rank());
  Tensor& out = call.output(0, in.type(), in.shape());
  const std::int64_t rows = in.shape().elements(0, axis) * inner;
  const Cumulate<Combine> functor{
      in, out, in.shape()[axis], inner, call.node.integer("exclusive", 0) != 0, call.node.integer("reverse", 0) != 0};
  if (inner > 1)
    for_each(rows, stream_of(call), functor);
  else
    for_each_row(rows, 32, stream_of(call), functor);
}

/// Columns of the last axis, by number.
void array_feature_extractor(Call& call) {
  const Tensor in = call.input(0);
  const Tensor& wanted = call.input(1);
  if (in.rank() == 0) call.fail("needs at least one axis");
  if (wanted.type() != DataType::int64) call.fail("columns must be int64, not " + std::string(name_of(wanted.type())));
  const std::span<const std::int64_t> columns = wanted.span<std::int64_t>();
  for (const std::int64_t column : columns)
    if (column < 0 || column >= in.shape().back()) call.fail(joined("column ", column, " of ", in.shape().back()));
  const Tensor rows = in.rank() == 1 ? in.reshaped({1, in.elements()}) : in;
  take_slices(call, rows, rows.rank() - 1, {columns.begin(), columns.end()});
}

}  // namespace

void register_selection(OperatorTable& table) {
  constexpr Places data{.device = 1};
  table.add("Compress", cpu::checked<compress, 2>, cpu::Half::native, data);
  table.add("CumProd", cpu::checked<cumulate<MultiplyUp>, 2>, cpu::Half::native);
  table.add("CumSum", cpu::checked<cumulate<AddUp>, 2>, cpu::Half::native);
  table.add("ReverseSequence", cpu::checked<reverse_sequence, 2>, cpu::Half::native, data);
  table.add("ai.onnx.ml::ArrayFeatureExtractor",
            {.function = cpu::checked<array_feature_extractor, 2>, .half = cpu::Half::native, .objects = true}, data);
  table.add("Trilu", cpu::checked<trilu>, cpu::Half::native, data);
}

}  // namespace tare::cuda
