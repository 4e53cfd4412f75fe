// The CPU backend: makes nodes ready, widens half types around operators that compute in float32, converts layouts.
#include <fmt/format.h>

#include <dnnl.hpp>

#include "cpu/gradient.hpp"
#include "cpu/operators.hpp"
#include "cpu/quantize.hpp"
#include "cpu/vector.hpp"
#include "tare/backend.hpp"

namespace tare::cpu {
namespace {

bool is_half(DataType type) { return type == DataType::float16 || type == DataType::bfloat16; }

Tensor widen(Device& device, const Tensor& half) {
  Tensor wide = device.allocate(DataType::float32, half.shape(), half.layout());
  const auto convert =
      half.type() == DataType::float16 ? device.vector().widen_float16 : device.vector().widen_bfloat16;
  device.parallel(half.elements(), 16384, [&](std::int64_t begin, std::int64_t end) {
    convert(half.data<std::uint16_t>() + begin, wide.mutable_data<float>() + begin,
            static_cast<std::size_t>(end - begin));
  });
  return wide;
}

class FunctionKernel final : public Kernel {
 public:
  FunctionKernel(const Node& node, Device& device, const Operator& op) : node_(node), device_(device), op_(op) {}
  void run(std::span<Tensor> inputs, std::span<Tensor> outputs) override {
    Call call{node_, device_, inputs, outputs};
    op_.function(call);
  }
  bool accepts_channels_last() const override { return op_.channels_last; }

 private:
  const Node& node_;
  Device& device_;
  const Operator& op_;
};

/// The kernel itself, without what is around it.
std::unique_ptr<Kernel> make_bare(const Operator& op, const Compile& compile) {
  if (op.factory != nullptr) return op.factory(compile);
  return std::make_unique<FunctionKernel>(compile.node, compile.device, op);
}

/// Runs a float32 kernel on half tensors: what a half input's type is, the float32 outputs become, but for those that
/// the model knows to be float32, such as the statistics of a LayerNormalization. Constants are widened once.
class WideningKernel final : public Kernel {
 public:
  WideningKernel(const Operator& op, const Compile& compile) : device_(compile.device) {
    std::vector<const Tensor*> constants(compile.constants.begin(), compile.constants.end());
    constants_.resize(constants.size());
    for (std::size_t i = 0; i < constants.size(); ++i) {
      if (constants[i] == nullptr || !is_half(constants[i]->type())) continue;
      constants_[i] = widen(device_, *constants[i]);
      constants[i] = &constants_[i];
    }
    inner_ = make_bare(op, Compile{compile.graph, compile.node, device_, constants});
    for (const ValueId output : compile.node.outputs)
      stays_float_.push_back(output != absent && compile.graph.value(output).type == DataType::float32);
  }
  void run(std::span<Tensor> inputs, std::span<Tensor> outputs) override {
    DataType half = DataType::undefined;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!is_half(inputs[i].type())) continue;
      half = inputs[i].type();
      inputs[i] = i < constants_.size() && constants_[i].present() ? constants_[i] : widen(device_, inputs[i]);
    }
    inner_->run(inputs, outputs);
    if (half == DataType::undefined) return;
    for (std::size_t i = 0; i < outputs.size(); ++i)
      if (outputs[i].type() == DataType::float32 && !stays_float_[i]) outputs[i] = narrow(device_, outputs[i], half);
  }
  bool accepts_channels_last() const override { return inner_->accepts_channels_last(); }

 private:
  Device& device_;
  std::vector<Tensor> constants_;  ///< by input; absent where it is no half constant
  std::unique_ptr<Kernel> inner_;
  std::vector<bool> stays_float_;  ///< by output
};

/// Keeps strings, sequences and missing optional values from kernels that know numbers only.
class NumbersOnly final : public Kernel {
 public:
  NumbersOnly(const Node& node, std::unique_ptr<Kernel> inner) : node_(node), inner_(std::move(inner)) {}
  void run(std::span<Tensor> inputs, std::span<Tensor> outputs) override {
    for (const Tensor& input : inputs)
      if (holds_objects(input.type()))
        throw Error(ErrorKind::data,
                    fmt::format("{}: does not take an input of type {}", node_.label(), name_of(input.type())));
    inner_->run(inputs, outputs);
  }
  bool accepts_channels_last() const override { return inner_->accepts_channels_last(); }

 private:
  const Node& node_;
  std::unique_ptr<Kernel> inner_;
};

}  // namespace

