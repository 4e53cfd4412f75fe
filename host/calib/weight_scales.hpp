// Hardware adds up integer products and the bias in 32 bits, on a grid whose step is input scale times weight scale. A
// channel of (almost) zero weights has so fine a step that the bias, or the offset of the output, leaves those 32 bits.
#pragma once

#include <string>
#include <vector>

#include "tare/graph.hpp"
#include "tare/quantizer.hpp"

namespace tare {

/// Raises the scales of integer weights of Conv, ConvTranspose, Gemm and MatMul until bias and output offset fit, and
/// the factor from the sum to the output stays above 2^-24. What AIMET does when calibration is over, formula by
/// formula. `passes`: supergroup_pass_list of the config the sites were placed with. Weights among `frozen` keep their
/// scales; the names of those that overflow are returned.
std::vector<std::string> raise_weight_scales(const Graph& graph, const std::vector<QuantSite>& sites,
                                             const std::vector<std::string>& passes, EncodingSet& encodings,
                                             const EncodingSet& frozen = {});

}  // namespace tare
