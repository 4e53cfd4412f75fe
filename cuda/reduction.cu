// ReduceSum and the others, ArgMax and ArgMin, as folds of rows (row_folds.hpp). Sums are float64 in a fixed order.
// Reduced dimensions that do not lie together are moved behind the kept ones first.
#include <cmath>

#include "arg_extreme.hpp"
#include "cpu/strided_copy.hpp"
#include "tare/elementary.hpp"

namespace tare::cuda {
namespace {

enum class Reduce : std::uint8_t { sum, mean, max, min, prod, l1, l2, log_sum, log_sum_exp, sum_square };

TARE_HD float larger(float a, float b) { return b > a || b != b ? b : a; }
TARE_HD float smaller(float a, float b) { return b < a || b != b ? b : a; }

/// An infinite maximum must not turn the sum into NaN.
TARE_HD double shift_of(float best) { return best - best == 0.0f ? static_cast<double>(best) : 0.0; }

/// Extremes are float32 values that float64 holds.
struct ReduceFold {
  using Value = double;
  RowView view;
  Reduce kind;
  FloatInput in;
  FloatOutput out;
  const float* largest;  ///< of every row, for log_sum_exp

  __device__ double walk(std::int64_t o, std::int64_t first, std::int64_t step) const {
    const auto each = [&](auto body) { view.each(in, o, first, step, body); };
    if (kind == Reduce::max || kind == Reduce::min) {
      const bool low = kind == Reduce::min;
      float best = low ? elementary::infinity : -elementary::infinity;
      each([&](float x, std::int64_t) { best = low ? smaller(best, x) : larger(best, x); });
      return static_cast<double>(best);
    }
    if (kind == Reduce::prod) {
      double product = 1;
      each([&](float x, std::int64_t) { product *= static_cast<double>(x); });
      return product;
    }
    double sum = 0;
    if (kind == Reduce::log_sum_exp) {
      const double shift = shift_of(largest[o]);
      const std::int64_t base = view.first(o);
      // Four exponentials at once would take too many registers.
      TARE_NO_UNROLL for (std::int64_t i = first; i < view.count; i += step) {
        sum += ::exp(static_cast<double>(in[base + i * view.inner]) - shift);
      }
      return sum;
    }
    const bool absolute = kind == Reduce::l1;
    const bool square = kind == Reduce::l2 || kind == Reduce::sum_square;
    each([&](float x, std::int64_t) {
      const auto wide = static_cast<double>(x);
      sum += absolute ? ::fabs(wide) : square ? wide * wide : wide;
    });
    return sum;
  }
  __device__ double join(double a, double b) const {
    switch (kind) {
      case Reduce::max: return b > a || b != b ? b : a;
      case Reduce::min: return b < a || b != b ? b : a;
      case Reduce::prod: return a * b;
      default: return a + b;
    }
  }
  __device__ void finish(std::int64_t o, double value) const {
    if (kind == Reduce::mean) value /= static_cast<double>(view.count);
    if (kind == Reduce::l2) value = ::sqrt(value);
    if (kind == Reduce::log_sum) value = ::log(value);
    if (kind == Reduce::log_sum_exp) value = ::log(value) + shift_of(largest[o]);
    out.set(o, static_cast<float>(value));
  }
};

/// The dimensions seen as [outer, count, inner] when the reduced ones lie together; else a copy with them at the end.
struct Reduced {
  Tensor tensor;
  RowView view;
};

Reduced view_of(const Call& call, const Tensor& in, const std::vector<bool>& reduced) {
  const Shape& shape = in.shape();
  Reduced result{in, {}};
  RowView& view = result.view;
  int changes = 0;  // kept → reduced → kept is two at most, not counting a reduced beginning
  int stage = 0;
  for (std::size_t d = 0; d < in.rank(); ++d) {
    if (shape[d] == 1) continue;
    if (reduced[d] && stage == 2) ++changes;
    if (reduced[d] && stage == 0) stage = 1;
    if (!reduced[d] && stage == 1) stage = 2;
    (stage == 0 ? view.outer : stage == 1 ? view.count : view.inner) *= shape[d];
  }
  if (changes == 0) return result;
  result = Reduced{call.device.allocate(in.type(), shape), {}};
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
  plan.run(call.device, size_of(in.type()), in.data(), result.tensor.mutable_data());
  return result;
}

void reduce_to(const Call& call, Reduce kind, const Tensor& in, const std::vector<bool>& reduced, Tensor& out) {
  if (out.elements() == 0) return;
  const Reduced rows = view_of(call, in, reduced);
  Tensor largest;
  if (kind == Reduce::log_sum_exp) {
    largest = call.device.allocate(DataType::float32, {out.elements()});
    fold_rows(call, ReduceFold{rows.view, Reduce::max, rows.tensor, largest, nullptr});
  }
  fold_rows(call, ReduceFold{rows.view, kind, rows.tensor, out, largest.data<float>()});
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
  const ArgRule rule{largest, call.node.integer("select_last_index", 0) != 0, false};
  find_extremes(call, in, RowView{out.elements() / inner, count, inner}, rule, out);
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
