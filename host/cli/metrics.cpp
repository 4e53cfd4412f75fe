#include "cli/metrics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace tare::cli {

namespace {

constexpr double limit_db = 200;

double decibels(double signal, double noise) {
  if (noise == 0) return limit_db;
  return signal > 0 ? std::clamp(10 * std::log10(signal / noise), -limit_db, limit_db) : -limit_db;
}

}  // namespace

void OutputError::add_batch(std::span<const float> exact, std::span<const float> simulated) {
  double signal = 0;
  double noise = 0;
  const std::size_t compared = count_;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double s = exact[i];
    const double difference = s - static_cast<double>(simulated[i]);
    if (!std::isfinite(s) || !std::isfinite(difference)) {
      ++left_out_;
      continue;
    }
    signal += s * s;
    noise += difference * difference;
    ++count_;
  }
  if (count_ == compared) return;  // nothing to compare in this batch
  signal_ += signal;
  noise_ += noise;
  decibels_ += decibels(signal, noise);
  ++batches_;
}

double OutputError::mean_sqnr_db() const {
  if (has_nothing()) return std::numeric_limits<double>::quiet_NaN();
  if (noise_ == 0) return std::numeric_limits<double>::infinity();
  return decibels_ / static_cast<double>(batches_);
}

double OutputError::total_sqnr_db() const {
  if (has_nothing()) return std::numeric_limits<double>::quiet_NaN();
  return noise_ > 0 ? decibels(signal_, noise_) : std::numeric_limits<double>::infinity();
}

double OutputError::mean_squared_error() const {
  if (has_nothing()) return std::numeric_limits<double>::quiet_NaN();
  return noise_ / static_cast<double>(count_);
}

void EqualShare::add_batch(std::span<const std::int64_t> exact, std::span<const std::int64_t> simulated) {
  for (std::size_t i = 0; i < exact.size(); ++i) equal_ += exact[i] == simulated[i] ? 1 : 0;
  count_ += exact.size();
}

double EqualShare::share() const {
  if (count_ == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(equal_) / static_cast<double>(count_);
}

std::size_t largest(std::span<const float> values) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < values.size(); ++i)
    if (values[i] > values[best] || std::isnan(values[best])) best = i;
  return best;
}

bool among_largest(std::span<const float> values, std::int64_t label, std::size_t k) {
  if (label < 0 || static_cast<std::size_t>(label) >= values.size()) return false;
  const auto at = static_cast<std::size_t>(label);
  if (std::isnan(values[at])) return false;
  std::size_t before = 0;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] > values[at] || (values[i] == values[at] && i < at)) ++before;
  return before < k;
}

double cosine(std::span<const float> a, std::span<const float> b) {
  double ab = 0;
  double aa = 0;
  double bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  if (aa == 0 && bb == 0) return 1;
  return aa > 0 && bb > 0 ? ab / (std::sqrt(aa) * std::sqrt(bb)) : 0;
}

std::string decibel_text(double value) {
  if (std::isnan(value)) return "none";
  return std::isinf(value) && value > 0 ? "equal" : fmt::format("{:.2f} dB", value);
}

std::string share_text(double value) { return std::isnan(value) ? "none" : fmt::format("{:.2f} %", 100 * value); }

}  // namespace tare::cli
