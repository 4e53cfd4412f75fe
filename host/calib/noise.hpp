// The search's view of a histogram: both signs as sides that run outwards from zero, in blocks of 32 bins. The noise of
// a candidate is a sum over blocks inside its range, one block in which the range ends, and the moments of what lies
// beyond; rounding noise depends on the scale alone, so all zero points of a scale share it. Odd: a bin is uniform
// density between its edges; zero, the exact minimum and the exact maximum are point masses.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "calib/noise_block.hpp"
#include "tare/statistics.hpp"

namespace tare::calib {

class NoiseSide {
 public:
  NoiseSide(const TensorStatistics& statistics, bool negative);

  /// Prepares limit_noise() for one scale and limits of at most `limit` steps.
  void set_scale(double scale, double limit);
  /// Noise of all values of this side when the grid has `limit` steps.
  double limit_noise(double limit, double gamma) const;
  /// Part of the saturation noise when the grid ends at `edge`: grows as the edge comes nearer to zero.
  double saturation_bound(double edge, double gamma) const;

 private:
  struct Bin {
    std::uint32_t bin;  ///< histogram_side_bin
    std::uint64_t count;
  };
  struct Point {
    double magnitude;
    double count;
  };
  struct Moments {
    double m0 = 0, m1 = 0, m2 = 0;
  };
  std::vector<Bin> take_side(const TensorStatistics& statistics, bool negative);
  void take_points(const TensorStatistics& statistics, bool negative, std::vector<Bin>& bins);
  std::size_t blocks() const { return density_.size() / noise_block; }
  /// Touched blocks that lie wholly below the magnitude's block.
  std::size_t blocks_below(double magnitude) const;

  std::array<std::uint8_t, side_blocks + 1> below_{};  ///< by block number: touched blocks with a smaller number
  std::vector<double> edges_;                          ///< noise_block + 1 a touched block
  std::vector<double> density_;                        ///< noise_block a touched block
  std::vector<Moments> beyond_;                        ///< by touched block: of it and all blocks further out
  std::vector<double> second_;                         ///< by touched block: second moment of all blocks further in
  std::vector<Point> points_;
  std::vector<double> known_;        ///< magnitudes of the statistics' points, noise_block at a time
  std::vector<double> known_count_;  ///< how often each occurs
  double scale_ = 1;
  double inverse_ = 1;
  std::vector<double> inside_;  ///< by touched block: rounding noise of all blocks further in
};

/// Noise of candidates (scale, zero point) on one histogram.
class NoiseModel {
 public:
  explicit NoiseModel(const TensorStatistics& statistics) : negative_(statistics, true), positive_(statistics, false) {}

  /// Prepares cost() for this scale.
  void set_scale(double scale, double negative_limit, double positive_limit) {
    negative_.set_scale(scale, negative_limit);
    positive_.set_scale(scale, positive_limit);
  }
  /// Rounding noise + gamma * saturation noise of a grid with so many steps below and above zero.
  double cost(double negative_steps, double positive_steps, double gamma) const {
    return negative_.limit_noise(negative_steps, gamma) + positive_.limit_noise(positive_steps, gamma);
  }
  /// No grid that ends at these magnitudes or nearer to zero costs less.
  double cost_bound(double negative_edge, double positive_edge, double gamma) const {
    return negative_.saturation_bound(negative_edge, gamma) + positive_.saturation_bound(positive_edge, gamma);
  }

 private:
  NoiseSide negative_;
  NoiseSide positive_;
};

}  // namespace tare::calib
