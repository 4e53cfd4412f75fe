// Encodings of tensors that have no quantizer of their own, as AIMET's version 2.0.0 lists them: a converter then finds
// every tensor in the file and never calibrates one itself. Rules: docs/encodings.md.
#include "export/derived_encodings.hpp"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "calib/low_power_blocks.hpp"
#include "export/given_encodings.hpp"
#include "model/real_element.hpp"
#include "plan/ops.hpp"
#include "tare/error.hpp"
#include "tare/export.hpp"

namespace tare {
namespace {

constexpr int bias_bits = 32;
constexpr double bias_offset = -2147483648.0;
/// AIMET's smallest scale of a 32-bit grid, where that follows from the bias itself.
constexpr double smallest_bias_scale = 0.01 / 4294967295.0;

bool selects_values(const std::string& op_type) {
  constexpr std::array also = {"Clip", "Max", "Min", "Pad", "Where"};
  return is_grid_preserving(op_type) || std::find(also.begin(), also.end(), op_type) != also.end();
}

double largest_magnitude(const Tensor& tensor) {
  double largest = 0;
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    const float value = real_element(tensor, i);
    if (std::isfinite(value)) largest = std::max(largest, std::fabs(static_cast<double>(value)));
  }
  return largest;
}

/// Whether all values of the outputs are values of the input, or zero. Col2Im adds where its blocks overlap; a sequence
/// is no tensor that could be quantized.
bool moves_values(const Graph& graph, const Node& node) {
  if (node.op_type == "Col2Im" || node.op_type == "SplitToSequence") return false;
  if (node.op_type != "Pad" || node.text("mode", "constant") != "constant") return is_grid_preserving(node.op_type);
  if (node.opset < 11) return node.real("value", 0) == 0;
  if (node.inputs.size() < 3 || node.inputs[2] == absent) return true;
  const Tensor* padding = graph.constant(node.inputs[2]);
  return padding != nullptr && is_quantizable(padding->type()) && padding->elements() == 1 &&
         real_element(*padding, 0) == 0;
}

class Deriver {
 public:
  Deriver(EncodingSet& set, const Graph& graph, std::span<const QuantSite> sites)
      : set_(set),
        graph_(graph),
        ops_(sites.empty() ? collect_ops(graph, {"MatmulAdd"}) : collect_ops_of_all_passes(graph)),
        producers_(producers(graph)),
        consumers_(consumers(graph)) {
    for (const QuantSite& site : sites)
      if (site.role == SiteRole::activation) no_parameters_.insert(site.value);
    std::unordered_map<std::string_view, ValueId> by_name;
    for (std::size_t v = 0; v < graph.values.size(); ++v)
      by_name.emplace(graph.values[v].name, static_cast<ValueId>(v));
    for (std::size_t i = 0; i < set.tensors.size(); ++i)
      if (const auto it = by_name.find(set.tensors[i].tensor); it != by_name.end()) known_.emplace(it->second, i);
    quantized_ = known_;
  }

  void derive_moved() {
    const auto visit_moving = [&](const Node& node) {
      if (node.domain.empty() && moves_values(graph_, node)) visit(node);
    };
    std::for_each(graph_.nodes.begin(), graph_.nodes.end(), visit_moving);
    std::for_each(graph_.nodes.rbegin(), graph_.nodes.rend(), visit_moving);
    set_.sort();
  }

  void derive() {
    for (const Node& node : graph_.nodes) visit(node);
    for (auto node = graph_.nodes.rbegin(); node != graph_.nodes.rend(); ++node) visit(*node);
    for (const Op& op : ops_)
      for (const Parameter& parameter : op.parameters)
        if (parameter.type == "bias" && !no_parameters_.contains(parameter.value)) add_bias(op, parameter);
    set_.sort();
  }

 private:
  const TensorEncodings* encodings_of(ValueId value) const {
    const auto it = known_.find(value);
    return it == known_.end() ? nullptr : &set_.tensors[it->second];
  }
  bool is_float(ValueId value) const { return value != absent && is_quantizable(graph_.value(value).type); }

