// ReduceSum and the others, ArgMax and ArgMin. Reduced dimensions are moved behind the kept ones; then a team of
// threads takes a row. Sums are float64 in a fixed order. Odd: a reduction over leading dimensions keeps its columns
// where they are and takes one thread a column, since rows would have to be moved first.
#include <cmath>
#include <limits>

#include "cpu/strided_copy.hpp"
#include "float_element.hpp"
#include "operators.hpp"
#include "tare/elementary.hpp"

namespace tare::cuda {
namespace {

enum class Reduce : std::uint8_t { sum, mean, max, min, prod, l1, l2, log_sum, log_sum_exp, sum_square };

TARE_HD double term_of(Reduce kind, float x) {
  const auto wide = static_cast<double>(x);
  if (kind == Reduce::l1) return wide < 0 ? -wide : wide;
  return kind == Reduce::l2 || kind == Reduce::sum_square ? wide * wide : wide;
}

TARE_HD float finish(Reduce kind, double sum, std::int64_t count) {
  switch (kind) {
    case Reduce::mean: return static_cast<float>(sum / static_cast<double>(count));
    case Reduce::l2: return static_cast<float>(::sqrt(sum));
    case Reduce::log_sum: return static_cast<float>(::log(sum));
    default: return static_cast<float>(sum);
  }
}

TARE_HD float larger(float a, float b) { return b > a || b != b ? b : a; }
TARE_HD float smaller(float a, float b) { return b < a || b != b ? b : a; }

/// An infinite maximum must not turn the sum into NaN.
TARE_HD double shift_of(float best) { return best - best == 0.0f ? static_cast<double>(best) : 0.0; }

/// Row o of `in`: `count` elements from o * outer_step on, each `step` after the one before.
struct Rows {
  Reduce kind;
  FloatInput in;
  FloatOutput out;
  std::int64_t count;
  std::int64_t inner;  ///< 1: rows lie together

