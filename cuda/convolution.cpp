// Conv and ConvTranspose. The library takes two or three spatial dimensions and the same padding at both ends: one
// dimension gets a second of one element, uneven padding becomes a padded copy (or, transposed, a crop of the whole
// result). Halves go to the library as they are, if it has an algorithm
// for them: sums are float32, and are rounded before the bias is added.
#include <fmt/format.h>

#include "bias.hpp"
#include "cpu/strided_copy.hpp"
#include "cpu/window.hpp"
#include "products.hpp"

namespace tare::cuda {
namespace {

struct Problem {
  std::int64_t groups = 1;
  std::int64_t out_channels = 0;
  Shape input;  ///< spatial
  cpu::Window window;
  Shape output;  ///< all dimensions
};

Problem describe(const Call& call, const Tensor& x, const Tensor& w, const Tensor& bias, bool transposed) {
  if (x.rank() < 3 || w.rank() != x.rank())
    call.fail(fmt::format("input {} with weights {}: both need batch, channels and spatial dimensions",
                          x.shape().text(), w.shape().text()));
  if (x.rank() > 5) call.fail("more than three spatial dimensions do not run on CUDA");
  Problem p;
  p.groups = call.node.integer("group", 1);
  if (p.groups < 1) call.fail(fmt::format("group is {}", p.groups));
  const std::int64_t in_channels = x.shape()[1];
  p.out_channels = transposed ? w.shape()[1] * p.groups : w.shape()[0];
  const std::int64_t expected = transposed ? w.shape()[0] : w.shape()[1] * p.groups;
  if (in_channels != expected || in_channels % p.groups != 0 || p.out_channels % p.groups != 0)
    call.fail(fmt::format("input {} with weights {} in {} groups: the channels do not fit", x.shape().text(),
                          w.shape().text(), p.groups));
  if (bias.present() && !(bias.shape() == Shape{p.out_channels}))
    call.fail(fmt::format("bias {} for {} channels", bias.shape().text(), p.out_channels));
  p.input = Shape(x.shape().begin() + 2, x.shape().end());
  const Shape kernel(w.shape().begin() + 2, w.shape().end());
  if (kernel.elements() == 0) call.fail("the weights have an empty kernel");
  const cpu::WindowAttributes attributes(call.node);
  p.window =
      transposed ? attributes.resolve_transposed(call, p.input, kernel) : attributes.resolve(call, p.input, kernel);
  p.output = Shape{x.shape()[0], p.out_channels};
  for (const std::int64_t dim : p.window.output) p.output.push_back(dim);
  return p;
}

void set_zero(const Call& call, Tensor& tensor) {
  const float zero = 0;
  if (tensor.elements() > 0)
    cpu::fill(call.device, size_of(tensor.type()), &zero, tensor.mutable_data(), tensor.elements());
}

/// Elements of `from` to `to`, shifted by shift[d] in spatial dimension d, where both have them.
void copy_shifted(const Call& call, const Tensor& from, Tensor& to, const Shape& shift) {
  const Shape in = cpu::dense_strides(from.shape());
  const Shape out = cpu::dense_strides(to.shape());
  std::int64_t in_offset = 0;
  std::int64_t out_offset = 0;
  cpu::CopyPlan plan;
  for (std::size_t d = 0; d < from.rank(); ++d) {
    const std::int64_t by = d < 2 ? 0 : shift[d - 2];
    const std::int64_t begin = std::max<std::int64_t>(0, by);
    const std::int64_t end = std::min(to.shape()[d], from.shape()[d] + by);
    if (end <= begin) return;
    plan.add(end - begin, in[d], out[d]);
    in_offset += (begin - by) * in[d];
    out_offset += begin * out[d];
  }
  const std::size_t size = size_of(from.type());
  const auto bytes = static_cast<std::int64_t>(size);
  plan.run(call.device, size, from.data() + in_offset * bytes, to.mutable_data() + out_offset * bytes);
}

/// The library's view: at least two spatial dimensions.
Shape widened(Shape shape, std::size_t at, std::int64_t value) {
  if (shape.rank() == at + 1) shape.insert(at, value);
  return shape;
}

/// The result, of the shape `result`, without bias.
Tensor convolve(const Call& call, Convolution c, const Tensor& from, const Tensor& w, const Shape& result) {
  Device& device = device_of(call);
  Tensor to = device.allocate(c.type, result);
  if (device.products().convolve(c, from.data(), w.data(), to.mutable_data())) return to;
  c.type = DataType::float32;
  return narrow(device, convolve(call, c, widen(device, from), widen(device, w), result), from.type());
}

Convolution convolution_of(const Problem& p, DataType type, const Shape& x, const Shape& w, const Shape& y,
                           const Shape& pads, bool transposed) {
  return {type,
          widened(x, 2, 1),
          widened(w, 2, 1),
          widened(y, 2, 1),
          widened(pads, 0, 0),
          widened(p.window.strides, 0, 1),
          widened(p.window.dilations, 0, 1),
          p.groups,
          transposed};
}

Tensor forward(const Call& call, const Problem& p, Tensor x, const Tensor& w) {
  Shape pads = p.window.pads_begin;
  if (!(p.window.pads_begin == p.window.pads_end)) {
    Shape padded = x.shape();
    for (std::size_t d = 0; d < pads.rank(); ++d) padded[d + 2] += pads[d] + p.window.pads_end[d];
    Tensor copy = call.device.allocate(x.type(), padded);
    set_zero(call, copy);
    copy_shifted(call, x, copy, pads);
    x = std::move(copy);
    pads = Shape(pads.rank(), 0);
  }
  // A rounded-up last window may reach beyond the padding: the library counts windows itself.
  return convolve(call, convolution_of(p, x.type(), x.shape(), w.shape(), p.output, pads, false), x, w, p.output);
}

Tensor transposed(const Call& call, const Problem& p, const Tensor& x, const Tensor& w) {
  const std::size_t rank = p.input.rank();
  Shape whole{p.output[0], p.output[1]};  // without padding
  Shape shift(rank, 0);
  bool direct = true;  // the forward convolution of an output of this size has an input of this size
  bool within = true;  // the output is a part of the whole
  for (std::size_t d = 0; d < rank; ++d) {
    const std::int64_t pad = p.window.pads_begin[d];
    const std::int64_t size = p.output[d + 2];
    const std::int64_t all =
        (p.input[d] - 1) * p.window.strides[d] + (p.window.kernel[d] - 1) * p.window.dilations[d] + 1;
    const std::int64_t rest = size + 2 * pad - all;
    direct = direct && pad >= 0 && rest >= 0 && rest < p.window.strides[d];
    within = within && pad >= 0 && size + pad <= all;
    whole.push_back(all);
    shift[d] = -pad;
  }
  if (direct)
    return convolve(call, convolution_of(p, x.type(), p.output, w.shape(), x.shape(), p.window.pads_begin, true), x, w,
                    p.output);
  const Tensor full =
      convolve(call, convolution_of(p, x.type(), whole, w.shape(), x.shape(), Shape(rank, 0), true), x, w, whole);
  Tensor y = call.device.allocate(x.type(), p.output);
  if (!within) set_zero(call, y);
  copy_shifted(call, full, y, shift);
  return y;
}

template <bool is_transposed>
void convolution(Call& call) {
  cpu::require_inputs(call, 2);
  const DataType given = call.input(0).type();
  const bool native = device_of(call).products().takes(given);
  for (Tensor& input : call.inputs)
    if (!native && input.present() && input.type() == given && is_quantizable(given))
      input = widen(device_of(call), input);
  const Tensor x = call.input(0);
  const Tensor w = call.input(1);
  const Tensor bias = call.has(2) ? call.input(2) : Tensor();
  if (!is_quantizable(x.type()) || w.type() != x.type() || (bias.present() && bias.type() != x.type()))
    call.fail(fmt::format("input {}, weights {}: types differ", name_of(x.type()), name_of(w.type())));
  const Problem p = describe(call, x, w, bias, is_transposed);
  Tensor y;
  if (p.output.elements() == 0 || x.elements() == 0 || w.elements() == 0) {
    y = call.device.allocate(x.type(), p.output);
    set_zero(call, y);
  } else {
    y = is_transposed ? transposed(call, p, x, w) : forward(call, p, x, w);
  }
  add_bias(call, bias, y);
  call.outputs[0] = y.type() == given ? y : narrow(device_of(call), y, given);
}

}  // namespace

void register_convolution(OperatorTable& table) {
  table.add("Conv", convolution<false>, cpu::Half::native);
  table.add("ConvTranspose", convolution<true>, cpu::Half::native);
}

}  // namespace tare::cuda
