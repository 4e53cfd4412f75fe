// A range that does not follow from data (encoding_constraints): what it does to the quantizer that gets it.
// Odd: AIMET makes a quantizer symmetric whose range is, whatever the config says of its symmetry.
#pragma once

#include <cmath>
#include <optional>

#include "tare/quantizer.hpp"

namespace tare {

struct FixedRange {
  std::optional<double> min{};  ///< none: the range is not fixed
  std::optional<double> max{};  ///< none: up to the largest value that calibration finds
  friend bool operator==(const FixedRange&, const FixedRange&) = default;
};

inline FixedRange fixed_range_of(const QuantizerSpec& spec) { return {spec.fixed_min, spec.fixed_max}; }

inline void fix_range(QuantizerSpec& spec, const FixedRange& range) {
  spec.fixed_min = range.min;
  spec.fixed_max = range.max;
  // The tolerance is that of numpy.allclose.
  if (range.min && range.max && std::abs(*range.min + *range.max) <= 1e-8 + 1e-5 * std::abs(*range.max))
    spec.symmetric = true;
}

}  // namespace tare
