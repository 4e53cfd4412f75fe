#include "plan/quantized_graph.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>
#include <unordered_map>

#include "plan/encoding_index.hpp"
#include "plan/fuse.hpp"
#include "plan/ops.hpp"

namespace tare {
namespace {

class Builder {
 public:
  Builder(const Graph& graph, Backend& backend, Rounding rounding) : backend_(backend), rounding_(rounding) {
    result_.graph = graph;
    result_.site_of_value.assign(graph.values.size(), -1);
    for (std::size_t v = 0; v < graph.values.size(); ++v)
      by_name_.emplace(graph.values[v].name, static_cast<ValueId>(v));
    for (const Op& op : collect_ops(graph, {}))
      for (const Parameter& parameter : op.parameters) parameters_.emplace(parameter.value, parameter);
  }

  void add(TensorEncodings tensor) {
    if (tensor.encodings.empty() && tensor.spec.format == NumberFormat::integer) return;
    if (tensor.spec.format == NumberFormat::integer && tensor.spec.bitwidth > 16) return;
    const auto it = by_name_.find(tensor.tensor);
    if (it == by_name_.end()) {
      unknown_.push_back(tensor.tensor);
      return;
    }
    const ValueId value = it->second;
    if (const Tensor* constant = result_.graph.constant(value)) {
      if (!is_quantizable(constant->type())) return;
      complete_axes(value, *constant, tensor);
      check_count(*constant, tensor);
      result_.graph.constants.insert_or_assign(
          value, backend_.download(backend_.quantize_dequantize(backend_.upload(*constant), tensor, rounding_)));
      return;
    }
    result_.site_of_value[static_cast<std::size_t>(value)] = static_cast<std::int32_t>(result_.sites.size());
    result_.sites.push_back(std::move(tensor));
  }

  QuantizedGraph finish() {
    if (!unknown_.empty()) {
      const std::size_t shown = std::min<std::size_t>(unknown_.size(), 5);
      throw Error(
          ErrorKind::model,
          fmt::format("{} encodings name tensors that the model does not have: {}{}; were they made for another model?",
                      unknown_.size(),
                      fmt::join(unknown_.begin(), unknown_.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                      shown < unknown_.size() ? ", …" : ""));
    }
    return std::move(result_);
  }

 private:
  void complete_axes(ValueId value, const Tensor& constant, TensorEncodings& tensor) const {
    const bool one_for_all = tensor.encodings.size() <= 1 && tensor.spec.block_size == 0;
    if (one_for_all || tensor.spec.channel_axis || constant.rank() == 0) return;
    const auto it = parameters_.find(value);
    if (it != parameters_.end()) {
      tensor.spec.channel_axis = it->second.channel_axis;
      if (tensor.spec.block_size > 0) tensor.spec.block_axis = it->second.block_axis;
    } else if (constant.rank() == 1) {
      tensor.spec.channel_axis = 0;
    }
  }
  static void check_count(const Tensor& constant, const TensorEncodings& tensor) {
    if (tensor.encodings.size() <= 1) return;
    const bool fits = EncodingIndex::fits(tensor.spec, constant.shape());
    const std::size_t expected = fits ? EncodingIndex(tensor.spec, constant.shape()).count() : 1;
    if (expected != tensor.encodings.size())
      throw Error(ErrorKind::model,
                  fmt::format("encodings of '{}': {} given, its shape {} takes {}; were they made for another model?",
                              tensor.tensor, tensor.encodings.size(), constant.shape().text(), expected));
  }

  Backend& backend_;
  Rounding rounding_;
  QuantizedGraph result_;
  std::unordered_map<std::string, ValueId> by_name_;
  std::unordered_map<ValueId, Parameter> parameters_;
  std::vector<std::string> unknown_;
};

}  // namespace

std::vector<bool> QuantizedGraph::visible() const {
  std::vector<bool> result(site_of_value.size());
  for (std::size_t v = 0; v < result.size(); ++v) result[v] = site_of_value[v] >= 0;
  return result;
}

void QuantizedGraph::quantize_in_nodes(Rounding rounding, const Backend& backend) {
  const auto node_of = [&](ValueId value) -> std::optional<Node> {
    const std::int32_t site = site_of_value[static_cast<std::size_t>(value)];
    if (site < 0 || !backend.joins(graph.value(value).type)) return std::nullopt;
    const TensorEncodings& encodings = sites[static_cast<std::size_t>(site)];
    const QuantizerSpec& spec = encodings.spec;
    if (spec.format != NumberFormat::integer || spec.channel_axis || spec.block_axis || encodings.encodings.size() != 1)
      return std::nullopt;
    const Encoding& e = encodings.encodings[0];
    const double grid[] = {e.scale, e.offset, static_cast<double>(spec.steps()), e.min, e.max};
    Node node;
    node.name = graph.value(value).name;
    node.domain = "tare";
    node.op_type = "QuantizeDequantize";
    node.outputs = {value};
    node.attributes.emplace("grid", Tensor::of<double>({5}, grid));
    node.attributes.emplace("rounding", static_cast<std::int64_t>(rounding));
    const bool runs = backend.unsupported(graph, node).empty() && backend.fallback(graph, node).empty();
    return runs ? std::optional(node) : std::nullopt;
  };
  std::vector<Node> nodes;
  // Who made the value makes another one of the same name, which only the quantizer reads.
  const auto quantize = [&](ValueId& made) {
    if (made == absent) return;
    std::optional<Node> node = node_of(made);
    if (!node) return;
    site_of_value[static_cast<std::size_t>(made)] = -1;
    const Value same = graph.value(made);
    made = graph.add_value(same);
    site_of_value.push_back(-1);
    node->inputs = {made};
    nodes.push_back(std::move(*node));
  };
  for (ValueId& input : graph.inputs) quantize(input);
  for (Node& node : graph.nodes) {
    std::vector<ValueId> outputs = node.outputs;
    const std::size_t at = nodes.size();
    for (ValueId& output : outputs) quantize(output);
    node.outputs = std::move(outputs);
    nodes.insert(nodes.begin() + static_cast<std::ptrdiff_t>(at), std::move(node));
  }
  graph.nodes = std::move(nodes);
}

QuantizedGraph quantize_constants(const Graph& graph, const EncodingSet& encodings, Backend& backend,
                                  Rounding rounding) {
  Builder builder(graph, backend, rounding);
  for (const TensorEncodings& tensor : encodings.tensors) builder.add(tensor);
  return builder.finish();
}

QuantizedGraph make_simulated(const Graph& graph, const EncodingSet& encodings, Backend& backend, Rounding rounding) {
  QuantizedGraph quantized = quantize_constants(graph, encodings, backend, rounding);
  quantized.quantize_in_nodes(rounding, backend);
  quantized.graph = make_runnable(std::move(quantized.graph), quantized.visible(), backend);
  return quantized;
}

}  // namespace tare
