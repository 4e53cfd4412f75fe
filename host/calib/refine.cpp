// True errors of candidate encodings on data.
#include <fmt/format.h>

#include <algorithm>

#include "calib/encoding.hpp"
#include "calib/share.hpp"
#include "calib/true_error.hpp"
#include "tare/calibration.hpp"
#include "tare/error.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

constexpr std::size_t chunk = 4096;       // values that are summed up before their sum is added
constexpr std::size_t stretch = 1 << 16;  // stays in the second-level cache while all candidates read it

}  // namespace

RefineAccumulator::RefineAccumulator(const TensorStatistics& statistics, const QuantizerSpec& spec,
                                     const SearchOptions& options, std::size_t count)
    : candidates_(find_candidates(statistics, spec, options, count)),
      sentinels_(calib::clamped_sentinels(statistics, spec, options)),
      steps_(spec.steps()),
      gamma_(calib::gamma_of(spec, options)),
      errors_(candidates_.size(), 0.0) {}

void RefineAccumulator::add(std::span<const float> values, double times) {
  if (candidates_.size() == 1) return;
  for (; values.size() > stretch; values = values.subspan(stretch)) add(values.first(stretch), times);
  std::vector<float> clamped;
  if (sentinels_) {
    clamped.assign(values.begin(), values.end());
    calib::clamp_sentinels(clamped, *sentinels_);
    values = clamped;
  }
  // A candidate stays on one thread for the stretch: its sum has one order, however many threads there are.
  const std::size_t grain = values.size() < stretch / 4 ? candidates_.size() : 1;
  calib::share(candidates_.size(), grain, [&](std::size_t i) {
    const double offset = candidates_[i].offset;
    const calib::SignedGrid grid{static_cast<float>(candidates_[i].scale), static_cast<float>(offset),
                                 static_cast<float>(offset + static_cast<double>(steps_))};
    for (std::size_t begin = 0; begin < values.size(); begin += chunk)
      errors_[i] +=
          times * calib::squared_error(values.data() + begin, std::min(chunk, values.size() - begin), grid, gamma_);
  });
}

void RefineAccumulator::add(const Tensor& tensor, double times) {
  const std::size_t elements = static_cast<std::size_t>(tensor.elements());
  if (tensor.type() == DataType::float32) return add(tensor.span<float>(), times);
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
    add(std::span<const float>(values).first(count), times);
  }
}

const Encoding& RefineAccumulator::best() const {
  return candidates_[static_cast<std::size_t>(std::min_element(errors_.begin(), errors_.end()) - errors_.begin())];
}

}  // namespace tare
