// Quantizers that must share a range: what is concatenated, what passes a Relu or a resize, the states of a recurrent
// layer.
#pragma once

#include <vector>

#include "plan/ops.hpp"
#include "tare/quantizer.hpp"

namespace tare {

/// Numbers the groups of sites that share a range (QuantSite::group) and gives their members one spec.
void tie_sites(const Graph& graph, const std::vector<Op>& ops, const std::vector<std::int32_t>& site_of,
               std::vector<QuantSite>& sites);

/// The quantizer whose grid a value is on: its own when enabled, else that of the value it was moved from; null: none.
QuantSite* effective_site(const Graph& graph, const std::vector<Op>& ops, const std::vector<std::int32_t>& site_of,
                          std::vector<QuantSite>& sites, ValueId value);

}  // namespace tare
