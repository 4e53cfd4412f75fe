// Cast and CastLike between all numeric types, and BitCast. In two steps, so that n types need n conversions and not
// n^2: what is packed (half types and those of 8 bits and fewer) is first read as float32 or int8, and written last
// from float32. Odd: floats out of an integer's range saturate and NaN becomes 0 (ONNX leaves both open), but from
// opset 24 on integers of 4 bits and fewer keep the lower bits, as ONNX's own data do since then; double to half rounds
// once.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cpu/elementwise.hpp"
#include "cpu/text.hpp"
#include "cpu/vector.hpp"
#include "tare/small_float.hpp"

namespace tare::cpu {
namespace {

constexpr std::int64_t grain = 16384;

template <class In, class Out, class Formula>
Tensor convert(Device& device, const Tensor& in, DataType type, Formula&& f) {
  Tensor out = device.allocate(type, in.shape(), in.layout());
  const In* from = in.data<In>();
  Out* to = out.mutable_data<Out>();
  device.parallel(in.elements(), grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = f(from[i]);
  });
  return out;
}

/// The tensor in a type that C++ computes with, all values kept.
Tensor unpacked(const Call& call, const Tensor& x) {
  if (const SmallFloat* format = small_float(x.type()))
    return convert<std::uint8_t, float>(call.device, x, DataType::float32,
                                        [=](std::uint8_t code) { return format->decode(code); });
  switch (x.type()) {
    case DataType::float16:
      return convert<std::uint16_t, float>(call.device, x, DataType::float32,
                                           [](std::uint16_t half) { return half_to_float(half); });
    case DataType::bfloat16:
      return convert<std::uint16_t, float>(call.device, x, DataType::float32,
                                           [](std::uint16_t half) { return bfloat_to_float(half); });
    case DataType::float8e8m0: return convert<std::uint8_t, float>(call.device, x, DataType::float32, decode_power);
    case DataType::int4:
    case DataType::int2: return x.retyped(DataType::int8);
    case DataType::uint4:
    case DataType::uint2: return x.retyped(DataType::uint8);
    default: return x;
  }
}

/// A double as float, so that rounding the result to a shorter type rounds as if from the double (round to odd).
float sticky(double x) {
  const float nearest = static_cast<float>(x);
  if (static_cast<double>(nearest) == x || x != x) return nearest;
  const bool beyond = std::abs(static_cast<double>(nearest)) > std::abs(x);
  return float_of((bits_of(nearest) - (beyond ? 1u : 0u)) | 1u);
}

template <class T>
float to_float(T x) {
  if constexpr (std::is_same_v<T, float>)
    return x;
  else
    return sticky(static_cast<double>(x));
}

/// `x` as `type`, for packed types: write(float) gives the code.
template <class Code, class Write>
Tensor packed(const Call& call, const Tensor& x, DataType type, Write&& write) {
  return dispatch(x.type(), call, [&]<class T>() {
    return convert<T, Code>(call.device, x, type, [&](T value) { return write(to_float(value)); });
  });
}

template <class T, class U>
U convert_number(T x) {
  if constexpr (std::is_same_v<U, bool>)
    return x != T{0};
  else if constexpr (std::is_floating_point_v<T> && std::is_integral_v<U>)
    return saturate_to<U>(static_cast<double>(x));
  else
    return static_cast<U>(x);
}

/// What the attributes and the opset of a node say about values that the type does not hold.
struct Conversion {
  bool saturate;
  PowerRounding rounding;
  bool wraps;  ///< floats to integers of 4 bits and fewer

