// Quantizers that must share a range: what is concatenated, what passes a Relu or a resize, the states of a recurrent
// layer.
#pragma once

#include <set>
#include <vector>

#include "plan/ops.hpp"
#include "tare/quantizer.hpp"

namespace tare {

/// Numbers the groups of sites that share a range (QuantSite::group) and gives their members one spec.
/// `fused_outputs`: model outputs inside of fused groups. What follows in the group is made beside them, not from them.
void tie_sites(const Graph& graph, const std::vector<Op>& ops, const std::vector<std::int32_t>& site_of,
               std::vector<QuantSite>& sites, const std::set<ValueId>& fused_outputs);

/// Which quantizer's grid a value is on: its own when enabled, else that of the value it was moved from.
class EffectiveSites {
 public:
  /// `sites` may change while this lives; `site_of` gives the site of a value, or -1.
  EffectiveSites(const Graph& graph, const std::vector<Op>& ops, const std::vector<std::int32_t>& site_of,
                 const std::vector<QuantSite>& sites);
  /// Index of the site, or -1.
  std::int32_t of(ValueId value) const;
  /// Index into ops of what computes a value, or -1.
  std::int32_t producer(ValueId value) const { return producer_[static_cast<std::size_t>(value)]; }

 private:
  const std::vector<Op>& ops_;
  const std::vector<std::int32_t>& site_of_;
  const std::vector<QuantSite>& sites_;
  std::vector<std::int32_t> producer_;
};

}  // namespace tare
