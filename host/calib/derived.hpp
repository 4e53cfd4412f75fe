// Statistics that follow from other statistics: of values cut to a range, to the same integers as if they had been
// read; of functions of values, with every bin taken where the function takes it.
#pragma once

#include <functional>
#include <span>

#include "tare/statistics.hpp"

namespace tare {

/// Whether a histogram tells which values lie outside the range: a limit is infinite, zero, or the innermost value of
/// its bin on its own side of zero.
bool clips_exactly(float low, float high);
/// Statistics of min(max(x, low), high), where clips_exactly. They must hold a histogram.
TensorStatistics clipped(const TensorStatistics& statistics, float low, float high);

/// Statistics of f(x), from those of x. The values of a bin are taken to lie evenly in it, at eight points;
/// extremes, zeros, NaN and infinities are mapped as they are, with their counts. `f` maps all its arguments at once
/// and gives as many numbers. Where f turns around, `extremes` are statistics of f(x) that hold no histogram.
/// Statistics without a histogram give extremes only. Where many values come to lie closely together in a wide bin,
/// they stand in `points`.
TensorStatistics mapped(const TensorStatistics& statistics,
                        const std::function<std::vector<float>(std::span<const float>)>& f,
                        const TensorStatistics* extremes = nullptr);

}  // namespace tare
