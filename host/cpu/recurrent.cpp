// RNN, GRU and LSTM with every attribute of ONNX. The inputs of all time steps go through one large product; a step is
// then one product with the recurrent weights (two where GRU's reset comes first) and a loop over the gates. The
// library's own cells are not used: they know neither clipping, coupled gates, other activations nor lengths. Odd:
// running backwards, every sequence starts at its own last element, so rows of one step come from different times.
#include <fmt/format.h>

#include <algorithm>

#include "cpu/dnnl_shim.hpp"
#include "cpu/recurrence.hpp"

namespace tare::cpu {
namespace {

using Sizes = Recurrence::Sizes;

/// out = in × transposed(weights), for weights of which some rows may be known before the run.
class Product {
 public:
  /// `weights` is [rows, columns]; it is a constant when `constant`.
  void prepare(Device& device, const Tensor& weights, bool constant, std::int64_t lines) {
    const std::int64_t rows = weights.shape()[0];
    const std::int64_t columns = weights.shape()[1];
    if (constant && !packed_) packed_.emplace(weights);
    constexpr int swapped[] = {1, 0};
    const dnn::Desc given = dnn::permuted({columns, rows}, swapped);
    auto program = dnn::matmul(device, dnn::plain({lines, columns}), constant ? dnn::any({columns, rows}) : given,
                               dnn::none(), dnn::plain({lines, rows}), {});
    if (!program) throw Error(ErrorKind::internal, "oneDNN has no matrix product of this shape");
    data_ = constant ? packed_->in(device, given, program->weights) : weights.data();
    launch_.emplace(*program);
  }
  void run(Device& device, const float* in, float* out) {
    launch_->set(0, in);
    launch_->set(1, data_);
    launch_->set(2, out);
    launch_->run(device);
  }

 private:
  std::optional<dnn::PackedConstant> packed_;
  std::optional<dnn::Launch> launch_;
  const void* data_ = nullptr;
};

/// A product by plain loops: float64, and inputs without features.
template <class T>
void multiply(const T* in, const T* weights, std::int64_t lines, std::int64_t rows, std::int64_t columns, T* out) {
  for (std::int64_t i = 0; i < lines; ++i)
    for (std::int64_t j = 0; j < rows; ++j) {
      T sum = 0;
      for (std::int64_t k = 0; k < columns; ++k) sum += in[i * columns + k] * weights[j * columns + k];
      out[i * rows + j] = sum;
    }
}

class RecurrentKernel final : public Kernel {
 public:
  RecurrentKernel(const Compile& compile, Cell cell)
      : node_(compile.node),
        device_(compile.device),
        recurrence_(compile.node, cell),
        products_(static_cast<std::size_t>(recurrence_.directions)) {
    const auto known = [&](std::size_t i) { return compile.constants.size() > i && compile.constants[i] != nullptr; };
    constant_ = known(1) && known(2);
  }

  void run(std::span<Tensor> inputs, std::span<Tensor> outputs) override {
    Call call{node_, device_, inputs, outputs};
    const Sizes sizes = recurrence_.check(call);
    if (inputs[0].type() == DataType::float32)
      run_as<float>(call, sizes);
    else if (inputs[0].type() == DataType::float64)
      run_as<double>(call, sizes);
    else
      call.fail(fmt::format("no recurrence over {} tensors", name_of(inputs[0].type())));
  }

 private:
  struct Products {
    Product input;
    Product recurrent;
    Product reset;  ///< GRU with the reset before the product: the rows of its last gate
  };

  /// [batch, n, …] to [n, batch, …], or back, by rows of `width` elements.
  template <class T>
  static void swap_leading(const T* in, std::int64_t first, std::int64_t second, std::int64_t width, T* out) {
    for (std::int64_t i = 0; i < first; ++i)
      for (std::int64_t j = 0; j < second; ++j)
        std::copy_n(in + (i * second + j) * width, width, out + (j * first + i) * width);
  }

  template <class T>
  Tensor state_of(const Call& call, std::size_t i, const Sizes& s) const {
    Tensor state = device_.allocate(call.input(0).type(), {recurrence_.directions, s.batch, s.hidden});
    T* values = state.mutable_data<T>();
    if (!call.has(i))
      std::fill_n(values, state.elements(), T(0));
    else if (recurrence_.batch_first)
      swap_leading(call.input(i).data<T>(), s.batch, recurrence_.directions, s.hidden, values);
    else
      std::copy_n(call.input(i).data<T>(), state.elements(), values);
    return state;
  }

