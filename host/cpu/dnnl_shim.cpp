// oneDNN programs: made from descriptors, under either major version of the library.
// Scratchpads are ours (from the device's pool): the library's own are freed and made again whenever a primitive dies.
#include "cpu/dnnl_shim.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <cstring>
#include <mutex>

namespace tare::cpu::dnn {
namespace {

#if DNNL_VERSION_MAJOR >= 3
constexpr bool has_operation_descriptors = false;
#else
constexpr bool has_operation_descriptors = true;
#endif

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

/// Caps the library at the device's instruction set. The library takes this once per process, before its first program:
/// a later device with a lower limit is refused rather than run on instructions that it was told not to use.
void limit_isa(Isa wanted) {
#if defined(__x86_64__)
  static std::mutex mutex;
  static std::optional<Isa> limit;
  const std::lock_guard lock(mutex);
  if (limit && wanted >= *limit) return;
  if (limit)
    throw Error(
        ErrorKind::usage,
        "oneDNN already runs on a higher instruction set in this process; use the lower one from the start or in a "
        "process of its own");
  if (wanted != Isa::avx512) {
    const auto isa = wanted == Isa::avx2 ? dnnl::cpu_isa::avx2 : dnnl::cpu_isa::sse41;
    if (dnnl::set_max_cpu_isa(isa) != dnnl::status::success)
      throw Error(ErrorKind::usage, "oneDNN was used in this process before its instruction set could be limited");
  }
  limit = wanted;
#else
  (void)wanted;
#endif
}

constexpr Tag plain_tags[] = {Tag::a, Tag::ab, Tag::abc, Tag::abcd, Tag::abcde, Tag::abcdef};
constexpr Tag last_tags[] = {Tag::acb, Tag::acdb, Tag::acdeb};

Desc tagged(const Shape& shape, Tag tag) { return Desc(dims_of(shape), dnnl::memory::data_type::f32, tag); }

void append_eltwise(dnnl::post_ops& ops, dnnl::algorithm algorithm, float alpha, float beta) {
#if DNNL_VERSION_MAJOR >= 3
  ops.append_eltwise(algorithm, alpha, beta);
#else
  ops.append_eltwise(1.0f, algorithm, alpha, beta);
#endif
}

void append(dnnl::post_ops& ops, const PostOp& op) {
  using dnnl::algorithm;
  const auto eltwise = [&](algorithm what, float alpha = 0, float beta = 0) { append_eltwise(ops, what, alpha, beta); };
  switch (op.kind) {
    case PostOp::Kind::relu: return eltwise(algorithm::eltwise_relu);
    case PostOp::Kind::leaky_relu: return eltwise(algorithm::eltwise_relu, op.alpha);
    case PostOp::Kind::clip: return eltwise(algorithm::eltwise_clip, op.alpha, op.beta);
    case PostOp::Kind::hard_sigmoid:
      eltwise(algorithm::eltwise_linear, op.alpha, op.beta);
      return eltwise(algorithm::eltwise_clip, 0, 1);
    // 2.6 takes no parameters here: its formula is x relu6(x + 3) / 6.
    case PostOp::Kind::hard_swish: return eltwise(algorithm::eltwise_hardswish, op.alpha, op.beta);
    case PostOp::Kind::sigmoid: return eltwise(algorithm::eltwise_logistic);
    case PostOp::Kind::tanh: return eltwise(algorithm::eltwise_tanh);
  }
}

dnnl::primitive_attr attributes(std::span<const PostOp> post_ops, bool accumulate = false) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops ops;
  if (accumulate) ops.append_sum(1.0f);
  for (const PostOp& op : post_ops) append(ops, op);
  if (ops.len() > 0) attr.set_post_ops(ops);
  return attr;
}

template <class Primitive, class PrimitiveDesc>
Program finish(const PrimitiveDesc& desc, bool has_bias) {
  Program program;
  program.primitive = Primitive(desc);
  program.source = desc.src_desc();
  program.weights = desc.weights_desc();
  program.destination = desc.dst_desc();
  program.scratchpad_bytes = desc.scratchpad_desc().get_size();
  program.implementation = desc.impl_info_str();
  program.arguments = {{DNNL_ARG_SRC, program.source}, {DNNL_ARG_WEIGHTS, program.weights}};
  if (has_bias) program.arguments.emplace_back(DNNL_ARG_BIAS, desc.bias_desc());
  program.arguments.emplace_back(DNNL_ARG_DST, program.destination);
  return program;
}

/// Runs `make`, and turns "no implementation" into nothing; running out of memory stays an error.
template <class Make>
std::optional<Program> attempt(const Device& device, Make&& make) {
  limit_isa(device.isa());
  const ThreadScope threads(device);
  try {
    return make();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory)
      throw Error(ErrorKind::data, "oneDNN ran out of memory; lower --batch-size");
    return std::nullopt;
  }
}

