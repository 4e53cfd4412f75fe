// LayerNormalization, RMSNormalization, InstanceNormalization, GroupNormalization: every one normalizes rows that lie
// together in memory. Moments are taken in two passes in float64, so a large mean costs no accuracy.
#include <fmt/format.h>

#include "cpu/normalization.hpp"

namespace tare::cpu {
namespace {

/// A scale or bias broadcast to the normalized dimensions; returns the tensor's own data where it fits as it is.
template <class T>
const T* spread(const Call& call, std::size_t input, const Shape& dims, std::vector<T>& storage) {
  const Tensor& tensor = call.input(input);
  if (tensor.type() != type_of<T>())
    call.fail(fmt::format("input {} is {}, not {}", input, name_of(tensor.type()), name_of(type_of<T>())));
  if (tensor.elements() == dims.elements() && tensor.rank() == dims.rank()) {
    if (!(tensor.shape() == dims))
      call.fail(fmt::format("input {} of shape {} does not fit {}", input, tensor.shape().text(), dims.text()));
    return tensor.data<T>();
  }
  Shape shape = tensor.shape();
  while (shape.rank() > dims.rank() && shape[0] == 1) shape.erase(0);
  if (shape.rank() > dims.rank() || !(broadcast(call, shape, dims) == dims))
    call.fail(fmt::format("input {} of shape {} does not broadcast to {}", input, tensor.shape().text(), dims.text()));
  storage.resize(static_cast<std::size_t>(dims.elements()));
  for (std::int64_t i = 0; i < dims.elements(); ++i) {
    std::int64_t rest = i, offset = 0, stride = 1;
    for (std::size_t d = dims.rank(); d-- > 0;) {
      const std::int64_t at = rest % dims[d];
      rest /= dims[d];
      if (d + shape.rank() < dims.rank()) continue;
      const std::int64_t size = shape[d + shape.rank() - dims.rank()];
      offset += size == 1 ? 0 : at * stride;
      stride *= size;
    }
    storage[static_cast<std::size_t>(i)] = tensor.data<T>()[offset];
  }
  return storage.data();
}

template <class T>
void normalize(const VectorKernels& v, const T* in, T center, T factor, const T* scales, const T* biases, T* out,
               std::int64_t n) {
  if constexpr (std::is_same_v<T, float>) {
    v.row_normalize(in, center, factor, scales, biases, out, static_cast<std::size_t>(n));
  } else {
    for (std::int64_t i = 0; i < n; ++i)
      out[i] = (in[i] - center) * factor * scales[i] + (biases == nullptr ? T{0} : biases[i]);
  }
}

struct Moments {
  double mean, variance;
};
template <class T>
Moments moments(const VectorKernels& v, const T* in, std::int64_t n) {
  const double mean = row_sum(v, in, n) / static_cast<double>(n);
  return {mean, row_deviation(v, in, n, mean) / static_cast<double>(n)};
}

std::int64_t row_grain(std::int64_t n) { return std::max<std::int64_t>(1, 8192 / (n + 1)); }

/// The trailing dimensions of `rank` from the `axis` attribute on.
Shape trailing_dims(const Call& call, std::size_t& axis) {
  const Shape& shape = call.input(0).shape();
  axis = axis_of(call, call.node.integer("axis", -1), shape.rank());
  return Shape(shape.begin() + axis, shape.end());
}

}  // namespace

void layer_normalization(Call& call) {
  std::size_t axis = 0;
  const Shape dims = trailing_dims(call, axis);
  const Tensor in = call.input(0);
  const std::int64_t n = dims.elements();
  const std::int64_t outer = in.shape().elements(0, axis);
  const double epsilon = static_cast<double>(call.node.real("epsilon", 1e-5f));
  dispatch_real(call, in.type(), [&]<class T>() {
    std::vector<T> scale_storage, bias_storage;
    const T* scales = spread<T>(call, 1, dims, scale_storage);
    const T* biases = call.has(2) ? spread<T>(call, 2, dims, bias_storage) : nullptr;
    Shape kept = in.shape();
    for (std::size_t i = axis; i < kept.rank(); ++i) kept[i] = 1;
    T* means = call.wants(1) ? call.output(1, in.type(), kept).mutable_data<T>() : nullptr;
    T* deviations = call.wants(2) ? call.output(2, in.type(), kept).mutable_data<T>() : nullptr;
    const T* x = in.data<T>();
    T* y = call.output(0, in.type(), in.shape()).template mutable_data<T>();
    const VectorKernels& v = call.device.vector();
    call.device.parallel(outer, row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        const Moments m = moments(v, x + o * n, n);
        const T factor = static_cast<T>(1.0 / std::sqrt(m.variance + epsilon));
        normalize(v, x + o * n, static_cast<T>(m.mean), factor, scales, biases, y + o * n, n);
        if (means != nullptr) means[o] = static_cast<T>(m.mean);
        if (deviations != nullptr) deviations[o] = factor;
      }
    });
  });
}

