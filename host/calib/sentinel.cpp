// Sentinels: attention masks and the like, found from the histogram alone. Kept, they stretch the range until the real
// values share a code; dropped, the grid cannot express "masked" any more. Clamped below the bulk, both survive.
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "calib/encoding.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

constexpr double smallest_distance = 1024;  // from the bulk
constexpr double smallest_ratio = 64;       // to the bulk's largest magnitude: -1e4 stands out of scores up to 156
constexpr double floor_distance = 20;       // exp(-20): nothing behind a softmax

std::uint32_t last_sentinel_bin() { return histogram_bin(bits_of(highest_sentinel)); }

}  // namespace

std::optional<Sentinels> find_sentinels(const TensorStatistics& statistics) {
  std::size_t split = 0;
  std::uint64_t count = statistics.negative_infinity_count;
  const auto& bins = statistics.bins;
  while (split < bins.size() && bins[split].first <= last_sentinel_bin()) {
    count += bins[split].second;
    ++split;
  }
  if (count == 0) return std::nullopt;
  double bulk_min = split < bins.size() ? histogram_bin_lower(bins[split].first) : 0.0;
  if (statistics.zero_count > 0) bulk_min = std::min(bulk_min, 0.0);
  if (split == bins.size() && statistics.zero_count == 0) return std::nullopt;  // nothing but sentinels: no bulk
  const double bulk_max = split < bins.size() ? std::max(0.0, static_cast<double>(statistics.max)) : 0.0;
  const double nearest = split > 0 ? histogram_bin_upper(bins[split - 1].first) : -static_cast<double>(FLT_MAX);
  const double magnitude = std::max(std::abs(bulk_min), std::abs(bulk_max));
  if (bulk_min - nearest <= smallest_distance || -nearest <= smallest_ratio * magnitude) return std::nullopt;
  const bool infinite = statistics.negative_infinity_count > 0;
  return Sentinels{count, infinite ? -FLT_MAX : statistics.min, bulk_min - floor_distance};
}

std::optional<Sentinels> calib::clamped_sentinels(const TensorStatistics& statistics, const QuantizerSpec& spec,
                                                  const SearchOptions& options) {
  const Scheme scheme = spec.scheme.value_or(options.scheme);
  const bool takes_all = scheme == Scheme::min_max || scheme == Scheme::tf_enhanced ||
                         spec.format != NumberFormat::integer || options.keep_sentinels;
  return takes_all ? std::nullopt : find_sentinels(statistics);
}

TensorStatistics calib::clamp_sentinels(TensorStatistics statistics, const Sentinels& sentinels) {
  const float floor = static_cast<float>(sentinels.floor);
  const std::uint32_t floor_bin = histogram_bin(bits_of(floor));
  auto& bins = statistics.bins;
  const auto bulk =
      std::find_if(bins.begin(), bins.end(), [](const auto& bin) { return bin.first > last_sentinel_bin(); });
  bins.erase(bins.begin(), bulk);
  if (!bins.empty() && bins.front().first == floor_bin) {
    bins.front().second += sentinels.count;
  } else {
    bins.insert(bins.begin(), {floor_bin, sentinels.count});
  }
  std::erase_if(statistics.points, [](const auto& point) { return point.first <= highest_sentinel; });
  statistics.min = floor;
  statistics.min_count = sentinels.count;
  statistics.negative_infinity_count = 0;
  return statistics;
}

void calib::clamp_sentinels(std::span<float> values, const Sentinels& sentinels) {
  const float limit = static_cast<float>(histogram_bin_upper(last_sentinel_bin()));
  const float floor = static_cast<float>(sentinels.floor);
  for (float& value : values) value = value <= limit ? floor : value;
}

}  // namespace tare
