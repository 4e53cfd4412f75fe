// BatchNormalization, LRN, MeanVarianceNormalization, LpNormalization, and the table of all normalizations.
// BatchNormalization is one pass over the data, in either layout, in place when it may.
#include "cpu/normalization.hpp"

#include <fmt/format.h>

#include "plan/ops.hpp"

namespace tare::cpu {

std::vector<double> parameter(const Call& call, std::size_t input, std::int64_t count, std::string_view what) {
  if (!call.has(input)) call.fail(fmt::format("the {} is missing", what));
  const Tensor& tensor = call.input(input);
  if (tensor.elements() != count)
    call.fail(fmt::format("the {} has shape {}, not {} elements", what, tensor.shape().text(), count));
  std::vector<double> values;
  dispatch_real(call, tensor.type(), [&]<class T>() {
    const auto span = tensor.span<T>();
    values.assign(span.begin(), span.end());
  });
  return values;
}

Channels channels_of(const Call& call, const Shape& shape) {
  if (shape.rank() == 0) call.fail("takes no scalars");
  return {shape[0], shape.rank() == 1 ? 1 : shape[1], shape.rank() <= 2 ? 1 : shape.elements(2, shape.rank())};
}

bool trains(const Call& call) {
  if (call.node.opset != 0 && call.node.opset < 7 && call.node.integer("is_test", 0) == 0)
    call.fail("is_test=0: batch norms of opset 6 are run for inference only; export the model for inference");
  const bool training = takes_moments_of_batch(call.node);
  if (!training && call.wants(1)) call.fail("more than one output needs training_mode=1");
  return training;
}

namespace {

struct BatchStatistics {
  std::vector<double> mean, variance;
};

BatchStatistics batch_statistics(const Call& call, const Tensor& in, const Channels& c) {
  const auto channels = static_cast<std::size_t>(c.channels);
  BatchStatistics result{std::vector<double>(channels), std::vector<double>(channels)};
  const bool moved = in.layout() == Layout::channels_last;
  const std::int64_t batch_stride = c.channels * c.spatial;
  const std::int64_t channel_stride = moved ? 1 : c.spatial;
  const std::int64_t pixel_stride = moved ? c.channels : 1;
  const double count = static_cast<double>(c.batch * c.spatial);
  dispatch_real(call, in.type(), [&]<class T>() {
    call.device.parallel(c.channels, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t channel = begin; channel < end; ++channel) {
        const auto sum = [&](auto&& term) {
          double total = 0.0;
          for (std::int64_t n = 0; n < c.batch; ++n) {
            const T* x = in.data<T>() + n * batch_stride + channel * channel_stride;
            for (std::int64_t s = 0; s < c.spatial; ++s) total += term(static_cast<double>(x[s * pixel_stride]));
          }
          return total;
        };
        const double mean = sum([](double x) { return x; }) / count;
        result.mean[static_cast<std::size_t>(channel)] = mean;
        result.variance[static_cast<std::size_t>(channel)] =
            sum([mean](double x) { return (x - mean) * (x - mean); }) / count;
      }
    });
  });
  return result;
}

/// running = momentum * running + (1 - momentum) * current, as output o.
void update_running(Call& call, std::size_t o, std::size_t input, const std::vector<double>& current, double momentum) {
  if (!call.wants(o)) return;
  const Tensor& running = call.input(input);
  Tensor& out = call.output(o, running.type(), running.shape());
  dispatch_real(call, running.type(), [&]<class T>() {
    for (std::size_t i = 0; i < current.size(); ++i)
      out.mutable_data<T>()[i] =
          static_cast<T>(static_cast<double>(running.data<T>()[i]) * momentum + current[i] * (1.0 - momentum));
  });
}

