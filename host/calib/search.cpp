// The search on a histogram, and the search on the values themselves. Odd: on a histogram asymmetric grids cost hardly
// more than symmetric ones, because all zero points of a scale share its rounding noise; on values each is a pass of
// its own.
#include "calib/search.hpp"

#include <algorithm>

#include "calib/noise.hpp"
#include "calib/true_error.hpp"

namespace tare::calib {
namespace {

/// True errors of candidates on a few values.
class ValuesModel {
 public:
  ValuesModel(std::span<const float> values, const Range& range) : values_(values), range_(range) {}

  void set_scale(double scale, double, double) { scale_ = static_cast<float>(scale); }
  double cost(double negative_steps, double positive_steps, double gamma) const {
    const SignedGrid grid{scale_, static_cast<float>(-negative_steps), static_cast<float>(positive_steps)};
    return squared_error(values_.data(), values_.size(), grid, gamma);
  }
  /// What the two outermost values cost: with so few values a grid that cuts off more than a few steps is beaten.
  double cost_bound(double negative_edge, double positive_edge, double gamma) const {
    constexpr double margin = 1 - 1e-4;  // above what float32 does to distances from the edge
    const double below = std::max(0.0, -range_.low - negative_edge);
    const double above = std::max(0.0, range_.high - positive_edge);
    return margin * gamma * (below * below + above * above);
  }

 private:
  std::span<const float> values_;
  Range range_;
  float scale_ = 1;
};

}  // namespace

std::vector<Encoding> search_noise(const TensorStatistics& statistics, const QuantizerSpec& spec, double gamma,
                                   std::size_t count) {
  return Search(NoiseModel(statistics), observed_range(statistics, false), spec, gamma).run(count);
}

Encoding search_values(std::span<const float> values, const Range& range, const QuantizerSpec& spec, double gamma) {
  return Search(ValuesModel(values, range), range, spec, gamma).run(1).front();
}

}  // namespace tare::calib
