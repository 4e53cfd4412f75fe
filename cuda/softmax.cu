// Softmax, LogSoftmax and Hardmax over [outer, length, inner]: a team of threads a row; the exponential is that of
// tare/elementary.hpp, sums are float64. Odd: before opset 13 everything from `axis` on is one row.
#include <cmath>

#include "cpu/softmax.hpp"
#include "launch.hpp"
#include "operators.hpp"
#include "tare/elementary.hpp"

namespace tare::cuda {
namespace {

/// `in` and `out` may be the same memory: a thread reads an element before it writes it, and nobody else's.
struct SoftmaxRow {
  const float* in;
  float* out;
  std::int64_t length, inner;
  bool logarithm;
  TARE_DEVICE void operator()(std::int64_t row, const Team& team) const {
    const std::int64_t base = row / inner * length * inner + row % inner;
    float best = -elementary::infinity;
    for (std::int64_t k = team.thread; k < length; k += team.size) {
      const float x = in[base + k * inner];
      best = x > best || x != x ? x : best;
    }
    best = team.maximum(best);
    double sum = 0;
    for (std::int64_t k = team.thread; k < length; k += team.size) {
      const float e = elementary::exp(in[base + k * inner] - best);
      sum += static_cast<double>(e);
      if (!logarithm) out[base + k * inner] = e;
    }
    sum = team.sum(sum);
    if (logarithm) {
      const double shift = static_cast<double>(best) + ::log(sum);
      for (std::int64_t k = team.thread; k < length; k += team.size)
        out[base + k * inner] = static_cast<float>(static_cast<double>(in[base + k * inner]) - shift);
    } else {
      const float factor = static_cast<float>(1.0 / sum);
      for (std::int64_t k = team.thread; k < length; k += team.size) out[base + k * inner] *= factor;
    }
  }
};

template <bool logarithm>
void softmax(Call& call) {
  const Tensor in = call.input(0);
  const cpu::SoftmaxView view = cpu::softmax_view(call);
  if (in.type() != DataType::float32) call.fail("takes floating-point tensors, not " + std::string(name_of(in.type())));
  Tensor& out = call.output(0, DataType::float32, in.shape());
  if (in.elements() == 0) return;
  for_each_row(view.outer * view.inner, view.length, stream_of(call),
               SoftmaxRow{in.data<float>(), out.mutable_data<float>(), view.length, view.inner, logarithm});
}

struct HardmaxRow {
  const float* in;
  float* out;
  std::int64_t length, inner;
  TARE_DEVICE void operator()(std::int64_t row) const {
    const std::int64_t base = row / inner * length * inner + row % inner;
    std::int64_t best = 0;
    for (std::int64_t k = 1; k < length; ++k)
      if (in[base + k * inner] > in[base + best * inner]) best = k;
    for (std::int64_t k = 0; k < length; ++k) out[base + k * inner] = k == best ? 1.0f : 0.0f;
  }
};

void hardmax(Call& call) {
  const Tensor in = call.input(0);
  const cpu::SoftmaxView view = cpu::softmax_view(call);
  if (in.type() != DataType::float32) cpu::fail_type(call, in.type());
  Tensor& out = call.output(0, DataType::float32, in.shape());
  if (in.elements() == 0) return;
  for_each(view.outer * view.inner, stream_of(call),
           HardmaxRow{in.data<float>(), out.mutable_data<float>(), view.length, view.inner});
}

}  // namespace

void register_softmax(OperatorTable& table) {
  table.add("Hardmax", cpu::checked<hardmax>);
  table.add("LogSoftmax", cpu::checked<softmax<true>>);
  table.add("Softmax", cpu::checked<softmax<false>>);
}

}  // namespace tare::cuda
