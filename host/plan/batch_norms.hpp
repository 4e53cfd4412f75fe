// Batch normalizations that converters fold into the convolution in front of them, so that hardware never sees them.
#pragma once

#include <string>
#include <vector>

#include "tare/graph.hpp"
#include "tare/quantizer.hpp"

namespace tare {

/// Names of the BatchNormalizations that could be folded and have a quantizer in front of them: with it, what was
/// calibrated is not what such a converter makes.
std::vector<std::string> unfolded_batch_norms(const Graph& graph, const std::vector<QuantSite>& sites);

}  // namespace tare
