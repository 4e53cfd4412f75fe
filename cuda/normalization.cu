// BatchNormalization and the normalizations of rows. Moments are taken in two passes in float64, as on the host. A row
// is what shares its moments; scales and biases follow from the place in the row. A team takes a row through all
// passes, or several share it, a launch a pass, where rows are few and long. Odd: parameters stay on the device, so
// factors of channels are made there, by a launch of their own.
#include <cmath>

#include "cpu/normalization.hpp"
#include "cpu/strided_copy.hpp"
#include "elementwise.hpp"
#include "row_chain.hpp"
#include "row_folds.hpp"

namespace tare::cuda {
namespace {

/// `function` behind a check that its first input holds floats.
template <cpu::Function function>
void on_floats(Call& call) {
  if (!is_quantizable(call.input(0).type()))
    call.fail("takes floating-point tensors, not " + std::string(name_of(call.input(0).type())));
  function(call);
}

/// A parameter of one number a channel (or group).
FloatInput parameter(const Call& call, std::size_t input, std::int64_t count, const char* what) {
  if (!call.has(input)) call.fail(std::string("the ") + what + " is missing");
  const Tensor& tensor = call.input(input);
  if (!is_quantizable(tensor.type())) cpu::fail_type(call, tensor.type());
  if (tensor.elements() != count)
    call.fail(std::string("the ") + what + " has shape " + tensor.shape().text() + ", not " + std::to_string(count) +
              " elements");
  return tensor;
}

/// Mean and variance of a channel over batch and pixels.
struct ChannelMoments {
  FloatInput in;
  float* means;
  float* variances;
  cpu::Channels c;
  __device__ void operator()(std::int64_t channel, const Team& team) const {
    const std::int64_t count = c.batch * c.spatial;
    const auto at = [&](std::int64_t i) {
      return static_cast<double>(in[(i / c.spatial * c.channels + channel) * c.spatial + i % c.spatial]);
    };
    double sum = 0;
    for (std::int64_t i = team.thread; i < count; i += team.size) sum += at(i);
    const double mean = team.sum(sum) / static_cast<double>(count);
    double squares = 0;
    for (std::int64_t i = team.thread; i < count; i += team.size) squares += (at(i) - mean) * (at(i) - mean);
    const double variance = team.sum(squares) / static_cast<double>(count);
    if (team.thread == 0) {
      means[channel] = static_cast<float>(mean);
      variances[channel] = static_cast<float>(variance);
    }
  }
};

/// running = momentum * running + (1 - momentum) * current, as output o.
void update_running(Call& call, std::size_t o, std::size_t input, const float* current, double momentum) {
  if (!call.wants(o)) return;
  const FloatInput running = call.input(input);
  Tensor& out = call.output(o, call.input(0).type(), call.input(input).shape());
  const FloatOutput to = out;
  for_each(out.elements(), stream_of(call), [=] __device__(std::int64_t i) {
    to.set(i, static_cast<float>(static_cast<double>(running[i]) * momentum +
                                 static_cast<double>(current[i]) * (1.0 - momentum)));
  });
}

void batch_normalization(Call& call) {
  cpu::Channels c = cpu::channels_of(call, call.input(0).shape());
  if (call.node.opset < 9 && call.node.integer("spatial", 1) == 0) c = {c.batch, c.channels * c.spatial, 1};
  const bool training = cpu::trains(call);
  const FloatInput scales = parameter(call, 1, c.channels, "scale");
  const FloatInput biases = parameter(call, 2, c.channels, "bias");
  FloatInput means = parameter(call, 3, c.channels, "mean");
  FloatInput variances = parameter(call, 4, c.channels, "variance");
  const double epsilon = static_cast<double>(call.node.real("epsilon", 1e-5f));
  Tensor scratch = call.device.allocate(DataType::float32, {3, std::max<std::int64_t>(c.channels, 1)});
  float* factors = scratch.mutable_data<float>();
  if (training) {
    float* moments = factors + c.channels;
    for_each_row(c.channels, c.batch * c.spatial, stream_of(call),
                 ChannelMoments{call.input(0), moments, moments + c.channels, c});
    means = FloatInput(moments);
    variances = FloatInput(moments + c.channels);
    const double momentum = static_cast<double>(call.node.real("momentum", 0.9f));
    update_running(call, 1, 3, moments, momentum);
    update_running(call, 2, 4, moments + c.channels, momentum);
    update_running(call, 3, 3, moments, 0);  // until opset 13: the batch's own
    update_running(call, 4, 4, moments + c.channels, 0);
  }
  for_each(c.channels, stream_of(call), [=] __device__(std::int64_t i) {
    factors[i] =
        static_cast<float>(static_cast<double>(scales[i]) / ::sqrt(static_cast<double>(variances[i]) + epsilon));
  });
  Tensor& out = call.output_reusing(0, 0, call.input(0).type(), call.input(0).shape());
  const FloatInput x = call.input(0);
  const FloatOutput y = out;
  for_each(out.elements(), stream_of(call), [=] __device__(std::int64_t i) {
    const std::int64_t channel = i / c.spatial % c.channels;
    y.set(i, (x[i] - means[channel]) * factors[channel] + biases[channel]);
  });
}

/// Where the elements of a row find their scales and biases.
struct Place {
  std::int64_t spatial = 1;  ///< elements of the row that share one
  std::int64_t members = 1;  ///< of a row
  std::int64_t groups = 1;   ///< rows after which they come again
  bool per_group = false;
  TARE_HD std::int64_t first(std::int64_t o) const {
    return groups == 1 ? 0 : per_group ? o % groups : o % groups * members;
  }
  /// Of element k, behind the row's first. Divisions are slow, and mostly not needed.
  TARE_HD std::int64_t behind(std::int64_t k) const { return per_group ? 0 : spatial == 1 ? k : k / spatial; }
};

/// y = (x - mean) factor scale + bias.
struct NormalizeRow {
  FloatInput in;
  FloatOutput out;
  FloatInput scales;  ///< absent: 1
  FloatInput biases;  ///< absent: 0
  FloatOutput means;  ///< may be absent, as the next
  FloatOutput deviations;
  std::int64_t count;
  double epsilon;
  Place place;
  bool centered;          ///< false: the mean counts as 0
  bool factor_has_scale;  ///< scale goes into the factor, in float64
  bool root_then_add;     ///< epsilon is added to the root

