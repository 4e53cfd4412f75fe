#include "model/integer_values.hpp"

#include <span>

namespace tare {

std::optional<std::vector<std::int64_t>> integer_values(const Tensor& tensor) {
  const auto widened = []<class T>(const std::span<const T> elements) {
    std::vector<std::int64_t> result;
    result.reserve(elements.size());
    for (const T element : elements) result.push_back(static_cast<std::int64_t>(element));
    return result;
  };
  switch (tensor.type()) {
    case DataType::int8: return widened(tensor.span<std::int8_t>());
    case DataType::int16: return widened(tensor.span<std::int16_t>());
    case DataType::int32: return widened(tensor.span<std::int32_t>());
    case DataType::int64: return widened(tensor.span<std::int64_t>());
    case DataType::uint8: return widened(tensor.span<std::uint8_t>());
    case DataType::uint16: return widened(tensor.span<std::uint16_t>());
    case DataType::uint32: return widened(tensor.span<std::uint32_t>());
    case DataType::uint64: return widened(tensor.span<std::uint64_t>());
    case DataType::boolean: return widened(tensor.span<bool>());
    default: return std::nullopt;
  }
}

}  // namespace tare