  void copy(const TensorEncodings& from, ValueId to) {
    TensorEncodings copied = from;
    copied.tensor = graph_.value(to).name;
    copied.role = SiteRole::activation;
    known_.emplace(to, set_.tensors.size());
    set_.tensors.push_back(std::move(copied));
  }

  void visit(const Node& node) {
    if (!node.domain.empty() || !selects_values(node.op_type) || node.inputs.empty()) return;
    const std::size_t inputs = node.op_type == "Pad" ? 1 : node.inputs.size();
    if (const TensorEncodings* output = encodings_of(node.output(0));
        output != nullptr && output->encodings.size() == 1) {
      const TensorEncodings kept = *output;
      for (std::size_t i = 0; i < inputs; ++i) {
        const ValueId input = node.inputs[i];
        const bool alone = is_float(input) && consumers_[static_cast<std::size_t>(input)].size() == 1;
        if (alone && encodings_of(input) == nullptr) copy(kept, input);
      }
    }
    if (!is_float(node.inputs[0])) return forward_selected(node, inputs);
    const TensorEncodings* first = encodings_of(node.inputs[0]);
    if (first == nullptr || first->encodings.size() != 1) return;
    const TensorEncodings kept = *first;
    for (std::size_t i = 1; i < inputs; ++i) {
      if (!is_float(node.inputs[i])) continue;
      const TensorEncodings* other = encodings_of(node.inputs[i]);
      if (other == nullptr || other->encodings != kept.encodings) return;
    }
    for (const ValueId output : node.outputs)
      if (is_float(output) && encodings_of(output) == nullptr) copy(kept, output);
  }

  /// Where: the first input chooses, the others are chosen from.
  void forward_selected(const Node& node, std::size_t inputs) {
    const TensorEncodings* first = nullptr;
    for (std::size_t i = 0; i < inputs; ++i) {
      if (!is_float(node.inputs[i])) continue;
      const TensorEncodings* other = encodings_of(node.inputs[i]);
      if (other == nullptr || other->encodings.size() != 1 ||
          (first != nullptr && other->encodings != first->encodings))
        return;
      first = other;
    }
    if (first == nullptr) return;
    const TensorEncodings kept = *first;
    for (const ValueId output : node.outputs)
      if (is_float(output) && encodings_of(output) == nullptr) copy(kept, output);
  }

  /// As AIMET lists them: where the operator's input and weight are both on an integer grid.
  void add_bias(const Op& op, const Parameter& bias) {
    const Tensor* values = graph_.constant(bias.value);
    if (values == nullptr || !is_float(bias.value) || op.inputs.empty()) return;
    const TensorEncodings* input = integer_grid_of(op.inputs[0]);
    const TensorEncodings* weight = weight_of(op);
    if (input == nullptr || weight == nullptr) return;
    const auto already = known_.find(bias.value);
    if (already != known_.end() && !derived_biases_.contains(bias.value)) return;
    const std::vector<double> scales = bias_scales(op, *input, *weight, *values);
    // No file can hold it: a mask's grid as the input.
    if (std::any_of(scales.begin(), scales.end(), [](double scale) { return !(scale <= FLT_MAX); })) return;
    if (already != known_.end()) {  // shared by several operators: the coarsest of their grids holds it for all
      std::vector<Encoding>& known = set_.tensors[already->second].encodings;
      if (known.size() != scales.size()) return;
      for (std::size_t i = 0; i < scales.size(); ++i) known[i] = grid(std::max(scales[i], known[i].scale));
      return;
    }
    TensorEncodings added;
    added.tensor = graph_.value(bias.value).name;
    added.role = SiteRole::parameter;
    added.spec.bitwidth = bias_bits;
    added.spec.symmetric = true;
    if (weight->spec.channel_axis) added.spec.channel_axis = 0;
    for (const double scale : scales) added.encodings.push_back(grid(scale));
    derived_biases_.insert(bias.value);
    known_.emplace(bias.value, set_.tensors.size());
    set_.tensors.push_back(std::move(added));
  }

