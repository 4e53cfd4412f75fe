// Softmax, LogSoftmax and Hardmax.
// The tensor is seen as [outer, length, inner]. inner == 1: rows; else blocks of neighbouring columns, so that every
// pass runs along memory. Odd: before opset 13 everything from `axis` on is one row; since then it is that axis alone.
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/operators.hpp"
#include "cpu/softmax.hpp"
#include "cpu/vector.hpp"

namespace tare::cpu {
SoftmaxView softmax_view(const Call& call) {
  const Shape& shape = call.input(0).shape();
  const std::size_t rank = shape.rank();
  const bool flattens = call.node.opset != 0 && call.node.opset < 13;
  const std::int64_t given = call.node.integer("axis", flattens ? 1 : -1);
  if (flattens) {
    // The end is an axis here (rows of one element), and -1 is still the last dimension.
    const std::size_t axis = given == static_cast<std::int64_t>(rank) ? rank : axis_of(call, given, rank);
    return {shape.elements(0, axis), shape.elements(axis, rank), 1};
  }
  if (rank == 0) {
    if (given != 0 && given != -1) axis_of(call, given, rank);
    return {1, 1, 1};
  }
  const std::size_t axis = axis_of(call, given, rank);
  return {shape.elements(0, axis), shape[axis], shape.elements(axis + 1, rank)};
}

namespace {

constexpr std::int64_t column_block = 256;

float row_maximum(const VectorKernels& v, const float* in, std::int64_t n) {
  std::array<float, 16> lanes;
  lanes.fill(-std::numeric_limits<float>::infinity());
  v.row_maximum(in, static_cast<std::size_t>(n), lanes.data());
  float best = lanes[0];
  for (const float x : lanes) best = x > best || std::isnan(x) ? x : best;
  return best;
}

/// Calls body(offset, width) for blocks of columns, one outer index at a time.
template <class Body>
void for_column_blocks(const Device& device, const SoftmaxView& view, Body&& body) {
  const std::int64_t blocks = (view.inner + column_block - 1) / column_block;
  const std::int64_t grain = std::max<std::int64_t>(1, 8192 / (view.length * std::min(view.inner, column_block) + 1));
  device.parallel(view.outer * blocks, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t first = item % blocks * column_block;
      body(item / blocks * view.length * view.inner + first, std::min(column_block, view.inner - first));
    }
  });
}

template <bool logarithm>
void softmax_rows(const Device& device, const SoftmaxView& view, const float* in, float* out) {
  const VectorKernels& v = device.vector();
  const auto n = static_cast<std::size_t>(view.length);
  device.parallel(view.outer, std::max<std::int64_t>(1, 8192 / view.length), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o) {
      const float* x = in + o * view.length;
      float* y = out + o * view.length;
      if constexpr (logarithm) {
        const float best = row_maximum(v, x, view.length);
        v.row_subtract(x, static_cast<double>(best) + std::log(v.row_exponential_sum(x, best, n)), y, n);
      } else {
        softmax_row(v, x, y, view.length);
      }
    }
  });
}

template <bool logarithm>
void softmax_columns(const Device& device, const SoftmaxView& view, const float* in, float* out) {
  const VectorKernels& v = device.vector();
  for_column_blocks(device, view, [&](std::int64_t offset, std::int64_t width) {
    std::array<float, column_block> best, factors;
    std::array<double, column_block> sums;
    best.fill(-std::numeric_limits<float>::infinity());
    sums.fill(0.0);
    const auto n = static_cast<std::size_t>(width);
    const auto each_row = [&](auto&& body) {
      for (std::int64_t k = 0; k < view.length; ++k) body(in + offset + k * view.inner, out + offset + k * view.inner);
    };
    each_row([&](const float* x, float*) { v.column_maximum(x, best.data(), n); });
    if constexpr (logarithm) {
      each_row([&](const float* x, float*) { v.column_exponential_sum(x, best.data(), sums.data(), n); });
      for (std::size_t i = 0; i < n; ++i) sums[i] = static_cast<double>(best[i]) + std::log(sums[i]);
      each_row([&](const float* x, float* y) { v.column_subtract(x, sums.data(), y, n); });
    } else {
      each_row([&](const float* x, float* y) { v.column_exponentials(x, best.data(), y, sums.data(), n); });
      for (std::size_t i = 0; i < n; ++i) factors[i] = static_cast<float>(1.0 / sums[i]);
      each_row([&](const float*, float* y) { v.column_scale(y, factors.data(), y, n); });
    }
  });
}

