// Softmax, LogSoftmax and Hardmax over [outer, length, inner]: a team of threads a row; the exponential is that of
// tare/elementary.hpp, sums are float64. Odd: before opset 13 everything from `axis` on is one row.
#include <cmath>

#include "cpu/softmax.hpp"
#include "float_element.hpp"
#include "operators.hpp"
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
  for_each_row(view.outer * view.inner, view.length, stream_of(call),
               SoftmaxRow{in, out, view.length, view.inner, logarithm});
}

struct HardmaxRow {
  FloatInput in;
  FloatOutput out;
  std::int64_t length, inner;
  __device__ void operator()(std::int64_t row) const {
    const std::int64_t base = row / inner * length * inner + row % inner;
    std::int64_t best = 0;
    for (std::int64_t k = 1; k < length; ++k)
      if (in[base + k * inner] > in[base + best * inner]) best = k;
    for (std::int64_t k = 0; k < length; ++k) out.set(base + k * inner, k == best ? 1.0f : 0.0f);
  }
};

void hardmax(Call& call) {
  const Tensor in = call.input(0);
  const cpu::SoftmaxView view = cpu::softmax_view(call);
  if (!is_quantizable(in.type())) cpu::fail_type(call, in.type());
  Tensor& out = call.output(0, in.type(), in.shape());
  if (in.elements() == 0) return;
  for_each(view.outer * view.inner, stream_of(call), HardmaxRow{in, out, view.length, view.inner});
}

}  // namespace

void register_softmax(OperatorTable& table) {
  table.add("Hardmax", cpu::checked<hardmax>, cpu::Half::native);
  table.add("LogSoftmax", cpu::checked<softmax<true>>, cpu::Half::native);
  table.add("Softmax", cpu::checked<softmax<false>>, cpu::Half::native);
}

}  // namespace tare::cuda