  __device__ void operator()(std::int64_t o, const Team& team) const {
    double mean = 0;
    if (centered) {
      double sum = 0;
      each(o, team.thread, team.size, [&](float x, std::int64_t) { sum += static_cast<double>(x); });
      mean = team.sum(sum) / static_cast<double>(count);
    }
    double squares = 0;
    each(o, team.thread, team.size, [&](float x, std::int64_t) {
      const double deviation = static_cast<double>(x) - mean;
      squares += deviation * deviation;
    });
    write(o, team.thread, team.size, mean, team.sum(squares) / static_cast<double>(count));
  }

  /// Elements first, first + step, ... of row o.
  __device__ void write(std::int64_t o, std::int64_t first, std::int64_t step, double mean, double variance) const {
    const double root = root_then_add ? ::sqrt(variance) + epsilon : ::sqrt(variance + epsilon);
    const float center = static_cast<float>(mean);
    const float factor = static_cast<float>(1.0 / root);
    const std::int64_t of_row = place.first(o);
    each(o, first, step, [&](float x, std::int64_t k) {
      const std::int64_t at = scales.present() ? of_row + place.behind(k) : 0;
      float y = 0;
      if (factor_has_scale) {
        y = (x - center) * static_cast<float>(static_cast<double>(scales[at]) / root) + biases[at];
      } else if (root_then_add) {
        y = static_cast<float>((static_cast<double>(x) - mean) / root);
      } else {
        y = (x - center) * factor * scales[at];
        if (biases.present()) y = y + biases[at];
      }
      out.set(o * count + k, y);
    });
    if (first == 0 && means.present()) means.set(o, center);
    if (first == 0 && deviations.present()) deviations.set(o, factor);
  }

