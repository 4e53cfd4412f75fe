// Arithmetic of two or more broadcast operands: Add, Sub, Mul, Div, Mod, Pow, PRelu, Max, Min, Sum, Mean.
// Integers wrap around; an integer division by zero fails, checked before the loop so that the loop needs no branch.
// Odd: variadic operators fold pairwise from the left, each step writing over the one before.
#include "cpu/binary.hpp"

#include <cmath>

#include "tare/elementary.hpp"

namespace tare::cpu {
namespace {

#define TARE_LOOPS(call, name) \
  BinaryLoops { (call).device.vector().name##_vv, (call).device.vector().name##_vs, (call).device.vector().name##_sv }

using Combination = Tensor (*)(const Call&, const Tensor&, const Tensor&);

/// `loops` for float32, f for all other numbers.
template <class Formula>
Tensor combine_numbers(const Call& call, const Tensor& a, const Tensor& b, const BinaryLoops& loops, Formula&& f) {
  require_same_type(call, a, b);
  const DataType type = a.type();
  if (type == DataType::float32) return combine_vector(call, a, b, loops, f);
  return dispatch_numbers(type, call, [&]<class T>() { return combine<T, T, T>(call, a, b, type, f); });
}

void require_no_zero(const Call& call, const Tensor& a, const Tensor& b) {
  if (!is_integer(b.type()) || a.elements() == 0) return;
  dispatch(b.type(), call, [&]<class T>() {
    for (const T value : b.span<T>())
      if (value == T{0}) call.fail("integer division by zero");
  });
}

Tensor add(const Call& call, const Tensor& a, const Tensor& b) {
  return combine_numbers(call, a, b, TARE_LOOPS(call, binary_add), []<class T>(T x, T y) {
    if constexpr (std::is_floating_point_v<T>)
      return x + y;
    else
      return static_cast<T>(static_cast<Wrapping<T>>(x) + static_cast<Wrapping<T>>(y));
  });
}
Tensor subtract(const Call& call, const Tensor& a, const Tensor& b) {
  return combine_numbers(call, a, b, TARE_LOOPS(call, binary_subtract), []<class T>(T x, T y) {
    if constexpr (std::is_floating_point_v<T>)
      return x - y;
    else
      return static_cast<T>(static_cast<Wrapping<T>>(x) - static_cast<Wrapping<T>>(y));
  });
}
Tensor multiply(const Call& call, const Tensor& a, const Tensor& b) {
  return combine_numbers(call, a, b, TARE_LOOPS(call, binary_multiply), []<class T>(T x, T y) {
    if constexpr (std::is_floating_point_v<T>)
      return x * y;
    else
      return static_cast<T>(static_cast<Wrapping<T>>(x) * static_cast<Wrapping<T>>(y));
  });
}
Tensor divide(const Call& call, const Tensor& a, const Tensor& b) {
  require_no_zero(call, a, b);
  return combine_numbers(call, a, b, TARE_LOOPS(call, binary_divide), []<class T>(T x, T y) {
    if constexpr (std::is_floating_point_v<T>)
      return x / y;
    else if constexpr (std::is_signed_v<T>)
      return y == T{-1} ? wrapping_negate(x) : static_cast<T>(x / y);
    else
      return static_cast<T>(x / y);
  });
}
Tensor prelu(const Call& call, const Tensor& a, const Tensor& b) {
  return combine_numbers(call, a, b, TARE_LOOPS(call, binary_prelu), []<class T>(T x, T y) {
    if constexpr (std::is_floating_point_v<T>)
      return x < 0 ? x * y : x;
    else
      return x < 0 ? static_cast<T>(static_cast<Wrapping<T>>(x) * static_cast<Wrapping<T>>(y)) : x;
  });
}
Tensor maximum(const Call& call, const Tensor& a, const Tensor& b) {
  return combine_numbers(call, a, b, TARE_LOOPS(call, binary_maximum),
                         []<class T>(T x, T y) { return x > y || x != x ? x : y; });
}
Tensor minimum(const Call& call, const Tensor& a, const Tensor& b) {
  return combine_numbers(call, a, b, TARE_LOOPS(call, binary_minimum),
                         []<class T>(T x, T y) { return x < y || x != x ? x : y; });
}

Tensor modulo(const Call& call, const Tensor& a, const Tensor& b) {
  require_same_type(call, a, b);
  require_no_zero(call, a, b);
  const DataType type = a.type();
  const bool truncated = call.node.integer("fmod", 0) != 0;
  return dispatch_numbers(type, call, [&]<class T>() {
    if constexpr (std::is_floating_point_v<T>) {
      if (!truncated) call.fail("fmod must be 1 for floating-point operands");
      return combine<T, T, T>(call, a, b, type, [](T x, T y) { return std::fmod(x, y); });
    } else {
      return combine<T, T, T>(call, a, b, type, [truncated](T x, T y) {
        if constexpr (std::is_signed_v<T>) {
          if (y == T{-1}) return T{0};
          const T remainder = static_cast<T>(x % y);
          return !truncated && remainder != 0 && (remainder < 0) != (y < 0) ? static_cast<T>(remainder + y) : remainder;
        } else {
          return static_cast<T>(x % y);
        }
      });
    }
  });
}

/// x^y modulo 2^n for y >= 0.
template <class T>
T integer_power(T x, std::uint64_t y) {
  auto base = static_cast<Wrapping<T>>(x);
  Wrapping<T> result = 1;
  for (; y != 0; y >>= 1) {
    if (y & 1) result *= base;
    base *= base;
  }
  return static_cast<T>(result);
}

template <class T, class U>
T power_of(T x, U y) {
  if constexpr (std::is_integral_v<T> && std::is_integral_v<U>) {
    if (y < 0)
      return x == T{1} ? T{1} : (std::is_signed_v<T> && x == static_cast<T>(-1) ? (y % 2 == 0 ? T{1} : x) : T{0});
    return integer_power(x, static_cast<std::uint64_t>(y));
  } else if constexpr (std::is_same_v<T, float> && std::is_same_v<U, float>) {
    return std::pow(x, y);
  } else {
    return saturate_to<T>(std::pow(static_cast<double>(x), static_cast<double>(y)));
  }
}

/// A float32 base with one exponent for all: the squares and roots of normalisations need no pow.
bool power_by_scalar(const Call& call, const Tensor& a, const Tensor& b, Tensor& result) {
  if (a.type() != DataType::float32 || b.elements() != 1 || b.rank() > a.rank()) return false;
  const double exponent = scalar_as_double(call, b);
  const auto each = [&](auto&& f) {
    Broadcast same;
    same.shape = a.shape();
    same.layout = a.layout();
    result = reuse_or_allocate(call.device, a, a, a.type(), same);
    const float* in = a.data<float>();
    float* out = result.mutable_data<float>();
    call.device.parallel(a.elements(), binary_grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = f(in[i]);
    });
    return true;
  };
  if (exponent == 2) return each([](float x) { return x * x; });
  if (exponent == 1) return each([](float x) { return x; });
  if (exponent == -1) return each([](float x) { return 1.0f / x; });
  // pow(-0, 0.5) is +0 and pow(-inf, 0.5) is +inf, unlike the root.
  if (exponent == 0.5)
    return each([](float x) { return x == -elementary::infinity ? elementary::infinity : std::sqrt(x + 0.0f); });
  return false;
}

Tensor power(const Call& call, const Tensor& a, const Tensor& b) {
  Tensor result;
  if (power_by_scalar(call, a, b, result)) return result;
  const auto by_exponent = [&]<class T>() {
    return dispatch_numbers(b.type(), call, [&]<class U>() {
      return combine<T, U, T>(call, a, b, a.type(), [](T x, U y) { return power_of(x, y); });
    });
  };
  switch (a.type()) {
    case DataType::float32: return by_exponent.operator()<float>();
    case DataType::float64: return by_exponent.operator()<double>();
    case DataType::int32: return by_exponent.operator()<std::int32_t>();
    case DataType::int64: return by_exponent.operator()<std::int64_t>();
    default: fail_type(call, a.type());
  }
}

/// `tensor` with ones appended until it reaches from `axis` to the end of a shape of this rank.
Tensor with_trailing_ones(const Tensor& tensor, std::size_t rank, std::size_t axis) {
  Shape shape = tensor.shape();
  if (tensor.layout() != Layout::plain) return tensor;
  while (shape.rank() + axis < rank) shape.push_back(1);
  return tensor.reshaped(shape);
}

template <Combination combination>
void binary(Call& call) {
  require_inputs(call, 2);
  const Shape& shape = call.input(0).shape();
  if (call.node.opset == 6 && call.node.has("axis")) {
    // Before opset 7 the second operand stands at dimensions [axis, axis + its rank) of the first.
    const std::size_t axis = axis_of(call, call.node.integer("axis"), shape.rank());
    call.outputs[0] = combination(call, call.input(0), with_trailing_ones(call.input(1), shape.rank(), axis));
    return;
  }
  call.outputs[0] = combination(call, call.input(0), call.input(1));
}

void prelu_of(Call& call) {
  require_inputs(call, 2);
  const Tensor& x = call.input(0);
  // Before opset 7 the slope is one number or one a channel.
  const bool by_channel = call.node.opset == 6 && call.input(1).rank() == 1 && x.rank() > 1;
  const Tensor slope = by_channel ? with_trailing_ones(call.input(1), x.rank(), 1) : call.input(1);
  if (!(broadcast(call, x.shape(), slope.shape()) == x.shape()))
    call.fail("slope of shape " + slope.shape().text() + " does not broadcast to " + x.shape().text());
  call.outputs[0] = prelu(call, x, slope);
}

template <Combination combination>
Tensor fold(Call& call) {
  require_inputs(call, std::max<std::size_t>(call.inputs.size(), 1));
  Tensor result = std::move(call.inputs[0]);
  for (std::size_t i = 1; i < call.inputs.size(); ++i) result = combination(call, result, call.input(i));
  return result;
}

template <Combination combination>
void variadic(Call& call) {
  call.outputs[0] = fold<combination>(call);
}

void mean_of(Call& call) {
  Tensor sum = fold<add>(call);
  const auto count = static_cast<double>(call.inputs.size());
  if (sum.type() != DataType::float32 && sum.type() != DataType::float64) fail_type(call, sum.type());
  dispatch(sum.type(), call, [&]<class T>() {
    const T divisor = static_cast<T>(count);
    call.outputs[0] = combine<T, T, T>(call, sum, Tensor::of<T>({}, std::span<const T>(&divisor, 1)), sum.type(),
                                       [](T x, T y) { return x / y; });
  });
}

}  // namespace

void register_binary(OperatorTable& table) {
  const auto add_operator = [&](std::string_view name, Function function) {
    table.add(name, Operator{.function = function, .channels_last = true, .first_opset = 6});
  };
  add_operator("Add", binary<add>);
  add_operator("Div", binary<divide>);
  add_operator("Max", variadic<maximum>);
  add_operator("Mean", mean_of);
  add_operator("Min", variadic<minimum>);
  add_operator("Mod", binary<modulo>);
  add_operator("Mul", binary<multiply>);
  add_operator("Pow", binary<power>);
  add_operator("PRelu", prelu_of);
  add_operator("Sub", binary<subtract>);
  add_operator("Sum", variadic<add>);
  register_binary_logic(table);
}

}  // namespace tare::cpu