template <bool logarithm>
void softmax_double(const SoftmaxView& view, const double* in, double* out) {
  for (std::int64_t o = 0; o < view.outer; ++o)
    for (std::int64_t i = 0; i < view.inner; ++i) {
      const std::int64_t base = o * view.length * view.inner + i;
      double best = -std::numeric_limits<double>::infinity();
      for (std::int64_t k = 0; k < view.length; ++k) best = std::max(best, in[base + k * view.inner]);
      double sum = 0.0;
      for (std::int64_t k = 0; k < view.length; ++k) sum += std::exp(in[base + k * view.inner] - best);
      for (std::int64_t k = 0; k < view.length; ++k) {
        const double x = in[base + k * view.inner] - best;
        out[base + k * view.inner] = logarithm ? x - std::log(sum) : std::exp(x) / sum;
      }
    }
}

template <bool logarithm>
void softmax(Call& call) {
  const SoftmaxView view = softmax_view(call);
  const Tensor& in = call.input(0);
  const DataType type = in.type();
  if (type != DataType::float32 && type != DataType::float64)
    call.fail("takes floating-point tensors, not " + std::string(name_of(type)));
  Tensor& out = call.output_reusing(0, 0, type, in.shape());
  if (in.elements() == 0) return;
  if (type == DataType::float64) {
    softmax_double<logarithm>(view, in.data<double>(), out.mutable_data<double>());
  } else if (view.inner == 1) {
    softmax_rows<logarithm>(call.device, view, in.data<float>(), out.mutable_data<float>());
  } else {
    softmax_columns<logarithm>(call.device, view, in.data<float>(), out.mutable_data<float>());
  }
}

void hardmax(Call& call) {
  const SoftmaxView view = softmax_view(call);
  const Tensor& in = call.input(0);
  Tensor& out = call.output(0, in.type(), in.shape());
  if (in.elements() == 0) return;
  dispatch(in.type(), call, [&]<class T>() {
    const T* x = in.data<T>();
    T* y = out.mutable_data<T>();
    std::fill_n(y, in.elements(), T{0});
    for (std::int64_t o = 0; o < view.outer; ++o)
      for (std::int64_t i = 0; i < view.inner; ++i) {
        const std::int64_t base = o * view.length * view.inner + i;
        std::int64_t best = 0;
        for (std::int64_t k = 1; k < view.length; ++k)
          if (x[base + k * view.inner] > x[base + best * view.inner]) best = k;
        y[base + best * view.inner] = T{1};
      }
  });
}

}  // namespace

void softmax_row(const VectorKernels& v, const float* in, float* out, std::int64_t n) {
  const double sum = v.row_exponentials(in, row_maximum(v, in, n), out, static_cast<std::size_t>(n));
  v.row_scale(out, static_cast<float>(1.0 / sum), out, static_cast<std::size_t>(n));
}
void softmax_row(const VectorKernels&, const double* in, double* out, std::int64_t n) {
  softmax_double<false>({1, n, 1}, in, out);
}

void register_softmax(OperatorTable& table) {
  table.add("Softmax", softmax<false>);
  table.add("LogSoftmax", softmax<true>);
  table.add("Hardmax", hardmax);
}

}  // namespace tare::cpu
