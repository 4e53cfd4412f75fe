// HannWindow, HammingWindow, BlackmanWindow, MelWeightMatrix: tables that are computed, in float64, from a few numbers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "cpu/arguments.hpp"
#include "cpu/signal.hpp"
#include "tare/numerics.hpp"

namespace tare::cpu {
namespace {

constexpr std::int64_t longest_table = std::int64_t{1} << 32;

/// outputs[0] of the type that output_datatype names, from float64 values.
void store(Call& call, const Shape& shape, std::span<const double> values) {
  const auto type = static_cast<DataType>(call.node.integer("output_datatype", 1));
  if (type == DataType::float16 || type == DataType::bfloat16) {
    std::uint16_t* out = call.output(0, type, shape).mutable_data<std::uint16_t>();
    for (const double value : values)
      *out++ = type == DataType::float16 ? float_to_half(static_cast<float>(value))
                                         : float_to_bfloat(static_cast<float>(value));
    return;
  }
  dispatch(type, call, [&]<class T>() {
    T* out = call.output(0, type, shape).template mutable_data<T>();
    for (const double value : values) *out++ = static_cast<T>(value);
  });
}

/// a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N); N is the size, or one less for a symmetric window.
void window(Call& call, double a0, double a1, double a2) {
  const std::int64_t size = integer_of(call, 0, "size");
  if (size < 0 || size > longest_table) call.fail(fmt::format("a window of {}", size));
  const bool periodic = call.node.integer("periodic", 1) != 0;
  const double period = static_cast<double>(std::max<std::int64_t>(1, periodic ? size : size - 1));
  std::vector<double> values;
  for (std::int64_t n = 0; n < size; ++n) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(n) / period;
    values.push_back(a0 - a1 * std::cos(angle) + a2 * std::cos(2 * angle));
  }
  store(call, {size}, values);
}

void hann_window(Call& call) { window(call, 0.5, 0.5, 0); }
void hamming_window(Call& call) { window(call, 25.0 / 46.0, 21.0 / 46.0, 0); }
void blackman_window(Call& call) { window(call, 0.42, 0.5, 0.08); }

double hertz_of(const Call& call, std::size_t input, std::string_view what) {
  const Tensor& tensor = call.input(input);
  double value = -1;
  if (tensor.elements() == 1)
    dispatch(tensor.type(), call, [&]<class T>() { value = static_cast<double>(*tensor.data<T>()); });
  if (!(value >= 0 && value < 1e12)) call.fail(fmt::format("{} must be one frequency of 0 or more", what));
  return value;
}

void mel_weight_matrix(Call& call) {
  const std::int64_t bands = integer_of(call, 0, "num_mel_bins");
  const std::int64_t length = integer_of(call, 1, "dft_length");
  const std::int64_t rate = integer_of(call, 2, "sample_rate");
  const double lowest = hertz_of(call, 3, "lower_edge_hertz");
  const double highest = hertz_of(call, 4, "upper_edge_hertz");
  if (bands < 0 || bands > 1 << 20) call.fail(fmt::format("num_mel_bins of {}", bands));
  if (length < 1 || length > 1 << 28) call.fail(fmt::format("a dft_length of {}", length));
  if (rate < 1) call.fail(fmt::format("a sample_rate of {}", rate));
  if (highest < lowest) call.fail(fmt::format("frequencies from {} down to {}", lowest, highest));
  const std::int64_t bins = length / 2 + 1;
  checked_product(call, bins, bands * 8);
  if (bins * bands > longest_table) call.fail(fmt::format("a matrix of {} x {} is too large", bins, bands));
  const auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  const double step = (mel(highest) - mel(lowest)) / static_cast<double>(bands + 2);
  std::vector<std::int64_t> edges;
  for (std::int64_t i = 0; i < bands + 2; ++i) {
    const double hertz = 700 * (std::pow(10, (static_cast<double>(i) * step + mel(lowest)) / 2595) - 1);
    const double edge = std::floor(static_cast<double>(length + 1) * hertz / static_cast<double>(rate));
    if (!(edge <= static_cast<double>(bins)))
      call.fail(fmt::format("upper_edge_hertz {} is above half the sample_rate {}", highest, rate));
    edges.push_back(static_cast<std::int64_t>(edge));
  }
  std::vector<double> values(static_cast<std::size_t>(bins * bands), 0);
  for (std::int64_t band = 0; band < bands; ++band) {
    const std::int64_t lower = edges[static_cast<std::size_t>(band)];
    const std::int64_t center = edges[static_cast<std::size_t>(band + 1)];
    const std::int64_t higher = edges[static_cast<std::size_t>(band + 2)];
    // A triangle: up from the lower edge to the center, down to the higher edge.
    for (std::int64_t bin = lower; bin <= std::min(center, bins - 1); ++bin)
      values[static_cast<std::size_t>(bin * bands + band)] =
          center == lower ? 1.0 : static_cast<double>(bin - lower) / static_cast<double>(center - lower);
    for (std::int64_t bin = center; bin < std::min(higher, bins); ++bin)
      values[static_cast<std::size_t>(bin * bands + band)] =
          static_cast<double>(higher - bin) / static_cast<double>(higher - center);
  }
  store(call, {bins, bands}, values);
}

}  // namespace

void register_windows(OperatorTable& table) {
  table.add("HannWindow", checked<hann_window>, Half::native);
  table.add("HammingWindow", checked<hamming_window>, Half::native);
  table.add("BlackmanWindow", checked<blackman_window>, Half::native);
  table.add("MelWeightMatrix", checked<mel_weight_matrix, 5>, Half::native);
}

}  // namespace tare::cpu
