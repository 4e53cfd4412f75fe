// Conv and ConvTranspose. float32 runs in the library, in channels_last: what comes out of one convolution goes into
// the next without a reorder, and the weights are packed once into the order that the library's kernel wants; those of
// a few output channels are computed here. Programs are kept by input shape. float64, more than three spatial
// dimensions and empty tensors take plain loops. Odd: a device whose results must not depend on the thread count runs
// one-image programs, one thread each, over the batch.
#include <fmt/format.h>

#include <limits>

#include "cpu/convolution.hpp"
#include "cpu/dnnl_shim.hpp"
#include "cpu/narrow_convolution.hpp"
#include "cpu/post_ops.hpp"

namespace tare::cpu {
namespace {

/// sums[s] += weight * image[what the tap of output s meets], for all outputs whose tap lies inside of the input.
template <class T>
void add_tap(const Problem& p, const Shape& tap, double weight, const T* image, double* sums) {
  const Window& window = p.window;
  const std::size_t last = p.input.rank() - 1;
  const std::int64_t width = window.output[last];
  const std::int64_t stride = window.strides[last];
  // Of a row of outputs, those from `begin` to `end` meet an element.
  const std::int64_t start = tap[last] * window.dilations[last] - window.pads_begin[last];
  const std::int64_t begin = start >= 0 ? 0 : (-start + stride - 1) / stride;
  const std::int64_t end = std::min(width, (p.input[last] - start + stride - 1) / stride);
  for (std::int64_t row = 0; row < window.output.elements() / width; ++row) {
    std::int64_t element = 0;
    std::int64_t rest = row;
    std::int64_t size = p.input[last];
    bool inside = true;
    for (std::size_t d = last; d-- > 0; rest /= window.output[d], size *= p.input[d]) {
      const std::int64_t x =
          rest % window.output[d] * window.strides[d] + tap[d] * window.dilations[d] - window.pads_begin[d];
      inside = inside && x >= 0 && x < p.input[d];
      element += x * size;
    }
    if (!inside) continue;
    const T* in = image + element + start;
    double* out = sums + row * width;
    for (std::int64_t i = begin; i < end; ++i) out[i] += weight * static_cast<double>(in[i * stride]);
  }
}

/// The plain loops, accumulating in double.
template <class T>
void direct(const Call& call, const Problem& p, const Tensor& x, const Tensor& w, const T* bias, Tensor& y) {
  const std::int64_t group_in = p.in_channels / p.groups;
  const std::int64_t group_out = p.out_channels / p.groups;
  const std::int64_t in_size = p.input.elements();
  const std::int64_t out_size = p.window.output.elements();
  const std::int64_t taps = p.window.kernel.elements();
  if (out_size == 0) return;
  call.device.parallel(p.output[0] * p.out_channels, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sums(static_cast<std::size_t>(out_size));
    Shape tap = p.window.kernel;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t n = i / p.out_channels;
      const std::int64_t o = i % p.out_channels;
      const T* image = x.data<T>() + (n * p.in_channels + o / group_out * group_in) * in_size;
      const T* weights = w.data<T>() + o * group_in * taps;
      std::fill(sums.begin(), sums.end(), bias != nullptr ? static_cast<double>(bias[o]) : 0.0);
      for (std::int64_t c = 0; c < group_in; ++c)
        for (std::int64_t t = 0; t < taps; ++t) {
          std::int64_t rest = t;
          for (std::size_t d = tap.rank(); d-- > 0; rest /= p.window.kernel[d]) tap[d] = rest % p.window.kernel[d];
          add_tap(p, tap, static_cast<double>(weights[c * taps + t]), image + c * in_size, sums.data());
        }
      std::transform(sums.begin(), sums.end(), y.mutable_data<T>() + i * out_size,
                     [](double sum) { return static_cast<T>(sum); });
    }
  });
}

