// MaxPool, AveragePool, LpPool and their global forms: one thread an output, which walks its window; sums are float64,
// and a NaN in the window is the maximum.
// Own loops, as on the host: ONNX's corner cases go beyond the library's.
#include <cmath>

#include "cpu/window.hpp"
#include "float_element.hpp"
#include "operators.hpp"
#include "tare/elementary.hpp"

namespace tare::cuda {
namespace {

enum class Pooling : std::uint8_t { max, average, lp };

constexpr int most_spatial = 6;

struct PoolWindow {
  int rank;
  std::int64_t kernel[most_spatial], strides[most_spatial], dilations[most_spatial], before[most_spatial];
  std::int64_t end[most_spatial];  ///< of the input and the padding behind it
  std::int64_t input[most_spatial], output[most_spatial];
  std::int64_t in_size, out_size, taps;
};

struct PoolOptions {
  bool include_pad, by_column;
  double power;
};

/// What the taps of a window come to.
template <Pooling kind>
struct Pooled {
  float best = -elementary::infinity;
  std::int64_t where = -1;
  double sum = 0;
  std::int64_t taps = 0;

  __device__ void add(float value, std::int64_t element, double power) {
    if (kind == Pooling::max) {
      if (where >= 0 && !(value > best || (value != value && best == best))) return;
      best = value;
      where = element;
    } else {
      const auto wide = static_cast<double>(value);
      sum += kind == Pooling::average ? wide : ::pow(wide < 0 ? -wide : wide, power);
      ++taps;
    }
  }
  /// `padded_taps`: those that lie in the input or its padding.
  __device__ float result(std::int64_t padded_taps, const PoolOptions& options) const {
    if (kind == Pooling::max) return best;
    if (kind == Pooling::lp) return static_cast<float>(::pow(sum, 1.0 / options.power));
    const std::int64_t divisor = options.include_pad ? padded_taps : (taps > 0 ? taps : 1);
    return static_cast<float>(sum / static_cast<double>(divisor));
  }
};

/// In any number of dimensions.
template <Pooling kind>
struct Pool {
  PoolWindow window;
  PoolOptions options;
  FloatInput in;
  FloatOutput out;
  std::int64_t* indices;  ///< may be null

  __device__ void operator()(std::int64_t i) const {
    const PoolWindow& w = window;
    const std::int64_t plane = i / w.out_size;
    std::int64_t position = i % w.out_size;
    std::int64_t start[most_spatial];
    std::int64_t padded_taps = 1;
    for (int d = w.rank - 1; d >= 0; --d) {
      start[d] = position % w.output[d] * w.strides[d] - w.before[d];
      position /= w.output[d];
      const std::int64_t taps = (w.end[d] - start[d] - 1) / w.dilations[d] + 1;
      padded_taps *= taps < w.kernel[d] ? taps : w.kernel[d];
    }
    Pooled<kind> pooled;
    for (std::int64_t tap = 0; tap < w.taps; ++tap) {
      std::int64_t rest = tap;
      std::int64_t element = 0;
      std::int64_t stride = 1;
      bool inside = true;
      for (int d = w.rank - 1; d >= 0; --d) {
        const std::int64_t x = start[d] + rest % w.kernel[d] * w.dilations[d];
        rest /= w.kernel[d];
        inside = inside && x >= 0 && x < w.input[d];
        element += x * stride;
        stride *= w.input[d];
      }
      if (inside) pooled.add(in[plane * w.in_size + element], element, options.power);
    }
    out.set(i, pooled.result(padded_taps, options));
    if (indices == nullptr) return;
    const std::int64_t where = pooled.where;
    indices[i] = where < 0 ? -1 : plane * w.in_size + (options.by_column ? column_major(where) : where);
  }