  __device__ void operator()(std::int64_t o, const Team& team) const {
    const std::int64_t first = o / inner * count * inner + o % inner;
    const auto x = [&](std::int64_t i) { return in[first + i * inner]; };
    float result = 0;
    if (kind == Reduce::max || kind == Reduce::min || kind == Reduce::log_sum_exp) {
      const bool low = kind == Reduce::min;
      float best = low ? elementary::infinity : -elementary::infinity;
      for (std::int64_t i = team.thread; i < count; i += team.size)
        best = low ? smaller(best, x(i)) : larger(best, x(i));
      best = low ? team.minimum(best) : team.maximum(best);
      result = best;
      if (kind == Reduce::log_sum_exp) {
        const double shift = count > 0 ? shift_of(best) : 0.0;
        double sum = 0;
        for (std::int64_t i = team.thread; i < count; i += team.size) sum += ::exp(static_cast<double>(x(i)) - shift);
        result = static_cast<float>(::log(team.sum(sum)) + shift);
      }
    } else if (kind == Reduce::prod) {
      double product = 1;
      for (std::int64_t i = team.thread; i < count; i += team.size) product *= static_cast<double>(x(i));
      result = static_cast<float>(team.product(product));
    } else {
      double sum = 0;
      for (std::int64_t i = team.thread; i < count; i += team.size) sum += term_of(kind, x(i));
      result = finish(kind, team.sum(sum), count);
    }
    if (team.thread == 0) out.set(o, result);
  }
};

/// The same by one thread a result, for rows whose elements lie apart.
struct Columns {
  Rows rows;
  __device__ void operator()(std::int64_t o) const { rows(o, Team{0, 1}); }
};

/// The dimensions seen as [outer, count, inner] when the reduced ones lie together; else a copy with them at the end.
struct View {
  Tensor tensor;
  std::int64_t outer = 1, count = 1, inner = 1;
};

View view_of(const Call& call, const Tensor& in, const std::vector<bool>& reduced) {
  const Shape& shape = in.shape();
  View view{in};
  int changes = 0;  // kept → reduced → kept is two at most, not counting a reduced beginning
  int stage = 0;
  for (std::size_t d = 0; d < in.rank(); ++d) {
    if (shape[d] == 1) continue;
    if (reduced[d] && stage == 2) ++changes;
    if (reduced[d] && stage == 0) stage = 1;
    if (!reduced[d] && stage == 1) stage = 2;
    (stage == 0 ? view.outer : stage == 1 ? view.count : view.inner) *= shape[d];
  }
  if (changes == 0) return view;
  view = View{call.device.allocate(in.type(), shape)};
  const Shape from = cpu::dense_strides(shape);
  std::int64_t stride = 1;
  cpu::CopyPlan plan;
  for (const bool last : {true, false})
    for (std::size_t d = in.rank(); d-- > 0;) {
      if (reduced[d] != last) continue;
      plan.add(shape[d], from[d], stride);
      stride *= shape[d];
      (last ? view.count : view.outer) *= shape[d];
    }
  plan.run(call.device, size_of(in.type()), in.data(), view.tensor.mutable_data());
  return view;
}

void reduce_to(const Call& call, Reduce kind, const Tensor& in, const std::vector<bool>& reduced, Tensor& out) {
  if (out.elements() == 0) return;
  const View view = view_of(call, in, reduced);
  const Rows rows{kind, view.tensor, out, view.count, view.inner};
  if (view.inner > 1)
    for_each(view.outer * view.inner, stream_of(call), Columns{rows});
  else
    for_each_row(view.outer, view.count, stream_of(call), rows);
}

template <Reduce kind>
void reduce(Call& call) {
  const Tensor in = call.input(0);
  if (!is_quantizable(in.type())) cpu::fail_type(call, in.type());
  const std::size_t rank = in.rank();
  std::vector<std::int64_t> axes = call.node.integers("axes");
  if (call.has(1)) {
    const Shape given = call.input(1).to_shape(call.node.label() + ": axes");
    axes.assign(given.begin(), given.end());
  }
  if (axes.empty() && call.node.integer("noop_with_empty_axes", 0) != 0) {
    call.outputs[0] = in;
    return;
  }
  std::vector<bool> reduced(rank, axes.empty());
  for (const std::int64_t axis : axes) reduced[cpu::axis_of(call, axis, rank)] = true;
  Shape shape;
  const bool keep = call.node.integer("keepdims", 1) != 0;
  for (std::size_t d = 0; d < rank; ++d) {
    if (keep || !reduced[d]) shape.push_back(reduced[d] ? 1 : in.shape()[d]);
  }
  Tensor& out = call.output(0, in.type(), shape);
  reduce_to(call, kind, in, reduced, out);
}

/// tare::SumTo: the dimensions that `like` was broadcast along are summed.
void sum_to(Call& call) {
  const Tensor in = call.input(0);
  const Shape shape = call.input(1).shape();
  if (!is_quantizable(in.type())) cpu::fail_type(call, in.type());
  if (in.shape() == shape) {
    call.outputs[0] = in;
    return;
  }
  if (shape.rank() > in.rank() || !(cpu::broadcast(call, in.shape(), shape) == in.shape()))
    call.fail(in.shape().text() + " is not broadcast from " + shape.text());
  std::vector<bool> reduced(in.rank());
  const std::size_t missing = in.rank() - shape.rank();
  for (std::size_t d = 0; d < in.rank(); ++d) reduced[d] = d < missing || shape[d - missing] == 1;
  Tensor& out = call.output(0, in.type(), shape);
  reduce_to(call, Reduce::sum, in, reduced, out);
}

struct ArgExtreme {
  FloatInput in;
  std::int64_t* out;
  std::int64_t count, inner;
  bool largest, last;
  __device__ void operator()(std::int64_t o) const {
    const std::int64_t first = o / inner * count * inner + o % inner;
    std::int64_t best = 0;
    for (std::int64_t i = 1; i < count; ++i) {
      const float a = in[first + i * inner];
      const float b = in[first + best * inner];
      const bool beyond = largest ? a > b : a < b;
      const bool nan = a != a;
      if (last ? beyond || a == b || nan : beyond || (nan && b == b)) best = i;
    }
    out[o] = best;
  }
};

template <bool largest>
void arg_extreme(Call& call) {
  const Tensor in = call.input(0);
  if (!is_quantizable(in.type())) cpu::fail_type(call, in.type());
  const std::size_t rank = std::max<std::size_t>(in.rank(), 1);
  const std::size_t axis = cpu::axis_of(call, call.node.integer("axis", 0), rank);
  const std::int64_t count = in.rank() == 0 ? 1 : in.shape()[axis];
  Shape shape = in.shape();
  if (in.rank() > 0) {
    if (call.node.integer("keepdims", 1) != 0)
      shape[axis] = 1;
    else
      shape.erase(axis);
  }
  Tensor& out = call.output(0, DataType::int64, shape);
  if (out.elements() == 0) return;
  if (count == 0) call.fail("nothing to search along axis " + std::to_string(axis) + " of " + in.shape().text());
  const std::int64_t inner = in.rank() == 0 ? 1 : in.shape().elements(axis + 1, in.rank());
  for_each(out.elements(), stream_of(call),
           ArgExtreme{in, out.mutable_data<std::int64_t>(), count, inner, largest,
                      call.node.integer("select_last_index", 0) != 0});
}

}  // namespace

void register_reduction(OperatorTable& table) {
  const auto add = [&](std::string_view name, cpu::Function function) { table.add(name, function, cpu::Half::native); };
  add("ArgMax", cpu::checked<arg_extreme<true>>);
  add("ArgMin", cpu::checked<arg_extreme<false>>);
  add("ReduceL1", cpu::checked<reduce<Reduce::l1>>);
  add("ReduceL2", cpu::checked<reduce<Reduce::l2>>);
  add("ReduceLogSum", cpu::checked<reduce<Reduce::log_sum>>);
  add("ReduceLogSumExp", cpu::checked<reduce<Reduce::log_sum_exp>>);
  add("ReduceMax", cpu::checked<reduce<Reduce::max>>);
  add("ReduceMean", cpu::checked<reduce<Reduce::mean>>);
  add("ReduceMin", cpu::checked<reduce<Reduce::min>>);
  add("ReduceProd", cpu::checked<reduce<Reduce::prod>>);
  add("ReduceSum", cpu::checked<reduce<Reduce::sum>>);
  add("ReduceSumSquare", cpu::checked<reduce<Reduce::sum_square>>);
  add("tare::SumTo", cpu::checked<sum_to, 2>);
}

}  // namespace tare::cuda
