#include "calib/derived.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "calib/encoding.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

constexpr std::uint64_t points_per_bin = 8;

// A bin in which the values do not lie evenly although that matters: it holds more than one in `heavy_share` of all
// and `fewest_heavy`, and is wider than `wide_share` of the range, a few of which are a step of an 8-bit grid.
constexpr std::uint64_t heavy_share = 256;
constexpr std::uint64_t fewest_heavy = 64;
constexpr double wide_share = 1.0 / 2048;
constexpr std::size_t bin_parts = 16;  ///< in which its values are looked for
constexpr double uneven = 3.0;         ///< sum of the squares of their shares, against that of equal ones

/// Values that stand for all that were seen, each for a number of them.
struct Points {
  std::vector<float> values;
  std::vector<std::uint64_t> counts;
  std::size_t size = 0;

  explicit Points(std::size_t most) : values(most), counts(most) {}
  void add(float value, std::uint64_t count) {
    values[size] = value;
    counts[size] = count;
    size += count > 0 ? 1 : 0;
  }
  void trim() {
    values.resize(size);
    counts.resize(size);
  }
};

/// Which of a bin's points stand for one value more than the others when so many are left over. Half a share ahead, so
/// that a single value stands in the middle.
constexpr auto points_of_rest = [] {
  std::array<std::array<std::uint8_t, points_per_bin>, points_per_bin> more{};
  for (std::uint64_t rest = 0; rest < points_per_bin; ++rest)
    for (std::uint64_t i = 0; i < points_per_bin; ++i)
      more[rest][i] = static_cast<std::uint8_t>(((i + 1) * rest + points_per_bin / 2) / points_per_bin -
                                                (i * rest + points_per_bin / 2) / points_per_bin);
  return more;
}();

Points points_of(const TensorStatistics& statistics) {
  Points points(statistics.bins.size() * points_per_bin + 7);  // one place is written behind the last point
  const float infinity = std::numeric_limits<float>::infinity();
  points.add(std::numeric_limits<float>::quiet_NaN(), statistics.nan_count);
  points.add(infinity, statistics.positive_infinity_count);
  points.add(-infinity, statistics.negative_infinity_count);
  points.add(0.0f, statistics.zero_count);
  if (statistics.min > statistics.max) {
    points.trim();
    return points;
  }
  std::uint64_t at_min = statistics.min == 0 ? 0 : std::max<std::uint64_t>(statistics.min_count, 1);
  std::uint64_t at_max =
      statistics.max == 0 || statistics.max == statistics.min ? 0 : std::max<std::uint64_t>(statistics.max_count, 1);
  points.add(statistics.min, at_min);
  points.add(statistics.max, at_max);
  const std::uint32_t bin_of_min = histogram_bin(bits_of(statistics.min));
  const std::uint32_t bin_of_max = histogram_bin(bits_of(statistics.max));
  for (const auto& [bin, count] : statistics.bins) {
    std::uint64_t left = count;
    // The extremes have been counted.
    if (bin == bin_of_min) left -= std::min(left, std::exchange(at_min, 0));
    if (bin == bin_of_max) left -= std::min(left, std::exchange(at_max, 0));
    const double lower = std::max(histogram_bin_lower(bin), static_cast<double>(statistics.min));
    const double upper = std::min(histogram_bin_upper(bin), static_cast<double>(statistics.max));
    const auto& more = points_of_rest[left % points_per_bin];
    for (std::uint64_t i = 0; i < points_per_bin; ++i) {
      const double part = (static_cast<double>(i) + 0.5) / static_cast<double>(points_per_bin);
      points.add(static_cast<float>(lower + (upper - lower) * part), left / points_per_bin + more[i]);
    }
  }
  points.trim();
  return points;
}

/// Where the values lie in heavy bins. f(x) = x + 3 takes a thousand narrow bins around 0 into a few wide ones around
/// 3, and of the white of a page, a third of all values, it is then lost on which side of a step it lies. `bins`: of
/// every value, or histogram_bin_count; `counts`: of every bin.
std::vector<std::pair<float, std::uint64_t>> uneven_points(const TensorStatistics& statistics, const Points& images,
                                                           std::span<const std::uint16_t> bins,
                                                           std::span<const std::uint64_t> counts) {
  struct Part {
    std::uint64_t count = 0;
    double sum = 0;
  };
  const std::uint64_t heavy = std::max(statistics.count / heavy_share, fewest_heavy);
  const double wide = wide_share * (std::max(0.0, static_cast<double>(statistics.max)) -
                                    std::min(0.0, static_cast<double>(statistics.min)));
  struct Heavy {
    double lower;
    double parts_a_unit;
    std::array<Part, bin_parts> parts;
  };
  std::vector<Heavy> heavies;
  std::vector<std::uint16_t> heavy_of(histogram_bin_count + 1);  // 0: it is not, else its place + 1
  for (std::uint32_t bin = 0; bin < histogram_bin_count; ++bin) {
    if (counts[bin] < heavy) continue;
    const double lower = histogram_bin_lower(bin);
    const double width = histogram_bin_upper(bin) - lower;
    if (width < wide) continue;
    heavies.push_back({lower, static_cast<double>(bin_parts) / width, {}});
    heavy_of[bin] = static_cast<std::uint16_t>(heavies.size());
  }
  if (heavies.empty()) return {};
  for (std::size_t i = 0; i < bins.size(); ++i) {
    const std::uint16_t found = heavy_of[bins[i]];
    const float value = images.values[i];
    if (found == 0 || value == statistics.min || value == statistics.max) continue;
    Heavy& in = heavies[found - 1u];
    const double place = std::max(0.0, (static_cast<double>(value) - in.lower) * in.parts_a_unit);
    Part& part = in.parts[std::min(static_cast<std::size_t>(place), bin_parts - 1)];
    part.count += images.counts[i];
    part.sum += static_cast<double>(value) * static_cast<double>(images.counts[i]);
  }
  std::vector<std::pair<float, std::uint64_t>> points;
  for (const Heavy& in : heavies) {
    double sum = 0;
    double squares = 0;
    for (const Part& part : in.parts) {
      const double count = static_cast<double>(part.count);
      sum += count;
      squares += count * count;
    }
    if (squares * static_cast<double>(bin_parts) < uneven * sum * sum) continue;
    for (const Part& part : in.parts)
      if (part.count > 0)
        points.emplace_back(static_cast<float>(part.sum / static_cast<double>(part.count)), part.count);
  }
  return points;
}