void batch_normalization(Call& call) {
  const Tensor& in = call.input(0);
  Channels c = channels_of(call, in.shape());
  const bool spatial = call.node.opset >= 9 || call.node.integer("spatial", 1) != 0;
  if (!spatial) {
    if (in.layout() == Layout::channels_last) call.fail("statistics a position (spatial=0) need the plain layout");
    c = {c.batch, c.channels * c.spatial, 1};
  }
  const bool training = trains(call);
  const std::vector<double> scales = parameter(call, 1, c.channels, "scale");
  const std::vector<double> biases = parameter(call, 2, c.channels, "bias");
  BatchStatistics statistics{parameter(call, 3, c.channels, "mean"), parameter(call, 4, c.channels, "variance")};
  if (training) {
    const double momentum = static_cast<double>(call.node.real("momentum", 0.9f));
    statistics = batch_statistics(call, in, c);
    update_running(call, 1, 3, statistics.mean, momentum);
    update_running(call, 2, 4, statistics.variance, momentum);
    update_running(call, 3, 3, statistics.mean, 0);  // until opset 13: the batch's own
    update_running(call, 4, 4, statistics.variance, 0);
  }
  const double epsilon = static_cast<double>(call.node.real("epsilon", 1e-5f));
  const bool columns = in.layout() == Layout::channels_last || c.spatial == 1;
  Tensor& out = call.output_reusing(0, 0, in.type(), in.shape(), in.layout());
  if (in.elements() == 0) return;
  dispatch_real(call, in.type(), [&]<class T>() {
    const ChannelAffine<T> of = channel_affine<T>(scales, biases, statistics.mean, statistics.variance, epsilon);
    const T* x = in.data<T>();
    T* y = out.mutable_data<T>();
    const VectorKernels& v = call.device.vector();
    if (columns) {
      call.device.parallel(c.batch * c.spatial, std::max<std::int64_t>(1, 16384 / c.channels),
                           [&](std::int64_t begin, std::int64_t end) {
                             const std::int64_t n = c.channels;
                             if constexpr (std::is_same_v<T, float>) {
                               v.column_affine(x + begin * n, of.centers.data(), of.factors.data(), of.addends.data(),
                                               y + begin * n, static_cast<std::size_t>(end - begin),
                                               static_cast<std::size_t>(n));
                             } else {
                               for (std::int64_t i = begin * n; i < end * n; ++i) {
                                 const auto channel = static_cast<std::size_t>(i % n);
                                 y[i] = (x[i] - of.centers[channel]) * of.factors[channel] + of.addends[channel];
                               }
                             }
                           });
      return;
    }
    call.device.parallel(c.batch * c.channels, std::max<std::int64_t>(1, 16384 / c.spatial),
                         [&](std::int64_t begin, std::int64_t end) {
                           for (std::int64_t o = begin; o < end; ++o) {
                             const auto channel = static_cast<std::size_t>(o % c.channels);
                             affine(v, x + o * c.spatial, of.centers[channel], of.factors[channel], of.addends[channel],
                                    y + o * c.spatial, c.spatial);
                           }
                         });
  });
}

void local_response_normalization(Call& call) {
  const Tensor in = call.input(0);
  const Channels c = channels_of(call, in.shape());
  if (in.rank() < 2) call.fail("takes tensors of rank 2 and more");
  const std::int64_t size = call.node.integer("size");
  if (size < 1) call.fail(fmt::format("size {} is not positive", size));
  const double alpha = static_cast<double>(call.node.real("alpha", 1e-4f)) / static_cast<double>(size);
  const double beta = static_cast<double>(call.node.real("beta", 0.75f));
  const double bias = static_cast<double>(call.node.real("bias", 1.0f));
  const std::int64_t before = (size - 1) / 2;
  const std::int64_t after = size - 1 - before;
  dispatch_real(call, in.type(), [&]<class T>() {
    const T* x = in.data<T>();
    T* y = call.output(0, in.type(), in.shape()).template mutable_data<T>();
    call.device.parallel(
        c.batch * c.channels, std::max<std::int64_t>(1, 2048 / (c.spatial + 1)),
        [&](std::int64_t begin, std::int64_t end) {
          std::vector<double> sums(static_cast<std::size_t>(c.spatial));
          for (std::int64_t o = begin; o < end; ++o) {
            const std::int64_t channel = o % c.channels;
            const T* plane = x + (o - channel) * c.spatial;
            const std::int64_t first = channel - std::min(channel, before);
            const std::int64_t last = channel + std::min(after, c.channels - 1 - channel);
            std::fill(sums.begin(), sums.end(), 0.0);
            for (std::int64_t k = first; k <= last; ++k)
              for (std::size_t s = 0; s < sums.size(); ++s) {
                const auto value = static_cast<double>(plane[k * c.spatial + static_cast<std::int64_t>(s)]);
                sums[s] += value * value;
              }
            for (std::size_t s = 0; s < sums.size(); ++s) {
              const double base = bias + alpha * sums[s];
              const double power = beta == 0.75 ? std::sqrt(base) * std::sqrt(std::sqrt(base)) : std::pow(base, beta);
              const std::int64_t at = o * c.spatial + static_cast<std::int64_t>(s);
              y[at] = static_cast<T>(static_cast<double>(x[at]) / power);
            }
          }
        });
  });
}

