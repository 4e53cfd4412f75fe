// MaxPool, AveragePool, LpPool and their global forms. Own loops: pooling is bound by memory, and ONNX's corner cases
// (ceil_mode, dilations, indices, what counts as padding) go beyond the library's.
// float32 runs in channels_last, where a window is a handful of rows of channels; a plain input of many channels is
// turned round first. Indices, other types and few channels take the plane-by-plane loops.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "cpu/dnnl_shim.hpp"
#include "cpu/vector.hpp"
#include "cpu/window.hpp"

namespace tare::cpu {
namespace {

enum class Pooling { max, average, lp };

/// Below this many channels a row is too short to pay for turning a plain tensor round.
constexpr std::int64_t few_channels = 8;

struct Planes {
  std::int64_t count;  ///< batch × channels
  Shape input;         ///< spatial
  Window window;
};

std::int64_t column_major(const Shape& input, std::int64_t element) {
  std::int64_t at[Shape::max_rank];
  for (std::size_t i = input.rank(); i-- > 0;) {
    at[i] = element % input[i];
    element /= input[i];
  }
  std::int64_t result = 0;
  for (std::size_t i = input.rank(); i-- > 0;) result = result * input[i] + at[i];
  return result;
}

/// NaN stays, as in a ReduceMax.
template <class T>
bool exceeds(T value, T best) {
  if constexpr (std::is_floating_point_v<T>)
    return value > best || (std::isnan(value) && !std::isnan(best));
  else
    return value > best;
}

template <class T>
void max_planes(const Call& call, const Planes& p, const T* in, T* out, std::int64_t* indices, bool by_column) {
  const std::int64_t in_size = p.input.elements();
  const std::int64_t out_size = p.window.output.elements();
  call.device.parallel(p.count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t plane = begin; plane < end; ++plane)
      for (std::int64_t s = 0; s < out_size; ++s) {
        T best = std::numeric_limits<T>::lowest();
        if constexpr (std::is_floating_point_v<T>) best = -std::numeric_limits<T>::infinity();
        std::int64_t where = -1;
        for_each_tap(p.window, p.input, s, [&](std::int64_t, std::int64_t element) {
          const T value = in[plane * in_size + element];
          if (where >= 0 && !exceeds(value, best)) return;
          best = value;
          where = element;
        });
        out[plane * out_size + s] = best;
        if (indices != nullptr)
          indices[plane * out_size + s] =
              where < 0 ? -1 : plane * in_size + (by_column ? column_major(p.input, where) : where);
      }
  });
}

template <class T>
void sum_planes(const Call& call, const Planes& p, Pooling kind, bool include_pad, double power, const T* in, T* out) {
  const std::int64_t in_size = p.input.elements();
  const std::int64_t out_size = p.window.output.elements();
  call.device.parallel(p.count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t plane = begin; plane < end; ++plane)
      for (std::int64_t s = 0; s < out_size; ++s) {
        double sum = 0;
        std::int64_t taps = 0;
        for_each_tap(p.window, p.input, s, [&](std::int64_t, std::int64_t element) {
          const auto value = static_cast<double>(in[plane * in_size + element]);
          sum += kind == Pooling::average ? value : std::pow(std::abs(value), power);
          ++taps;
        });
        if (kind == Pooling::lp)
          sum = std::pow(sum, 1.0 / power);
        else if (include_pad)
          sum /= static_cast<double>(padded_taps(p.window, p.input, s));
        else
          sum /= static_cast<double>(std::max<std::int64_t>(taps, 1));
        out[plane * out_size + s] = static_cast<T>(sum);
      }
  });
}

class PoolingKernel final : public Kernel {
 public:
  PoolingKernel(const Compile& compile, Pooling kind)
      : node_(compile.node),
        device_(compile.device),
        kind_(kind),
        attributes_(compile.node),
        include_pad_(node_.integer("count_include_pad", 0) != 0),
        by_column_(node_.integer("storage_order", 0) != 0) {
    if (kind_ == Pooling::lp) power_ = static_cast<double>(node_.integer("p", 2));
    if (power_ < 1) throw Error(ErrorKind::model, fmt::format("{}: p is {}", node_.label(), power_));
  }

  bool accepts_channels_last() const override { return true; }

