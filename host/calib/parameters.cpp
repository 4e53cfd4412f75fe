// Parameters: each tensor, channel or block is searched on its own values, by their true errors: with a few hundred
// weights a channel, which candidate is best depends on where the values fall inside the bins. Where there are many, a
// histogram proposes and the values decide.
#include <fmt/format.h>

#include <algorithm>

#include "calib/encoding.hpp"
#include "calib/low_power_blocks.hpp"
#include "calib/share.hpp"
#include "plan/encoding_index.hpp"
#include "tare/error.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

/// Candidates of a histogram that are measured: of many values the histogram is nearly right.
constexpr std::size_t most_measured = 16;
constexpr std::size_t least_measured = 4;
constexpr std::size_t measured_values = std::size_t{16} << 20;  ///< of all candidates together, beyond the least
/// Up to so many values, looking at them for every candidate takes less time than a histogram.
constexpr std::size_t most_values_symmetric = 4096;
constexpr std::size_t most_values_asymmetric = 256;
constexpr std::size_t shared_values = std::size_t{1} << 14;  ///< fewer are not worth another thread

int axis_of(std::string_view name, int axis, const Shape& shape) {
  const int rank = static_cast<int>(shape.rank());
  const int resolved = axis < 0 ? axis + rank : axis;
  if (resolved < 0 || resolved >= rank)
    throw Error(ErrorKind::model,
                fmt::format("parameter '{}' has rank {}: it has no axis {} to quantize along", name, rank, axis));
  return resolved;
}

std::vector<float> widened(std::string_view name, const Tensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  const auto widen = [&](auto convert) {
    const auto halves = tensor.span<std::uint16_t>();
    std::transform(halves.begin(), halves.end(), values.begin(), convert);
  };
  if (tensor.type() == DataType::float16)
    widen([](std::uint16_t half) { return half_to_float(half); });
  else if (tensor.type() == DataType::bfloat16)
    widen([](std::uint16_t half) { return bfloat_to_float(half); });
  else
    throw Error(ErrorKind::model,
                fmt::format("'{}' is {}: only float tensors are quantized", name, name_of(tensor.type())));
  return values;
}

/// [outer, channels, inner] to [channels, outer, inner]; tiles, because writing far apart is slow.
void gather_channels(std::span<const float> from, std::size_t outer, std::size_t channels, std::vector<float>& to) {
  constexpr std::size_t tile = 32;
  const std::size_t inner = from.empty() ? 0 : from.size() / outer / channels;
  for (std::size_t first = 0; first < channels; first += tile)
    for (std::size_t row = 0; row < outer; row += tile)
      for (std::size_t c = first; c < std::min(channels, first + tile); ++c) {
        const float* in = from.data() + c * inner;
        float* out = to.data() + c * outer * inner;
        const std::size_t end = std::min(outer, row + tile);
        if (inner == 1)  // a call that copies one number takes longer than the copy
          for (std::size_t o = row; o < end; ++o) out[o] = in[o * channels];
        else
          for (std::size_t o = row; o < end; ++o) std::copy_n(in + o * channels * inner, inner, out + o * inner);
      }
}

Encoding find(std::span<const float> values, const QuantizerSpec& spec, const SearchOptions& options) {
  const Scheme scheme = spec.scheme.value_or(options.scheme);
  if (scheme == Scheme::tf_enhanced && spec.format == NumberFormat::integer) {
    TensorStatistics statistics = observe_values(values, ObserverKind::min_max);
    update(statistics.tf_enhanced.emplace(), values);
    return find_encoding(statistics, spec, options);
  }
  const bool by_range = scheme == Scheme::min_max || spec.format != NumberFormat::integer;
  const bool by_error = !by_range && (scheme == Scheme::sqnr || scheme == Scheme::mse);
  if (by_error && values.size() <= (spec.symmetric ? most_values_symmetric : most_values_asymmetric)) {
    const TensorStatistics extremes = observe_values(values, ObserverKind::min_max);
    if (extremes.nonfinite_count() == 0 && !(extremes.min <= highest_sentinel))
      return calib::find_by_values(values, extremes, spec, options);
  }
  const TensorStatistics statistics =
      observe_values(values, by_range ? ObserverKind::min_max : ObserverKind::histogram);
  const std::size_t measured_count =
      std::clamp(measured_values / std::max<std::size_t>(values.size(), 1), least_measured, most_measured);
  RefineAccumulator refine(statistics, spec, options, measured_count);
  refine.add(values);
  return refine.best();
}

}  // namespace

