// The search on a histogram, and the search on the values themselves. Odd: on a histogram asymmetric grids cost hardly
// more than symmetric ones, because all zero points of a scale share its rounding noise; on values each is a pass of
// its own.
#include "calib/search.hpp"

#include "calib/noise.hpp"
#include "calib/true_error.hpp"

namespace tare::calib {
namespace {

/// True errors of candidates on a few values.
class ValuesModel {
 public:
  explicit ValuesModel(std::span<const float> values) : values_(values.begin(), values.end()) {
    values_.resize((values_.size() + noise_block - 1) / noise_block * noise_block);  // zeros have no error
  }

  void set_scale(double scale, double, double) { scale_ = static_cast<float>(scale); }
  double cost(double negative_steps, double positive_steps, double gamma) const {
    const SignedGrid grid{scale_, static_cast<float>(-negative_steps), static_cast<float>(positive_steps)};
    return squared_error(values_.data(), values_.size(), grid, static_cast<float>(gamma));
  }
  double cost_bound(double negative_edge, double positive_edge, double gamma) const {
    constexpr double margin = 1 - 1e-4;  // above what float32 does to distances from the edge
    return margin * gamma *
           saturation_error(values_.data(), values_.size(), static_cast<float>(-negative_edge),
                            static_cast<float>(positive_edge));
  }

 private:
  std::vector<float> values_;
  float scale_ = 1;
};

}  // namespace

std::vector<Encoding> search_noise(const TensorStatistics& statistics, const QuantizerSpec& spec, double gamma,
                                   std::size_t count) {
  return Search(NoiseModel(statistics), observed_range(statistics, false), spec, gamma).run(count);
}

Encoding search_values(std::span<const float> values, const Range& range, const QuantizerSpec& spec, double gamma) {
  return Search(ValuesModel(values), range, spec, gamma).run(1).front();
}

}  // namespace tare::calib