  void run(std::span<Tensor> inputs, std::span<Tensor> outputs) override {
    Call call{node_, device_, inputs, outputs};
    if (!call.has(0)) call.fail("the input is missing");
    Tensor x = inputs[0];
    if (x.rank() < 3) call.fail(fmt::format("input {} has no spatial dimensions", x.shape().text()));
    if (attributes_.kernel_shape.empty()) call.fail("kernel_shape is missing");
    Planes p{x.shape()[0] * x.shape()[1], Shape(x.shape().begin() + 2, x.shape().end()), {}};
    p.window = attributes_.resolve(call, p.input, attributes_.kernel_shape);
    Shape shape{x.shape()[0], x.shape()[1]};
    for (const std::int64_t dim : p.window.output) shape.push_back(dim);

    const bool indexed = kind_ == Pooling::max && call.wants(1);
    const bool rows = x.type() == DataType::float32 && kind_ != Pooling::lp && !indexed && x.rank() <= 5 &&
                      x.elements() > 0 && (x.layout() == Layout::channels_last || x.shape()[1] >= few_channels);
    if (rows) {
      x = dnn::with_layout(device_, x, Layout::channels_last);
      run_rows(p, x, call.output(0, DataType::float32, shape, Layout::channels_last));
      return;
    }
    x = dnn::with_layout(device_, x, Layout::plain);
    Tensor& y = call.output(0, x.type(), shape);
    std::int64_t* indices = indexed ? call.output(1, DataType::int64, shape).mutable_data<std::int64_t>() : nullptr;
    const auto go = [&]<class T>() {
      if (kind_ == Pooling::max)
        max_planes<T>(call, p, x.data<T>(), y.mutable_data<T>(), indices, by_column_);
      else
        sum_planes<T>(call, p, kind_, include_pad_, power_, x.data<T>(), y.mutable_data<T>());
    };
    if (x.type() == DataType::float32)
      go.operator()<float>();
    else if (x.type() == DataType::float64)
      go.operator()<double>();
    else if (x.type() == DataType::int8 && kind_ == Pooling::max)
      go.operator()<std::int8_t>();
    else if (x.type() == DataType::uint8 && kind_ == Pooling::max)
      go.operator()<std::uint8_t>();
    else
      call.fail(fmt::format("no pooling of {} tensors", name_of(x.type())));
  }

 private:
  void run_rows(const Planes& p, const Tensor& x, Tensor& y) const {
    const std::int64_t channels = x.shape()[1];
    const std::int64_t in_size = p.input.elements();
    const std::int64_t out_size = p.window.output.elements();
    const std::int64_t taps = p.window.kernel.elements();
    const auto width = static_cast<std::size_t>(channels);
    device_.parallel(
        x.shape()[0] * out_size, std::max<std::int64_t>(1, 16384 / (taps * channels)),
        [&](std::int64_t begin, std::int64_t end) {
          std::vector<const float*> rows(static_cast<std::size_t>(taps));
          for (std::int64_t i = begin; i < end; ++i) {
            const float* image = x.data<float>() + i / out_size * in_size * channels;
            float* out = y.mutable_data<float>() + i * channels;
            std::size_t count = 0;
            for_each_tap(p.window, p.input, i % out_size,
                         [&](std::int64_t, std::int64_t element) { rows[count++] = image + element * channels; });
            if (count == 0) {
              std::fill(out, out + channels, kind_ == Pooling::max ? -std::numeric_limits<float>::infinity() : 0.0f);
            } else if (kind_ == Pooling::max) {
              device_.vector().max_of_rows(rows.data(), count, out, width);
            } else {
              const std::int64_t divisor =
                  include_pad_ ? padded_taps(p.window, p.input, i % out_size) : static_cast<std::int64_t>(count);
              device_.vector().mean_of_rows(rows.data(), count, static_cast<float>(divisor), out, width);
            }
          }
        });
  }

  const Node& node_;
  Device& device_;
  Pooling kind_;
  WindowAttributes attributes_;
  bool include_pad_;
  bool by_column_;
  double power_ = 2;
};

/// One value a plane, from contiguous planes.
template <class T>
void reduce_planes(const Call& call, Pooling kind, double power, const T* in, std::int64_t planes, std::int64_t size,
                   T* out) {
  call.device.parallel(
      planes, std::max<std::int64_t>(1, 16384 / (size + 1)), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t plane = begin; plane < end; ++plane) {
          const T* values = in + plane * size;
          if (kind == Pooling::max) {
            T best = -std::numeric_limits<T>::infinity();
            for (std::int64_t i = 0; i < size; ++i) best = exceeds(values[i], best) ? values[i] : best;
            out[plane] = best;
            continue;
          }
          // Eight sums: one chain of additions would wait for itself.
          double sums[8] = {};
          for (std::int64_t i = 0; i < size; ++i) {
            const auto value = static_cast<double>(values[i]);
            sums[i % 8] += kind == Pooling::average ? value : std::pow(std::abs(value), power);
          }
          const double sum = ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
          out[plane] =
              static_cast<T>(kind == Pooling::average ? sum / static_cast<double>(size) : std::pow(sum, 1.0 / power));
        }
      });
}