calib::GroupedValues calib::group_parameter(std::string_view name, const Tensor& weights, const QuantizerSpec& spec) {
  if (!weights.present() || weights.layout() != Layout::plain)
    throw Error(ErrorKind::model, fmt::format("parameter '{}' is not a plain host tensor", name));
  GroupedValues grouped;
  if (weights.type() == DataType::float32) {
    grouped.source = weights;
    grouped.values = weights.span<float>();
  } else {
    grouped.own = widened(name, weights);
    grouped.values = grouped.own;
  }
  const std::span<const float> values = grouped.values;
  const Shape& shape = weights.shape();
  if (!spec.channel_axis && !spec.block_axis) {
    grouped.size = values.size();
    return grouped;
  }
  QuantizerSpec along = spec;
  if (spec.channel_axis) along.channel_axis = axis_of(name, *spec.channel_axis, shape);
  if (spec.block_axis) {
    along.block_axis = axis_of(name, *spec.block_axis, shape);
    if (spec.block_size <= 0 || shape[static_cast<std::size_t>(*along.block_axis)] % spec.block_size != 0 ||
        along.block_axis == along.channel_axis)
      throw Error(ErrorKind::model,
                  fmt::format("parameter '{}' of shape {} cannot be cut into blocks of {} along axis {}", name,
                              shape.text(), spec.block_size, *along.block_axis));
  }
  const EncodingIndex group_of(along, shape);
  grouped.groups = group_of.count();
  grouped.size = grouped.groups == 0 ? 0 : values.size() / grouped.groups;
  const auto outer = along.block_axis
                         ? std::size_t{0}
                         : static_cast<std::size_t>(shape.elements(0, static_cast<std::size_t>(*along.channel_axis)));
  if (outer == 1) return grouped;  // every channel lies in one piece
  std::vector<float> in_order(values.size());
  const auto done = [&] {
    grouped.own = std::move(in_order);
    grouped.values = grouped.own;
    grouped.source = {};
    return std::move(grouped);
  };
  if (!along.block_axis) {
    gather_channels(values, outer, grouped.groups, in_order);
    return done();
  }
  std::vector<std::size_t> filled(grouped.groups, 0);  // elements keep their order within a group
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t group = group_of[i];
    in_order[group * grouped.size + filled[group]++] = values[i];
  }
  return done();
}

TensorEncodings find_parameter_encodings(std::string_view name, const Tensor& weights, const QuantizerSpec& spec,
                                         const SearchOptions& options) {
  const calib::GroupedValues grouped = calib::group_parameter(name, weights, spec);
  TensorEncodings encodings{std::string(name), SiteRole::parameter, spec, {}};
  encodings.encodings.resize(grouped.groups);
  const std::size_t grain = std::max<std::size_t>(1, shared_values / std::max<std::size_t>(1, grouped.size));
  calib::share(grouped.groups, grain, [&](std::size_t group) {
    encodings.encodings[group] = find(grouped.values.subspan(group * grouped.size, grouped.size), spec, options);
  });
  if (spec.decompressed_bitwidth > 0) {
    const Shape& shape = weights.shape();
    const std::int64_t channels =
        spec.channel_axis ? shape[static_cast<std::size_t>(axis_of(name, *spec.channel_axis, shape))] : 1;
    calib::snap_to_low_power_blocks(encodings, static_cast<std::size_t>(channels));
  }
  return encodings;
}

}  // namespace tare
