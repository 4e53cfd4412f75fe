// The CUDA backend. A node runs on the device when a tensor that it computes with lies there; otherwise all it has are
// shapes, indices and the like, and it runs on the host. Its float results go to the device either way, so that
// "floats are on the device" holds everywhere. Odd: nodes whose inputs are all constant run on the host, too: folding
// then gives the bits of the CPU backend.
#include "tare/backend.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "chain_kernel.hpp"
#include "cpu/gradient.hpp"
#include "gradient.hpp"
#include "operators.hpp"
#include "plan/simplify.hpp"
#include "quantize.hpp"
#include "repeater.hpp"
#include "tare/cuda.hpp"

namespace tare::cuda {

std::unique_ptr<Observer> make_observer(Device& device, Backend& host, ObserverKind kind, std::size_t sites);

namespace {

bool has(std::uint32_t bits, std::size_t input) { return (bits >> std::min<std::size_t>(input, 31) & 1u) != 0; }

class FunctionKernel final : public Kernel {
 public:
  FunctionKernel(const Node& node, Device& device, cpu::Function function)
      : node_(node), device_(device), function_(function) {}
  void run(std::span<Tensor> inputs, std::span<Tensor> outputs) override {
    Call call{node_, device_, inputs, outputs};
    function_(call);
  }

 private:
  const Node& node_;
  Device& device_;
  cpu::Function function_;
};

/// One node in its two forms, and the choice between them.
class PlacedKernel final : public Kernel {
 public:
  PlacedKernel(const Graph& graph, const Node& node, Device& device, Backend& host, bool fallback,
               std::span<const Tensor* const> constants)
      : graph_(graph), node_(node), device_(device), host_(host), fallback_(fallback) {
    const bool all_known =
        std::all_of(constants.begin(), constants.end(), [](const Tensor* t) { return t != nullptr; });
    op_ = all_known || belongs_to_host(node) ? nullptr : operator_table().find(node);
    host_only_ = all_known || belongs_to_host(node);
    stays_the_same_ = all_known && !is_random(node);
    // A constant that is read on the host is brought there once.
    known_.resize(constants.size());
    for (std::size_t i = 0; i < constants.size(); ++i)
      if (constants[i] != nullptr && !all_known && (op_ == nullptr || has(op_->places.host, i)))
        known_[i] = device.download(*constants[i]);
    if (op_ != nullptr)
      kernel_ = op_->op.factory != nullptr ? op_->op.factory(cpu::Compile{graph, node, device, constants})
                                           : std::make_unique<FunctionKernel>(node, device, op_->op.function);
  }

  void run(std::span<Tensor> inputs, std::span<Tensor> outputs) override {
    const CurrentDevice current(device_.index());
    if (!results_.empty()) {
      std::copy(results_.begin(), results_.end(), outputs.begin());
      return;
    }
    if (computes_on_device(inputs))
      run_on_device(inputs, outputs);
    else
      run_on_host(inputs, outputs);
    for (Tensor& output : outputs)
      if (is_quantizable(output.type())) output = device_.upload(output);
    // A recording's memory is its own.
    if (stays_the_same_ && device_.memory()->recording() == nullptr) results_.assign(outputs.begin(), outputs.end());
  }

 private:
  bool computes_on_device(std::span<const Tensor> inputs) const {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!is_on_device(inputs[i])) continue;
      if (op_ == nullptr) {
        if (host_only_ || !is_quantizable(inputs[i].type())) continue;
        if (!fallback_)
          throw Error(ErrorKind::unsupported,
                      fmt::format("{}: no CUDA kernel; --fallback cpu runs it on the host", node_.label()));
        continue;
      }
      if (has(op_->places.device, i) || (is_quantizable(inputs[i].type()) && !has(op_->places.host, i))) return true;
    }
    return false;
  }

