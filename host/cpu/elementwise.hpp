// What the element-wise operators share: checks of inputs and types, integer arithmetic without undefined behaviour.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "cpu/operators.hpp"

namespace tare::cpu {

constexpr bool is_integer(DataType type) {
  return type == DataType::int8 || type == DataType::uint8 || type == DataType::int16 || type == DataType::uint16 ||
         type == DataType::int32 || type == DataType::uint32 || type == DataType::int64 || type == DataType::uint64;
}

/// The type in which T adds, subtracts and multiplies modulo 2^n.
template <class T>
using Wrapping = std::conditional_t<sizeof(T) <= 4, std::uint32_t, std::uint64_t>;

/// What sums and products of T are taken in: integers wrap.
template <class T>
struct AccumulatorOf {
  using Type = T;
};
template <std::integral T>
struct AccumulatorOf<T> {
  using Type = Wrapping<T>;
};
template <class T>
using Accumulator = typename AccumulatorOf<T>::Type;

template <class T>
constexpr T wrapping_negate(T x) {
  return static_cast<T>(Wrapping<T>{0} - static_cast<Wrapping<T>>(x));
}

/// A double as T: floats as they are, integers truncated towards zero and clamped to T's range, NaN to 0.
template <class T>
T saturate_to(double x) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(x);
  } else {
    using Limits = std::numeric_limits<T>;
    if (x != x) return T{0};
    if (x <= static_cast<double>(Limits::lowest())) return Limits::lowest();
    if (x >= static_cast<double>(Limits::max())) return Limits::max();
    return static_cast<T>(x);
  }
}

[[noreturn]] inline void fail_type(const Call& call, DataType type) {
  call.fail("element type " + std::string(name_of(type)) + " is not supported here");
}

/// As dispatch, without booleans.
template <class Function>
decltype(auto) dispatch_numbers(DataType type, const Call& call, Function&& function) {
  using Result = decltype(function.template operator()<float>());
  return dispatch(type, call, [&]<class T>() -> Result {
    if constexpr (std::is_same_v<T, bool>)
      fail_type(call, type);
    else
      return function.template operator()<T>();
  });
}

/// Fails unless the first `count` inputs are there and an output is asked for.
inline void require_inputs(const Call& call, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (!call.has(i)) call.fail("input " + std::to_string(i) + " is missing");
  if (call.outputs.empty()) call.fail("it has no output");
}

/// The only element of a tensor, as a double.
inline double scalar_as_double(const Call& call, const Tensor& tensor) {
  if (tensor.elements() != 1) call.fail("a tensor of shape " + tensor.shape().text() + " where a scalar is expected");
  return dispatch(tensor.type(), call, [&]<class T>() { return static_cast<double>(*tensor.data<T>()); });
}

}  // namespace tare::cpu
