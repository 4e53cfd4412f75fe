// QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear for integer codes up to 16 bits (and int32 to dequantize),
// per tensor, per axis and in blocks, with the formulas of numerics.hpp. Odd: codes of 8-bit floats are the host's
// types and stay there, and so do scales of 8 bits.
#include "cpu/quantized.hpp"
#include "float_element.hpp"
#include "row_folds.hpp"
#include "tare/small_float.hpp"

namespace tare::cuda {
namespace {

template <class Code>
struct ToCodes {
  FloatInput in, scales;
  const Code* zero_points;  ///< may be null
  Code* out;
  cpu::Granularity g;
  float low, high;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t s = g.scale_of(i);
    const float zero_point = zero_points != nullptr ? static_cast<float>(zero_points[s]) : 0.0f;
    out[i] = static_cast<Code>(quantize(in[i], scales[s], zero_point, low, high));
  }
};

template <class Code>
struct FromCodes {
  const Code* in;
  FloatInput scales;
  const Code* zero_points;  ///< may be null
  FloatOutput out;
  cpu::Granularity g;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t s = g.scale_of(i);
    const auto zero_point = static_cast<std::int64_t>(zero_points != nullptr ? zero_points[s] : Code{0});
    out.set(i, static_cast<float>(static_cast<std::int64_t>(in[i]) - zero_point) * scales[s]);
  }
};

template <class Code>
void run_quantize(const Call& call, const cpu::Granularity& g, const cpu::CodeRange& range, Tensor& y) {
  for_each(y.elements(), stream_of(call),
           ToCodes<Code>{call.input(0), call.input(1), call.has(2) ? call.input(2).data<Code>() : nullptr,
                         y.mutable_data<Code>(), g, range.low, range.high});
}

/// The host's function takes float32: halves are widened before it, and its result becomes `type` after it.
void run_wide_on_host(Call& call, DataType type) {
  Device& device = device_of(call);
  for (Tensor& input : call.inputs)
    if (is_quantizable(input.type()) && input.type() != DataType::float32) input = widen(device, input);
  run_on_host(call);
  if (call.outputs[0].type() != type) call.outputs[0] = narrow(device, device.upload(call.outputs[0]), type);
}

bool scales_are_powers(const Call& call) { return call.input(1).type() == DataType::float8e8m0; }

void quantize_linear(Call& call) {
  cpu::require_inputs(call, 2);
  const DataType type = cpu::code_type(call);
  if (small_float(type) != nullptr || scales_are_powers(call)) return run_wide_on_host(call, type);
  const cpu::Granularity g = cpu::granularity(call);
  for (const std::size_t i : {0, 1})
    if (!is_quantizable(call.input(i).type())) cpu::fail_type(call, call.input(i).type());
  cpu::dispatch_codes(call, type, [&]<class Code>(const cpu::CodeRange& range) {
    if (range.wide) cpu::fail_type(call, type);
    run_quantize<Code>(call, g, range, call.output(0, type, call.input(0).shape()));
  });
}

template <class Code>
void run_dequantize(const Call& call, const cpu::Granularity& g, Tensor& y) {
  for_each(y.elements(), stream_of(call),
           FromCodes<Code>{call.input(0).data<Code>(), call.input(1),
                           call.has(2) ? call.input(2).data<Code>() : nullptr, y, g});
}

void dequantize_linear(Call& call) {
  cpu::require_inputs(call, 2);
  const DataType result = cpu::dequantized_type(call);
  const DataType type = call.input(0).type();
  if (small_float(type) != nullptr || scales_are_powers(call)) return run_wide_on_host(call, result);
  const cpu::Granularity g = cpu::granularity(call);
  if (call.has(2) && call.input(2).type() != type) call.fail("the zero point must have the input's type");
  if (!is_quantizable(call.input(1).type())) cpu::fail_type(call, call.input(1).type());
  cpu::dispatch_codes(call, type, [&]<class Code>(const cpu::CodeRange&) {
    run_dequantize<Code>(call, g, call.output(0, result, call.input(0).shape()));
  });
}

/// Grid of all values together: a scale, and a zero point as a code. A Value is their range, both ends in one word.
struct FindGrid {
  using Value = std::uint64_t;
  RowView view;
  FloatInput in;
  float* scale;
  std::uint8_t* zero_point;

  __device__ static Value range(float low, float high) { return Value{bits_of(low)} << 32 | bits_of(high); }
  __device__ static float low_of(Value range) { return float_of(static_cast<std::uint32_t>(range >> 32)); }
  __device__ static float high_of(Value range) { return float_of(static_cast<std::uint32_t>(range)); }

  __device__ Value walk(std::int64_t o, std::int64_t first, std::int64_t step) const {
    float low = 0;
    float high = 0;
    view.each(in, o, first, step, [&](float value, std::int64_t) {
      low = value < low ? value : low;
      high = value > high ? value : high;
    });
    return range(low, high);
  }
  __device__ Value join(Value a, Value b) const {
    return range(low_of(a) < low_of(b) ? low_of(a) : low_of(b), high_of(a) > high_of(b) ? high_of(a) : high_of(b));
  }
  __device__ void finish(std::int64_t, Value range) const {
    const cpu::DynamicGrid grid = cpu::dynamic_grid(low_of(range), high_of(range));
    *scale = grid.scale;
    *zero_point = static_cast<std::uint8_t>(grid.zero_point);
  }
};

void dynamic_quantize_linear(Call& call) {
  cpu::require_inputs(call, 1);
  const Tensor x = call.input(0);
  if (x.type() != DataType::float32) cpu::fail_type(call, x.type());
  Tensor& y = call.output(0, DataType::uint8, x.shape());
  Tensor scale = call.device.allocate(DataType::float32, {});
  Tensor zero_point = call.device.allocate(DataType::uint8, {});
  fold_rows(call, FindGrid{RowView{1, x.elements(), 1}, x, scale.mutable_data<float>(),
                           zero_point.mutable_data<std::uint8_t>()});
  for_each(x.elements(), stream_of(call),
           ToCodes<std::uint8_t>{x, scale, zero_point.data<std::uint8_t>(), y.mutable_data<std::uint8_t>(),
                                 cpu::Granularity{}, 0.0f, 255.0f});
  if (call.wants(1)) call.outputs[1] = scale;
  if (call.wants(2)) call.outputs[2] = zero_point;
}

}  // namespace

void register_quantize_linear(OperatorTable& table) {
  table.add("DequantizeLinear", dequantize_linear, cpu::Half::native, {.device = 5});
  table.add("DynamicQuantizeLinear", dynamic_quantize_linear);
  // Integer arithmetic, of which only the scales are floats: the host's.
  for (const std::string_view name : {"QLinearConv", "QLinearMatMul"})
    table.add(name, run_on_host, cpu::Half::native, {.host = Places::all});
  table.add("QuantizeLinear", quantize_linear, cpu::Half::native, {.device = 4});
}

}  // namespace tare::cuda
