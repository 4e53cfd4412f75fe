// What the schemes share: the grid of a spec, and the pieces that find_encoding dispatches to.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "tare/calibration.hpp"

namespace tare::calib {

/// Throws Error(usage) when the spec or an option is out of its range.
void check(const QuantizerSpec& spec, const SearchOptions& options);

/// Range constraints of the spec replace what the search found.
Encoding constrain(const Encoding& encoding, const QuantizerSpec& spec);

/// Weight of saturation noise: 1 where the scheme is `mse`.
double gamma_of(const QuantizerSpec& spec, const SearchOptions& options);

/// Smallest scale of an integer grid, as AIMET's: a dead channel gets this one.
double minimum_scale(const QuantizerSpec& spec);

/// Range and grid of a spec on data between `low` <= 0 and `high` >= 0.
struct GridShape {
  double steps;           ///< codes - 1
  double negative_steps;  ///< below zero, at most; as many where the zero point is fixed
  double positive_steps;  ///< above zero, likewise
  bool fixed_zero;        ///< the zero point does not depend on the range: symmetric, or unsigned symmetric
};
GridShape grid_shape(const QuantizerSpec& spec, double low);

/// AIMET's grid of `steps` for data that is all zero: [-1, 1], whatever the symmetry. Its min_max does without.
Encoding encoding_of_zeros(std::int64_t steps);

/// Observed range with zero, and AIMET's stand-ins for infinities when they are `kept`.
struct Range {
  double low = 0;
  double high = 0;
};
Range observed_range(const TensorStatistics& statistics, bool keep_infinities);
/// Nothing but -inf, which the schemes that leave it out would take for zeros: it would mask nothing any more.
bool only_masks(const TensorStatistics& statistics);

/// Where the search looks for a grid.
struct SearchSpace {
  Range range;  ///< within what min_max_encoding takes, so that the ends of a grid stay finite in float32
  GridShape shape;
  double smallest_scale;
  double largest_scale;  ///< covers the range; not above smallest_scale: there is nothing to search
};
/// `range` holds every finite value, and zero.
SearchSpace search_space(const Range& range, const QuantizerSpec& spec);

/// Elements in the order of the encodings: `size` consecutive ones belong to each of `groups` encodings.
struct GroupedValues {
  GroupedValues() = default;
  GroupedValues(GroupedValues&&) = default;
  GroupedValues& operator=(GroupedValues&&) = default;

  std::span<const float> values;  ///< those of `source` where they lie in order, else of `own`
  Tensor source;
  std::vector<float> own;
  std::size_t groups = 1;
  std::size_t size = 0;
};
GroupedValues group_parameter(std::string_view name, const Tensor& weights, const QuantizerSpec& spec);

/// Finite values that are not zero, without the histogram that all schemes but min_max need.
bool lacks_histogram(const TensorStatistics& statistics);

/// Those that the search takes for their floor: none where they set the range like all other values.
std::optional<Sentinels> clamped_sentinels(const TensorStatistics& statistics, const QuantizerSpec& spec,
                                           const SearchOptions& options);
/// The statistics as the search takes them: sentinels become values at their floor.
TensorStatistics clamp_sentinels(TensorStatistics statistics, const Sentinels& sentinels);
/// The same of the values themselves.
void clamp_sentinels(std::span<float> values, const Sentinels& sentinels);

/// The `count` best encodings by noise, best first.
std::vector<Encoding> search_noise(const TensorStatistics& statistics, const QuantizerSpec& spec, double gamma,
                                   std::size_t count);
/// The best encoding by the true error on finite values.
Encoding search_values(std::span<const float> values, const Range& range, const QuantizerSpec& spec, double gamma);
/// find_encoding() by true errors, for `sqnr` and `mse` on an integer grid and values without sentinels. `extremes`:
/// statistics of the values.
Encoding find_by_values(std::span<const float> values, const TensorStatistics& extremes, const QuantizerSpec& spec,
                        const SearchOptions& options);
inline constexpr double largest_end = 0.99 * FLT_MAX;  ///< of a range; AIMET's stand-in for infinity
inline constexpr float tf_enhanced_smallest_range = 0.01f;
/// AIMET's own way with infinities.
inline float limited(float value) { return std::min(std::max(value, -FLT_MAX), FLT_MAX); }
/// Of AIMET's histogram: the left edges of the outermost bins that hold something, zero included, at least 0.01 apart.
std::pair<float, float> filled_range(const TfEnhancedHistogram& histogram);
/// What AIMET's search over its histogram minimises, of one encoding (its scale and offset). The histogram must hold
/// data.
double tf_enhanced_cost(const TfEnhancedHistogram& histogram, const QuantizerSpec& spec, const Encoding& encoding);
Range percentile_range(const TensorStatistics& statistics, double percentile);
Range entropy_range(const TensorStatistics& statistics, const QuantizerSpec& spec);

}  // namespace tare::calib
