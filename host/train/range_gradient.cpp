// The chain rule from scale and offset to the ends of a range, where rounding the offset counts as the identity.
#include "tare/quantizer.hpp"

namespace tare {

RangeGradient range_gradient(const Encoding& encoding, const QuantizerSpec& spec, double of_scale, double of_offset) {
  const double steps = static_cast<double>(spec.steps());
  const double scale = encoding.scale;
  RangeGradient gradient{-of_scale / steps, of_scale / steps};
  if (spec.symmetric) return gradient;
  const double offset_a_scale = -encoding.min / (scale * scale);  // offset = min / scale
  gradient.min += of_offset * (1 / scale - offset_a_scale / steps);
  gradient.max += of_offset * offset_a_scale / steps;
  return gradient;
}

}  // namespace tare
