#include "plan/batch_norms.hpp"

#include <algorithm>
#include <unordered_set>

#include "plan/ops.hpp"

namespace tare {
namespace {

bool has_constants(const Graph& graph, const Node& node, std::size_t first, std::size_t last) {
  for (std::size_t i = first; i < last; ++i)
    if (i >= node.inputs.size() || node.inputs[i] == absent || graph.constant(node.inputs[i]) == nullptr) return false;
  return true;
}

}  // namespace

std::vector<std::string> unfolded_batch_norms(const Graph& graph, const std::vector<QuantSite>& sites) {
  std::unordered_set<ValueId> quantized;
  for (const QuantSite& site : sites)
    if (site.enabled && site.role == SiteRole::activation) quantized.insert(site.value);
  const std::vector<std::int32_t> producer = producers(graph);
  const std::vector<std::vector<std::int32_t>> readers = consumers(graph);
  std::vector<std::string> names;
  for (const Node& node : graph.nodes) {
    if (node.op_type != "BatchNormalization" || !node.domain.empty() || takes_moments_of_batch(node) ||
        !has_constants(graph, node, 1, 5))
      continue;
    const ValueId x = node.inputs[0];
    const std::int32_t before = x == absent ? -1 : producer[static_cast<std::size_t>(x)];
    if (before < 0 || !quantized.contains(x) || readers[static_cast<std::size_t>(x)].size() != 1 ||
        std::find(graph.outputs.begin(), graph.outputs.end(), x) != graph.outputs.end())
      continue;
    const Node& product = graph.nodes[static_cast<std::size_t>(before)];
    const bool folds = product.domain.empty() &&
                       (product.op_type == "Conv" || product.op_type == "ConvTranspose" || product.op_type == "Gemm");
    if (folds && has_constants(graph, product, 1, 2)) names.push_back(node.name);
  }
  return names;
}

}  // namespace tare