  void prepare(const Call& call, const Sizes& s) {
    const bool same = prepared_steps_ == s.steps && prepared_batch_ == s.batch;
    if (same && constant_) return;
    for (std::int64_t d = 0; d < recurrence_.directions; ++d) {
      // A slice that shares the storage of the whole tensor.
      const auto rows = [&](std::size_t i, std::int64_t first, std::int64_t count) {
        const Tensor& whole = call.input(i);
        const std::int64_t columns = whole.shape()[2];
        float* data = const_cast<float*>(whole.data<float>()) + (d * s.gates + first) * columns;
        return Tensor(DataType::float32, {count, columns}, std::shared_ptr<void>(whole.storage(), data));
      };
      Products& p = products_[static_cast<std::size_t>(d)];
      p.input.prepare(device_, rows(1, 0, s.gates), constant_, s.steps * s.batch);
      p.recurrent.prepare(device_, rows(2, 0, recurrence_.splits() ? 2 * s.hidden : s.gates), constant_, s.batch);
      if (recurrence_.splits()) p.reset.prepare(device_, rows(2, 2 * s.hidden, s.hidden), constant_, s.batch);
    }
    prepared_steps_ = s.steps;
    prepared_batch_ = s.batch;
  }

  template <class T>
  void run_as(Call& call, const Sizes& s) {
    const DataType type = call.input(0).type();
    const std::vector<std::int64_t> lengths = lengths_of(call, s);
    const bool empty = s.steps * s.batch * s.hidden == 0;
    const bool library = std::is_same_v<T, float> && !empty && s.input > 0;
    if (library) prepare(call, s);

    Tensor x = call.input(0);
    if (recurrence_.batch_first) {
      x = device_.allocate(type, {s.steps, s.batch, s.input});
      swap_leading(call.input(0).data<T>(), s.batch, s.steps, s.input, x.mutable_data<T>());
    }
    Tensor hidden = state_of<T>(call, 5, s);
    Tensor cell = recurrence_.cell == Cell::lstm ? state_of<T>(call, 6, s) : Tensor();
    Tensor y;
    if (call.wants(0)) {
      y = device_.allocate(type, {s.steps, recurrence_.directions, s.batch, s.hidden});
      std::fill_n(y.mutable_data<T>(), y.elements(), T(0));
    }
    Tensor gates = device_.allocate(type, {s.steps * s.batch, s.gates});
    Tensor recurrent = device_.allocate(type, {s.batch, s.gates});
    Tensor scratch = device_.allocate(type, {2, s.batch, s.hidden});

    for (std::int64_t d = 0; d < recurrence_.directions && !empty; ++d) {
      const T* w = call.input(1).data<T>() + d * s.gates * s.input;
      const T* r = call.input(2).data<T>() + d * s.gates * s.hidden;
      Products& products = products_[static_cast<std::size_t>(d)];
      const auto product = [&](Product& fast, const T* in, const T* weights, std::int64_t lines, std::int64_t rows,
                               std::int64_t columns, T* out) {
        if constexpr (std::is_same_v<T, float>) {
          if (library) return fast.run(device_, in, out);
        }
        multiply(in, weights, lines, rows, columns, out);
      };
      product(products.input, x.data<T>(), w, s.steps * s.batch, s.gates, s.input, gates.mutable_data<T>());
      add_bias(call, s, d, gates.mutable_data<T>());

      const bool reverse = recurrence_.is_reverse(d);
      T* h = hidden.mutable_data<T>() + d * s.batch * s.hidden;
      T* c = cell.present() ? cell.mutable_data<T>() + d * s.batch * s.hidden : nullptr;
      T* rec = recurrent.mutable_data<T>();
      T* reset = scratch.mutable_data<T>();
      T* reset_product = reset + s.batch * s.hidden;
      const std::int64_t width = recurrence_.splits() ? 2 * s.hidden : s.gates;
      for (std::int64_t step = 0; step < s.steps; ++step) {
        const auto gates_row = [&](std::int64_t b) -> T* {
          const std::int64_t length = lengths[static_cast<std::size_t>(b)];
          if (step >= length) return nullptr;
          return gates.mutable_data<T>() + ((reverse ? length - 1 - step : step) * s.batch + b) * s.gates;
        };
        product(products.recurrent, h, r, s.batch, width, s.hidden, rec);
        if (recurrence_.splits()) {
          for_rows(s, [&](std::int64_t b) {
            const T* g = gates_row(b);
            if (g != nullptr)
              reset_gate(s, d, g, rec + b * width, h + b * s.hidden, reset + b * s.hidden);
            else
              std::fill_n(reset + b * s.hidden, s.hidden, T(0));
          });
          product(products.reset, reset, r + 2 * s.hidden * s.hidden, s.batch, s.hidden, s.hidden, reset_product);
        }
        for_rows(s, [&](std::int64_t b) {
          T* g = gates_row(b);
          if (g == nullptr) return;
          T* state = h + b * s.hidden;
          if (recurrence_.cell == Cell::lstm)
            lstm_row(call, s, d, g, rec + b * width, state, c + b * s.hidden);
          else if (recurrence_.cell == Cell::gru)
            gru_row(call, s, d, g, rec + b * width, reset_product + b * s.hidden, state);
          else
            rnn_row(s, d, g, rec + b * width, state);
          if (y.present()) {
            const std::int64_t length = lengths[static_cast<std::size_t>(b)];
            const std::int64_t t = reverse ? length - 1 - step : step;
            std::copy_n(state, s.hidden,
                        y.mutable_data<T>() + ((t * recurrence_.directions + d) * s.batch + b) * s.hidden);
          }
        });
      }
    }
    give<T>(call, s, y, hidden, cell);
  }

