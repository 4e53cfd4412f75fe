// Reading and checking the integer arguments of operators.
#include "cpu/arguments.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace tare::cpu {

std::vector<std::int64_t> integers_of(const Call& call, std::size_t input, std::string_view what) {
  if (!call.has(input)) call.fail(fmt::format("input {} ({}) is missing", input, what));
  const Tensor& tensor = call.input(input);
  if (tensor.rank() > 1) call.fail(fmt::format("{} must be a list, not of shape {}", what, tensor.shape().text()));
  const auto widen = [&]<class T>() {
    const std::span<const T> values = tensor.span<T>();
    return std::vector<std::int64_t>(values.begin(), values.end());
  };
  switch (tensor.type()) {
    case DataType::int64: return widen.operator()<std::int64_t>();
    case DataType::int32: return widen.operator()<std::int32_t>();
    case DataType::int16: return widen.operator()<std::int16_t>();
    case DataType::int8: return widen.operator()<std::int8_t>();
    case DataType::uint8: return widen.operator()<std::uint8_t>();
    case DataType::uint16: return widen.operator()<std::uint16_t>();
    case DataType::uint32: return widen.operator()<std::uint32_t>();
    default: call.fail(fmt::format("{} must be integers, not {}", what, name_of(tensor.type())));
  }
}

std::int64_t integer_of(const Call& call, std::size_t input, std::string_view what) {
  const std::vector<std::int64_t> values = integers_of(call, input, what);
  if (values.size() != 1) call.fail(fmt::format("{} must be one integer, not {}", what, values.size()));
  return values[0];
}

std::int64_t checked_product(const Call& call, std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) call.fail(fmt::format("a size of {} times {} is too large", a, b));
  return product;
}

std::vector<std::size_t> unique_axes(const Call& call, std::span<const std::int64_t> axes, std::size_t rank) {
  std::vector<std::size_t> result;
  for (const std::int64_t axis : axes) {
    const std::size_t positive = axis_of(call, axis, rank);
    if (std::find(result.begin(), result.end(), positive) != result.end())
      call.fail(fmt::format("axis {} stands twice in axes", axis));
    result.push_back(positive);
  }
  return result;
}

}  // namespace tare::cpu
