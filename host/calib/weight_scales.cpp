#include "calib/weight_scales.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "model/real_element.hpp"
#include "plan/ops.hpp"
#include "plan/ties.hpp"

namespace tare {
namespace {

/// Largest magnitude of a bias code, with room for what rounding adds.
constexpr double largest_sum = 0x1p31 - 0x1p15;
/// Smallest factor from the 32-bit sum to the output's code; half a bit above the 2^-24 that hardware can multiply by.
const double smallest_factor = std::exp2(-23.5);

bool is_product(const std::string& op_type) {
  return op_type == "Conv" || op_type == "ConvTranspose" || op_type == "Gemm" || op_type == "MatMul";
}

class ScaleRaiser {
 public:
  ScaleRaiser(const Graph& graph, const std::vector<QuantSite>& sites, const std::vector<std::string>& passes,
              EncodingSet& encodings, const EncodingSet& frozen)
      : graph_(graph),
        ops_(collect_ops(graph, passes)),
        sites_(sites),
        site_of_(graph.values.size(), -1),
        effective_(graph, ops_, site_of_, sites) {
    for (std::size_t s = 0; s < sites.size(); ++s)
      site_of_[static_cast<std::size_t>(sites[s].value)] = static_cast<std::int32_t>(s);
    for (TensorEncodings& tensor : encodings.tensors)
      if (tensor.spec.format == NumberFormat::integer && !tensor.spec.block_axis) by_name_[tensor.tensor] = &tensor;
    for (const TensorEncodings& tensor : frozen.tensors) frozen_.insert(tensor.tensor);
  }

  /// Names of frozen weights that overflow.
  std::vector<std::string> run() {
    std::set<std::string> overflowing;
    for (const Op& op : ops_) {
      if (!is_product(op.type) || op.inputs.empty()) continue;
      const Tensor* bias = nullptr;
      TensorEncodings* weight = nullptr;
      for (const Parameter& parameter : op.parameters) {
        if (parameter.type == "bias") bias = graph_.constant(parameter.value);
        if (parameter.type == "weight") weight = encodings_of(site_of_[static_cast<std::size_t>(parameter.value)]);
      }
      const TensorEncodings* input = encodings_of(effective_.of(op.inputs[0]));
      if (weight == nullptr || input == nullptr) continue;
      if (!frozen_.contains(weight->tensor)) {
        raise(*weight, input->encodings.at(0), bias, output_of(op));
        continue;
      }
      TensorEncodings raised = *weight;
      raise(raised, input->encodings.at(0), bias, output_of(op));
      if (raised.encodings != weight->encodings) overflowing.insert(weight->tensor);
    }
    return {overflowing.begin(), overflowing.end()};
  }

 private:
  TensorEncodings* encodings_of(std::int32_t site) const {
    if (site < 0 || !sites_[static_cast<std::size_t>(site)].enabled) return nullptr;
    const auto it = by_name_.find(sites_[static_cast<std::size_t>(site)].tensor);
    return it == by_name_.end() ? nullptr : it->second;
  }
  /// Only the output's own quantizer counts: behind a fused activation AIMET does not look.
  const Encoding* output_of(const Op& op) const {
    const TensorEncodings* output = encodings_of(
        op.outputs.empty() || op.outputs[0] == absent ? -1 : site_of_[static_cast<std::size_t>(op.outputs[0])]);
    return output == nullptr ? nullptr : &output->encodings.at(0);
  }

  static void raise(TensorEncodings& weight, const Encoding& input, const Tensor* bias, const Encoding* output) {
    const std::size_t channels = weight.encodings.size();
    const std::int64_t biases = bias == nullptr ? 0 : bias->elements();
    const double offset = output == nullptr ? 0 : output->offset * output->scale;
    std::vector<double> largest(channels, biases > 0 ? 0 : std::abs(offset));
    for (std::int64_t i = 0; i < biases; ++i) {
      // One weight scale for all channels: each bias counts.
      const std::size_t channel = channels == 1 ? 0 : static_cast<std::size_t>(i);
      if (channel >= channels) break;
      const double value = static_cast<double>(real_element(*bias, i));
      largest[channel] = std::max({largest[channel], std::abs(value), std::abs(value + offset)});
    }
    const double factor_bound = output == nullptr ? 0 : smallest_factor * output->scale / input.scale;
    // The scale of the bias, the product of the two, is stored in its type.
    const bool half_bias = bias != nullptr && bias->type() == DataType::float16;
    const double underflow_bound = half_bias ? static_cast<double>(smallest_normal_half) / input.scale : 0;
    for (std::size_t c = 0; c < channels; ++c) {
      Encoding& encoding = weight.encodings[c];
      const double raised = std::max({factor_bound, underflow_bound, largest[c] / input.scale / largest_sum});
      if (raised <= encoding.scale || !std::isfinite(raised)) continue;
      encoding.scale = raised;
      encoding.min = raised * encoding.offset;
      encoding.max = raised * (encoding.offset + static_cast<double>(weight.spec.steps()));
    }
  }

  const Graph& graph_;
  std::vector<Op> ops_;
  const std::vector<QuantSite>& sites_;
  std::vector<std::int32_t> site_of_;
  EffectiveSites effective_;
  std::map<std::string_view, TensorEncodings*> by_name_;
  std::set<std::string_view> frozen_;
};

}  // namespace

std::vector<std::string> raise_weight_scales(const Graph& graph, const std::vector<QuantSite>& sites,
                                             const std::vector<std::string>& passes, EncodingSet& encodings,
                                             const EncodingSet& frozen) {
  return ScaleRaiser(graph, sites, passes, encodings, frozen).run();
}

}  // namespace tare
