// Convolutions and matrix products of 8-bit codes: ConvInteger, QLinearConv, MatMulInteger, QLinearMatMul.
// Plain loops over codes widened to int32 less their zero points: padding is then a zero and sums are exact (modulo
// 2^32).
#include "cpu/quantized.hpp"

namespace tare::cpu {
namespace {

using Sums = std::vector<std::int32_t>;

/// codes - zero point, where zero_point_of(element) picks the zero point.
template <class Index>
Sums centered(const Call& call, const Tensor& codes, std::size_t zero_point, Index&& zero_point_of) {
  if (codes.type() != DataType::int8 && codes.type() != DataType::uint8) fail_type(call, codes.type());
  if (call.has(zero_point) && call.input(zero_point).type() != codes.type())
    call.fail("a zero point must have the type of its codes");
  Sums result(static_cast<std::size_t>(codes.elements()));
  dispatch_codes(call, codes.type(), [&]<class T>(const CodeRange&) {
    const T* in = codes.data<T>();
    const T* zero_points = call.has(zero_point) ? call.input(zero_point).data<T>() : nullptr;
    for (std::int64_t i = 0; i < codes.elements(); ++i)
      result[static_cast<std::size_t>(i)] =
          static_cast<std::int32_t>(in[i]) -
          (zero_points != nullptr ? static_cast<std::int32_t>(zero_points[zero_point_of(i)]) : 0);
  });
  return result;
}

std::int32_t multiply_add(std::int32_t sum, std::int32_t x, std::int32_t y) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(sum) +
                                   static_cast<std::uint32_t>(x) * static_cast<std::uint32_t>(y));
}

/// outputs[0] = saturate(round(sums * factor(i)) + zero point): the factor is the ratio of the scales.
template <class Factor>
void requantize(Call& call, const Sums& sums, const Shape& shape, std::size_t zero_point, Factor&& factor) {
  const Tensor zero = call.input(zero_point);
  if (zero.elements() != 1) call.fail("the output's zero point must be a scalar");
  dispatch_codes(call, zero.type(), [&]<class T>(const CodeRange& range) {
    if (range.wide) fail_type(call, zero.type());
    const auto offset = static_cast<float>(*zero.data<T>());
    T* out = call.output(0, zero.type(), shape).mutable_data<T>();
    for (std::size_t i = 0; i < sums.size(); ++i)
      out[i] = static_cast<T>(
          clamp(round_half_even(static_cast<float>(sums[i]) * factor(static_cast<std::int64_t>(i))) + offset, range.low,
                range.high));
  });
}

void give_sums(Call& call, const Sums& sums, const Shape& shape) {
  Tensor& y = call.output(0, DataType::int32, shape);
  std::copy(sums.begin(), sums.end(), y.mutable_data<std::int32_t>());
}

const Tensor& scale_input(const Call& call, std::size_t i) {
  if (call.input(i).type() != DataType::float32) fail_type(call, call.input(i).type());
  return call.input(i);
}
float scalar_scale(const Call& call, std::size_t i) {
  const Tensor& scale = scale_input(call, i);
  if (scale.elements() != 1) call.fail("input " + std::to_string(i) + " must be a scalar scale");
  return *scale.data<float>();
}

/// Extents of numpy's matmul; vectors are seen as matrices of one row or column.
struct Product {
  std::int64_t rows, depth, columns;
  Shape batch_a, batch_b, batch;
  Shape result;

  std::int64_t batch_source(const Shape& from, std::int64_t flat) const {
    std::int64_t at = 0;
    std::int64_t stride = 1;
    for (std::size_t i = batch.rank(); i-- > 0;) {
      const std::int64_t index = flat % batch[i];
      flat /= batch[i];
      if (i + from.rank() < batch.rank()) break;
      const std::int64_t extent = from[i + from.rank() - batch.rank()];
      if (extent != 1) at += index * stride;
      stride *= extent;
    }
    return at;
  }
};

