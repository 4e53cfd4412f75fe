// Encodings from ranges, by AIMET's rules, and the dispatch over schemes.
// Odd: AIMET's min-max is symmetric in range, not in magnitude: a tensor whose largest magnitude is negative is divided
// by 128 and not by 127, and a symmetric 2-bit grid clips the positive side.
#include "calib/encoding.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "calib/parallel_sites.hpp"
#include "tare/backend.hpp"
#include "tare/error.hpp"

namespace tare {
namespace calib {

void check(const QuantizerSpec& spec, const SearchOptions& options) {
  if (spec.format == NumberFormat::integer && (spec.bitwidth < 2 || spec.bitwidth > 32))
    throw Error(ErrorKind::usage, fmt::format("bitwidth {} is not between 2 and 32", spec.bitwidth));
  if (!(options.gamma > 0) || !std::isfinite(options.gamma))
    throw Error(ErrorKind::usage, fmt::format("gamma {} is not a positive number", options.gamma));
  if (!(options.percentile > 50 && options.percentile <= 100))
    throw Error(ErrorKind::usage, fmt::format("percentile {} is not in (50, 100]", options.percentile));
}

namespace {

/// AIMET's rule for a range given by the user or by a config (encoding constraints).
Encoding fixed_range_encoding(double minimum, double maximum, const QuantizerSpec& spec) {
  constexpr double smallest_range = 1e-5;
  if (!std::isfinite(minimum) || !std::isfinite(maximum) || minimum > maximum)
    throw Error(ErrorKind::usage, fmt::format("range constraint [{}, {}] is not a finite range", minimum, maximum));
  const double low = std::min(0.0, minimum);
  const double high = std::max({0.0, maximum, low + smallest_range});
  const double steps = static_cast<double>(spec.steps());
  Encoding encoding;
  if (spec.symmetric) {  // around zero, be the range on one side of it: unsigned_symmetric is for observed ranges
    encoding.scale = std::max(high / std::floor(steps / 2), -low / std::ceil(steps / 2));
    encoding.offset = -std::ceil(steps / 2);
  } else {
    encoding.scale = (high - low) / steps;
    encoding.offset = std::nearbyint(low / encoding.scale);
  }
  encoding.min = encoding.scale * encoding.offset;
  encoding.max = encoding.scale * (encoding.offset + steps);
  return encoding;
}

}  // namespace

Encoding constrain(const Encoding& encoding, const QuantizerSpec& spec) {
  if (!spec.fixed_min && !spec.fixed_max) return encoding;
  return fixed_range_encoding(spec.fixed_min.value_or(encoding.min), spec.fixed_max.value_or(encoding.max), spec);
}

double gamma_of(const QuantizerSpec& spec, const SearchOptions& options) {
  return spec.scheme.value_or(options.scheme) == Scheme::mse ? 1 : options.gamma;
}

double minimum_scale(const QuantizerSpec& spec) {
  return std::min(static_cast<double>(FLT_EPSILON), 0.01 / static_cast<double>(spec.steps()));
}

GridShape grid_shape(const QuantizerSpec& spec, double low) {
  const double steps = static_cast<double>(spec.steps());
  if (!spec.symmetric) return {steps, steps, steps, false};
  if (spec.unsigned_symmetric && low >= 0) return {steps, 0, steps, true};
  return {steps, std::ceil(steps / 2), std::floor(steps / 2), true};
}

Encoding encoding_of_zeros(std::int64_t steps) {
  Encoding encoding;
  encoding.scale = 2 / static_cast<double>(steps);
  encoding.offset = std::floor(-1 / encoding.scale);
  encoding.min = encoding.offset * encoding.scale;
  encoding.max = encoding.min + static_cast<double>(steps) * encoding.scale;
  return encoding;
}

Range observed_range(const TensorStatistics& statistics, bool keep_infinities) {
  Range range;
  if (statistics.min <= statistics.max) {
    range.low = std::min(0.0, static_cast<double>(statistics.min));
    range.high = std::max(0.0, static_cast<double>(statistics.max));
  }
  if (keep_infinities) {
    if (statistics.negative_infinity_count > 0) range.low = -largest_end;
    if (statistics.positive_infinity_count > 0) range.high = largest_end;
  }
  return range;
}

bool only_masks(const TensorStatistics& statistics) {
  return statistics.min > statistics.max && statistics.negative_infinity_count > 0;
}

SearchSpace search_space(const Range& range, const QuantizerSpec& spec) {
  SearchSpace space{{std::max(range.low, -largest_end), std::min(range.high, largest_end)},
                    grid_shape(spec, range.low),
                    minimum_scale(spec),
                    0};
  const GridShape& shape = space.shape;
  if (!shape.fixed_zero) {
    space.largest_scale = (space.range.high - space.range.low) / shape.steps;
  } else {
    space.largest_scale = space.range.high / shape.positive_steps;
    if (shape.negative_steps > 0)
      space.largest_scale = std::max(space.largest_scale, -space.range.low / shape.negative_steps);
  }
  return space;
}

namespace {

Encoding float_encoding(const TensorStatistics& statistics, NumberFormat format) {
  if (format == NumberFormat::float16) return {-65504, 65504, 1, 0};
  const double largest = format == NumberFormat::float8e4m3fn ? 448 : 57344;
  const Range range = observed_range(statistics, true);
  const double amax = std::max({-range.low, range.high, static_cast<double>(FLT_MIN)});
  return {-amax, amax, amax / largest, 0};
}

std::vector<Encoding> find(const TensorStatistics& statistics, const QuantizerSpec& spec, const SearchOptions& options,
                           std::size_t count) {
  const Scheme scheme = spec.scheme.value_or(options.scheme);
  if (scheme == Scheme::min_max || (only_masks(statistics) && scheme != Scheme::tf_enhanced)) {
    const Range range = observed_range(statistics, true);
    return {min_max_encoding(range.low, range.high, spec)};
  }
  if (scheme == Scheme::tf_enhanced) {
    if (!statistics.tf_enhanced)
      throw Error(
          ErrorKind::usage,
          "tf_enhanced needs its own histogram, which depends on the batches: calibrate with this scheme, not from "
          "saved or merged statistics");
    return {tf_enhanced_encoding(*statistics.tf_enhanced, spec)};
  }
  if (lacks_histogram(statistics))
    throw Error(ErrorKind::usage,
                "only minimum and maximum were observed, which serve min_max: other schemes need a histogram");
  const auto sentinels = clamped_sentinels(statistics, spec, options);
  const TensorStatistics clamped = sentinels ? clamp_sentinels(statistics, *sentinels) : TensorStatistics{};
  const TensorStatistics& searched = sentinels ? clamped : statistics;
  const Range finite = observed_range(searched, false);
  if (finite.low == 0 && finite.high == 0 && scheme != Scheme::sqnr) return {encoding_of_zeros(spec.steps())};
  if (scheme == Scheme::percentile || scheme == Scheme::entropy) {
    const Range range =
        scheme == Scheme::percentile ? percentile_range(searched, options.percentile) : entropy_range(searched, spec);
    return {min_max_encoding(range.low, range.high, spec)};
  }
  return search_noise(searched, spec, gamma_of(spec, options), count);
}

}  // namespace

Encoding find_by_values(std::span<const float> values, const TensorStatistics& extremes, const QuantizerSpec& spec,
                        const SearchOptions& options) {
  check(spec, options);
  const Scheme scheme = spec.scheme.value_or(options.scheme);
  const Range range = observed_range(extremes, false);
  if (range.low == 0 && range.high == 0 && scheme != Scheme::sqnr) return encoding_of_zeros(spec.steps());
  return constrain(search_values(values, range, spec, gamma_of(spec, options)), spec);
}

}  // namespace calib

Encoding min_max_encoding(double minimum, double maximum, const QuantizerSpec& spec) {
  const double low = std::min(0.0, std::max(minimum, -calib::largest_end));
  const double high = std::max(0.0, std::min(maximum, calib::largest_end));
  const double smallest = calib::minimum_scale(spec);
  const calib::GridShape shape = calib::grid_shape(spec, low);
  Encoding encoding;
  if (shape.fixed_zero && shape.negative_steps > 0) {
    const bool two_bits = spec.bitwidth == 2 && !spec.strict_symmetric;
    encoding.scale =
        two_bits ? std::max(high, -low) / 2 : std::max(high / shape.positive_steps, -low / shape.negative_steps);
    encoding.scale = std::max(encoding.scale, smallest);
    encoding.offset = -shape.negative_steps;
  } else {
    encoding.scale = std::max((high - low) / shape.steps, smallest);
    encoding.offset = std::round(low / encoding.scale);
  }
  encoding.min = encoding.scale * encoding.offset;
  encoding.max = encoding.scale * (encoding.offset + shape.steps);
  return encoding;
}

const TensorEncodings* EncodingSet::find(std::string_view tensor, SiteRole role) const {
  const auto it = std::find_if(tensors.begin(), tensors.end(), [&](const TensorEncodings& encodings) {
    return encodings.role == role && encodings.tensor == tensor;
  });
  return it == tensors.end() ? nullptr : &*it;
}

void EncodingSet::sort() {
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorEncodings& a, const TensorEncodings& b) {
    return a.role != b.role ? a.role < b.role : a.tensor < b.tensor;
  });
}

Encoding find_encoding(const TensorStatistics& statistics, const QuantizerSpec& spec, const SearchOptions& options) {
  return find_candidates(statistics, spec, options, 1).front();
}

std::vector<Encoding> find_encodings(std::span<const SearchRequest> requests, const SearchOptions& options,
                                     int threads) {
  std::vector<Encoding> found(requests.size());
  parallel_sites(requests.size(), threads,
                 [&](std::size_t i) { found[i] = find_encoding(*requests[i].statistics, requests[i].spec, options); });
  return found;
}

std::vector<Encoding> Backend::find_encodings(std::span<const SearchRequest> requests, const SearchOptions& options,
                                              int threads) {
  return tare::find_encodings(requests, options, threads);
}

std::vector<Encoding> find_candidates(const TensorStatistics& statistics, const QuantizerSpec& spec,
                                      const SearchOptions& options, std::size_t count) {
  calib::check(spec, options);
  if (spec.format != NumberFormat::integer) return {calib::float_encoding(statistics, spec.format)};
  std::vector<Encoding> encodings = calib::find(statistics, spec, options, std::max<std::size_t>(count, 1));
  for (Encoding& encoding : encodings) encoding = calib::constrain(encoding, spec);
  return encodings;
}

}  // namespace tare