  void run_on_device(std::span<Tensor> inputs, std::span<Tensor> outputs) {
    DataType half = DataType::undefined;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      Tensor& input = inputs[i];
      if (!input.present()) continue;
      if (holds_objects(input.type())) {
        if (op_->op.objects) continue;
        throw Error(ErrorKind::data,
                    fmt::format("{}: does not take an input of type {}", node_.label(), name_of(input.type())));
      }
      if (has(op_->places.host, i)) {
        input = on_host(i, input);
        if (op_->op.half == cpu::Half::widen) input = widen_on_host(input);
        continue;
      }
      const bool floating = is_quantizable(input.type());
      input = floating || has(op_->places.device, i) ? device_.upload(input) : device_.download(input);
      if (floating && op_->op.half == cpu::Half::widen && input.type() != DataType::float32) {
        half = input.type();
        input = widen(device_, input);
      }
    }
    kernel_->run(inputs, outputs);
    if (half == DataType::undefined) return;
    for (Tensor& output : outputs)
      if (output.type() == DataType::float32) output = narrow(device_, device_.upload(output), half);
  }

  Tensor on_host(std::size_t i, const Tensor& input) const {
    return i < known_.size() && known_[i].present() ? known_[i] : device_.download(input);
  }

  void run_on_host(std::span<Tensor> inputs, std::span<Tensor> outputs) {
    if (host_kernel_ == nullptr) {
      const std::vector<const Tensor*> unknown(node_.inputs.size(), nullptr);
      host_kernel_ = host_.compile(graph_, node_, unknown);
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i] = on_host(i, inputs[i]);
    host_kernel_->run(inputs, outputs);
    for (Tensor& output : outputs)
      if (output.layout() != Layout::plain) output = host_.to_plain(output);
  }

  const Graph& graph_;
  const Node& node_;
  Device& device_;
  Backend& host_;
  bool fallback_;
  bool host_only_ = false;
  bool stays_the_same_ = false;
  std::vector<Tensor> results_;  ///< of constants alone, once they are computed: in an observed graph some have sites
  const Operator* op_ = nullptr;
  std::unique_ptr<Kernel> kernel_;
  std::unique_ptr<Kernel> host_kernel_;
  std::vector<Tensor> known_;
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const CudaOptions& options)
      : device_(options),
        host_(make_cpu_backend(options.host)),
        fallback_(options.fallback_to_cpu),
        graphs_(options.graphs) {}

  bool is_on_host(const Tensor& tensor) const override { return !is_on_device(tensor); }
  std::string name() const override { return fmt::format("cuda:{}", device_.index()); }

  Tensor allocate(DataType type, const Shape& shape, Layout layout) override {
    const CurrentDevice current(device_.index());
    return device_.allocate(type, shape, layout);
  }
  Tensor upload(const Tensor& host) override {
    const Tensor plain = host_->to_plain(host);
    if (!is_quantizable(plain.type())) return plain;
    const CurrentDevice current(device_.index());
    return device_.upload_beside(plain);
  }
  Tensor download(const Tensor& tensor) override {
    const CurrentDevice current(device_.index());
    return host_->to_plain(device_.download(tensor));
  }
  Tensor to_plain(const Tensor& tensor) override {
    return tensor.layout() == Layout::plain ? tensor : upload(host_->to_plain(device_.download(tensor)));
  }

  std::string unsupported(const Graph& graph, const Node& node) const override {
    const std::string host = host_->unsupported(graph, node);
    if (!host.empty() || !lacks_kernel(graph, node) || fallback_) return host;
    return "no CUDA kernel; --fallback cpu runs it on the host";
  }
  std::string fallback(const Graph& graph, const Node& node) const override {
    return lacks_kernel(graph, node) ? "cpu" : "";
  }

  std::unique_ptr<Kernel> compile(const Graph& graph, const Node& node,
                                  std::span<const Tensor* const> constants) override {
    const CurrentDevice current(device_.index());
    if (const std::string reason = unsupported(graph, node); !reason.empty())
      throw Error(ErrorKind::unsupported, fmt::format("{}: {}", node.label(), reason));
    if (is_chain(node))
      return make_chain(node, device_, [this](const Graph& steps, const Node& step, const auto& known) {
        return compile(steps, step, known);
      });
    return std::make_unique<PlacedKernel>(graph, node, device_, *host_, fallback_, constants);
  }

  Tensor quantize_dequantize(Tensor tensor, const TensorEncodings& encodings, Rounding rounding) override {
    const CurrentDevice current(device_.index());
    tensor = device_.upload(tensor);
    QuantizerPlan plan = plan_quantizer(tensor.shape(), tensor.layout(), encodings, rounding);
    const Tensor grids = upload_grids(plan);
    Tensor result = tensor.unique() ? tensor : device_.allocate(tensor.type(), tensor.shape(), tensor.layout());
    quantize_checked(encodings.tensor, tensor.data(), result.mutable_data(), tensor.type(), plan.map, device_.stream());
    return result;
  }

  QuantizeGradient quantize_gradient(const Tensor& input, const Tensor& gradient, const TensorEncodings& encodings,
                                     Rounding rounding) override {
    const CurrentDevice current(device_.index());
    cpu::check_gradient(input, gradient, encodings);
    QuantizerPlan plan = plan_quantizer(input.shape(), input.layout(), encodings, rounding);
    const Tensor grids = upload_grids(plan);
    return cuda::quantize_gradient(device_, device_.upload(input), device_.upload(gradient), plan.map);
  }

  std::unique_ptr<Observer> make_observer(ObserverKind kind, std::size_t sites) override {
    const CurrentDevice current(device_.index());
    return cuda::make_observer(device_, *host_, kind, sites);
  }

  bool joins(DataType type) const override { return is_quantizable(type); }
  bool chains_take_taps() const override { return true; }
  bool chains_broadcast() const override { return true; }
  bool chains_take_rows() const override { return true; }

  std::vector<Encoding> find_encodings(std::span<const SearchRequest> requests, const SearchOptions& options,
                                       int) override {
    const CurrentDevice current(device_.index());
    return cuda::find_encodings(requests, options, device_.stream().get(), device_.allocator());
  }

  std::unique_ptr<Repeater> make_repeater() override {
    return graphs_ ? cuda::make_repeater(device_, *host_, graph_use_) : nullptr;
  }
  const GraphUse& graph_use() const { return graph_use_; }
  StreamView stream() const { return device_.stream(); }
  int device() const { return device_.index(); }

  void synchronize() override {
    device_.refuse_recording("the host waits for the device");
    device_.stream().synchronize();
  }
  void trim() override {
    const CurrentDevice current(device_.index());
    device_.release_unused();
    host_->trim();
  }

 private:
  /// Where there are several; the map points to them.
  Tensor upload_grids(QuantizerPlan& plan) const {
    if (plan.grids.size() <= 1) return {};
    const auto bytes = std::as_bytes(std::span(plan.grids));
    Tensor grids = device_.upload_to<std::uint8_t>({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
    plan.map.grids = grids.data<PackedGrid>();
    return grids;
  }

  /// Floats would meet an operator that has no kernel. Values of unknown type are left to the run.
  bool lacks_kernel(const Graph& graph, const Node& node) const {
    if (node.has("post_ops")) return true;  // they are the host's; here activations are chains
    if (operator_table().find(node) != nullptr || is_chain(node) || belongs_to_host(node)) return false;
    bool constant = true;
    bool floating = false;
    for (const ValueId input : node.inputs) {
      if (input == absent) continue;
      constant = constant && graph.constant(input) != nullptr;
      floating = floating || is_quantizable(graph.value(input).type);
    }
    return floating && !constant;
  }

  Device device_;
  std::unique_ptr<Backend> host_;
  bool fallback_;
  bool graphs_;
  GraphUse graph_use_;
};

}  // namespace
}  // namespace tare::cuda

namespace tare::cuda {

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  return std::make_unique<CudaBackend>(options);
}

namespace {

const CudaBackend& own(const Backend& backend) {
  if (const auto* cuda = dynamic_cast<const CudaBackend*>(&backend)) return *cuda;
  throw Error(ErrorKind::usage, fmt::format("{} is no CUDA backend", backend.name()));
}

/// What is queued on `later` from now on waits for what was queued on `earlier`.
void order(StreamView earlier, StreamView later) {
  Event event;
  event.record(earlier);
  event.hold_back(later);
}

}  // namespace

GraphUse graph_use(const Backend& backend) { return own(backend).graph_use(); }

void wait_for_stream(Backend& backend, Stream stream) {
  const CurrentDevice current(own(backend).device());
  order(StreamView(stream), own(backend).stream());
}
void wait_for_backend(Stream stream, Backend& backend) {
  const CurrentDevice current(own(backend).device());
  order(own(backend).stream(), StreamView(stream));
}

}  // namespace tare::cuda