Tensor narrow(Device& device, const Tensor& wide, DataType type) {
  Tensor half = device.allocate(type, wide.shape(), wide.layout());
  const auto convert = type == DataType::float16 ? device.vector().narrow_float16 : device.vector().narrow_bfloat16;
  device.parallel(wide.elements(), 16384, [&](std::int64_t begin, std::int64_t end) {
    convert(wide.data<float>() + begin, half.mutable_data<std::uint16_t>() + begin,
            static_cast<std::size_t>(end - begin));
  });
  return half;
}

std::unique_ptr<Kernel> make_kernel(const Compile& compile) {
  const Node& node = compile.node;
  const Operator* op = operator_table().find(node);
  if (op == nullptr) throw Error(ErrorKind::unsupported, fmt::format("{}: no such operator", node.label()));
  std::unique_ptr<Kernel> kernel =
      op->half == Half::widen ? std::make_unique<WideningKernel>(*op, compile) : make_bare(*op, compile);
  if (!op->objects) kernel = std::make_unique<NumbersOnly>(node, std::move(kernel));
  return kernel;
}

namespace {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options) : options_(options), device_(options) {}

  std::string name() const override { return "cpu"; }
  Tensor allocate(DataType type, const Shape& shape, Layout layout) override {
    return device_.allocate(type, shape, layout);
  }
  Tensor upload(const Tensor& host) override { return host; }
  Tensor download(const Tensor& tensor) override { return to_plain(tensor); }

  Tensor to_plain(const Tensor& tensor) override {
    if (tensor.layout() == Layout::plain) return tensor;
    Tensor plain = device_.allocate(tensor.type(), tensor.shape());
    const std::int64_t batch = tensor.shape()[0];
    const std::int64_t channels = tensor.shape()[1];
    const std::int64_t spatial = tensor.shape().elements(2, tensor.rank());
    const auto convert = [&]<class T>() {
      const T* in = tensor.data<T>();
      T* out = plain.mutable_data<T>();
      // Tiles of 16 pixels keep both the reads and the writes on few cache lines.
      constexpr std::int64_t tile = 16;
      const std::int64_t tiles = (spatial + tile - 1) / tile;
      device_.parallel(batch * tiles, std::max<std::int64_t>(1, 16384 / (tile * channels + 1)),
                       [&](std::int64_t begin, std::int64_t end) {
                         for (std::int64_t t = begin; t < end; ++t) {
                           const std::int64_t n = t / tiles;
                           const std::int64_t first = t % tiles * tile;
                           const std::int64_t last = std::min(first + tile, spatial);
                           for (std::int64_t c = 0; c < channels; ++c)
                             for (std::int64_t s = first; s < last; ++s)
                               out[(n * channels + c) * spatial + s] = in[(n * spatial + s) * channels + c];
                         }
                       });
    };
    switch (size_of(tensor.type())) {
      case 1: convert.operator()<std::uint8_t>(); break;
      case 2: convert.operator()<std::uint16_t>(); break;
      case 4: convert.operator()<std::uint32_t>(); break;
      default: convert.operator()<std::uint64_t>(); break;
    }
    return plain;
  }

  std::string unsupported(const Graph&, const Node& node) const override {
    const Operator* op = operator_table().find(node);
    if (op == nullptr) return "no such operator";
    if (node.opset != 0 && node.opset < op->first_opset)
      return fmt::format("opset {} is older than {}, the first supported", node.opset, op->first_opset);
    return {};
  }

  std::unique_ptr<Kernel> compile(const Graph& graph, const Node& node,
                                  std::span<const Tensor* const> constants) override {
    return make_kernel(Compile{graph, node, device_, constants});
  }

  Tensor quantize_dequantize(Tensor tensor, const TensorEncodings& encodings, Rounding rounding) override {
    return cpu::quantize_dequantize(device_, std::move(tensor), encodings, rounding);
  }
  QuantizeGradient quantize_gradient(const Tensor& input, const Tensor& gradient, const TensorEncodings& encodings,
                                     Rounding rounding) override {
    return cpu::quantize_gradient(device_, input, gradient, encodings, rounding);
  }
  std::unique_ptr<Observer> make_observer(ObserverKind kind, std::size_t sites) override {
    return cpu::make_observer(device_, kind, sites);
  }
  bool chains_take_taps() const override { return true; }
  std::unique_ptr<Backend> make_lane() const override {
    CpuOptions one_thread = options_;
    one_thread.threads = 1;
    return std::make_unique<CpuBackend>(one_thread);
  }
  void synchronize() override {}
  void trim() override { device_.trim(); }

 private:
  CpuOptions options_;
  Device device_;
};

}  // namespace
}  // namespace tare::cpu

namespace tare {

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) {
  return std::make_unique<cpu::CpuBackend>(options);
}

}  // namespace tare