  /// Of a weight: a channel of blocks has the largest of its scales, or the one that all are multiples of.
  std::vector<double> channel_scales(const TensorEncodings& weight) const {
    std::vector<double> scales;
    for (const Encoding& encoding : weight.encodings) scales.push_back(encoding.scale);
    if (weight.spec.block_size == 0 || !weight.spec.channel_axis) return scales;
    const Tensor* values = graph_.constant(graph_.find(weight.tensor));
    if (values == nullptr) return scales;
    const auto channels =
        static_cast<std::size_t>(values->shape()[static_cast<std::size_t>(*weight.spec.channel_axis)]);
    if (weight.spec.decompressed_bitwidth > 0) return calib::low_power_scales(weight, channels).units;
    std::vector<double> largest(channels, 0.0);
    const std::size_t blocks = channels == 0 ? 0 : scales.size() / channels;
    for (std::size_t i = 0; i < scales.size(); ++i) largest[i / blocks] = std::max(largest[i / blocks], scales[i]);
    return largest;
  }

  /// The grid that a value is on: its own quantizer's, else that of the value it was moved or cast from.
  const TensorEncodings* integer_grid_of(ValueId value) const {
    while (value != absent) {
      if (const auto it = quantized_.find(value); it != quantized_.end()) {
        const TensorEncodings& found = set_.tensors[it->second];
        return found.spec.format == NumberFormat::integer && !found.encodings.empty() ? &found : nullptr;
      }
      const std::int32_t producer = producers_[static_cast<std::size_t>(value)];
      if (producer < 0) return nullptr;
      const Node& node = graph_.nodes[static_cast<std::size_t>(producer)];
      const bool casts = node.op_type == "Cast" && is_float(value) && is_float(node.input(0));
      if (!node.domain.empty() || !(casts || is_grid_preserving(node.op_type))) return nullptr;
      value = node.input(0);
    }
    return nullptr;
  }

  const TensorEncodings* weight_of(const Op& op) const {
    for (const Parameter& parameter : op.parameters)
      if (parameter.type == "weight") return integer_grid_of(parameter.value);
    return accumulates(op) && op.inputs.size() > 1 ? integer_grid_of(op.inputs[1]) : nullptr;
  }

  static bool accumulates(const Op& op) { return op.type == "Conv" || op.type == "ConvTranspose" || op.type == "Gemm"; }

  /// The product of the input's and the weight's scales, so that an accumulator takes the bias as it is; from the
  /// bias's own range where it is not added up so (norms, recurrent layers). One a channel where the weight has that.
  std::vector<double> bias_scales(const Op& op, const TensorEncodings& input, const TensorEncodings& weight,
                                  const Tensor& values) const {
    const bool half = values.type() == DataType::float16;
    const auto elements = static_cast<std::size_t>(values.elements());
    std::vector<double> scales;
    if (accumulates(op) && input.encodings.size() == 1) {
      for (const double scale : channel_scales(weight)) scales.push_back(scale * input.encodings[0].scale);
      if (half)
        for (double& scale : scales) scale = std::max(scale, static_cast<double>(smallest_normal_half));
      if (scales.size() == 1 || scales.size() == elements) return scales;
    }
    const double smallest = half ? static_cast<double>(smallest_normal_half) : smallest_bias_scale;
    if (!weight.spec.channel_axis) return {std::max(largest_magnitude(values) / -bias_offset, smallest)};
    scales.clear();
    for (std::size_t i = 0; i < elements; ++i) {
      const double magnitude = std::fabs(static_cast<double>(real_element(values, static_cast<std::int64_t>(i))));
      scales.push_back(std::max(std::isfinite(magnitude) ? magnitude / -bias_offset : 0, smallest));
    }
    return scales;
  }

  static Encoding grid(double scale) { return {scale * bias_offset, scale * (-bias_offset - 1), scale, bias_offset}; }

