// The search: scales coarse to fine on a fixed logarithmic lattice below the min-max scale, zero points across the
// useful window of each scale. The min-max encoding is the first candidate, and ties go to the earlier one. A model
// knows what a candidate costs: set_scale(scale, negative_limit, positive_limit) first, then cost(negative_steps,
// positive_steps, gamma) of zero points of that scale, and cost_bound(negative_edge, positive_edge, gamma), below which
// no grid costs that ends there or nearer to zero.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "calib/encoding.hpp"
#include "calib/noise_block.hpp"
#include "tare/numerics.hpp"

namespace tare::calib {

struct Candidate {
  double cost;
  double scale;
  double negative_steps;
  int position;     ///< on the lattice of scales; -1: the min-max encoding
  double fraction;  ///< of the zero point in its window
  bool coarse;      ///< found in the first pass, however late
};

template <class Model>
class Search {
 public:
  /// `range` holds every finite value, and zero.
  Search(Model model, const Range& range, const QuantizerSpec& spec, double gamma)
      : space_(search_space(range, spec)), spec_(spec), gamma_(gamma), model_(std::move(model)) {}

  std::vector<Encoding> run(std::size_t count) {
    only_best_ = count == 1;
    const Encoding whole = min_max_encoding(space_.range.low, space_.range.high, spec_);
    evaluate(whole.scale, -whole.offset, -1, 0.5);
    if (space_.largest_scale > space_.smallest_scale) {
      coarse();
      zoom(zoom_step, window_step);
      zoom(1, window_step * zoom_ratio);
      neighbours();
      if (count > 1) rest_of_coarse(count);
    }
    return ranked(whole, count);
  }

 private:
  void evaluate(double scale, double negative_steps, int position, double fraction) {
    const double positive_steps = space_.shape.steps - negative_steps;
    if (only_best_ && !candidates_.empty() && costs_more(best_.cost, scale, negative_steps, positive_steps)) return;
    if (scale != prepared_) {
      model_.set_scale(scale, space_.shape.negative_steps, space_.shape.positive_steps);
      prepared_ = scale;
    }
    const double cost = model_.cost(negative_steps, positive_steps, gamma_);
    candidates_.push_back({cost, scale, negative_steps, position, fraction, in_coarse_});
    if (candidates_.size() == 1 || cost < best_.cost) best_ = candidates_.back();
  }

  double scale_at(int position) const {
    const double scale = space_.largest_scale * candidate_ratio(position);
    return std::max(static_cast<double>(static_cast<float>(scale)), space_.smallest_scale);
  }

  /// Zero points at `count` fractions from `first` on, of the window in which no end of the grid lies beyond the data.
  void window(int position, double first, double step, int count) {
    const double scale = scale_at(position);
    if (space_.shape.fixed_zero) {
      evaluate(scale, space_.shape.negative_steps, position, 0);
      return;
    }
    const double high = std::min(space_.shape.steps, std::ceil(-space_.range.low / scale));
    const double low = std::min(high, std::max(0.0, space_.shape.steps - std::ceil(space_.range.high / scale)));
    double last = -1;
    for (int i = 0; i < count; ++i) {
      const double fraction = std::min(1.0, std::max(0.0, first + step * i));
      const double negative_steps = round_half_even(low + (high - low) * fraction);
      if (negative_steps == last) continue;
      last = negative_steps;
      evaluate(scale, negative_steps, position, fraction);
    }
  }

  /// Neither this scale nor any below it costs less than `cost`: what they cut off alone costs more.
  bool is_beaten(double scale, double cost) const {
    return costs_more(cost, scale, space_.shape.negative_steps, space_.shape.positive_steps);
  }
  /// Whether what lies beyond the grid's ends costs more than `cost`.
  bool costs_more(double cost, double scale, double negative_steps, double positive_steps) const {
    return model_.cost_bound(scale * negative_steps, scale * positive_steps, gamma_) * bound_margin > cost;
  }

  bool is_last_coarse(int i) const {
    return i >= most_candidates || (i > 0 && scale_at((i - 1) * coarse_step) <= space_.smallest_scale);
  }