template <class Primitive>
Program windowed(dnnl::algorithm algorithm, const WindowSpec& window, const Desc& source, const Desc& weights,
                 const Desc& bias, const Desc& destination, std::span<const PostOp> post_ops) {
  const auto attr = attributes(post_ops);
  Dims extra = window.dilations;  // the library counts the holes
  for (auto& dilation : extra) --dilation;
  const auto kind = dnnl::prop_kind::forward_inference;
  const bool has_bias = bias != none();
  const auto make = [&]() {
    if constexpr (has_operation_descriptors) {
      const typename Primitive::desc desc(kind, algorithm, source, weights, bias, destination, window.strides, extra,
                                          window.pads_begin, window.pads_end);
      return typename Primitive::primitive_desc(desc, attr, engine());
    } else {
      return typename Primitive::primitive_desc(engine(), kind, algorithm, source, weights, bias, destination,
                                                window.strides, extra, window.pads_begin, window.pads_end, attr);
    }
  };
  return finish<Primitive>(make(), has_bias);
}

}  // namespace

Dims dims_of(const Shape& shape) { return Dims(shape.begin(), shape.end()); }
Desc plain(const Shape& shape) { return tagged(shape, plain_tags[shape.rank() - 1]); }
Desc channels_last(const Shape& shape) { return tagged(shape, last_tags[shape.rank() - 3]); }
Desc describe(const Tensor& tensor) {
  return tensor.layout() == Layout::plain ? plain(tensor.shape()) : channels_last(tensor.shape());
}
Desc any(const Shape& shape) { return tagged(shape, Tag::any); }
Desc none() { return Desc(); }
std::size_t bytes_of(const Desc& desc) { return desc.get_size(); }

Desc permuted(const Shape& shape, std::span<const int> order) {
  Dims strides(shape.rank());
  std::int64_t stride = 1;
  for (std::size_t i = shape.rank(); i-- > 0;) {
    const auto axis = static_cast<std::size_t>(order[i]);
    strides[axis] = stride;
    stride *= std::max<std::int64_t>(shape[axis], 1);
  }
  return Desc(dims_of(shape), dnnl::memory::data_type::f32, strides);
}

ThreadScope::ThreadScope(const Device& device) : before_(omp_get_max_threads()) {
  omp_set_num_threads(device.reproducible() ? 1 : device.threads());
}
ThreadScope::~ThreadScope() { omp_set_num_threads(before_); }

std::optional<Program> convolution(const Device& device, const WindowSpec& window, const Desc& source,
                                   const Desc& weights, const Desc& bias, const Desc& destination,
                                   std::span<const PostOp> post_ops) {
  return attempt(device, [&] {
    return windowed<dnnl::convolution_forward>(dnnl::algorithm::convolution_direct, window, source, weights, bias,
                                               destination, post_ops);
  });
}

std::optional<Program> deconvolution(const Device& device, const WindowSpec& window, const Desc& source,
                                     const Desc& weights, const Desc& bias, const Desc& destination) {
  return attempt(device, [&] {
    return windowed<dnnl::deconvolution_forward>(dnnl::algorithm::deconvolution_direct, window, source, weights, bias,
                                                 destination, {});
  });
}

std::optional<Program> matmul(const Device& device, const Desc& source, const Desc& weights, const Desc& bias,
                              const Desc& destination, std::span<const PostOp> post_ops, bool accumulate) {
  return attempt(device, [&] {
    const auto attr = attributes(post_ops, accumulate);
    const auto make = [&]<class Primitive>(Primitive*) {
      if constexpr (has_operation_descriptors)
        return typename Primitive::primitive_desc(typename Primitive::desc(source, weights, bias, destination), attr,
                                                  engine());
      else
        return typename Primitive::primitive_desc(engine(), source, weights, bias, destination, attr);
    };
    return finish<dnnl::matmul>(make(static_cast<dnnl::matmul*>(nullptr)), bias != none());
  });
}