/// The transpose: every input element is spread over a window of the output.
template <class T>
void direct_transposed(const Call& call, const Problem& p, const Tensor& x, const Tensor& w, const T* bias, Tensor& y) {
  const std::int64_t group_in = p.in_channels / p.groups;
  const std::int64_t group_out = p.out_channels / p.groups;
  const std::int64_t in_size = p.input.elements();
  const std::int64_t out_size = p.window.output.elements();
  const std::int64_t taps = p.window.kernel.elements();
  Window spread = p.window;
  spread.output = p.input;
  call.device.parallel(p.output[0] * p.out_channels, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sums(static_cast<std::size_t>(out_size));
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t n = i / p.out_channels;
      const std::int64_t o = i % p.out_channels;
      const std::int64_t first = o / group_out * group_in;
      std::fill(sums.begin(), sums.end(), bias != nullptr ? static_cast<double>(bias[o]) : 0.0);
      for (std::int64_t c = first; c < first + group_in; ++c) {
        const T* image = x.data<T>() + (n * p.in_channels + c) * in_size;
        const T* weights = w.data<T>() + (c * group_out + o % group_out) * taps;
        for (std::int64_t s = 0; s < in_size; ++s)
          for_each_tap(spread, p.window.output, s, [&](std::int64_t tap, std::int64_t element) {
            sums[static_cast<std::size_t>(element)] +=
                static_cast<double>(image[s]) * static_cast<double>(weights[tap]);
          });
      }
      T* out = y.mutable_data<T>() + i * out_size;
      for (std::int64_t s = 0; s < out_size; ++s) out[s] = static_cast<T>(sums[static_cast<std::size_t>(s)]);
    }
  });
}

/// What one input shape needs, ready to run.
struct Prepared {
  Shape output;
  Layout layout = Layout::channels_last;  ///< of the source as it is read, and of the output
  dnn::Program program;                   ///< or, in its place:
  std::optional<NarrowConvolution> narrow;
  std::optional<dnn::Launch> launch;
  std::optional<dnn::Launch> reorder_source;
  const void* packed = nullptr;                ///< constant weights
  std::optional<dnn::Launch> reorder_weights;  ///< weights that are not known before the run
  bool post_ops_inside = true;
};

class ConvolutionKernel final : public Kernel {
 public:
  ConvolutionKernel(const Compile& compile, bool transposed)
      : node_(compile.node),
        device_(compile.device),
        transposed_(transposed),
        attributes_(compile.node),
        groups_(compile.node.integer("group", 1)),
        post_ops_(parse_post_ops(compile.node)) {
    if (groups_ < 1 || groups_ > std::numeric_limits<std::int32_t>::max())
      throw Error(ErrorKind::model, fmt::format("{}: group is {}", node_.label(), groups_));
    if (compile.constants.size() > 1 && compile.constants[1] != nullptr) weights_.emplace(*compile.constants[1]);
  }

  bool accepts_channels_last() const override { return true; }

  void run(std::span<Tensor> inputs, std::span<Tensor> outputs) override {
    const Call call{node_, device_, inputs, outputs};
    if (!call.has(0) || !(weights_ || call.has(1))) call.fail("the input or the weights are missing");
    const Tensor& x = inputs[0];
    const Tensor w = weights_ ? weights_->tensor() : to_plain(inputs[1]);
    const Tensor bias = call.has(2) ? inputs[2] : Tensor();
    if (x.type() != w.type() || (bias.present() && bias.type() != x.type()))
      call.fail(fmt::format("input {}, weights {}: types differ", name_of(x.type()), name_of(w.type())));

    auto& key = cache_.key();
    key.push_back(static_cast<std::int64_t>(x.layout()));
    key.push_back(bias.present());
    cache_.push(x.shape());
    cache_.push(w.shape());
    Prepared* prepared = x.type() == DataType::float32 ? cache_.find() : nullptr;
    if (prepared == nullptr) {
      const Problem problem = describe_problem(call, x, w, bias);
      if (device_.wide_sums() || x.type() != DataType::float32 || x.rank() > 5 || x.elements() == 0 ||
          w.elements() == 0 || problem.output.elements() == 0)
        return run_direct(call, problem, x, w, bias);
      auto made = prepare(problem, x, bias.present());
      if (!made) return run_direct(call, problem, x, w, bias);
      prepared = &cache_.insert(std::move(*made));
    }
    outputs[0] = run_prepared(call, *prepared, x, w, bias);
  }

 private:
  Tensor to_plain(const Tensor& tensor) const { return dnn::with_layout(device_, tensor, Layout::plain); }