  template <class T>
  void give(Call& call, const Sizes& s, const Tensor& y, const Tensor& hidden, const Tensor& cell) {
    const auto state = [&](std::size_t o, const Tensor& value) {
      if (!call.wants(o)) return;
      if (!recurrence_.batch_first) {
        call.outputs[o] = value;
        return;
      }
      Tensor& out = call.output(o, value.type(), {s.batch, recurrence_.directions, s.hidden});
      swap_leading(value.data<T>(), recurrence_.directions, s.batch, s.hidden, out.mutable_data<T>());
    };
    if (call.wants(0) && !recurrence_.batch_first) {
      call.outputs[0] = y;
    } else if (call.wants(0)) {  // [steps, directions, batch, hidden] to [batch, steps, directions, hidden]
      Tensor& out = call.output(0, y.type(), {s.batch, s.steps, recurrence_.directions, s.hidden});
      swap_leading(y.data<T>(), s.steps * recurrence_.directions, s.batch, s.hidden, out.mutable_data<T>());
    }
    state(1, hidden);
    if (recurrence_.cell == Cell::lstm) state(2, cell);
  }

  template <class Body>
  void for_rows(const Sizes& s, Body&& body) const {
    device_.parallel(s.batch, std::max<std::int64_t>(1, 1024 / s.gates), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = begin; b < end; ++b) body(b);
    });
  }

