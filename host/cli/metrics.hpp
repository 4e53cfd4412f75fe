// How far outputs are from each other, and from the truth. Sums only: memory does not grow with the data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tare/tensor.hpp"

namespace tare::cli {

/// Signal to noise of a simulated output, batch by batch. Values where either side is NaN or infinite are left out and
/// counted.
class OutputError {
 public:
  /// As many simulated values as exact ones; a batch without any counts for nothing.
  void add_batch(std::span<const float> exact, std::span<const float> simulated);
  /// Mean over the batches of 10 log10(sum s² / sum (s - q)²), each figure held within ±200 dB: what AIMET's users and
  /// the reference figures quote. Infinity when nothing differs at all; this and the other figures are NaN when no
  /// value was compared.
  double mean_sqnr_db() const;
  /// The same ratio over all values of all batches: batches with loud outputs weigh more.
  double total_sqnr_db() const;
  double mean_squared_error() const;
  std::size_t left_out() const { return left_out_; }
  bool has_nothing() const { return count_ == 0; }

 private:
  double signal_ = 0;
  double noise_ = 0;
  double decibels_ = 0;
  std::size_t batches_ = 0;
  std::size_t count_ = 0;
  std::size_t left_out_ = 0;
};

/// How many integers of an output (classes, indices, truth values) quantizing leaves as they are.
class EqualShare {
 public:
  /// As many simulated values as exact ones.
  void add_batch(std::span<const std::int64_t> exact, std::span<const std::int64_t> simulated);
  /// 0 … 1; NaN when no value was compared.
  double share() const;
  std::size_t count() const { return count_; }

 private:
  std::size_t equal_ = 0;
  std::size_t count_ = 0;
};

/// Index of the largest value; the first one of several. NaN never wins.
std::size_t largest(std::span<const float> values);
/// True when fewer than `k` values are larger than that of `label` (or equal and before it).
bool among_largest(std::span<const float> values, std::int64_t label, std::size_t k);
/// Of vectors of the same length; 1 for two of zeros.
double cosine(std::span<const float> a, std::span<const float> b);

/// "41.27 dB", "equal", "none" for NaN
std::string decibel_text(double value);
/// "97.75 %" of a share of 0 … 1, "none" for NaN
std::string share_text(double value);

}  // namespace tare::cli