Product plan_product(const Call& call, Shape a, Shape b) {
  if (a.empty() || b.empty()) call.fail("a matrix product needs operands of rank 1 at least");
  const bool row_vector = a.rank() == 1;
  const bool column_vector = b.rank() == 1;
  if (row_vector) a.insert(0, 1);
  if (column_vector) b.push_back(1);
  Product p{a[a.rank() - 2], a.back(), b.back(), Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2), {}, {}};
  if (b[b.rank() - 2] != p.depth) call.fail("shapes " + a.text() + " and " + b.text() + " do not multiply");
  p.batch = broadcast(call, p.batch_a, p.batch_b);
  p.result = p.batch;
  if (!row_vector) p.result.push_back(p.rows);
  if (!column_vector) p.result.push_back(p.columns);
  return p;
}

/// Which of `count` parameters belongs to (batch, line): one for all, one a line (row or column), or one a batch and
/// line.
std::int64_t parameter_of(const Call& call, std::int64_t count, std::int64_t batches, std::int64_t lines,
                          std::int64_t batch, std::int64_t line) {
  if (count == 1) return 0;
  if (count == lines) return line;
  if (count == batches * lines) return batch * lines + line;
  call.fail(std::to_string(count) + " scales or zero points do not fit " + std::to_string(lines) + " rows or columns");
}

std::int64_t count_of(const Call& call, std::size_t i) { return call.has(i) ? call.input(i).elements() : 1; }

Sums multiply_codes(const Call& call, const Product& p, std::size_t a, std::size_t a_zero, std::size_t b,
                    std::size_t b_zero) {
  const std::int64_t batches_a = p.batch_a.elements();
  const std::int64_t batches_b = p.batch_b.elements();
  const std::int64_t zeros_a = count_of(call, a_zero);
  const std::int64_t zeros_b = count_of(call, b_zero);
  const Sums x = centered(call, call.input(a), a_zero, [&](std::int64_t i) {
    return parameter_of(call, zeros_a, batches_a, p.rows, i / (p.rows * p.depth), i / p.depth % p.rows);
  });
  const Sums y = centered(call, call.input(b), b_zero, [&](std::int64_t i) {
    return parameter_of(call, zeros_b, batches_b, p.columns, i / (p.depth * p.columns), i % p.columns);
  });
  Sums sums(static_cast<std::size_t>(p.result.elements()), 0);
  const std::int64_t work = std::max<std::int64_t>(p.depth * p.columns, 1);
  call.device.parallel(p.batch.elements() * p.rows, 1 + 65536 / work, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t line = begin; line < end; ++line) {
      const std::int32_t* left =
          x.data() + (p.batch_source(p.batch_a, line / p.rows) * p.rows + line % p.rows) * p.depth;
      const std::int32_t* right = y.data() + p.batch_source(p.batch_b, line / p.rows) * p.depth * p.columns;
      std::int32_t* out = sums.data() + line * p.columns;
      for (std::int64_t k = 0; k < p.depth; ++k)
        for (std::int64_t j = 0; j < p.columns; ++j) out[j] = multiply_add(out[j], left[k], right[k * p.columns + j]);
    }
  });
  return sums;
}

void mat_mul_integer(Call& call) {
  require_inputs(call, 2);
  const Product p = plan_product(call, call.input(0).shape(), call.input(1).shape());
  give_sums(call, multiply_codes(call, p, 0, 2, 1, 3), p.result);
}

void q_linear_mat_mul(Call& call) {
  require_inputs(call, 8);
  const Product p = plan_product(call, call.input(0).shape(), call.input(3).shape());
  const Sums sums = multiply_codes(call, p, 0, 2, 3, 5);
  const Tensor& scale_a = scale_input(call, 1);
  const Tensor& scale_b = scale_input(call, 4);
  const float scale_y = scalar_scale(call, 6);
  requantize(call, sums, p.result, 7, [&](std::int64_t i) {
    const std::int64_t batch = i / (p.rows * p.columns);
    const std::int64_t a = parameter_of(call, scale_a.elements(), p.batch_a.elements(), p.rows,
                                        p.batch_source(p.batch_a, batch), i / p.columns % p.rows);
    const std::int64_t b = parameter_of(call, scale_b.elements(), p.batch_b.elements(), p.columns,
                                        p.batch_source(p.batch_b, batch), i % p.columns);
    return scale_a.data<float>()[a] * scale_b.data<float>()[b] / scale_y;
  });
}