  Problem describe_problem(const Call& call, const Tensor& x, const Tensor& w, const Tensor& bias) const {
    if (x.rank() < 3 || w.rank() != x.rank())
      call.fail(fmt::format("input {} with weights {}: both need batch, channels and spatial dimensions",
                            x.shape().text(), w.shape().text()));
    Problem p;
    p.groups = groups_;
    p.in_channels = x.shape()[1];
    p.out_channels = transposed_ ? w.shape()[1] * groups_ : w.shape()[0];
    const std::int64_t expected = transposed_ ? w.shape()[0] : w.shape()[1] * groups_;
    if (p.in_channels != expected || p.in_channels % groups_ != 0 || p.out_channels % groups_ != 0)
      call.fail(fmt::format("input {} with weights {} in {} groups: the channels do not fit", x.shape().text(),
                            w.shape().text(), groups_));
    if (bias.present() && !(bias.shape() == Shape{p.out_channels}))
      call.fail(fmt::format("bias {} for {} channels", bias.shape().text(), p.out_channels));
    p.input = Shape(x.shape().begin() + 2, x.shape().end());
    const Shape kernel(w.shape().begin() + 2, w.shape().end());
    if (kernel.elements() == 0) call.fail("the weights have an empty kernel");
    p.window = transposed_ ? attributes_.resolve_transposed(call, p.input, kernel)
                           : attributes_.resolve(call, p.input, kernel);
    p.output = Shape{x.shape()[0], p.out_channels};
    for (const std::int64_t dim : p.window.output) p.output.push_back(dim);
    return p;
  }

  void run_direct(const Call& call, const Problem& p, const Tensor& x, const Tensor& w, const Tensor& bias) {
    const Tensor plain = to_plain(x);
    Tensor y = device_.allocate(x.type(), p.output);
    const auto go = [&]<class T>() {
      const T* b = bias.present() ? bias.data<T>() : nullptr;
      if (transposed_)
        direct_transposed<T>(call, p, plain, w, b, y);
      else
        direct<T>(call, p, plain, w, b, y);
    };
    if (x.type() == DataType::float32)
      go.operator()<float>();
    else if (x.type() == DataType::float64)
      go.operator()<double>();
    else
      call.fail(fmt::format("no convolution of {} tensors", name_of(x.type())));
    apply_post_ops(call, post_ops_, y);
    call.outputs[0] = std::move(y);
  }

  /// Weights as the library counts them: [groups,] out, in, kernel…; for the transpose in and out lie the other way
  /// round.
  dnn::Desc weights_desc(const Problem& p, bool any) const {
    Shape shape{p.out_channels / p.groups, p.in_channels / p.groups};
    for (const std::int64_t dim : p.window.kernel) shape.push_back(dim);
    if (p.groups > 1) shape.insert(0, p.groups);
    if (any) return dnn::any(shape);
    if (!transposed_) return dnn::plain(shape);
    std::vector<int> order(shape.rank());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
    const std::size_t first = p.groups > 1 ? 1 : 0;
    std::swap(order[first], order[first + 1]);
    return dnn::permuted(shape, order);
  }

  std::optional<dnn::Program> program(const Problem& p, const Shape& input, const Shape& output, Layout layout,
                                      bool has_bias, std::span<const PostOp> post_ops) const {
    const dnn::WindowSpec window{dnn::dims_of(p.window.strides), dnn::dims_of(p.window.dilations),
                                 dnn::dims_of(p.window.pads_begin), dnn::dims_of(p.window.pads_end)};
    const auto laid_out = [&](const Shape& shape) {
      return layout == Layout::plain ? dnn::plain(shape) : dnn::channels_last(shape);
    };
    const dnn::Desc bias = has_bias ? dnn::plain({p.out_channels}) : dnn::none();
    if (transposed_)
      return dnn::deconvolution(device_, window, laid_out(input), weights_desc(p, true), bias, laid_out(output));
    return dnn::convolution(device_, window, laid_out(input), weights_desc(p, true), bias, laid_out(output), post_ops);
  }

  std::optional<Prepared> prepare(const Problem& p, const Tensor& x, bool has_bias) {
    Prepared prepared;
    prepared.output = p.output;
    if (!transposed_ && NarrowConvolution::fits(p)) {
      prepared.narrow.emplace(p);
      prepared.post_ops_inside = false;
      if (weights_) prepared.narrow->pack(weights_->tensor().data<float>());
    } else if (!prepare_library(prepared, p, x, has_bias)) {
      return std::nullopt;
    }
    // One channel or one pixel: both orders are the same bytes.
    if (x.layout() != prepared.layout && x.shape()[1] > 1 && p.input.elements() > 1) {
      const bool plain = x.layout() == Layout::plain;
      const dnn::Desc from = plain ? dnn::plain(x.shape()) : dnn::channels_last(x.shape());
      const dnn::Desc to = plain ? dnn::channels_last(x.shape()) : dnn::plain(x.shape());
      prepared.reorder_source.emplace(dnn::reorder(device_, from, to));
    }
    return prepared;
  }

