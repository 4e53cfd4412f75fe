// The graph as the placement rules see it: operators with their fused groups taken as one, and which of their inputs
// are parameters. Positions and axes are AIMET's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tare/graph.hpp"

namespace tare {

struct Parameter {
  ValueId value = absent;
  std::string type;  ///< weight, bias, weight_r, running_mean, running_var
  std::optional<int> channel_axis;
  std::optional<int> block_axis;
};

/// One operator, or a fused group that a config calls by one name ("Gemm" for MatMul + Add of a constant).
struct Op {
  std::string type;
  std::vector<std::int32_t> nodes;  ///< indices into graph.nodes, in order
  std::vector<ValueId> inputs;      ///< present ones that are not parameters and come from outside the group
  std::vector<ValueId> outputs;     ///< of the last node
  std::vector<Parameter> parameters;
};

/// The value that Identities in front of `value` pass on; itself where there are none.
ValueId behind_identities(const Graph& graph, const std::vector<std::int32_t>& producers, ValueId value);

/// `passes`: supergroup_pass_list of the config.
std::vector<Op> collect_ops(const Graph& graph, const std::vector<std::string>& passes);
/// With all passes there are: whoever knows the placed sites asks it where and what a parameter may be, and them
/// whether it is one.
std::vector<Op> collect_ops_of_all_passes(const Graph& graph);

/// Whether a BatchNormalization takes the moments of its batch: training_mode says so, and in opsets 7 to 13 that it
/// has further outputs.
bool takes_moments_of_batch(const Node& node);

/// Moving or selecting elements keeps them on their grid: such outputs need no quantizer of their own.
bool is_grid_preserving(const std::string& op_type);
/// Ops whose outputs never get a quantizer, not even a disabled one.
bool has_no_output_quantizer(const std::string& op_type);
/// Conv with three spatial dimensions, or depthwise: no fused group starts there.
bool is_unfusable_convolution(const Graph& graph, const std::vector<std::int32_t>& producers, const Node& node);

}  // namespace tare