  void coarse() {
    for (int i = 0; !is_last_coarse(i); ++i) {
      if (i >= coarse_candidates && best_.position != (i - 1) * coarse_step) break;
      if (is_beaten(scale_at(i * coarse_step), best_.cost)) {
        beaten_from_ = i;
        break;
      }
      window(i * coarse_step, 0, window_step, window_positions);
    }
    in_coarse_ = false;
  }

  /// Scales that cannot be the best may still be among the best `count`.
  void rest_of_coarse(std::size_t count) {
    if (!beaten_from_) return;
    in_coarse_ = true;
    const int end = std::max(coarse_candidates, *beaten_from_ + 1);
    for (int i = *beaten_from_; i < end && !is_last_coarse(i); ++i) {
      if (is_beaten(scale_at(i * coarse_step), cost_of_rank(count))) return;
      window(i * coarse_step, 0, window_step, window_positions);
    }
  }

  /// Cost behind that of the best `count` different candidates so far; infinite when there are not so many.
  double cost_of_rank(std::size_t count) const {
    std::vector<std::tuple<double, double, double>> different;
    for (const Candidate& c : candidates_) different.emplace_back(c.cost, c.scale, c.negative_steps);
    std::sort(different.begin(), different.end());
    different.erase(std::unique(different.begin(), different.end()), different.end());
    return count < different.size() ? std::get<0>(different[count]) : std::numeric_limits<double>::infinity();
  }

  /// Scales in lattice steps of size `step` around the best one, zero points within `width` of its fraction.
  void zoom(int step, double width) {
    const Candidate centre = best_;
    const int middle = std::max(centre.position, 0);
    for (int i = -zoom_reach; i <= zoom_reach; ++i) {
      const int position = middle + i * step;
      if (position < 0 || (i == 0 && space_.shape.fixed_zero)) continue;
      window(position, centre.fraction - width, width * 2 / (zoom_positions - 1), zoom_positions);
    }
  }

  void neighbours() {
    if (space_.shape.fixed_zero) return;
    const Candidate centre = best_;
    for (const double shift : {-2.0, -1.0, 1.0, 2.0}) {
      const double negative_steps = centre.negative_steps + shift;
      if (negative_steps < 0 || negative_steps > space_.shape.steps) continue;
      evaluate(centre.scale, negative_steps, centre.position, centre.fraction);
    }
  }

  std::vector<Encoding> ranked(const Encoding& whole, std::size_t count) {
    std::vector<std::size_t> order(candidates_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    const auto better = [&](std::size_t a, std::size_t b) {
      const Candidate& x = candidates_[a];
      const Candidate& y = candidates_[b];
      if (x.cost != y.cost) return x.cost < y.cost;
      return x.coarse != y.coarse ? x.coarse : a < b;
    };
    std::vector<Encoding> encodings;
    if (count == 1) {
      encodings.push_back(encoding_of(*std::min_element(order.begin(), order.end(), better), whole));
      return encodings;
    }
    std::sort(order.begin(), order.end(), better);
    for (const std::size_t i : order) {
      const Encoding encoding = encoding_of(i, whole);
      if (std::find(encodings.begin(), encodings.end(), encoding) != encodings.end()) continue;
      encodings.push_back(encoding);
      if (encodings.size() == count) break;
    }
    if (std::find(encodings.begin(), encodings.end(), whole) == encodings.end()) encodings.back() = whole;
    return encodings;
  }

  Encoding encoding_of(std::size_t index, const Encoding& whole) const {
    const Candidate& candidate = candidates_[index];
    if (candidate.position < 0) return whole;
    const double offset = -candidate.negative_steps;
    return {candidate.scale * offset, candidate.scale * (offset + space_.shape.steps), candidate.scale, offset};
  }

  SearchSpace space_;
  QuantizerSpec spec_;
  double gamma_;
  Model model_;
  double prepared_ = 0;
  std::optional<int> beaten_from_;  ///< where the first pass ended because the rest costs more
  bool in_coarse_ = true;
  bool only_best_ = false;  ///< nobody asks for candidates that are not the best
  std::vector<Candidate> candidates_;
  Candidate best_{};
};

}  // namespace tare::calib
