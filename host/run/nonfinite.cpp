#include "run/nonfinite.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tare/error.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

/// The bits of a float, and those of its exponent: all of them set say NaN or infinity.
template <class Bits, Bits exponent>
std::optional<std::int64_t> first_with_full_exponent(const Tensor& tensor, Masks masks) {
  constexpr std::int64_t block = 4096 / sizeof(Bits);
  const std::int64_t count = tensor.elements();
  for (std::int64_t first = 0; first < count; first += block) {
    const std::int64_t size = std::min(block, count - first);
    Bits values[block];  // copied: the tensor holds floats, which must not be read as integers
    std::memcpy(values, tensor.data() + static_cast<std::size_t>(first) * sizeof(Bits),
                static_cast<std::size_t>(size) * sizeof(Bits));
    Bits found = 0;
    for (std::int64_t i = 0; i < size; ++i)
      found = static_cast<Bits>(found | static_cast<Bits>((values[i] & exponent) == exponent));
    if (found == 0) continue;
    const Bits* bad = std::find_if(values, values + size, [&](Bits value) {
      const bool is_mask =
          value == static_cast<Bits>(exponent | static_cast<Bits>(~(static_cast<Bits>(~Bits{0}) >> 1)));
      return (value & exponent) == exponent && !(is_mask && masks == Masks::allowed);
    });
    if (bad != values + size) return first + (bad - values);
  }
  return std::nullopt;
}

double element(const Tensor& tensor, std::int64_t i) {
  switch (tensor.type()) {
    case DataType::float64: return tensor.data<double>()[i];
    case DataType::float16: return half_to_float(tensor.data<std::uint16_t>()[i]);
    case DataType::bfloat16: return bfloat_to_float(tensor.data<std::uint16_t>()[i]);
    default: return tensor.data<float>()[i];
  }
}

/// Of an element, by its place in memory; empty for a scalar.
Shape position(std::int64_t element, const Tensor& tensor) {
  const bool channels_last = tensor.layout() == Layout::channels_last;
  Shape index = tensor.shape();
  if (channels_last) std::rotate(index.begin() + 1, index.begin() + 2, index.end());
  for (std::size_t d = index.rank(); d-- > 0;) {
    const std::int64_t size = index[d];
    index[d] = element % size;
    element /= size;
  }
  if (channels_last) std::rotate(index.begin() + 1, index.end() - 1, index.end());
  return index;
}

}  // namespace

std::optional<std::int64_t> first_nonfinite(const Tensor& tensor, Masks masks) {
  switch (tensor.type()) {
    case DataType::float32: return first_with_full_exponent<std::uint32_t, 0x7f800000u>(tensor, masks);
    case DataType::float64: return first_with_full_exponent<std::uint64_t, 0x7ff0000000000000u>(tensor, masks);
    case DataType::float16: return first_with_full_exponent<std::uint16_t, 0x7c00u>(tensor, masks);
    case DataType::bfloat16: return first_with_full_exponent<std::uint16_t, 0x7f80u>(tensor, masks);
    default: return std::nullopt;
  }
}

void refuse_nonfinite(std::string_view what, const Tensor& tensor, std::size_t first_sample, std::size_t samples,
                      Masks masks) {
  const std::optional<std::int64_t> found = first_nonfinite(tensor, masks);
  if (!found) return;
  Shape index = position(*found, tensor);
  std::size_t sample = first_sample;
  if (index.rank() > 0 && tensor.shape()[0] == static_cast<std::int64_t>(samples)) {
    sample += static_cast<std::size_t>(index[0]);
    index.erase(0);
  }
  const double value = element(tensor, *found);  // the sign of a NaN is the processor's
  throw Error(ErrorKind::data, fmt::format("{} holds {} at {}sample {}; mend the data, or use --nonfinite skip", what,
                                           std::isnan(value) ? "nan" : fmt::format("{}", value),
                                           index.rank() > 0 ? fmt::format("index {} of ", index.text()) : "", sample));
}

void refuse_nonfinite_inputs(const Graph& graph, std::span<const Tensor> inputs, std::size_t first_sample,
                             std::size_t samples) {
  for (std::size_t i = 0; i < std::min(inputs.size(), graph.inputs.size()); ++i)
    refuse_nonfinite(fmt::format("input '{}'", graph.value(graph.inputs[i]).name), inputs[i], first_sample, samples);
}

}  // namespace tare