struct Window {
  std::size_t dims;  ///< spatial dimensions
  std::int64_t batch, channels, filters, group;
  Shape in, kernel, out;  ///< spatial extents
  std::vector<std::int64_t> strides, dilations, before;
  Shape result;
};

std::vector<std::int64_t> spatial_attribute(const Call& call, std::string_view key, std::size_t count,
                                            std::int64_t otherwise, std::int64_t lowest) {
  std::vector<std::int64_t> given = call.node.integers(key);
  if (given.empty()) given.assign(count, otherwise);
  if (given.size() != count) call.fail(std::string(key) + " must have " + std::to_string(count) + " entries");
  for (const std::int64_t value : given)
    if (value < lowest || value > (std::int64_t{1} << 31)) call.fail(std::string(key) + " is out of range");
  return given;
}

Window plan_window(const Call& call, const Shape& x, const Shape& w) {
  if (x.rank() < 3 || w.rank() != x.rank()) call.fail("shapes " + x.text() + " and " + w.text() + " do not convolve");
  Window p;
  p.dims = x.rank() - 2;
  p.batch = x[0];
  p.channels = x[1];
  p.filters = w[0];
  p.group = call.node.integer("group", 1);
  if (p.group < 1 || w[1] > p.channels || w[1] * p.group != p.channels || p.filters % p.group != 0)
    call.fail("group " + std::to_string(p.group) + " does not fit shapes " + x.text() + " and " + w.text());
  p.in = Shape(x.begin() + 2, x.end());
  p.kernel = Shape(w.begin() + 2, w.end());
  p.strides = spatial_attribute(call, "strides", p.dims, 1, 1);
  p.dilations = spatial_attribute(call, "dilations", p.dims, 1, 1);
  const std::vector<std::int64_t> pads = spatial_attribute(call, "pads", 2 * p.dims, 0, 0);
  const std::string automatic = call.node.text("auto_pad", "NOTSET");
  p.result = {p.batch, p.filters};
  for (std::size_t d = 0; d < p.dims; ++d) {
    const std::int64_t reach = (p.kernel[d] - 1) * p.dilations[d] + 1;
    std::int64_t before = pads[d];
    std::int64_t total = pads[d] + pads[d + p.dims];
    if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
      const std::int64_t out = (p.in[d] + p.strides[d] - 1) / p.strides[d];
      total = std::max<std::int64_t>(0, (out - 1) * p.strides[d] + reach - p.in[d]);
      before = automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
    } else if (automatic == "VALID") {
      before = total = 0;
    } else if (automatic != "NOTSET") {
      call.fail("auto_pad '" + automatic + "' is not known");
    }
    if (p.kernel[d] < 1 || p.in[d] + total < reach) call.fail("the kernel is larger than the padded input");
    p.before.push_back(before);
    p.out.push_back((p.in[d] + total - reach) / p.strides[d] + 1);
    p.result.push_back(p.out.back());
  }
  return p;
}

/// Adds one kernel position to an output plane: out[o] += weight * in[o * stride + shift] where that lies inside.
void add_tap(const Window& p, const Shape& tap, std::int32_t weight, const std::int32_t* in, std::int32_t* out) {
  const std::size_t last = p.dims - 1;
  const std::int64_t row = p.out[last];
  const std::int64_t shift = tap[last] * p.dilations[last] - p.before[last];
  const std::int64_t stride = p.strides[last];
  const std::int64_t first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
  const std::int64_t end = p.in[last] <= shift ? 0 : std::min(row, (p.in[last] - shift - 1) / stride + 1);
  for (std::int64_t r = 0; r < p.out.elements(0, last); ++r) {
    std::int64_t rest = r;
    std::int64_t at = 0;
    std::int64_t scale = p.in[last];
    bool inside = true;
    for (std::size_t d = last; d-- > 0;) {
      const std::int64_t index = rest % p.out[d] * p.strides[d] + tap[d] * p.dilations[d] - p.before[d];
      rest /= p.out[d];
      inside = inside && index >= 0 && index < p.in[d];
      at += index * scale;
      scale *= p.in[d];
    }
    if (!inside) continue;
    for (std::int64_t o = first; o < end; ++o)
      out[r * row + o] = multiply_add(out[r * row + o], weight, in[at + o * stride + shift]);
  }
}

