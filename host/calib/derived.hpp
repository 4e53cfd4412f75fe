// Statistics that follow from other statistics, to the same integers as if the values had been read.
#pragma once

#include "tare/statistics.hpp"

namespace tare {

/// Whether a histogram tells which values lie outside the range: a limit is infinite, zero, or the innermost value of
/// its bin on its own side of zero.
bool clips_exactly(float low, float high);
/// Statistics of min(max(x, low), high), where clips_exactly. They must hold a histogram.
TensorStatistics clipped(const TensorStatistics& statistics, float low, float high);

}  // namespace tare