  explicit Conversion(const Call& call)
      : saturate(call.node.integer("saturate", 1) != 0), wraps(call.node.opset >= 24) {
    const std::string mode = call.node.text("round_mode", "up");
    if (mode != "up" && mode != "down" && mode != "nearest")
      call.fail("round_mode is '" + mode + "', not one of up, down, nearest");
    rounding = mode == "up" ? PowerRounding::up : mode == "down" ? PowerRounding::down : PowerRounding::nearest;
  }
};

/// An integer of 4 bits or fewer: of integers the lower bits, as ONNX has it; floats rounded to even, NaN and
/// infinities to 0 where they wrap.
template <class T>
std::uint8_t small_integer(T x, DataType type, bool wraps) {
  if constexpr (std::is_integral_v<T>) return unpacked_element(type, static_cast<std::uint8_t>(x));
  const double rounded = std::nearbyint(static_cast<double>(x));
  if (wraps)
    return unpacked_element(type, std::isfinite(rounded)
                                      ? static_cast<std::uint8_t>(static_cast<int>(std::fmod(rounded, 256.0)))
                                      : std::uint8_t{0});
  if (std::isnan(rounded)) return 0;
  const int bits = bit_width(type);
  const bool is_signed = type == DataType::int4 || type == DataType::int2;
  const double low = is_signed ? -(1 << (bits - 1)) : 0;
  return static_cast<std::uint8_t>(static_cast<int>(std::clamp(rounded, low, low + ((1 << bits) - 1))));
}

Tensor cast(const Call& call, const Tensor& source, DataType type, const Conversion& conversion) {
  if (source.type() == type) return source;
  if (source.type() == DataType::string) {
    const bool integers = type == DataType::boolean || is_integer(type);
    return cast(call, text_to_number(call, source, integers), type, conversion);
  }
  if (type == DataType::string) return number_to_text(call, unpacked(call, source));
  if (size_of(source.type()) == 0 || size_of(type) == 0 || type == DataType::complex64 || type == DataType::complex128)
    call.fail("cannot cast " + std::string(name_of(source.type())) + " to " + std::string(name_of(type)));
  Tensor x = unpacked(call, source);
  if (const SmallFloat* format = small_float(type))
    return packed<std::uint8_t>(call, x, type, [=](float value) { return format->encode(value, conversion.saturate); });
  switch (type) {
    case DataType::float16:
      return packed<std::uint16_t>(call, x, type, [](float value) { return float_to_half(value); });
    case DataType::bfloat16:
      return packed<std::uint16_t>(call, x, type, [](float value) { return float_to_bfloat(value); });
    case DataType::float8e8m0:
      return packed<std::uint8_t>(
          call, x, type, [=](float value) { return encode_power(value, conversion.saturate, conversion.rounding); });
    case DataType::int4:
    case DataType::uint4:
    case DataType::int2:
    case DataType::uint2:
      return dispatch(x.type(), call, [&]<class T>() {
        return convert<T, std::uint8_t>(call.device, x, type,
                                        [=](T value) { return small_integer(value, type, conversion.wraps); });
      });
    default: break;
  }
  if (x.type() == type) return x;
  return dispatch(x.type(), call, [&]<class T>() {
    return dispatch(type, call, [&]<class U>() {
      if constexpr (std::is_same_v<T, bool>)
        return convert<std::uint8_t, U>(call.device, x, type,
                                        [](std::uint8_t value) { return static_cast<U>(value != 0); });
      else
        return convert<T, U>(call.device, x, type, [](T value) { return convert_number<T, U>(value); });
    });
  });
}

void cast_of(Call& call) {
  require_inputs(call, 1);
  const auto type = static_cast<DataType>(call.node.integer("to"));
  call.outputs[0] = cast(call, call.input(0), type, Conversion(call));
}

void cast_like_of(Call& call) {
  require_inputs(call, 2);
  call.outputs[0] = cast(call, call.input(0), call.input(1).type(), Conversion(call));
}

/// A view, but of what is not its bits alone in memory: elements of fewer than 8 bits, and booleans, which are 0 or 1.
void bit_cast_of(Call& call) {
  require_inputs(call, 1);
  const Tensor x = call.input(0);
  const std::int64_t to = call.node.integer("to");
  const DataType type = onnx_type(to);
  const int bits = bit_width(type);
  if (bits == 0 || bits != bit_width(x.type()))
    call.fail(fmt::format("cannot read the bits of {} as {} (type {}): both must be numbers of the same size",
                          name_of(x.type()), name_of(type), to));
  if (type == x.type())
    call.outputs[0] = x;
  else if (bits < 8)
    call.outputs[0] = convert<std::uint8_t, std::uint8_t>(
        call.device, x, type, [=](std::uint8_t byte) { return unpacked_element(type, byte); });
  else if (type == DataType::boolean)
    call.outputs[0] = convert<std::uint8_t, std::uint8_t>(
        call.device, x, type, [](std::uint8_t byte) { return static_cast<std::uint8_t>(byte != 0); });
  else
    call.outputs[0] = x.retyped(type);
}

}  // namespace

void register_cast(OperatorTable& table) {
  table.add("BitCast", Operator{.function = bit_cast_of, .half = Half::native, .channels_last = true});
  // CastLike reads no element of its second input, but the executor would convert its layout: both stay as they are.
  table.add("Cast", Operator{.function = cast_of, .half = Half::native, .channels_last = true, .objects = true});
  table.add("CastLike",
            Operator{.function = cast_like_of, .half = Half::native, .channels_last = true, .objects = true});
}

}  // namespace tare::cpu
