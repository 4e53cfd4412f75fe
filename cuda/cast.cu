// Cast, CastLike and BitCast between floats, integers and booleans, and the widening of half types around operators
// that compute in float32. Odd: types of 8 bits and fewer with a fraction, and strings, are the host's: their values
// are few.
#include "elementwise.hpp"

namespace tare::cuda {
namespace {

struct Float16 {
  std::uint16_t bits;
};
struct Bfloat16 {
  std::uint16_t bits;
};
struct Bool {
  std::uint8_t byte;
};

TARE_HD float plain(Float16 x) { return half_to_float(x.bits); }
TARE_HD float plain(Bfloat16 x) { return bfloat_to_float(x.bits); }
TARE_HD std::uint8_t plain(Bool x) { return x.byte != 0 ? 1 : 0; }
template <class T>
TARE_HD T plain(T x) {
  return x;
}

/// A double as float, so that rounding the result to a shorter type rounds as if from the double (round to odd).
TARE_HD float sticky(double x) {
  const float nearest = static_cast<float>(x);
  if (static_cast<double>(nearest) == x || x != x) return nearest;
  const double magnitude = x < 0 ? -x : x;
  const double rounded = nearest < 0 ? -static_cast<double>(nearest) : static_cast<double>(nearest);
  return float_of((bits_of(nearest) - (rounded > magnitude ? 1u : 0u)) | 1u);
}
template <class T>
TARE_HD float to_float(T x) {
  return sticky(static_cast<double>(x));
}
TARE_HD float to_float(float x) { return x; }

template <class T>
struct Range {  // of an integer type, as doubles
  static constexpr bool is_signed = T(-1) < T(0);
  static constexpr T highest = static_cast<T>(is_signed ? ~(std::uint64_t{1} << (8 * sizeof(T) - 1)) &
                                                              (~std::uint64_t{0} >> (64 - 8 * sizeof(T)))
                                                        : ~std::uint64_t{0} >> (64 - 8 * sizeof(T)));
  static constexpr T lowest = is_signed ? static_cast<T>(-highest - 1) : T{0};
};

template <class T>
struct To {
  template <class U>
  TARE_HD static T from(U x) {
    if constexpr (std::is_floating_point_v<U> && std::is_integral_v<T>) {  // saturating, NaN to 0
      const auto wide = static_cast<double>(x);
      if (wide != wide) return T{0};
      if (wide <= static_cast<double>(Range<T>::lowest)) return Range<T>::lowest;
      if (wide >= static_cast<double>(Range<T>::highest)) return Range<T>::highest;
      return static_cast<T>(wide);
    } else {
      return static_cast<T>(x);
    }
  }
};
template <>
struct To<Float16> {
  template <class U>
  TARE_HD static Float16 from(U x) {
    return {float_to_half(to_float(x))};
  }
};
template <>
struct To<Bfloat16> {
  template <class U>
  TARE_HD static Bfloat16 from(U x) {
    return {float_to_bfloat(to_float(x))};
  }
};
template <>
struct To<Bool> {
  template <class U>
  TARE_HD static Bool from(U x) {
    return {static_cast<std::uint8_t>(x != U{0} ? 1 : 0)};
  }
};

template <class From, class Into>
void convert(const Tensor& in, Tensor& out, StreamView stream) {
  const From* from = in.data<From>();
  Into* to = out.mutable_data<Into>();
  for_each(out.elements(), stream, [=] __device__(std::int64_t i) { to[i] = To<Into>::from(plain(from[i])); });
}

template <class Function>
bool by_type(DataType type, Function&& function) {
  switch (type) {
    case DataType::float32: function(float{}); return true;
    case DataType::float64: function(double{}); return true;
    case DataType::float16: function(Float16{}); return true;
    case DataType::bfloat16: function(Bfloat16{}); return true;
    case DataType::boolean: function(Bool{}); return true;
    case DataType::int8: function(std::int8_t{}); return true;
    case DataType::uint8: function(std::uint8_t{}); return true;
    case DataType::int16: function(std::int16_t{}); return true;
    case DataType::uint16: function(std::uint16_t{}); return true;
    case DataType::int32: function(std::int32_t{}); return true;
    case DataType::uint32: function(std::uint32_t{}); return true;
    case DataType::int64: function(std::int64_t{}); return true;
    case DataType::uint64: function(std::uint64_t{}); return true;
    default: return false;
  }
}

/// False where one of the types is the host's.
bool convert_on_device(const Tensor& in, Tensor& out, StreamView stream) {
  bool done = false;
  by_type(in.type(), [&](auto from) {
    done = by_type(out.type(), [&](auto into) { convert<decltype(from), decltype(into)>(in, out, stream); });
  });
  return done;
}

void cast_to(Call& call, DataType type) {
  const Tensor x = call.input(0);
  if (x.type() == type) {
    call.outputs[0] = x;
    return;
  }
  const auto known = [](DataType t) { return by_type(t, [](auto) {}); };
  if (known(x.type()) && known(type)) {
    Tensor& y = call.output(0, type, x.shape());
    convert_on_device(x, y, stream_of(call));
    return;
  }
  run_on_host(call);
}

void cast_of(Call& call) {
  cpu::require_inputs(call, 1);
  cast_to(call, static_cast<DataType>(call.node.integer("to")));
}
void cast_like_of(Call& call) {
  cpu::require_inputs(call, 2);
  cast_to(call, call.input(1).type());
}

void bit_cast_of(Call& call) {
  cpu::require_inputs(call, 1);
  // What is not its bits alone in memory is converted; the rest is a view, which reads nothing.
  const auto type = static_cast<DataType>(call.node.integer("to"));
  if (bit_width(call.input(0).type()) < 8 || type == DataType::boolean) return run_on_host(call);
  cpu::operator_table().find(call.node)->function(call);
}

}  // namespace

Tensor widen(Device& device, const Tensor& half) {
  Tensor wide = device.allocate(DataType::float32, half.shape());
  convert_on_device(half, wide, device.stream());
  return wide;
}
Tensor narrow(Device& device, const Tensor& wide, DataType type) {
  Tensor half = device.allocate(type, wide.shape());
  convert_on_device(wide, half, device.stream());
  return half;
}

void register_cast(OperatorTable& table) {
  table.add("BitCast", bit_cast_of, cpu::Half::native, {.device = 1});
  table.add("Cast", cpu::Operator{.function = cast_of, .half = cpu::Half::native, .objects = true}, {.device = 1});
  table.add("CastLike", cpu::Operator{.function = cast_like_of, .half = cpu::Half::native, .objects = true},
            {.device = 3});
}

}  // namespace tare::cuda
