// RNN, GRU and LSTM with every attribute of ONNX, as host/cpu/recurrent.cpp has them: the inputs of all time steps go
// through one large product; a step is then one product with the recurrent weights (two where GRU's reset comes first)
// and one launch over the gates. Odd: running backwards, every sequence starts at its own last element.
#include "cpu/recurrence.hpp"
#include "cpu/strided_copy.hpp"
#include "launch.hpp"
#include "operators.hpp"
#include "tare/elementary.hpp"

namespace tare::cuda {
namespace {

using cpu::Cell;
using Sizes = cpu::Recurrence::Sizes;

TARE_HD float activate(const cpu::Activation& f, float x) {
  using Kind = cpu::Activation::Kind;
  const auto a = static_cast<float>(f.alpha);
  const auto b = static_cast<float>(f.beta);
  switch (f.kind) {
    case Kind::relu: return elementary::relu(x);
    case Kind::tanh: return elementary::tanh(x);
    case Kind::sigmoid: return elementary::sigmoid(x);
    case Kind::affine: return a * x + b;
    case Kind::leaky_relu: return elementary::leaky_relu(x, a);
    case Kind::thresholded_relu: return x >= a ? x : 0.0f;
    case Kind::scaled_tanh: return a * elementary::tanh(b * x);
    case Kind::hard_sigmoid: return elementary::hard_sigmoid(x, a, b);
    case Kind::elu: return elementary::elu(x, a);
    case Kind::softsign: return elementary::softsign(x);
    case Kind::softplus: return elementary::softplus(x);
  }
  return x;
}

/// One step of one direction; element (b, j) of batch and hidden unit a call.
struct Step {
  Cell cell;
  bool coupled, reset_after, reverse;
  float clip;
  cpu::Activation activations[3];
  std::int64_t step, batch, hidden, gates, directions, direction;
  const std::int64_t* lengths;
  const float* inputs;         ///< [steps, batch, gates]
  const float* recurrent;      ///< [batch, width]
  std::int64_t width;          ///< of `recurrent`
  const float* reset_product;  ///< GRU with the reset before the product
  const float* late_bias;      ///< of GRU's last recurrent product; may be null
  const float* peephole;       ///< may be null
  float* h;
  float* c;
  float* y;  ///< may be null

  TARE_HD float clipped(float x) const { return clip > 0 ? elementary::clip(x, -clip, clip) : x; }
  TARE_HD std::int64_t time_of(std::int64_t b) const { return reverse ? lengths[b] - 1 - step : step; }

