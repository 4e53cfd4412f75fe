// True errors of candidate encodings on data.
#include <fmt/format.h>

#include <algorithm>

#include "calib/clones.hpp"
#include "calib/encoding.hpp"
#include "tare/error.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

constexpr std::size_t chunk = 4096;  // stays in the first-level cache while all candidates read it

/// Error of one value. No branches, so that the compiler makes vectors of it.
TARE_HD float error_of(float value, float scale, float low, float high, float gamma) {
  const float position = value / scale;
  const float error = value - quantize_dequantize(value, scale, 0, low, high);
  const bool clipped = (position < low) | (position > high);
  return error * error * (clipped ? gamma : 1.0f);
}
/// NaN and infinities take no side.
TARE_HD double counted(float error) { return error < 3.4e38f ? static_cast<double>(error) : 0.0; }

/// Error of one candidate on a chunk: 32 sums by index, so that lanes need no reassociation, then one tree.
TARE_CLONES double squared_error(const float* values, std::size_t count, float scale, float low, float high,
                                 float gamma) {
  double sums[noise_block] = {};
  float errors[noise_block];
  const std::size_t whole = count / noise_block * noise_block;
  for (std::size_t begin = 0; begin < whole; begin += noise_block) {
    for (std::size_t lane = 0; lane < noise_block; ++lane)
      errors[lane] = error_of(values[begin + lane], scale, low, high, gamma);
    for (std::size_t lane = 0; lane < noise_block; ++lane) sums[lane] += counted(errors[lane]);
  }
  for (std::size_t i = whole; i < count; ++i) sums[i - whole] += counted(error_of(values[i], scale, low, high, gamma));
  for (std::uint32_t width = noise_block / 2; width > 0; width /= 2)
    for (std::uint32_t i = 0; i < width; ++i) sums[i] += sums[i + width];
  return sums[0];
}

}  // namespace

RefineAccumulator::RefineAccumulator(std::vector<Encoding> candidates, const QuantizerSpec& spec,
                                     const SearchOptions& options)
    : candidates_(std::move(candidates)),
      steps_(spec.steps()),
      gamma_(spec.scheme.value_or(options.scheme) == Scheme::mse ? 1 : options.gamma),
      errors_(candidates_.size(), 0.0) {
  if (candidates_.empty()) throw Error(ErrorKind::usage, "refining needs at least one candidate");
}

void RefineAccumulator::add(std::span<const float> values) {
  if (candidates_.size() == 1) return;
  for (std::size_t begin = 0; begin < values.size(); begin += chunk) {
    const auto part = values.subspan(begin, std::min(chunk, values.size() - begin));
    for (std::size_t i = 0; i < candidates_.size(); ++i)
      errors_[i] += squared_error(
          part.data(), part.size(), static_cast<float>(candidates_[i].scale), static_cast<float>(candidates_[i].offset),
          static_cast<float>(candidates_[i].offset + static_cast<double>(steps_)), static_cast<float>(gamma_));
  }
}

void RefineAccumulator::add(const Tensor& tensor) {
  const std::size_t elements = static_cast<std::size_t>(tensor.elements());
  if (tensor.type() == DataType::float32) return add(tensor.span<float>());
  if (!is_quantizable(tensor.type()))
    throw Error(ErrorKind::data,
                fmt::format("a {} tensor has no quantization error to measure", name_of(tensor.type())));
  const std::uint16_t* halves = tensor.data<std::uint16_t>();
  std::vector<float> values(std::min<std::size_t>(elements, chunk));
  for (std::size_t begin = 0; begin < elements; begin += chunk) {
    const std::size_t count = std::min(chunk, elements - begin);
    for (std::size_t i = 0; i < count; ++i)
      values[i] =
          tensor.type() == DataType::float16 ? half_to_float(halves[begin + i]) : bfloat_to_float(halves[begin + i]);
    add(std::span<const float>(values).first(count));
  }
}

void RefineAccumulator::merge(const RefineAccumulator& other) {
  if (other.candidates_ != candidates_)
    throw Error(ErrorKind::usage, "only errors of the same candidate encodings can be added up");
  for (std::size_t i = 0; i < errors_.size(); ++i) errors_[i] += other.errors_[i];
}

const Encoding& RefineAccumulator::best() const {
  return candidates_[static_cast<std::size_t>(std::min_element(errors_.begin(), errors_.end()) - errors_.begin())];
}

}  // namespace tare