/// `limit` > 0 is the lowest value of its bin.
bool begins_bin(float limit) {
  return static_cast<double>(limit) == histogram_bin_lower(histogram_bin(bits_of(limit)));
}

}  // namespace

bool clips_exactly(float low, float high) {
  const auto separates = [](float limit) { return limit == 0 || std::isinf(limit) || begins_bin(limit); };
  return low <= 0 && high >= 0 && separates(-low) && separates(high);
}

TensorStatistics clipped(const TensorStatistics& statistics, float low, float high) {
  TensorStatistics result = statistics;
  result.bins.clear();
  std::uint64_t at_low = 0;  // values that end on a limit
  std::uint64_t at_high = 0;
  if (!std::isinf(low)) at_low += std::exchange(result.negative_infinity_count, 0);
  if (!std::isinf(high)) at_high += std::exchange(result.positive_infinity_count, 0);
  const std::uint32_t first = std::isinf(low) ? 0 : low == 0 ? histogram_side_count : histogram_bin(bits_of(low)) + 1;
  const std::uint32_t end = std::isinf(high) ? histogram_bin_count
                            : high == 0      ? histogram_side_count
                                             : histogram_bin(bits_of(high));
  for (const auto& [bin, count] : statistics.bins) {
    if (bin < first)
      at_low += count;
    else if (bin >= end)
      at_high += count;
    else
      result.bins.emplace_back(bin, count);
  }
  const auto settle = [&](float limit, std::uint64_t count) {
    if (count == 0) return;
    if (limit == 0)
      result.zero_count += count;
    else if (limit < 0)
      result.bins.insert(result.bins.begin(), {histogram_bin(bits_of(limit)), count});
    else
      result.bins.emplace_back(histogram_bin(bits_of(limit)), count);
  };
  std::erase_if(result.points, [&](const auto& point) {
    const std::uint32_t bin = histogram_bin(bits_of(point.first));
    return bin < first || bin >= end;
  });
  settle(low, at_low);
  settle(high, at_high);
  // The extremes: those of the values left where they were, or a limit.
  if (at_low > 0) {
    result.min = low == 0 ? 0.0f : low;
    result.min_count = at_low;
  }
  if (at_high > 0) {
    result.max = high == 0 ? 0.0f : high;
    result.max_count = at_high;
  }
  if (at_low > 0 && result.max <= low) {
    result.max = result.min;
    result.max_count = at_low;
  }
  if (at_high > 0 && result.min >= high) {
    result.min = result.max;
    result.min_count = at_high;
  }
  if (result.min == 0) result.min_count = result.zero_count;
  if (result.max == 0) result.max_count = result.zero_count;
  return result;
}

TensorStatistics mapped(const TensorStatistics& statistics,
                        const std::function<std::vector<float>(std::span<const float>)>& f,
                        const TensorStatistics* extremes) {
  Points images = points_of(statistics);
  images.values = f(images.values);
  if (extremes != nullptr && extremes->min <= extremes->max)
    for (float& value : images.values)
      if (std::isfinite(value)) value = std::clamp(value, extremes->min, extremes->max);
  TensorStatistics result;
  result.count = statistics.count;
  std::vector<std::uint64_t> counts(histogram_bin_count);
  std::vector<std::uint16_t> bins(images.values.size(), histogram_bin_count);
  float low = result.min;
  float high = result.max;
  for (std::size_t i = 0; i < bins.size(); ++i) {
    const float value = images.values[i];
    const std::uint64_t count = images.counts[i];
    const std::uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) - 1 < 0x7f7fffffu) {  // finite and not zero
      low = value < low ? value : low;
      high = value > high ? value : high;
      const std::uint32_t bin = histogram_bin(bits);
      bins[i] = static_cast<std::uint16_t>(bin);
      counts[bin] += count;
    } else if (value == 0) {
      low = std::min(low, 0.0f);
      high = std::max(high, 0.0f);
      result.zero_count += count;
    } else if (std::isnan(value)) {
      result.nan_count += count;
    } else {
      (value > 0 ? result.positive_infinity_count : result.negative_infinity_count) += count;
    }
  }
  if (extremes != nullptr) {
    result = *extremes;
  } else {
    result.min = low;
    result.max = high;
    for (std::size_t i = 0; i < bins.size() && low <= high; ++i) {
      result.min_count += images.values[i] == low ? images.counts[i] : 0;
      result.max_count += images.values[i] == high ? images.counts[i] : 0;
    }
  }
  result.bins.clear();
  if (calib::lacks_histogram(statistics)) return result;
  for (std::uint32_t bin = 0; bin < histogram_bin_count; ++bin)
    if (counts[bin] > 0) result.bins.emplace_back(bin, counts[bin]);
  result.points = uneven_points(result, images, bins, counts);
  return result;
}

}  // namespace tare