void mean_variance_normalization(Call& call) {
  const Tensor in = call.input(0);
  std::vector<std::int64_t> axes = call.node.integers("axes");
  if (!call.node.has("axes")) axes = {0, 2, 3};
  std::vector<bool> reduced(in.rank(), false);
  for (const std::int64_t axis : axes) reduced[axis_of(call, axis, in.rank())] = true;
  const Shape& shape = in.shape();
  std::int64_t groups = 1;
  for (std::size_t d = 0; d < in.rank(); ++d) groups *= reduced[d] ? 1 : shape[d];
  dispatch_real(call, in.type(), [&]<class T>() {
    const T* x = in.data<T>();
    T* y = call.output(0, in.type(), shape).template mutable_data<T>();
    if (in.elements() == 0) return;
    const auto group_of = [&](std::int64_t at) {
      std::int64_t group = 0, stride = 1;
      for (std::size_t d = shape.rank(); d-- > 0;) {
        if (!reduced[d]) {
          group += at % shape[d] * stride;
          stride *= shape[d];
        }
        at /= shape[d];
      }
      return static_cast<std::size_t>(group);
    };
    const std::int64_t group_size = in.elements() / groups;
    const double count = static_cast<double>(group_size);
    std::vector<double> means(static_cast<std::size_t>(groups)), squares(means.size());
    for (std::int64_t i = 0; i < in.elements(); ++i) means[group_of(i)] += static_cast<double>(x[i]);
    for (double& mean : means) mean /= count;
    for (std::int64_t i = 0; i < in.elements(); ++i) {
      const std::size_t group = group_of(i);
      const double deviation = static_cast<double>(x[i]) - means[group];
      squares[group] += deviation * deviation;
    }
    for (std::int64_t i = 0; i < in.elements(); ++i) {
      const std::size_t group = group_of(i);
      // The 1e-9 is the operator's own definition.
      y[i] = static_cast<T>((static_cast<double>(x[i]) - means[group]) / (std::sqrt(squares[group] / count) + 1e-9));
    }
  });
}

void lp_normalization(Call& call) {
  const Tensor in = call.input(0);
  const std::size_t axis = axis_of(call, call.node.integer("axis", -1), in.rank());
  const std::int64_t p = call.node.integer("p", 2);
  if (p != 1 && p != 2) call.fail(fmt::format("p is {}: only 1 and 2 are defined", p));
  const std::int64_t length = in.shape()[axis];
  const std::int64_t inner = in.shape().elements(axis + 1, in.rank());
  dispatch_real(call, in.type(), [&]<class T>() {
    const T* x = in.data<T>();
    T* y = call.output(0, in.type(), in.shape()).template mutable_data<T>();
    call.device.parallel(in.shape().elements(0, axis) * inner, std::max<std::int64_t>(1, 8192 / (length + 1)),
                         [&](std::int64_t begin, std::int64_t end) {
                           for (std::int64_t o = begin; o < end; ++o) {
                             const std::int64_t base = o / inner * length * inner + o % inner;
                             double sum = 0.0;
                             for (std::int64_t k = 0; k < length; ++k) {
                               const auto value = static_cast<double>(x[base + k * inner]);
                               sum += p == 1 ? std::abs(value) : value * value;
                             }
                             const double norm = p == 1 ? sum : std::sqrt(sum);
                             for (std::int64_t k = 0; k < length; ++k) {
                               const auto value = static_cast<double>(x[base + k * inner]);
                               y[base + k * inner] = static_cast<T>(norm == 0.0 ? 0.0 : value / norm);
                             }
                           }
                         });
  });
}

}  // namespace

void register_normalization(OperatorTable& table) {
  table.add("BatchNormalization", Operator{.function = batch_normalization, .channels_last = true, .first_opset = 6});
  table.add("InstanceNormalization", instance_normalization);
  table.add("LayerNormalization", layer_normalization);
  table.add("RMSNormalization", rms_normalization);
  table.add("GroupNormalization", group_normalization);
  table.add("LRN", local_response_normalization);
  table.add("MeanVarianceNormalization", mean_variance_normalization);
  table.add("LpNormalization", lp_normalization);
}

}  // namespace tare::cpu