Sums convolve_codes(const Call& call, const Window& p, std::size_t x, std::size_t x_zero, std::size_t w,
                    std::size_t w_zero) {
  if (count_of(call, x_zero) != 1) call.fail("the input's zero point must be a scalar");
  const std::int64_t zeros = count_of(call, w_zero);
  const std::int64_t plane_in = p.in.elements();
  const std::int64_t plane_out = p.out.elements();
  const std::int64_t taps = p.kernel.elements();
  const std::int64_t depth = p.channels / p.group;
  const Sums in = centered(call, call.input(x), x_zero, [](std::int64_t) { return 0; });
  const Sums weights = centered(call, call.input(w), w_zero, [&](std::int64_t i) {
    return parameter_of(call, zeros, 1, p.filters, 0, i / (depth * taps));
  });
  Sums sums(static_cast<std::size_t>(p.result.elements()), 0);
  call.device.parallel(p.batch * p.filters, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t line = begin; line < end; ++line) {
      const std::int64_t filter = line % p.filters;
      const std::int64_t channel = filter / (p.filters / p.group) * depth;
      for (std::int64_t c = 0; c < depth; ++c)
        for (std::int64_t t = 0; t < taps; ++t) {
          Shape tap(p.dims, 0);
          std::int64_t rest = t;
          for (std::size_t d = p.dims; d-- > 0; rest /= p.kernel[d]) tap[d] = rest % p.kernel[d];
          add_tap(p, tap, weights[static_cast<std::size_t>((filter * depth + c) * taps + t)],
                  in.data() + (line / p.filters * p.channels + channel + c) * plane_in, sums.data() + line * plane_out);
        }
    }
  });
  return sums;
}

void conv_integer(Call& call) {
  require_inputs(call, 2);
  const Window p = plan_window(call, call.input(0).shape(), call.input(1).shape());
  give_sums(call, convolve_codes(call, p, 0, 2, 1, 3), p.result);
}

void q_linear_conv(Call& call) {
  require_inputs(call, 8);
  const Window p = plan_window(call, call.input(0).shape(), call.input(3).shape());
  Sums sums = convolve_codes(call, p, 0, 2, 3, 5);
  const std::int64_t plane = p.out.elements();
  if (call.has(8)) {
    const Tensor& bias = call.input(8);
    if (bias.type() != DataType::int32 || bias.elements() != p.filters)
      call.fail("the bias must be one int32 a filter");
    for (std::size_t i = 0; i < sums.size(); ++i)
      sums[i] = multiply_add(sums[i], 1, bias.data<std::int32_t>()[static_cast<std::int64_t>(i) / plane % p.filters]);
  }
  const float scale_x = scalar_scale(call, 1);
  const Tensor& scale_w = scale_input(call, 4);
  const float scale_y = scalar_scale(call, 6);
  requantize(call, sums, p.result, 7, [&](std::int64_t i) {
    return scale_x *
           scale_w.data<float>()[parameter_of(call, scale_w.elements(), 1, p.filters, 0, i / plane % p.filters)] /
           scale_y;
  });
}

}  // namespace

void register_quantized(OperatorTable& table) {
  table.add("ConvInteger", conv_integer);
  table.add("MatMulInteger", mat_mul_integer);
  table.add("QLinearConv", q_linear_conv);
  table.add("QLinearMatMul", q_linear_mat_mul);
  register_quantize_linear(table);
}

}  // namespace tare::cpu