 private:
  template <class Body>
  __device__ void each(std::int64_t o, std::int64_t first, std::int64_t step, Body body) const {
    RowView{1, count, 1}.each(in, o, first, step, body);
  }
};

/// Mean of a row, or of the squares of its deviations from `means`.
struct MomentFold {
  using Value = double;
  RowView view;
  FloatInput in;
  const double* means;  ///< null: 0
  bool squares;
  double* out;
  __device__ double walk(std::int64_t o, std::int64_t first, std::int64_t step) const {
    const double mean = means != nullptr ? means[o] : 0.0;
    double sum = 0;
    view.each(in, o, first, step, [&](float x, std::int64_t) {
      const double deviation = static_cast<double>(x) - mean;
      sum += squares ? deviation * deviation : deviation;
    });
    return sum;
  }
  __device__ double join(double a, double b) const { return a + b; }
  __device__ void finish(std::int64_t o, double sum) const { out[o] = sum / static_cast<double>(view.count); }
};

struct NormalizePart {
  NormalizeRow row;
  std::int64_t parts;
  const double* means;  ///< null: 0
  const double* variances;
  __device__ void operator()(std::int64_t i, const Team& team) const {
    const std::int64_t o = i / parts;
    row.write(o, i % parts * team.size + team.thread, parts * team.size, means != nullptr ? means[o] : 0.0,
              variances[o]);
  }
};

void normalize_rows(const Call& call, std::int64_t rows, const NormalizeRow& row) {
  const std::int64_t parts = row_parts(rows, row.count, launch_threads);
  if (parts < 4) return for_each_row(rows, row.count, stream_of(call), row);  // four launches more would not pay
  Tensor moments = call.device.allocate(DataType::float64, {2, rows});
  double* variances = moments.mutable_data<double>();
  double* means = row.centered ? variances + rows : nullptr;
  const RowView view{rows, row.count, 1};
  if (row.centered) fold_rows(call, MomentFold{view, row.in, nullptr, false, means});
  fold_rows(call, MomentFold{view, row.in, means, true, variances});
  for_each_row(rows * parts, row.count, stream_of(call), NormalizePart{row, parts, means, variances});
}

/// A scale or bias broadcast to the normalized dimensions.
Tensor spread(const Call& call, std::size_t input, const Shape& dims) {
  const Tensor& tensor = call.input(input);
  if (!is_quantizable(tensor.type())) cpu::fail_type(call, tensor.type());
  Shape shape = tensor.shape();
  while (shape.rank() > dims.rank() && shape[0] == 1) shape.erase(0);
  if (shape.rank() > dims.rank() || !(cpu::broadcast(call, shape, dims) == dims))
    call.fail("input " + std::to_string(input) + " of shape " + tensor.shape().text() + " does not broadcast to " +
              dims.text());
  if (shape == dims) return tensor;
  Tensor whole = call.device.allocate(tensor.type(), dims);
  const Shape from = cpu::dense_strides(shape);
  const Shape to = cpu::dense_strides(dims);
  cpu::CopyPlan plan;
  for (std::size_t d = 0; d < dims.rank(); ++d) {
    const std::size_t missing = dims.rank() - shape.rank();
    plan.add(dims[d], d < missing || shape[d - missing] == 1 ? 0 : from[d - missing], to[d]);
  }
  plan.run(call.device, size_of(tensor.type()), tensor.data(), whole.mutable_data());
  return whole;
}

void normalize_trailing(Call& call, bool centered) {
  const Tensor in = call.input(0);
  const std::size_t axis = cpu::axis_of(call, call.node.integer("axis", -1), in.rank());
  const Shape dims(in.shape().begin() + axis, in.shape().end());
  const Tensor scales = spread(call, 1, dims);
  const Tensor biases = centered && call.has(2) ? spread(call, 2, dims) : Tensor();
  Shape kept = in.shape();
  for (std::size_t d = axis; d < kept.rank(); ++d) kept[d] = 1;
  const auto moment = [&](std::size_t o) {
    return centered && call.wants(o) ? FloatOutput(call.output(o, in.type(), kept)) : FloatOutput();
  };
  const FloatOutput means = moment(1);
  const FloatOutput deviations = moment(2);
  Tensor& out = call.output(0, in.type(), in.shape());
  const std::int64_t count = dims.elements();
  const double epsilon = static_cast<double>(call.node.real("epsilon", 1e-5f));
  if (count <= longest_chain_row && !means.present() && !deviations.present()) {
    using Kind = cpu::RowOperation::Kind;
    const Kind kind = centered ? Kind::layer_normalization : Kind::rms_normalization;
    return run_row_operation({kind, count, epsilon, scales, biases}, in, out, in.elements(), stream_of(call));
  }
  normalize_rows(call, in.shape().elements(0, axis),
                 NormalizeRow{in, out, scales, biases, means, deviations, count, epsilon, Place{1, count, 1, false},
                              centered, false, false});
}
void layer_normalization(Call& call) { normalize_trailing(call, true); }
void rms_normalization(Call& call) { normalize_trailing(call, false); }

void normalize_groups(Call& call, std::int64_t groups, bool per_group) {
  const Tensor in = call.input(0);
  const cpu::Channels c = cpu::channels_of(call, in.shape());
  const std::int64_t members = c.channels / groups;
  const std::int64_t given = per_group ? groups : c.channels;
  const FloatInput scales = parameter(call, 1, given, "scale");
  const FloatInput biases = parameter(call, 2, given, "bias");
  Tensor& out = call.output(0, in.type(), in.shape());
  const std::int64_t count = members * c.spatial;
  const double epsilon = static_cast<double>(call.node.real("epsilon", 1e-5f));
  const Place place{std::max<std::int64_t>(c.spatial, 1), members, groups, per_group};
  normalize_rows(
      call, c.batch * groups,
      NormalizeRow{in, out, scales, biases, FloatOutput(), FloatOutput(), count, epsilon, place, true, true, false});
}

void instance_normalization(Call& call) {
  if (call.input(0).rank() < 2) call.fail("takes tensors of rank 2 and more");
  normalize_groups(call, std::max<std::int64_t>(call.input(0).shape()[1], 1), false);
}

void group_normalization(Call& call) {
  const Shape shape = call.input(0).shape();
  if (shape.rank() < 2) call.fail("takes tensors of rank 2 and more");
  const std::int64_t groups = call.node.integer("num_groups");
  if (groups < 1 || shape[1] % groups != 0)
    call.fail(std::to_string(shape[1]) + " channels cannot be split into " + std::to_string(groups) + " groups");
  // Opset 18 has one number a group, 21 one a channel; the length says which.
  const std::int64_t given = call.input(1).elements();
  normalize_groups(call, groups, given == groups && given != shape[1]);
}

void local_response_normalization(Call& call) {
  const Tensor in = call.input(0);
  if (in.rank() < 2) call.fail("takes tensors of rank 2 and more");
  const cpu::Channels c = cpu::channels_of(call, in.shape());
  const std::int64_t size = call.node.integer("size");
  if (size < 1) call.fail("size " + std::to_string(size) + " is not positive");
  const double alpha = static_cast<double>(call.node.real("alpha", 1e-4f)) / static_cast<double>(size);
  const double beta = static_cast<double>(call.node.real("beta", 0.75f));
  const double bias = static_cast<double>(call.node.real("bias", 1.0f));
  const std::int64_t before = (size - 1) / 2;
  const std::int64_t after = size - 1 - before;
  Tensor& out = call.output(0, in.type(), in.shape());
  const FloatInput x = in;
  const FloatOutput y = out;
  for_each(out.elements(), stream_of(call), [=] __device__(std::int64_t i) {
    const std::int64_t channel = i / c.spatial % c.channels;
    const std::int64_t first = channel < before ? -channel : -before;
    const std::int64_t room = c.channels - 1 - channel;
    const std::int64_t last = room < after ? room : after;
    double sum = 0;
    for (std::int64_t k = first; k <= last; ++k) {
      const auto value = static_cast<double>(x[i + k * c.spatial]);
      sum += value * value;
    }
    const double base = bias + alpha * sum;
    const double power = beta == 0.75 ? ::sqrt(base) * ::sqrt(::sqrt(base)) : ::pow(base, beta);
    y.set(i, static_cast<float>(static_cast<double>(x[i]) / power));
  });
}

/// What shares its moments is brought together, normalized and put back.
void mean_variance_normalization(Call& call) {
  const Tensor in = call.input(0);
  std::vector<std::int64_t> axes = call.node.integers("axes");
  if (!call.node.has("axes")) axes = {0, 2, 3};
  std::vector<bool> reduced(in.rank(), false);
  for (const std::int64_t axis : axes) reduced[cpu::axis_of(call, axis, in.rank())] = true;
  Tensor& out = call.output(0, in.type(), in.shape());
  if (in.elements() == 0) return;
  Tensor together = call.device.allocate(in.type(), in.shape());
  const Shape strides = cpu::dense_strides(in.shape());
  cpu::CopyPlan gather;
  cpu::CopyPlan scatter;
  std::int64_t stride = 1;
  std::int64_t count = 1;
  for (const bool inside : {true, false})
    for (std::size_t d = in.rank(); d-- > 0;) {
      if (reduced[d] != inside) continue;
      gather.add(in.shape()[d], strides[d], stride);
      scatter.add(in.shape()[d], stride, strides[d]);
      stride *= in.shape()[d];
      if (inside) count *= in.shape()[d];
    }
  gather.run(call.device, size_of(in.type()), in.data(), together.mutable_data());
  // The 1e-9 is the operator's own definition. An element is written by the thread that reads it last.
  normalize_rows(call, in.elements() / count,
                 NormalizeRow{together, together, {}, {}, {}, {}, count, 1e-9, Place{}, true, false, true});
  scatter.run(call.device, size_of(in.type()), together.data(), out.mutable_data());
}

struct LpRow {
  FloatInput in;
  FloatOutput out;
  std::int64_t length, inner;
  bool absolute;
  __device__ void operator()(std::int64_t row, const Team& team) const {
    const std::int64_t base = row / inner * length * inner + row % inner;
    double sum = 0;
    for (std::int64_t k = team.thread; k < length; k += team.size) {
      const auto value = static_cast<double>(in[base + k * inner]);
      sum += absolute ? (value < 0 ? -value : value) : value * value;
    }
    sum = team.sum(sum);
    const double norm = absolute ? sum : ::sqrt(sum);
    for (std::int64_t k = team.thread; k < length; k += team.size) {
      const auto value = static_cast<double>(in[base + k * inner]);
      out.set(base + k * inner, static_cast<float>(norm == 0.0 ? 0.0 : value / norm));
    }
  }
};

void lp_normalization(Call& call) {
  const Tensor in = call.input(0);
  const std::size_t axis = cpu::axis_of(call, call.node.integer("axis", -1), in.rank());
  const std::int64_t p = call.node.integer("p", 2);
  if (p != 1 && p != 2) call.fail("p is " + std::to_string(p) + ": only 1 and 2 are defined");
  const std::int64_t inner = in.shape().elements(axis + 1, in.rank());
  Tensor& out = call.output(0, in.type(), in.shape());
  for_each_row(in.shape().elements(0, axis) * inner, in.shape()[axis], stream_of(call),
               LpRow{in, out, in.shape()[axis], inner, p == 1});
}

}  // namespace

void register_normalization(OperatorTable& table) {
  const auto add = [&](std::string_view name, cpu::Function function, int first_opset = 1) {
    table.add(name, cpu::Operator{.function = function, .half = cpu::Half::native, .first_opset = first_opset});
  };
  add("BatchNormalization", cpu::checked<on_floats<batch_normalization>>, 6);
  add("GroupNormalization", cpu::checked<on_floats<group_normalization>, 3>);
  add("InstanceNormalization", cpu::checked<on_floats<instance_normalization>, 3>);
  add("LRN", cpu::checked<on_floats<local_response_normalization>>);
  add("LayerNormalization", cpu::checked<on_floats<layer_normalization>, 2>);
  add("LpNormalization", cpu::checked<on_floats<lp_normalization>>);
  add("MeanVarianceNormalization", cpu::checked<on_floats<mean_variance_normalization>>);
  add("RMSNormalization", cpu::checked<on_floats<rms_normalization>, 2>);
}

}  // namespace tare::cuda
