// QuantizeLinear, DequantizeLinear (per tensor, per axis, in blocks) and DynamicQuantizeLinear.
// The formulas are those of numerics.hpp; codes of any type pass through float32, which holds all of them but large
// int32.
#include <cmath>

#include "cpu/quantized.hpp"
#include "tare/small_float.hpp"

namespace tare::cpu {

Granularity granularity(const Call& call) {
  const Shape& shape = call.input(0).shape();
  const Tensor& scale = call.input(1);
  if (call.has(2) && !(call.input(2).shape() == scale.shape()) &&
      !(call.input(2).elements() == 1 && scale.elements() == 1))
    call.fail("scale of shape " + scale.shape().text() + " and zero point of shape " + call.input(2).shape().text());
  Granularity g;
  const std::int64_t block = call.node.integer("block_size", 0);
  if (scale.elements() == 1 && block == 0 && scale.rank() <= 1) return g;
  const std::size_t axis = axis_of(call, call.node.integer("axis", 1), shape.rank());
  g.whole = false;
  g.axis = shape[axis];
  g.inner = shape.elements(axis + 1, shape.rank());
  if (block == 0) {
    if (!(scale.shape() == Shape{g.axis}))
      call.fail("scale of shape " + scale.shape().text() + " for an axis of " + std::to_string(g.axis) + " elements");
    return g;
  }
  if (block < 0) call.fail("block_size must not be negative");
  g.blocked = true;
  g.block = block;
  g.scales = g.axis / block + (g.axis % block != 0 ? 1 : 0);
  Shape expected = shape;
  expected[axis] = g.scales;
  if (!(scale.shape() == expected))
    call.fail("scale of shape " + scale.shape().text() + " where blocks of " + std::to_string(block) + " need " +
              expected.text());
  return g;
}

DataType code_type(const Call& call) {
  if (call.has(2)) return call.input(2).type();
  const std::int64_t asked = call.node.integer("output_dtype", 0);
  return asked != 0 ? static_cast<DataType>(asked) : DataType::uint8;
}

DataType dequantized_type(const Call& call) {
  const auto asked = static_cast<DataType>(call.node.integer("output_dtype", 0));
  if (asked == DataType::undefined && call.input(1).type() == DataType::float8e8m0)
    call.fail("scales of float8e8m0 need the attribute output_dtype: no type of the result follows from them");
  if (asked == DataType::undefined) return call.input(1).type();
  if (!is_quantizable(asked)) call.fail("output_dtype is no type of floats");
  return asked;
}

namespace {

constexpr std::int64_t grain = 16384;

/// Calls body(scale index, begin, end) for runs of elements that share a scale.
template <class Body>
void for_each_scale(const Device& device, std::int64_t elements, const Granularity& g, Body&& body) {
  device.parallel(elements, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end;) {
      const std::int64_t next = i + g.run(i, end);
      body(g.scale_of(i), i, next);
      i = next;
    }
  });
}

std::vector<float> scales_of(const Call& call) {
  const Tensor& scale = call.input(1);
  std::vector<float> result(static_cast<std::size_t>(scale.elements()));
  if (scale.type() == DataType::float32)
    std::copy_n(scale.data<float>(), result.size(), result.begin());
  else if (scale.type() == DataType::float64)
    std::transform(scale.data<double>(), scale.data<double>() + scale.elements(), result.begin(),
                   [](double s) { return static_cast<float>(s); });
  else if (scale.type() == DataType::float8e8m0)
    std::transform(scale.data<std::uint8_t>(), scale.data<std::uint8_t>() + scale.elements(), result.begin(),
                   decode_power);
  else
    fail_type(call, scale.type());
  return result;
}

/// Zero points as floats: zeros when the input is absent or of a floating-point code type.
std::vector<float> zero_points_of(const Call& call, std::size_t count) {
  std::vector<float> result(count, 0.0f);
  if (!call.has(2) || small_float(call.input(2).type()) != nullptr) return result;
  dispatch_codes(call, call.input(2).type(), [&]<class T>(const CodeRange&) {
    for (std::size_t i = 0; i < count; ++i) result[i] = static_cast<float>(call.input(2).data<T>()[i]);
  });
  return result;
}

template <class T>
float as_float(T x) {
  return static_cast<float>(x);
}