  __device__ std::int64_t column_major(std::int64_t element) const {
    std::int64_t result = 0;
    std::int64_t stride = window.in_size;
    // The last dimension, which changes fastest in `element`, becomes the slowest.
    for (int d = window.rank - 1; d >= 0; --d) {
      stride /= window.input[d];
      result += element % window.input[d] * stride;
      element /= window.input[d];
    }
    return result;
  }
};

/// The same in one or two dimensions, which most pools have, and in 32 bits.
template <Pooling kind>
struct PoolImage {
  struct Axis {
    int input = 1, kernel = 1, stride = 1, dilation = 1, before = 0, end = 1;
    Divider output;
    /// Of a window that begins at `first`, in the input or its padding: with ceil_mode the last may reach beyond both.
    __device__ int padded_taps(int first) const {
      const int taps = (end - first - 1) / dilation + 1;
      return taps < kernel ? taps : kernel;
    }
  };
  Axis y, x;
  PoolOptions options;
  FloatInput in;
  FloatOutput out;
  std::int64_t* indices;  ///< may be null

  /// False when a number could go beyond 32 bits, or indices count columns first.
  static bool takes(const PoolWindow& w, std::int64_t outputs, std::int64_t inputs, const PoolOptions& options) {
    constexpr std::int64_t limit = std::int64_t{1} << 31;
    if (options.by_column || w.rank > 2 || outputs >= limit || inputs >= limit) return false;
    for (int d = 0; d < w.rank; ++d) {
      const auto wide = [](std::int64_t number) { return static_cast<double>(number); };
      if (wide(w.output[d]) * wide(w.strides[d]) + wide(w.kernel[d]) * wide(w.dilations[d]) + wide(w.before[d]) +
              wide(w.end[d]) >=
          wide(limit))
        return false;
    }
    return true;
  }
  static Axis axis(const PoolWindow& w, int d) {
    if (d < 0) return {};
    return {static_cast<int>(w.input[d]),
            static_cast<int>(w.kernel[d]),
            static_cast<int>(w.strides[d]),
            static_cast<int>(w.dilations[d]),
            static_cast<int>(w.before[d]),
            static_cast<int>(w.end[d]),
            Divider(static_cast<std::uint32_t>(w.output[d]))};
  }