void rms_normalization(Call& call) {
  std::size_t axis = 0;
  const Shape dims = trailing_dims(call, axis);
  const Tensor in = call.input(0);
  const std::int64_t n = dims.elements();
  const double epsilon = static_cast<double>(call.node.real("epsilon", 1e-5f));
  dispatch_real(call, in.type(), [&]<class T>() {
    std::vector<T> storage;
    const T* scales = spread<T>(call, 1, dims, storage);
    const T* x = in.data<T>();
    T* y = call.output(0, in.type(), in.shape()).template mutable_data<T>();
    const VectorKernels& v = call.device.vector();
    call.device.parallel(in.shape().elements(0, axis), row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        const double square = row_deviation(v, x + o * n, n, 0.0) / static_cast<double>(n);
        const T factor = static_cast<T>(1.0 / std::sqrt(square + epsilon));
        normalize<T>(v, x + o * n, T{0}, factor, scales, nullptr, y + o * n, n);
      }
    });
  });
}

void instance_normalization(Call& call) {
  const Tensor in = call.input(0);
  const Channels c = channels_of(call, in.shape());
  if (in.rank() < 2) call.fail("takes tensors of rank 2 and more");
  const std::vector<double> scales = parameter(call, 1, c.channels, "scale");
  const std::vector<double> biases = parameter(call, 2, c.channels, "bias");
  const double epsilon = static_cast<double>(call.node.real("epsilon", 1e-5f));
  dispatch_real(call, in.type(), [&]<class T>() {
    const T* x = in.data<T>();
    T* y = call.output(0, in.type(), in.shape()).template mutable_data<T>();
    const VectorKernels& v = call.device.vector();
    call.device.parallel(c.batch * c.channels, row_grain(c.spatial), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        const auto channel = static_cast<std::size_t>(o % c.channels);
        const Moments m = moments(v, x + o * c.spatial, c.spatial);
        const double factor = scales[channel] / std::sqrt(m.variance + epsilon);
        affine(v, x + o * c.spatial, static_cast<T>(m.mean), static_cast<T>(factor), static_cast<T>(biases[channel]),
               y + o * c.spatial, c.spatial);
      }
    });
  });
}

void group_normalization(Call& call) {
  const Tensor in = call.input(0);
  const Channels c = channels_of(call, in.shape());
  if (in.rank() < 2) call.fail("takes tensors of rank 2 and more");
  const std::int64_t groups = call.node.integer("num_groups");
  if (groups < 1 || c.channels % groups != 0)
    call.fail(fmt::format("{} channels cannot be split into {} groups", c.channels, groups));
  const std::int64_t members = c.channels / groups;
  // Opset 18 has one number a group, 21 one a channel; the length says which.
  const std::int64_t given = call.input(1).elements();
  const bool a_group = given == groups && (given != c.channels);
  const std::vector<double> scales = parameter(call, 1, a_group ? groups : c.channels, "scale");
  const std::vector<double> biases = parameter(call, 2, a_group ? groups : c.channels, "bias");
  const double epsilon = static_cast<double>(call.node.real("epsilon", 1e-5f));
  const std::int64_t n = members * c.spatial;
  dispatch_real(call, in.type(), [&]<class T>() {
    const T* x = in.data<T>();
    T* y = call.output(0, in.type(), in.shape()).template mutable_data<T>();
    const VectorKernels& v = call.device.vector();
    call.device.parallel(c.batch * groups, row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        const Moments m = moments(v, x + o * n, n);
        for (std::int64_t k = 0; k < members; ++k) {
          const std::int64_t group = o % groups;
          const auto at = static_cast<std::size_t>(a_group ? group : group * members + k);
          const double factor = scales[at] / std::sqrt(m.variance + epsilon);
          const std::int64_t offset = o * n + k * c.spatial;
          affine(v, x + offset, static_cast<T>(m.mean), static_cast<T>(factor), static_cast<T>(biases[at]), y + offset,
                 c.spatial);
        }
      }
    });
  });
}

}  // namespace tare::cpu