  template <class T>
  void add_bias(const Call& call, const Sizes& s, std::int64_t d, T* gates) const {
    if (!call.has(3)) return;
    const T* bias = call.input(3).data<T>() + d * 2 * s.gates;
    std::vector<T> sum(bias, bias + s.gates);
    for (std::int64_t j = 0; j < recurrence_.summed_biases(s); ++j)
      sum[static_cast<std::size_t>(j)] += bias[s.gates + j];
    device_.parallel(s.steps * s.batch, std::max<std::int64_t>(1, 8192 / s.gates),
                     [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t i = begin; i < end; ++i)
                         for (std::int64_t j = 0; j < s.gates; ++j)
                           gates[i * s.gates + j] += sum[static_cast<std::size_t>(j)];
                     });
  }

  /// values = f(clipped(values)), all in place.
  template <class T>
  void activate(std::int64_t d, std::size_t which, T* values, std::int64_t n) const {
    const T limit = static_cast<T>(recurrence_.clip);
    if (limit > 0)
      for (std::int64_t j = 0; j < n; ++j) values[j] = std::min(std::max(values[j], -limit), limit);
    recurrence_.activation(d, which).apply(device_.vector(), std::span<T>(values, static_cast<std::size_t>(n)));
  }

  // Rows of one step and one element of the batch. `g`: its gates, which are used up.

  template <class T>
  void rnn_row(const Sizes& s, std::int64_t d, const T* g, const T* rec, T* h) const {
    for (std::int64_t j = 0; j < s.hidden; ++j) h[j] = g[j] + rec[j];
    activate(d, 0, h, s.hidden);
  }

  template <class T>
  void reset_gate(const Sizes& s, std::int64_t d, const T* g, const T* rec, const T* h, T* out) const {
    const std::int64_t n = s.hidden;
    for (std::int64_t j = 0; j < n; ++j) out[j] = g[n + j] + rec[n + j];
    activate(d, 0, out, n);
    for (std::int64_t j = 0; j < n; ++j) out[j] *= h[j];
  }

  template <class T>
  void gru_row(const Call& call, const Sizes& s, std::int64_t d, T* g, const T* rec, const T* reset_product,
               T* h) const {
    const std::int64_t n = s.hidden;
    T* update = g;
    T* reset = g + n;
    T* candidate = g + 2 * n;
    for (std::int64_t j = 0; j < n; ++j) update[j] += rec[j];
    activate(d, 0, update, n);
    if (recurrence_.reset_after) {
      for (std::int64_t j = 0; j < n; ++j) reset[j] += rec[n + j];
      activate(d, 0, reset, n);
      const T* late_bias = call.has(3) ? call.input(3).data<T>() + d * 2 * s.gates + s.gates + 2 * n : nullptr;
      for (std::int64_t j = 0; j < n; ++j)
        candidate[j] += reset[j] * (rec[2 * n + j] + (late_bias != nullptr ? late_bias[j] : T(0)));
    } else {
      for (std::int64_t j = 0; j < n; ++j) candidate[j] += reset_product[j];
    }
    activate(d, 1, candidate, n);
    for (std::int64_t j = 0; j < n; ++j) h[j] = (1 - update[j]) * candidate[j] + update[j] * h[j];
  }

  template <class T>
  void lstm_row(const Call& call, const Sizes& s, std::int64_t d, T* g, const T* rec, T* h, T* c) const {
    const std::int64_t n = s.hidden;
    T* in = g;
    T* out = g + n;
    T* forget = g + 2 * n;
    T* candidate = g + 3 * n;
    const T* peephole = call.has(7) ? call.input(7).data<T>() + d * 3 * n : nullptr;
    const auto peek = [&](T* gate) {
      if (peephole == nullptr) return;
      for (std::int64_t j = 0; j < n; ++j) gate[j] += peephole[gate - g + j] * c[j];
    };
    for (std::int64_t j = 0; j < 4 * n; ++j) g[j] += rec[j];
    peek(in);
    activate(d, 0, in, n);
    if (recurrence_.coupled) {
      for (std::int64_t j = 0; j < n; ++j) forget[j] = 1 - in[j];
    } else {
      peek(forget);
      activate(d, 0, forget, n);
    }
    activate(d, 1, candidate, n);
    for (std::int64_t j = 0; j < n; ++j) c[j] = forget[j] * c[j] + in[j] * candidate[j];
    peek(out);
    activate(d, 0, out, n);
    std::copy_n(c, n, h);
    recurrence_.activation(d, 2).apply(device_.vector(), std::span<T>(h, static_cast<std::size_t>(n)));
    for (std::int64_t j = 0; j < n; ++j) h[j] *= out[j];
  }

  const Node& node_;
  Device& device_;
  const Recurrence recurrence_;
  bool constant_ = false;
  std::vector<Products> products_;
  std::int64_t prepared_steps_ = -1;
  std::int64_t prepared_batch_ = -1;
};

template <Cell cell>
std::unique_ptr<Kernel> make_recurrent(const Compile& compile) {
  return std::make_unique<RecurrentKernel>(compile, cell);
}

}  // namespace

void register_recurrent(OperatorTable& table) {
  table.add("RNN", Operator{.factory = make_recurrent<Cell::rnn>, .first_opset = 7});
  table.add("GRU", Operator{.factory = make_recurrent<Cell::gru>, .first_opset = 7});
  table.add("LSTM", Operator{.factory = make_recurrent<Cell::lstm>, .first_opset = 7});
}

}  // namespace tare::cpu
