// The arithmetic of sliding windows.
#include "cpu/window.hpp"

#include <fmt/format.h>

namespace tare::cpu {
namespace {

/// Larger values cannot be meant, and products of two of them still fit.
constexpr std::int64_t limit = std::int64_t{1} << 30;
/// Elements of a window; each is walked.
constexpr std::int64_t most_taps = std::int64_t{1} << 28;

Shape small_shape(const Node& node, std::string_view key, std::int64_t lowest) {
  const std::vector<std::int64_t> values = node.integers(key);
  for (const std::int64_t value : values)
    if (value < lowest || value > limit)
      throw Error(ErrorKind::model,
                  fmt::format("{}: {} holds {}, outside [{}, {}]", node.label(), key, value, lowest, limit));
  if (values.size() > Shape::max_rank)
    throw Error(ErrorKind::model, fmt::format("{}: {} has {} entries", node.label(), key, values.size()));
  return Shape(values.begin(), values.end());
}

std::int64_t extent(std::int64_t kernel, std::int64_t dilation) { return (kernel - 1) * dilation + 1; }

}  // namespace

WindowAttributes::WindowAttributes(const Node& node)
    : kernel_shape(small_shape(node, "kernel_shape", 1)),
      strides(small_shape(node, "strides", 1)),
      dilations(small_shape(node, "dilations", 1)),
      pads(small_shape(node, "pads", 0)),
      output_padding(small_shape(node, "output_padding", 0)),
      output_shape(small_shape(node, "output_shape", 0)),
      ceil_mode(node.integer("ceil_mode", 0) != 0) {
  const std::string text = node.text("auto_pad", "NOTSET");
  if (text == "SAME_UPPER")
    padding = Padding::same_upper;
  else if (text == "SAME_LOWER")
    padding = Padding::same_lower;
  else if (text == "VALID")
    padding = Padding::valid;
  else if (text != "NOTSET" && !text.empty())
    throw Error(ErrorKind::model, fmt::format("{}: auto_pad is '{}'", node.label(), text));
}

Window WindowAttributes::base(const Call& call, std::size_t rank, const Shape& kernel) const {
  const auto check = [&](const Shape& values, std::string_view name, std::size_t expected) {
    if (!values.empty() && values.rank() != expected)
      call.fail(fmt::format("{} has {} entries, but the input has {} spatial dimensions", name, values.rank(), rank));
  };
  check(kernel_shape, "kernel_shape", rank);
  check(strides, "strides", rank);
  check(dilations, "dilations", rank);
  check(pads, "pads", 2 * rank);
  check(output_padding, "output_padding", rank);
  if (kernel.rank() != rank)
    call.fail(fmt::format("a kernel of shape {} on {} spatial dimensions", kernel.text(), rank));
  if (!kernel_shape.empty() && !(kernel_shape == kernel))
    call.fail(fmt::format("kernel_shape is {}, but the weights have {}", kernel_shape.text(), kernel.text()));
  std::int64_t taps = 1;
  for (const std::int64_t size : kernel)
    if (taps *= size; taps > most_taps)
      call.fail(fmt::format("a window of shape {} has more than {} elements", kernel.text(), most_taps));
  Window window;
  window.kernel = kernel;
  window.strides = strides.empty() ? Shape(rank, 1) : strides;
  window.dilations = dilations.empty() ? Shape(rank, 1) : dilations;
  window.pads_begin = window.pads_end = window.output = Shape(rank, 0);
  if (padding == Padding::given && !pads.empty()) {
    for (std::size_t i = 0; i < rank; ++i) {
      window.pads_begin[i] = pads[i];
      window.pads_end[i] = pads[i + rank];
    }
  }
  return window;
}

Window WindowAttributes::resolve(const Call& call, const Shape& input, const Shape& kernel) const {
  Window window = base(call, input.rank(), kernel);
  for (std::size_t i = 0; i < input.rank(); ++i) {
    const std::int64_t size = input[i];
    const std::int64_t stride = window.strides[i];
    const std::int64_t reach = extent(kernel[i], window.dilations[i]);
    if (padding == Padding::same_upper || padding == Padding::same_lower) {
      window.output[i] = (size + stride - 1) / stride;
      const std::int64_t total = std::max<std::int64_t>(0, (window.output[i] - 1) * stride + reach - size);
      window.pads_begin[i] = padding == Padding::same_upper ? total / 2 : total - total / 2;
      window.pads_end[i] = total - window.pads_begin[i];
      continue;
    }
    const std::int64_t room = size + window.pads_begin[i] + window.pads_end[i] - reach;
    if (ceil_mode ? room <= -stride : room < 0)
      call.fail(
          fmt::format("a window of {} does not fit into {} elements of spatial dimension {}", reach, room + reach, i));
    window.output[i] = (ceil_mode ? (room + stride - 1) / stride : room / stride) + 1;  // room > -stride
    // A last window that would start behind the input and its front padding is dropped.
    if (ceil_mode && (window.output[i] - 1) * stride >= size + window.pads_begin[i]) --window.output[i];
  }
  return window;
}

Window WindowAttributes::resolve_transposed(const Call& call, const Shape& input, const Shape& kernel) const {
  const std::size_t rank = input.rank();
  Window window = base(call, rank, kernel);
  Shape wanted = output_shape;
  // Some exporters put batch and channels in front.
  if (wanted.rank() == rank + 2) wanted = Shape(wanted.begin() + 2, wanted.end());
  if (!wanted.empty() && wanted.rank() != rank)
    call.fail(fmt::format("output_shape {} on {} spatial dimensions", output_shape.text(), rank));
  for (std::size_t i = 0; i < rank; ++i) {
    const std::int64_t more = output_padding.empty() ? 0 : output_padding[i];
    const std::int64_t full = (input[i] - 1) * window.strides[i] + extent(kernel[i], window.dilations[i]) + more;
    if (wanted.empty() && (padding == Padding::given || padding == Padding::valid)) {
      window.output[i] = full - window.pads_begin[i] - window.pads_end[i];
    } else {
      window.output[i] = wanted.empty() ? input[i] * window.strides[i] : wanted[i];
      // Negative where the output is larger than the product reaches: the rest is bias only.
      const std::int64_t total = full - window.output[i];
      const std::int64_t half = total >= 0 ? total / 2 : 0;
      window.pads_begin[i] = padding == Padding::same_upper || total < 0 ? half : total - half;
      window.pads_end[i] = total - window.pads_begin[i];
    }
    if (window.output[i] < 0)
      call.fail(fmt::format("spatial dimension {} would have {} elements", i, window.output[i]));
  }
  return window;
}

}  // namespace tare::cpu