  bool prepare_library(Prepared& prepared, const Problem& p, const Tensor& x, bool has_bias) {
    Shape input = x.shape();
    Shape output = p.output;
    if (device_.reproducible()) input[0] = output[0] = 1;
    std::optional<dnn::Program> best;
    Layout layout = Layout::channels_last;
    bool inside = true;
    // The library's fast kernels first; its reference loops only when nothing else does the job.
    for (const bool reference : {false, true}) {
      for (const Layout candidate : {Layout::channels_last, Layout::plain}) {
        for (const bool fused : {true, false}) {
          if (best || (!fused && post_ops_.empty()) || (fused && transposed_ && !post_ops_.empty())) continue;
          auto made = program(p, input, output, candidate, has_bias,
                              fused ? std::span<const PostOp>(post_ops_) : std::span<const PostOp>());
          if (!made || (made->is_reference() && !reference)) continue;
          best = std::move(made);
          layout = candidate;
          inside = fused;
        }
      }
    }
    if (!best) return false;
    prepared.layout = layout;
    prepared.program = std::move(*best);
    prepared.post_ops_inside = inside;
    if (!device_.reproducible()) prepared.launch.emplace(prepared.program);
    const dnn::Desc from = weights_desc(p, false);
    if (weights_)
      prepared.packed = weights_->in(device_, from, prepared.program.weights);
    else if (from == prepared.program.weights)
      prepared.packed = nullptr;
    else
      prepared.reorder_weights.emplace(dnn::reorder(device_, from, prepared.program.weights));
    return true;
  }

  Tensor run_prepared(const Call& call, Prepared& prepared, const Tensor& x, const Tensor& w, const Tensor& bias) {
    Tensor source = x;
    if (prepared.reorder_source) {
      source = device_.allocate(DataType::float32, x.shape(), prepared.layout);
      prepared.reorder_source->set(0, x.data());
      prepared.reorder_source->set(1, source.data());
      prepared.reorder_source->run(device_);
    }
    Tensor packed;
    const void* weights = prepared.packed != nullptr ? prepared.packed : w.data();
    if (prepared.reorder_weights) {
      packed = device_.allocate(DataType::uint8, {static_cast<std::int64_t>(dnn::bytes_of(prepared.program.weights))});
      prepared.reorder_weights->set(0, w.data());
      prepared.reorder_weights->set(1, packed.data());
      prepared.reorder_weights->run(device_);
      weights = packed.data();
    }
    Tensor y = device_.allocate(DataType::float32, prepared.output, prepared.layout);

    const auto bind = [&](dnn::Launch& launch, std::int64_t image) {
      const std::int64_t in = image * source.shape().elements(1, source.rank());
      const std::int64_t out = image * y.shape().elements(1, y.rank());
      std::size_t slot = 0;
      launch.set(slot++, source.data<float>() + in);
      launch.set(slot++, weights);
      if (bias.present()) launch.set(slot++, bias.data());
      launch.set(slot, y.data<float>() + out);
    };
    if (prepared.narrow) {
      if (!weights_) prepared.narrow->pack(w.data<float>());
      prepared.narrow->run(device_, source.data<float>(), bias.present() ? bias.data<float>() : nullptr,
                           y.mutable_data<float>());
    } else if (prepared.launch) {
      bind(*prepared.launch, 0);
      prepared.launch->run(device_);
    } else {
      device_.parallel(prepared.output[0], 1, [&](std::int64_t begin, std::int64_t end) {
        dnn::Launch launch(prepared.program);
        for (std::int64_t image = begin; image < end; ++image) {
          bind(launch, image);
          launch.run(device_);
        }
      });
    }
    if (!prepared.post_ops_inside) apply_post_ops(call, post_ops_, y);
    return y;
  }

  const Node& node_;
  Device& device_;
  bool transposed_;
  WindowAttributes attributes_;
  std::int64_t groups_;
  std::vector<PostOp> post_ops_;
  std::optional<dnn::PackedConstant> weights_;
  dnn::ShapeCache<Prepared> cache_;
};

std::unique_ptr<Kernel> make_transposed(const Compile& compile) {
  return std::make_unique<ConvolutionKernel>(compile, true);
}

}  // namespace

std::unique_ptr<Kernel> make_convolution(const Compile& compile) {
  return std::make_unique<ConvolutionKernel>(compile, false);
}

void register_convolution(OperatorTable& table) {
  table.add("Conv", Operator{.factory = make_convolution, .channels_last = true});
  table.add("ConvTranspose", Operator{.factory = make_transposed, .channels_last = true});
}

}  // namespace tare::cpu