/// The same from rows of channels. Of many rows a thread takes those that lie together, which it has mostly written
/// itself, of few the same channels. Sums of 64 rows are added up, so the error grows with size / 64.
void reduce_rows(const Call& call, Pooling kind, const Tensor& x, std::int64_t size, float* out) {
  constexpr std::int64_t chunk = 64;
  const VectorKernels& vector = call.device.vector();
  const std::int64_t images = x.shape()[0];
  const std::int64_t channels = x.shape()[1];
  const std::int64_t parts = (size + chunk - 1) / chunk;
  const std::int64_t width = parts > 1 ? channels : std::min(chunk, channels);
  const std::int64_t blocks = (channels + width - 1) / width;
  Tensor scratch;
  if (parts > 1) scratch = call.device.allocate(DataType::float32, {images, parts - 1, channels});
  // The first part's results are where those of all will be.
  const auto results = [&](std::int64_t image, std::int64_t part) {
    return part == 0 ? out + image * channels
                     : scratch.mutable_data<float>() + (image * (parts - 1) + part - 1) * channels;
  };
  call.device.parallel(images * parts * blocks, std::max<std::int64_t>(1, 16384 / (std::min(size, chunk) * width)),
                       [&](std::int64_t begin, std::int64_t end) {
                         for (std::int64_t task = begin; task < end; ++task) {
                           const std::int64_t first = task % blocks * width;
                           const std::int64_t part = task / blocks % parts;
                           const std::int64_t image = task / blocks / parts;
                           const std::int64_t start = part * chunk;
                           const float* in = x.data<float>() + image * size * channels + first;
                           const float* rows[chunk];
                           std::size_t count = 0;
                           for (std::int64_t i = start; i < std::min(start + chunk, size); ++i)
                             rows[count++] = in + i * channels;
                           float* to = results(image, part) + first;
                           const auto n = static_cast<std::size_t>(std::min(width, channels - first));
                           if (kind == Pooling::max)
                             vector.max_of_rows(rows, count, to, n);
                           else
                             vector.mean_of_rows(rows, count, 1.0f, to, n);
                         }
                       });
  for (std::int64_t n = 0; n < images; ++n) {
    float* result = results(n, 0);
    for (std::int64_t part = 1; part < parts; ++part)
      (kind == Pooling::max ? vector.binary_maximum_vv : vector.binary_add_vv)(result, results(n, part), result,
                                                                               static_cast<std::size_t>(channels));
    if (kind == Pooling::average) {
      const auto divisor = static_cast<float>(size);
      vector.binary_divide_vs(result, &divisor, result, static_cast<std::size_t>(channels));
    }
  }
}

void global_pooling(Call& call, Pooling kind) {
  if (!call.has(0)) call.fail("the input is missing");
  Tensor x = call.input(0);
  if (x.rank() < 2) call.fail(fmt::format("input {} has no channels", x.shape().text()));
  Shape shape(x.rank(), 1);
  shape[0] = x.shape()[0];
  shape[1] = x.shape()[1];
  const std::int64_t size = x.shape().elements(2, x.rank());
  if (size == 0 && shape.elements() > 0) call.fail(fmt::format("nothing to pool in {}", x.shape().text()));
  const double power = kind == Pooling::lp ? static_cast<double>(call.node.integer("p", 2)) : 2;
  if (power < 1) call.fail(fmt::format("p is {}", power));
  if (x.layout() == Layout::channels_last && x.elements() > 0 && x.type() == DataType::float32 && kind != Pooling::lp) {
    reduce_rows(call, kind, x, size, call.output(0, x.type(), shape, x.layout()).mutable_data<float>());
    return;
  }
  x = dnn::with_layout(call.device, x, Layout::plain);
  Tensor& y = call.output(0, x.type(), shape);
  const std::int64_t planes = shape.elements();
  if (x.type() == DataType::float32)
    reduce_planes(call, kind, power, x.data<float>(), planes, size, y.mutable_data<float>());
  else if (x.type() == DataType::float64)
    reduce_planes(call, kind, power, x.data<double>(), planes, size, y.mutable_data<double>());
  else
    call.fail(fmt::format("no pooling of {} tensors", name_of(x.type())));
}

template <Pooling kind>
std::unique_ptr<Kernel> make_pooling(const Compile& compile) {
  return std::make_unique<PoolingKernel>(compile, kind);
}
template <Pooling kind>
void global_pool(Call& call) {
  global_pooling(call, kind);
}

}  // namespace

void register_pooling(OperatorTable& table) {
  table.add("MaxPool", Operator{.factory = make_pooling<Pooling::max>, .channels_last = true});
  table.add("AveragePool", Operator{.factory = make_pooling<Pooling::average>, .channels_last = true});
  table.add("LpPool", Operator{.factory = make_pooling<Pooling::lp>, .channels_last = true, .first_opset = 2});
  table.add("GlobalMaxPool", Operator{.function = global_pool<Pooling::max>, .channels_last = true});
  table.add("GlobalAveragePool", Operator{.function = global_pool<Pooling::average>, .channels_last = true});
  table.add("GlobalLpPool", Operator{.function = global_pool<Pooling::lp>, .channels_last = true, .first_opset = 2});
}

}  // namespace tare::cpu
