// Operators that ask for shapes or make tensors from a few numbers.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "cpu/arguments.hpp"
#include "cpu/operators.hpp"
#include "cpu/strided_copy.hpp"
#include "tare/numerics.hpp"

namespace tare::cpu {
namespace {

void shape_operator(Call& call) {
  const Shape& shape = call.input(0).shape();
  const auto rank = static_cast<std::int64_t>(shape.rank());
  const auto bound = [&](std::int64_t at) { return std::clamp<std::int64_t>(at < 0 ? at + rank : at, 0, rank); };
  const std::int64_t start = bound(call.node.integer("start", 0));
  const std::int64_t end = std::max(start, bound(call.node.integer("end", rank)));
  Tensor& out = call.output(0, DataType::int64, {end - start});
  std::copy(shape.begin() + start, shape.begin() + end, out.mutable_data<std::int64_t>());
}

void size_operator(Call& call) {
  const std::int64_t elements = call.input(0).elements();
  *call.output(0, DataType::int64, {}).mutable_data<std::int64_t>() = elements;
}

void constant_of_shape(Call& call) {
  const std::vector<std::int64_t> dims = integers_of(call, 0, "shape");
  const Shape shape(dims.begin(), dims.end());
  const float zero = 0;
  DataType type = DataType::float32;
  const void* value = &zero;
  if (call.node.has("value")) {
    const Tensor& given = call.node.tensor("value");
    if (given.elements() != 1)
      call.fail(fmt::format("value must be one element, not of shape {}", given.shape().text()));
    type = given.type();
    value = given.data();
  }
  Tensor& out = call.output(0, type, shape);
  fill(call.device, size_of(type), value, out.mutable_data(), out.elements());
}

void eye_like(Call& call) {
  const Tensor& in = call.input(0);
  if (in.rank() != 2) call.fail(fmt::format("needs rank 2, not {}", in.shape().text()));
  const auto type = static_cast<DataType>(call.node.integer("dtype", static_cast<std::int64_t>(in.type())));
  const Shape shape = in.shape();
  const std::int64_t rows = shape[0];
  const std::int64_t columns = shape[1];
  const std::int64_t k = std::clamp(call.node.integer("k", 0), -rows, columns);
  const auto diagonal = [&]<class T>(T one) {
    Tensor& out = call.output(0, type, shape);
    std::memset(out.mutable_data(), 0, out.bytes());
    for (std::int64_t r = std::max<std::int64_t>(0, -k); r < rows && r + k < columns; ++r)
      out.mutable_data<T>()[r * columns + r + k] = one;
  };
  if (type == DataType::float16) return diagonal(float_to_half(1));
  if (type == DataType::bfloat16) return diagonal(float_to_bfloat(1));
  dispatch(type, call, [&]<class T>() { diagonal(static_cast<T>(1)); });
}

template <class T>
std::int64_t steps_between(const Call& call, T start, T limit, T delta) {
  if (delta == 0) call.fail("delta is 0");
  if constexpr (std::is_floating_point_v<T>) {
    const double count =
        std::ceil((static_cast<double>(limit) - static_cast<double>(start)) / static_cast<double>(delta));
    if (!(count < 0x1p40)) call.fail(fmt::format("from {} to {} by {} is not a range", start, limit, delta));
    return count > 0 ? static_cast<std::int64_t>(count) : 0;  // -inf is no integer
  } else {
    if (delta > 0 ? start >= limit : start <= limit) return 0;
    // Differences of any two 64-bit integers fit unsigned arithmetic.
    const auto high = static_cast<std::uint64_t>(delta > 0 ? limit : start);
    const auto low = static_cast<std::uint64_t>(delta > 0 ? start : limit);
    const auto step = delta > 0 ? static_cast<std::uint64_t>(delta) : 0 - static_cast<std::uint64_t>(delta);
    const std::uint64_t count = (high - low - 1) / step + 1;
    if (count >> 40 != 0) call.fail(fmt::format("from {} to {} by {} is too long", start, limit, delta));
    return static_cast<std::int64_t>(count);
  }
}

void range(Call& call) {
  for (std::size_t i = 0; i < 3; ++i)
    if (call.input(i).elements() != 1 || call.input(i).type() != call.input(0).type())
      call.fail("start, limit and delta must be single numbers of one type");
  dispatch(call.input(0).type(), call, [&]<class T>() {
    if constexpr (std::is_same_v<T, bool>) {
      call.fail("there is no range of booleans");
    } else {
      const T start = *call.input(0).data<T>();
      const T delta = *call.input(2).data<T>();
      const std::int64_t count = steps_between(call, start, *call.input(1).data<T>(), delta);
      T* out = call.output(0, type_of<T>(), {count}).template mutable_data<T>();
      for (std::int64_t i = 0; i < count; ++i) {
        if constexpr (std::is_floating_point_v<T>)
          out[i] = start + static_cast<T>(i) * delta;
        else
          out[i] = static_cast<T>(static_cast<std::uint64_t>(start) +
                                  static_cast<std::uint64_t>(i) * static_cast<std::uint64_t>(delta));
      }
    }
  });
}

void constant(Call& call) {
  const Node& node = call.node;
  const auto set = [&]<class T>(const Shape& shape, std::span<const T> values) {
    Tensor& out = call.output(0, type_of<T>(), shape);
    std::copy(values.begin(), values.end(), out.mutable_data<T>());
  };
  const auto length = [](const auto& values) { return Shape{static_cast<std::int64_t>(values.size())}; };
  if (node.has("value")) {
    call.outputs[0] = node.tensor("value");
  } else if (node.has("value_float")) {
    const float value = node.real("value_float");
    set.operator()<float>({}, {&value, 1});
  } else if (node.has("value_int")) {
    const std::int64_t value = node.integer("value_int");
    set.operator()<std::int64_t>({}, {&value, 1});
  } else if (node.has("value_floats")) {
    const std::vector<float> values = node.reals("value_floats");
    set.operator()<float>(length(values), values);
  } else if (node.has("value_ints")) {
    const std::vector<std::int64_t> values = node.integers("value_ints");
    set.operator()<std::int64_t>(length(values), values);
  } else {
    call.fail("holds no tensor or number");
  }
}

}  // namespace

void register_shape(OperatorTable& table) {
  // What only looks at shapes takes any layout.
  table.add("Shape", Operator{.function = checked<shape_operator>, .half = Half::native, .channels_last = true});
  table.add("Size", Operator{.function = checked<size_operator>, .half = Half::native, .channels_last = true});
  table.add("ConstantOfShape", checked<constant_of_shape>, Half::native);
  table.add("EyeLike", checked<eye_like>, Half::native);
  table.add("Range", checked<range, 3>);
  table.add("Constant", checked<constant, 0>, Half::native);
}

}  // namespace tare::cpu