  __device__ void operator()(std::int64_t i) const {
    const std::int64_t b = i / hidden;
    const std::int64_t j = i % hidden;
    if (step >= lengths[b]) return;
    const std::int64_t time = time_of(b);
    const float* g = inputs + (time * batch + b) * gates;
    const float* r = recurrent + b * width;
    float& state = h[i];
    if (cell == Cell::lstm) {
      const auto gate = [&](std::int64_t which) { return g[which * hidden + j] + r[which * hidden + j]; };
      const auto peek = [&](std::int64_t which, float x) {
        return peephole != nullptr ? peephole[which * hidden + j] * x : 0.0f;
      };
      float& memory = c[i];
      const float in = activate(activations[0], clipped(gate(0) + peek(0, memory)));
      const float forget = coupled ? 1.0f - in : activate(activations[0], clipped(gate(2) + peek(2, memory)));
      const float candidate = activate(activations[1], clipped(gate(3)));
      memory = forget * memory + in * candidate;
      const float out = activate(activations[0], clipped(gate(1) + peek(1, memory)));
      state = out * activate(activations[2], memory);
    } else if (cell == Cell::gru) {
      const float z = activate(activations[0], clipped(g[j] + r[j]));
      float candidate;
      if (reset_after) {
        const float reset = activate(activations[0], clipped(g[hidden + j] + r[hidden + j]));
        candidate = g[2 * hidden + j] + reset * (r[2 * hidden + j] + (late_bias != nullptr ? late_bias[j] : 0.0f));
      } else {
        candidate = g[2 * hidden + j] + reset_product[i];
      }
      state = (1.0f - z) * activate(activations[1], clipped(candidate)) + z * state;
    } else {
      state = activate(activations[0], clipped(g[j] + r[j]));
    }
    if (y != nullptr) y[((time * directions + direction) * batch + b) * hidden + j] = state;
  }
};

/// GRU with the reset first: what its last product reads.
struct Reset {
  Step step;
  float* out;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t b = i / step.hidden;
    const std::int64_t j = i % step.hidden;
    if (step.step >= step.lengths[b]) {
      out[i] = 0.0f;
      return;
    }
    const float gate = step.inputs[(step.time_of(b) * step.batch + b) * step.gates + step.hidden + j] +
                       step.recurrent[b * step.width + step.hidden + j];
    out[i] = activate(step.activations[0], step.clipped(gate)) * step.h[i];
  }
};

/// [first, second, width] to [second, first, width].
void swap_leading(const Call& call, const Tensor& in, std::int64_t first, std::int64_t second, std::int64_t width,
                  Tensor& out) {
  cpu::CopyPlan plan;
  plan.add(second, width, first * width);
  plan.add(first, second * width, width);
  plan.add(width, 1, 1);
  plan.run(call.device, sizeof(float), in.data(), out.mutable_data());
}

Tensor zeros(const Call& call, const Shape& shape) {
  Tensor tensor = call.device.allocate(DataType::float32, shape);
  const float zero = 0;
  if (tensor.elements() > 0) cpu::fill(call.device, sizeof zero, &zero, tensor.mutable_data(), tensor.elements());
  return tensor;
}

Tensor state_of(const Call& call, std::size_t i, const Sizes& s, std::int64_t directions, bool batch_first) {
  const Shape shape{directions, s.batch, s.hidden};
  if (!call.has(i)) return zeros(call, shape);
  Tensor state = call.device.allocate(DataType::float32, shape);
  if (batch_first) {
    swap_leading(call, call.input(i), s.batch, directions, s.hidden, state);
  } else {
    cpu::CopyPlan plan;
    plan.add(state.elements(), 1, 1);
    plan.run(call.device, sizeof(float), call.input(i).data(), state.mutable_data());
  }
  return state;
}

/// As Recurrence::summed_biases has it.
void add_bias(const Call& call, const float* bias, std::int64_t rows, std::int64_t gates, std::int64_t summed,
              float* values) {
  for_each(rows * gates, stream_of(call), [=] __device__(std::int64_t i) {
    const std::int64_t j = i % gates;
    values[i] += j < summed ? bias[j] + bias[gates + j] : bias[j];
  });
}

void multiply(const Call& call, const float* in, const float* weights, std::int64_t rows, std::int64_t columns,
              std::int64_t inner, float* out) {
  Product product;
  product.rows = rows;
  product.columns = columns;
  product.inner = inner;
  product.transpose_b = true;
  device_of(call).products().multiply(product, in, weights, out);
}

template <Cell cell>
void recurrent(Call& call) {
  const cpu::Recurrence recurrence(call.node, cell);
  const std::int64_t directions = recurrence.directions;
  const bool batch_first = recurrence.batch_first;
  const Sizes s = recurrence.check(call);
  if (call.input(0).type() != DataType::float32) cpu::fail_type(call, call.input(0).type());
  const std::vector<std::int64_t> lengths = cpu::lengths_of(call, s);
  const Tensor length_list = device_of(call).upload_to<std::int64_t>(lengths);
  const bool empty = s.steps * s.batch * s.hidden == 0;

  Tensor x = call.input(0);
  if (batch_first && !empty) {
    Tensor by_step = call.device.allocate(DataType::float32, {s.steps, s.batch, s.input});
    swap_leading(call, x, s.batch, s.steps, s.input, by_step);
    x = std::move(by_step);
  }
  Tensor hidden = state_of(call, 5, s, directions, batch_first);
  Tensor memory = cell == Cell::lstm ? state_of(call, 6, s, directions, batch_first) : Tensor();
  Tensor y = call.wants(0) ? zeros(call, {s.steps, directions, s.batch, s.hidden}) : Tensor();
  Tensor gates = zeros(call, {s.steps * s.batch, s.gates});
  Tensor products = call.device.allocate(DataType::float32, {s.batch, s.gates});
  Tensor scratch = call.device.allocate(DataType::float32, {2, s.batch, s.hidden});

  Step step{};
  step.cell = cell;
  step.coupled = recurrence.coupled;
  step.reset_after = recurrence.reset_after;
  step.clip = recurrence.clip;
  step.batch = s.batch;
  step.hidden = s.hidden;
  step.gates = s.gates;
  step.directions = directions;
  step.lengths = length_list.data<std::int64_t>();
  step.inputs = gates.data<float>();
  step.recurrent = products.data<float>();
  step.y = y.mutable_data<float>();
  const bool split = recurrence.splits();
  step.width = split ? 2 * s.hidden : s.gates;
  const std::int64_t units = s.batch * s.hidden;
  float* reset = scratch.mutable_data<float>();
  float* reset_product = reset + units;
  step.reset_product = reset_product;

  for (std::int64_t d = 0; d < directions && !empty; ++d) {
    const float* w = call.input(1).data<float>() + d * s.gates * s.input;
    const float* r = call.input(2).data<float>() + d * s.gates * s.hidden;
    const float* bias = call.has(3) ? call.input(3).data<float>() + d * 2 * s.gates : nullptr;
    if (s.input > 0)
      multiply(call, x.data<float>(), w, s.steps * s.batch, s.gates, s.input, gates.mutable_data<float>());
    if (bias != nullptr)
      add_bias(call, bias, s.steps * s.batch, s.gates, recurrence.summed_biases(s), gates.mutable_data<float>());
    step.direction = d;
    step.reverse = recurrence.is_reverse(d);
    step.late_bias = bias != nullptr && cell == Cell::gru && !split ? bias + s.gates + 2 * s.hidden : nullptr;
    step.peephole = cell == Cell::lstm && call.has(7) ? call.input(7).data<float>() + d * 3 * s.hidden : nullptr;
    step.h = hidden.mutable_data<float>() + d * units;
    step.c = memory.present() ? memory.mutable_data<float>() + d * units : nullptr;
    std::copy_n(&recurrence.activation(d, 0), recurrence.per_direction, step.activations);
    for (step.step = 0; step.step < s.steps; ++step.step) {
      multiply(call, step.h, r, s.batch, step.width, s.hidden, products.mutable_data<float>());
      if (split) {
        for_each(units, stream_of(call), Reset{step, reset});
        multiply(call, reset, r + 2 * s.hidden * s.hidden, s.batch, s.hidden, s.hidden, reset_product);
      }
      for_each(units, stream_of(call), step);
    }
  }

  if (call.wants(0) && batch_first) {
    Tensor& out = call.output(0, DataType::float32, {s.batch, s.steps, directions, s.hidden});
    swap_leading(call, y, s.steps * directions, s.batch, s.hidden, out);
  } else if (call.wants(0)) {
    call.outputs[0] = y;
  }
  const auto give = [&](std::size_t o, const Tensor& state) {
    if (!call.wants(o)) return;
    if (!batch_first) {
      call.outputs[o] = state;
      return;
    }
    Tensor& out = call.output(o, DataType::float32, {s.batch, directions, s.hidden});
    swap_leading(call, state, directions, s.batch, s.hidden, out);
  };
  give(1, hidden);
  if (cell == Cell::lstm) give(2, memory);
}

}  // namespace

void register_recurrent(OperatorTable& table) {
  const auto add = [&](std::string_view name, cpu::Function function) {
    table.add(name, cpu::Operator{.function = function, .first_opset = 7});
  };
  add("GRU", recurrent<Cell::gru>);
  add("LSTM", recurrent<Cell::lstm>);
  add("RNN", recurrent<Cell::rnn>);
}

}  // namespace tare::cuda