Program reorder(const Device& device, const Desc& source, const Desc& destination) {
  const auto program = attempt(device, [&] {
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::reorder::primitive_desc desc(engine(), source, engine(), destination, attr);
    Program made;
    made.primitive = dnnl::reorder(desc);
    made.source = source;
    made.destination = destination;
    made.scratchpad_bytes = desc.scratchpad_desc().get_size();
    made.implementation = desc.impl_info_str();
    made.arguments = {{DNNL_ARG_SRC, source}, {DNNL_ARG_DST, destination}};
    return std::optional<Program>(std::move(made));
  });
  if (!program) throw Error(ErrorKind::internal, "oneDNN cannot convert between two of its own layouts");
  return *program;
}

Launch::Launch(const Program& program)
    : primitive_(program.primitive), scratchpad_bytes_(program.scratchpad_bytes), stream_(engine()) {
  memories_.reserve(program.arguments.size());
  for (const auto& [argument, desc] : program.arguments) {
    memories_.push_back(dnnl::memory(desc, engine(), DNNL_MEMORY_NONE));
    arguments_.push_back({argument, memories_.back().get()});
  }
  if (scratchpad_bytes_ > 0) {
    const Desc desc({static_cast<std::int64_t>(scratchpad_bytes_)}, dnnl::memory::data_type::u8, Tag::a);
    scratchpad_ = dnnl::memory(desc, engine(), DNNL_MEMORY_NONE);
    arguments_.push_back({DNNL_ARG_SCRATCHPAD, scratchpad_.get()});
  }
}

void Launch::set(std::size_t slot, const void* data) { memories_[slot].set_data_handle(const_cast<void*>(data)); }

void Launch::run(Device& device) {
  Tensor scratchpad;
  if (scratchpad_bytes_ > 0) {
    scratchpad = device.allocate(DataType::uint8, {static_cast<std::int64_t>(scratchpad_bytes_)});
    scratchpad_.set_data_handle(scratchpad.mutable_data());
  }
  const ThreadScope threads(device);
  const dnnl_status_t status =
      dnnl_primitive_execute(primitive_.get(), stream_.get(), static_cast<int>(arguments_.size()), arguments_.data());
  if (status != dnnl_success)
    throw Error(ErrorKind::internal, fmt::format("oneDNN failed with status {}", static_cast<int>(status)));
}

void copy(Device& device, const Desc& source, const void* from, const Desc& destination, void* to) {
  Launch launch(reorder(device, source, destination));
  launch.set(0, from);
  launch.set(1, to);
  launch.run(device);
}

const void* PackedConstant::in(Device& device, const Desc& desc, const Desc& wanted) {
  if (wanted == desc) return tensor_.data();
  for (const auto& [order, tensor] : packed_)
    if (order == wanted) return tensor.data();
  Tensor packed = Tensor::host(DataType::uint8, {static_cast<std::int64_t>(bytes_of(wanted))});
  copy(device, desc, tensor_.data(), wanted, packed.mutable_data());
  return packed_.emplace_back(wanted, std::move(packed)).second.data();
}

Tensor with_layout(Device& device, const Tensor& tensor, Layout layout) {
  if (tensor.layout() == layout) return tensor;
  Tensor result = device.allocate(tensor.type(), tensor.shape(), layout);
  if (tensor.elements() == 0) return result;
  if (tensor.type() == DataType::float32 && tensor.rank() <= 5) {
    copy(device, describe(tensor), tensor.data(), describe(result), result.mutable_data());
    return result;
  }
  // Rows of one image become columns; which way round only decides what counts as a row.
  const std::int64_t channels = tensor.shape()[1];
  const std::int64_t spatial = tensor.shape().elements(2, tensor.rank());
  const std::int64_t rows = layout == Layout::channels_last ? channels : spatial;
  const std::int64_t columns = layout == Layout::channels_last ? spatial : channels;
  const std::size_t size = size_of(tensor.type());
  device.parallel(tensor.shape()[0] * columns, std::max<std::int64_t>(1, 16384 / rows),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t i = begin; i < end; ++i) {
                      const std::byte* in =
                          tensor.data() + static_cast<std::size_t>(i / columns * rows * columns + i % columns) * size;
                      std::byte* out = result.mutable_data() + static_cast<std::size_t>(i * rows) * size;
                      for (std::int64_t r = 0; r < rows; ++r)
                        std::memcpy(out + static_cast<std::size_t>(r) * size,
                                    in + static_cast<std::size_t>(r * columns) * size, size);
                    }
                  });
  return result;
}

}  // namespace tare::cpu::dnn