  __device__ void operator()(std::int64_t i) const {
    const auto number = static_cast<std::uint32_t>(i);
    const std::uint32_t row = x.output.quotient(number);
    const std::uint32_t plane = y.output.quotient(row);
    const int first_y = static_cast<int>(row - plane * y.output.divisor) * y.stride - y.before;
    const int first_x = static_cast<int>(number - row * x.output.divisor) * x.stride - x.before;
    const int base = static_cast<int>(plane) * y.input * x.input;
    Pooled<kind> pooled;
    int at_y = first_y;
    for (int ky = 0; ky < y.kernel; ++ky, at_y += y.dilation) {
      if (static_cast<unsigned>(at_y) >= static_cast<unsigned>(y.input)) continue;
      int at_x = first_x;
      for (int kx = 0; kx < x.kernel; ++kx, at_x += x.dilation) {
        if (static_cast<unsigned>(at_x) >= static_cast<unsigned>(x.input)) continue;
        const int element = at_y * x.input + at_x;
        pooled.add(in[base + element], element, options.power);
      }
    }
    out.set(i, pooled.result(std::int64_t{y.padded_taps(first_y)} * x.padded_taps(first_x), options));
    if (indices != nullptr) indices[i] = pooled.where < 0 ? -1 : base + pooled.where;
  }
};

template <Pooling kind>
void pool(Call& call) {
  const Tensor x = call.input(0);
  if (!is_quantizable(x.type())) cpu::fail_type(call, x.type());
  if (x.rank() < 3) call.fail("input " + x.shape().text() + " has no spatial dimensions");
  const cpu::WindowAttributes attributes(call.node);
  if (attributes.kernel_shape.empty()) call.fail("kernel_shape is missing");
  const Shape input(x.shape().begin() + 2, x.shape().end());
  if (input.rank() > most_spatial) call.fail("more than 6 spatial dimensions");
  const cpu::Window window = attributes.resolve(call, input, attributes.kernel_shape);
  const double power = kind == Pooling::lp ? static_cast<double>(call.node.integer("p", 2)) : 2.0;
  if (power < 1) call.fail("p is below 1");
  Shape shape{x.shape()[0], x.shape()[1]};
  for (const std::int64_t dim : window.output) shape.push_back(dim);
  PoolWindow w{static_cast<int>(input.rank()), {}, {}, {}, {}, {}, {}, {}, input.elements(), window.output.elements(),
               window.kernel.elements()};
  for (std::size_t d = 0; d < input.rank(); ++d) {
    w.kernel[d] = window.kernel[d];
    w.strides[d] = window.strides[d];
    w.dilations[d] = window.dilations[d];
    w.before[d] = window.pads_begin[d];
    w.end[d] = input[d] + window.pads_end[d];
    w.input[d] = input[d];
    w.output[d] = window.output[d];
  }
  Tensor& y = call.output(0, x.type(), shape);
  std::int64_t* indices = kind == Pooling::max && call.wants(1)
                              ? call.output(1, DataType::int64, shape).mutable_data<std::int64_t>()
                              : nullptr;
  if (y.elements() == 0) return;
  const PoolOptions options{call.node.integer("count_include_pad", 0) != 0,
                            indices != nullptr && call.node.integer("storage_order", 0) != 0, power};
  if constexpr (kind != Pooling::lp) {
    using Image = PoolImage<kind>;
    if (Image::takes(w, y.elements(), x.elements(), options)) {
      const Image image{Image::axis(w, w.rank - 2), Image::axis(w, w.rank - 1), options, x, y, indices};
      return for_each(y.elements(), stream_of(call), image);
    }
  }
  for_each(y.elements(), stream_of(call), Pool<kind>{w, options, x, y, indices});
}

struct GlobalPool {
  Pooling kind;
  double power;
  DataType type;
  const void* in;
  void* out;
  std::int64_t size;
  __device__ void operator()(std::int64_t plane, const Team& team) const {
    float result = 0;
    if (kind == Pooling::max) {
      float best = -elementary::infinity;
      for (std::int64_t i = team.thread; i < size; i += team.size) {
        const float x = load_float(in, plane * size + i, type);
        best = x > best || x != x ? x : best;
      }
      result = team.maximum(best);
    } else {
      double sum = 0;
      for (std::int64_t i = team.thread; i < size; i += team.size) {
        const auto wide = static_cast<double>(load_float(in, plane * size + i, type));
        sum += kind == Pooling::average ? wide : ::pow(wide < 0 ? -wide : wide, power);
      }
      sum = team.sum(sum);
      result = static_cast<float>(kind == Pooling::average ? sum / static_cast<double>(size) : ::pow(sum, 1.0 / power));
    }
    if (team.thread == 0) store_float(out, plane, result, type);
  }
};

template <Pooling kind>
void global_pool(Call& call) {
  const Tensor x = call.input(0);
  if (!is_quantizable(x.type())) cpu::fail_type(call, x.type());
  if (x.rank() < 2) call.fail("input " + x.shape().text() + " has no channels");
  Shape shape(x.rank(), 1);
  shape[0] = x.shape()[0];
  shape[1] = x.shape()[1];
  const std::int64_t size = x.shape().elements(2, x.rank());
  if (size == 0 && shape.elements() > 0) call.fail("nothing to pool in " + x.shape().text());
  const double power = kind == Pooling::lp ? static_cast<double>(call.node.integer("p", 2)) : 2.0;
  if (power < 1) call.fail("p is below 1");
  Tensor& y = call.output(0, x.type(), shape);
  for_each_row(shape.elements(), size, stream_of(call),
               GlobalPool{kind, power, x.type(), x.data(), y.mutable_data(), size});
}

}  // namespace

void register_pooling(OperatorTable& table) {
  const auto add = [&](std::string_view name, cpu::Function function) { table.add(name, function, cpu::Half::native); };
  add("AveragePool", cpu::checked<pool<Pooling::average>>);
  add("GlobalAveragePool", cpu::checked<global_pool<Pooling::average>>);
  add("GlobalLpPool", cpu::checked<global_pool<Pooling::lp>>);
  add("GlobalMaxPool", cpu::checked<global_pool<Pooling::max>>);
  add("LpPool", cpu::checked<pool<Pooling::lp>>);
  add("MaxPool", cpu::checked<pool<Pooling::max>>);
}

}  // namespace tare::cuda