  EncodingSet& set_;
  const Graph& graph_;
  std::vector<Op> ops_;
  std::vector<std::int32_t> producers_;
  std::vector<std::vector<std::int32_t>> consumers_;
  std::unordered_map<ValueId, std::size_t> known_;
  std::unordered_map<ValueId, std::size_t> quantized_;  ///< those that have a quantizer
  std::unordered_set<ValueId> no_parameters_;           ///< constants that the config leaves among the activations
  std::unordered_set<ValueId> derived_biases_;
};

/// Values whose encoding is that of all that they are moved or selected from.
std::unordered_set<ValueId> on_grids_of_inputs(const Graph& graph,
                                               const std::unordered_map<ValueId, const TensorEncodings*>& listed) {
  const auto grids_of = [&](ValueId value) -> const std::vector<Encoding>* {
    const auto it = listed.find(value);
    return it == listed.end() || it->second->encodings.size() != 1 ? nullptr : &it->second->encodings;
  };
  std::unordered_set<ValueId> result;
  for (const Node& node : graph.nodes) {
    if (!node.domain.empty() || !selects_values(node.op_type)) continue;
    if (node.op_type != "Pad" && is_grid_preserving(node.op_type) && !moves_values(graph, node)) continue;
    const std::vector<Encoding>* common = nullptr;
    bool same = true;
    for (std::size_t i = 0; i < (node.op_type == "Pad" ? 1 : node.inputs.size()); ++i) {
      if (node.inputs[i] == absent || !is_quantizable(graph.value(node.inputs[i]).type)) continue;
      const std::vector<Encoding>* grids = grids_of(node.inputs[i]);
      same = same && grids != nullptr && (common == nullptr || *grids == *common);
      common = grids;
    }
    for (const ValueId output : node.outputs)
      if (const std::vector<Encoding>* grids = output == absent ? nullptr : grids_of(output);
          grids != nullptr && same && common != nullptr && *grids == *common)
        result.insert(output);
  }
  return result;
}

}  // namespace

EncodingSet without_repeated(const EncodingSet& encodings, const Graph& graph) {
  std::unordered_map<std::string_view, ValueId> by_name;
  for (std::size_t v = 0; v < graph.values.size(); ++v) by_name.emplace(graph.values[v].name, static_cast<ValueId>(v));
  std::unordered_map<ValueId, const TensorEncodings*> listed;
  for (const TensorEncodings& tensor : encodings.tensors)
    if (const auto it = by_name.find(tensor.tensor); it != by_name.end() && !is_wider_than_searched(tensor.spec))
      listed.emplace(it->second, &tensor);
  const std::unordered_set<ValueId> repeated = on_grids_of_inputs(graph, listed);
  EncodingSet result = encodings;
  std::erase_if(result.tensors, [&](const TensorEncodings& tensor) {
    const auto it = by_name.find(tensor.tensor);
    return it != by_name.end() && repeated.contains(it->second);
  });
  return result;
}

EncodingSet acting_encodings(const EncodingSet& encodings, const Graph& graph) {
  std::unordered_set<std::string_view> parameters;
  for (const Op& op : collect_ops(graph, {}))
    for (const Parameter& parameter : op.parameters) parameters.insert(graph.value(parameter.value).name);
  std::unordered_map<std::string_view, bool> is_constant;
  for (std::size_t v = 0; v < graph.values.size(); ++v)
    is_constant.emplace(graph.values[v].name, graph.constant(static_cast<ValueId>(v)) != nullptr);
  EncodingSet result = without_repeated(encodings, graph);
  std::erase_if(result.tensors, [&](const TensorEncodings& tensor) {
    return !is_constant.contains(tensor.tensor) || is_wider_than_searched(tensor.spec);
  });
  for (TensorEncodings& tensor : result.tensors) {
    if (!is_constant.at(tensor.tensor))
      tensor.role = SiteRole::activation;
    else if (parameters.contains(tensor.tensor))
      tensor.role = SiteRole::parameter;
  }
  result.sort();
  return result;
}

void add_derived_encodings(EncodingSet& encodings, const Graph& graph, std::span<const QuantSite> sites) {
  Deriver(encodings, graph, sites).derive();
}

void add_moved_encodings(EncodingSet& encodings, const Graph& graph) { Deriver(encodings, graph, {}).derive_moved(); }

}  // namespace tare