void quantize_linear(Call& call) {
  require_inputs(call, 2);
  const Granularity g = granularity(call);
  const DataType type = code_type(call);
  const std::vector<float> scales = scales_of(call);
  const std::vector<float> zero_points = zero_points_of(call, scales.size());
  const Tensor x = call.input(0);
  const bool saturates = call.node.integer("saturate", 1) != 0;
  Tensor y = call.device.allocate(type, x.shape());
  const auto run = [&]<class In>() {
    const In* in = x.data<In>();
    if (const SmallFloat* format = small_float(type)) {
      std::uint8_t* out = y.mutable_data<std::uint8_t>();
      return for_each_scale(call.device, x.elements(), g, [&](std::int64_t s, std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
          out[i] = format->encode(as_float(in[i]) / scales[static_cast<std::size_t>(s)], saturates);
      });
    }
    dispatch_codes(call, type, [&]<class Out>(const CodeRange& range) {
      if (range.wide) fail_type(call, type);
      Out* out = y.mutable_data<Out>();
      for_each_scale(call.device, x.elements(), g, [&](std::int64_t s, std::int64_t begin, std::int64_t end) {
        const float scale = scales[static_cast<std::size_t>(s)];
        const float zero_point = zero_points[static_cast<std::size_t>(s)];
        for (std::int64_t i = begin; i < end; ++i)
          out[i] = static_cast<Out>(quantize(as_float(in[i]), scale, zero_point, range.low, range.high));
      });
    });
  };
  switch (x.type()) {
    case DataType::float32: run.operator()<float>(); break;
    case DataType::float64: run.operator()<double>(); break;
    case DataType::int32: run.operator()<std::int32_t>(); break;
    default: fail_type(call, x.type());
  }
  call.outputs[0] = std::move(y);
}

void dequantize_linear(Call& call) {
  require_inputs(call, 2);
  const Granularity g = granularity(call);
  const std::vector<float> scales = scales_of(call);
  const DataType type = dequantized_type(call);
  const Tensor x = call.input(0);
  if (call.has(2) && call.input(2).type() != x.type()) call.fail("the zero point must have the input's type");
  Tensor y = call.device.allocate(DataType::float32, x.shape());
  float* out = y.mutable_data<float>();
  if (const SmallFloat* format = small_float(x.type())) {
    const std::uint8_t* in = x.data<std::uint8_t>();
    for_each_scale(call.device, x.elements(), g, [&](std::int64_t s, std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = format->decode(in[i]) * scales[static_cast<std::size_t>(s)];
    });
  } else {
    dispatch_codes(call, x.type(), [&]<class T>(const CodeRange&) {
      const T* in = x.data<T>();
      const T* zero_points = call.has(2) ? call.input(2).data<T>() : nullptr;
      for_each_scale(call.device, x.elements(), g, [&](std::int64_t s, std::int64_t begin, std::int64_t end) {
        const float scale = scales[static_cast<std::size_t>(s)];
        const auto zero_point = static_cast<std::int64_t>(zero_points != nullptr ? zero_points[s] : T{0});
        for (std::int64_t i = begin; i < end; ++i)
          out[i] = static_cast<float>(static_cast<std::int64_t>(in[i]) - zero_point) * scale;
      });
    });
  }
  const bool is_half = type == DataType::float16 || type == DataType::bfloat16;
  call.outputs[0] = is_half ? narrow(call.device, y, type) : std::move(y);
}

void dynamic_quantize_linear(Call& call) {
  require_inputs(call, 1);
  const Tensor x = call.input(0);
  if (x.type() != DataType::float32) fail_type(call, x.type());
  float low = 0;
  float high = 0;
  for (const float value : x.span<float>()) {
    low = value < low ? value : low;
    high = value > high ? value : high;
  }
  const auto [scale, zero_point] = dynamic_grid(low, high);
  std::uint8_t* out = call.output(0, DataType::uint8, x.shape()).mutable_data<std::uint8_t>();
  const float* in = x.data<float>();
  call.device.parallel(x.elements(), grain, [&, scale = scale, zero_point = zero_point](auto begin, auto end) {
    for (std::int64_t i = begin; i < end; ++i)
      out[i] = static_cast<std::uint8_t>(quantize(in[i], scale, zero_point, 0.0f, 255.0f));
  });
  if (call.wants(1)) *call.output(1, DataType::float32, {}).mutable_data<float>() = scale;
  if (call.wants(2))
    *call.output(2, DataType::uint8, {}).mutable_data<std::uint8_t>() = static_cast<std::uint8_t>(zero_point);
}

}  // namespace

void register_quantize_linear(OperatorTable& table) {
  table.add("DequantizeLinear", dequantize_linear);
  table.add("DynamicQuantizeLinear", dynamic_quantize_linear);
  table.add("QuantizeLinear", quantize_linear);
}

}  // namespace tare::cpu
