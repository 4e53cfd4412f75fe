// Softmax, LogSoftmax and Hardmax over [outer, length, inner]: a team of threads a row (rows that lie together, and are
// not too long, in row_chain.cu); the exponential is that of
// tare/elementary.hpp, sums are float64. Odd: before opset 13 everything from `axis` on is one row.
#include <cmath>

#include "arg_extreme.hpp"
#include "cpu/softmax.hpp"
#include "cpu/strided_copy.hpp"
#include "row_chain.hpp"
#include "tare/elementary.hpp"

namespace tare::cuda {
namespace {

/// Exponentials are taken twice rather than kept: nothing is rounded but the result.
struct SoftmaxRow {
  FloatInput in;
  FloatOutput out;
  std::int64_t length, inner;
  bool logarithm;
  __device__ void operator()(std::int64_t row, const Team& team) const {
    const std::int64_t base = row / inner * length * inner + row % inner;
    float best = -elementary::infinity;
    for (std::int64_t k = team.thread; k < length; k += team.size) {
      const float x = in[base + k * inner];
      best = x > best || x != x ? x : best;
    }
    best = team.maximum(best);
    double sum = 0;
    for (std::int64_t k = team.thread; k < length; k += team.size) {
      sum += static_cast<double>(elementary::exp(in[base + k * inner] - best));
    }
    sum = team.sum(sum);
    if (logarithm) {
      const double shift = static_cast<double>(best) + ::log(sum);
      for (std::int64_t k = team.thread; k < length; k += team.size)
        out.set(base + k * inner, static_cast<float>(static_cast<double>(in[base + k * inner]) - shift));
    } else {
      const float factor = static_cast<float>(1.0 / sum);
      for (std::int64_t k = team.thread; k < length; k += team.size)
        out.set(base + k * inner, elementary::exp(in[base + k * inner] - best) * factor);
    }
  }
};

template <bool logarithm>
void softmax(Call& call) {
  const Tensor in = call.input(0);
  const cpu::SoftmaxView view = cpu::softmax_view(call);
  if (!is_quantizable(in.type())) call.fail("takes floating-point tensors, not " + std::string(name_of(in.type())));
  Tensor& out = call.output(0, in.type(), in.shape());
  if (in.elements() == 0) return;
  if (view.inner == 1 && view.length <= longest_chain_row) {
    using Kind = cpu::RowOperation::Kind;
    return run_row_operation({logarithm ? Kind::log_softmax : Kind::softmax, view.length, 0, {}, {}}, in, out,
                             in.elements(), stream_of(call));
  }
  for_each_row(view.outer * view.inner, view.length, stream_of(call),
               SoftmaxRow{in, out, view.length, view.inner, logarithm});
}

void hardmax(Call& call) {
  const Tensor in = call.input(0);
  const cpu::SoftmaxView view = cpu::softmax_view(call);
  if (!is_quantizable(in.type())) cpu::fail_type(call, in.type());
  Tensor& out = call.output(0, in.type(), in.shape());
  if (in.elements() == 0) return;
  const RowView rows{view.outer, view.length, view.inner};
  Tensor places = call.device.allocate(DataType::int64, {rows.rows()});
  find_extremes(call, in, rows, ArgRule{.nan_only_as_first = true}, places);
  const std::uint32_t zero = 0;
  cpu::fill(call.device, size_of(in.type()), &zero, out.mutable_data(), out.elements());
  const FloatOutput ones = out;
  const std::int64_t* place = places.data<std::int64_t>();
  for_each(rows.rows(), stream_of(call),
           [=] __device__(std::int64_t o) { ones.set(rows.first(o) + place[o] * rows.inner, 1.0f); });
}

}  // namespace

void register_softmax(OperatorTable& table) {
  table.add("Hardmax", cpu::checked<hardmax>, cpu::Half::native);
  table.add("LogSoftmax", cpu::checked<softmax<true>>, cpu::Half::native);
  table.add("Softmax", cpu::checked<softmax<false>>, cpu::Half::native);
}

}  // namespace tare::cuda
