// The QDQ model: quantizers written into the user's own graph as QuantizeLinear / DequantizeLinear. Works on the
// original message, not on the graph that was calibrated, so that names and everything beside the quantizers stay as
// they were. Odd: where a grid leaves codes of its type unused (5, 7, 12 bits, strict symmetric) a clamp goes before
// the quantizer.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "export/grid_tensors.hpp"
#include "export/raise_opset.hpp"
#include "model/real_element.hpp"
#include "model/save.hpp"
#include "model/tensor_proto.hpp"
#include "plan/encoding_index.hpp"
#include "tare/export.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

using Nodes = std::vector<onnx::NodeProto>;

class Writer {
 public:
  Writer(const Model& model, const QdqOptions& options)
      : model_(model), options_(options), proto_(model.source->proto), graph_(*proto_.mutable_graph()), names_(graph_) {
    for (const Value& value : model.graph.values) values_.emplace(value.name, &value);
    for (int i = 0; i < graph_.initializer_size(); ++i) initializers_.emplace(graph_.initializer(i).name(), i);
    for (const onnx::NodeProto& node : model.source->proto.graph().node())
      for (const std::string& output : node.output()) {
        produced_.insert(output);
        if (node.op_type() == "Constant" && node.attribute_size() == 1 && node.attribute(0).has_t())
          constants_.emplace(output, &node.attribute(0).t());
      }
    for (const auto& input : graph_.input()) inputs_.insert(input.name());
  }

  onnx::ModelProto write(EncodingSet set) {
    if (options_.moved_tensors) add_moved_tensors(set);
    std::int64_t opset = 13;
    for (const TensorEncodings& encodings : set.tensors) opset = std::max(opset, needed_opset(encodings));
    if (!set.tensors.empty()) raise_opset(proto_, opset, values_, names_);
    std::unordered_set<std::string> done;
    for (const TensorEncodings& encodings : set.tensors)
      if (done.insert(encodings.tensor).second) place(encodings);
    assemble();
    return std::move(proto_);
  }

 private:
  void add_moved_tensors(EncodingSet& set) const {
    std::unordered_set<std::string> given;
    for (const TensorEncodings& encodings : set.tensors) given.insert(encodings.tensor);
    add_moved_encodings(set, model_.graph);
    std::erase_if(set.tensors, [&](const TensorEncodings& encodings) {
      const std::string& tensor = encodings.tensor;
      if (given.contains(tensor)) return false;
      const DataType type = type_of(encodings);
      const bool exact = type == DataType::float32 || (type == DataType::float16 && encodings.spec.bitwidth <= 8);
      return !exact || !(produced_.contains(tensor) || inputs_.contains(tensor) || initializers_.contains(tensor));
    });
  }

  DataType type_of(const TensorEncodings& encodings) const {
    const auto it = values_.find(encodings.tensor);
    const DataType type = it == values_.end() ? DataType::undefined : it->second->type;
    if (type == DataType::undefined) return DataType::float32;
    if (!is_quantizable(type))
      throw Error(ErrorKind::unsupported,
                  fmt::format("tensor '{}' is {}: only floats are quantized", encodings.tensor, name_of(type)));
    return type;
  }

  std::int64_t needed_opset(const TensorEncodings& encodings) const {
    if (encodings.spec.format == NumberFormat::float16) return 13;
    return std::max<std::int64_t>(onnx_grid(encodings, options_.activations).opset,
                                  type_of(encodings) == DataType::float32 ? 13 : 19);
  }

  void place(const TensorEncodings& encodings) {
    const std::string& tensor = encodings.tensor;
    if (as_integers(encodings)) promote(tensor);
    if (initializers_.contains(tensor)) return place_at_initializer(encodings);
    if (produced_.contains(tensor)) {
      const std::string before = names_.make(tensor + "_unquantized");
      renamed_outputs_.emplace(tensor, before);
      quantize(encodings, before, tensor, after_producer_[tensor]);
    } else if (inputs_.contains(tensor)) {
      const std::string after = names_.make(tensor + "_dequantized");
      renamed_reads_.emplace(tensor, after);
      quantize(encodings, tensor, after, front_);
    } else {
      throw Error(
          ErrorKind::unsupported,
          fmt::format("tensor '{}' has an encoding but is not in the main graph of '{}' (inside of a function or of a "
                      "body, or made by simplification): it cannot be written as QDQ",
                      tensor, model_.path.string()));
    }
  }

  bool as_integers(const TensorEncodings& encodings) const {
    return encodings.spec.format == NumberFormat::integer &&
           (options_.prequantize_constants || encodings.spec.block_axis || encodings.spec.bitwidth > 16);
  }

  /// The tensor of a Constant node becomes an initializer; other tensors stay as they are.
  void promote(const std::string& tensor) {
    const auto constant = constants_.find(tensor);
    if (constant == constants_.end()) return;
    initializers_.emplace(tensor, graph_.initializer_size());
    onnx::TensorProto& added = *graph_.add_initializer();
    added = *constant->second;
    added.set_name(tensor);
    promoted_.insert(tensor);
  }

  void place_at_initializer(const TensorEncodings& encodings) {
    onnx::TensorProto& weights = *graph_.mutable_initializer(initializers_.at(encodings.tensor));
    if (as_integers(encodings)) return prequantize(encodings, weights);
    const std::string before = names_.make(encodings.tensor + "_unquantized");
    weights.set_name(before);
    const Shape shape(weights.dims().begin(), weights.dims().end());
    quantize(encodings, before, encodings.tensor, front_, encodings.spec.block_axis ? &shape : nullptr);
    freed_inputs_.insert(encodings.tensor);
  }

  /// The initializer as codes, behind one DequantizeLinear that carries its name.
  void prequantize(const TensorEncodings& encodings, onnx::TensorProto& weights) {
    const auto source = std::make_shared<ModelSource>();
    source->folder = model_.source->folder;
    source->external_files = model_.source->external_files;
    *source->proto.mutable_graph()->add_initializer() = weights;
    const Tensor values =
        read_tensor(source, source->proto.graph().initializer(0), fmt::format("initializer '{}'", encodings.tensor));
    const DataType type = type_of(encodings);
    if (values.type() != type)
      throw Error(ErrorKind::unsupported,
                  fmt::format("initializer '{}' is {}", encodings.tensor, name_of(values.type())));
    OnnxGrid grid = onnx_grid(encodings, options_.activations);
    // Calibration keeps the product of two scales above this (calib/weight_scales); given and frozen ones may not be.
    if (grid.type == DataType::int32 && type == DataType::float16)
      for (float& scale : grid.scales) scale = std::max(scale, smallest_normal_half);
    const Shape& shape = values.shape();
    scale_shape(encodings, shape);
    const EncodingIndex encoding_of(encodings.spec, shape);
    std::vector<std::int64_t> codes(static_cast<std::size_t>(values.elements()));
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const std::size_t e = encoding_of[i];
      codes[i] = code(real_element(values, static_cast<std::int64_t>(i)), stored_scale(grid.scales[e], type),
                      grid.zero_points[e], grid.lowest[e], grid.highest[e]);
    }
    onnx::TensorProto quantized = integer_tensor(grid.type, {shape.begin(), shape.end()}, codes);
    quantized.set_name(names_.make(encodings.tensor + "_quantized"));
    const std::string name = quantized.name();
    weights.Swap(&quantized);
    freed_inputs_.insert(encodings.tensor);
    const Parameters parameters = add_parameters(encodings, grid, shape);
    add_linear("DequantizeLinear", encodings, parameters, name, encodings.tensor, front_);
  }

  /// What the exported model divides by: the scale as its stored type holds it.
  static float stored_scale(float scale, DataType type) {
    if (type == DataType::float16) return half_to_float(float_to_half(scale));
    return type == DataType::bfloat16 ? bfloat_to_float(float_to_bfloat(scale)) : scale;
  }

  static std::int64_t code(float x, float scale, std::int64_t zero_point, std::int64_t low, std::int64_t high) {
    // 32-bit codes are beyond float's exact integers: their bounds are applied after the conversion.
    if (high - low > (std::int64_t{1} << 24)) {
      const float rounded = round_half_even(x / scale);
      if (!(rounded > -0x1p31f)) return low;
      return rounded >= 0x1p31f ? high : std::clamp(static_cast<std::int64_t>(rounded) + zero_point, low, high);
    }
    return static_cast<std::int64_t>(
        tare::quantize(x, scale, static_cast<float>(zero_point), static_cast<float>(low), static_cast<float>(high)));
  }

  struct Parameters {
    std::string scale;
    std::string zero_point;  ///< empty for 32-bit codes, which have none
  };

  Parameters add_parameters(const TensorEncodings& encodings, const OnnxGrid& grid, const Shape& shape) {
    const std::vector<std::int64_t> dims = scale_shape(encodings, shape);
    std::vector<float> scales;
    std::vector<std::int64_t> zero_points;
    for (const std::size_t i : scale_indices(encodings, dims)) {
      scales.push_back(grid.scales[i]);
      zero_points.push_back(grid.zero_points[i]);
    }
    Parameters result;
    result.scale = add_initializer(encodings.tensor + "_scale", real_tensor(type_of(encodings), dims, scales));
    if (grid.type != DataType::int32)
      result.zero_point =
          add_initializer(encodings.tensor + "_zero_point", integer_tensor(grid.type, dims, zero_points));
    return result;
  }

  std::string add_initializer(const std::string& wanted, onnx::TensorProto tensor) {
    tensor.set_name(names_.make(wanted));
    std::string name = tensor.name();
    graph_.add_initializer()->Swap(&tensor);
    return name;
  }

  onnx::NodeProto& add(const char* op, const std::vector<std::string>& inputs, const std::string& output,
                       Nodes& nodes) {
    onnx::NodeProto& node = nodes.emplace_back();
    node.set_op_type(op);
    node.set_name(names_.make(fmt::format("{}_{}", output, op)));
    for (const std::string& input : inputs) node.add_input(input);
    node.add_output(output);
    return node;
  }

  static void set_integer(onnx::NodeProto& node, const char* name, std::int64_t value) {
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(onnx::AttributeProto::INT);
    attribute.set_i(value);
  }

  void add_linear(const char* op, const TensorEncodings& encodings, const Parameters& parameters,
                  const std::string& input, const std::string& output, Nodes& nodes) {
    std::vector<std::string> inputs = {input, parameters.scale};
    if (!parameters.zero_point.empty()) inputs.push_back(parameters.zero_point);
    onnx::NodeProto& node = add(op, inputs, output, nodes);
    const QuantizerSpec& spec = encodings.spec;
    if (spec.block_axis) {
      set_integer(node, "axis", *spec.block_axis);
      set_integer(node, "block_size", spec.block_size);
    } else if (spec.channel_axis) {
      set_integer(node, "axis", *spec.channel_axis);
    }
  }

  /// The shape where it matters: per-channel encodings need the rank to line up their bounds.
  Shape shape_of(const TensorEncodings& encodings) const {
    const auto it = values_.find(encodings.tensor);
    const bool known = it != values_.end() && it->second->shape;
    if (encodings.spec.block_axis)
      throw Error(ErrorKind::unsupported,
                  fmt::format("tensor '{}': only constants can be quantized in blocks", encodings.tensor));
    if (known) return *it->second->shape;
    if (!encodings.spec.channel_axis) return {};
    throw Error(ErrorKind::unsupported,
                fmt::format("tensor '{}': its rank is not known, so it cannot be quantized per channel; "
                            "add shapes to the model",
                            encodings.tensor));
  }

  void quantize(const TensorEncodings& encodings, const std::string& from, const std::string& to, Nodes& nodes,
                const Shape* known = nullptr) {
    if (encodings.spec.format == NumberFormat::float16) {
      const std::string half = names_.make(encodings.tensor + "_half");
      set_integer(add("Cast", {from}, half, nodes), "to", static_cast<int>(DataType::float16));
      set_integer(add("Cast", {half}, to, nodes), "to", static_cast<int>(type_of(encodings)));
      return;
    }
    const OnnxGrid grid = onnx_grid(encodings, options_.activations);
    if (grid.type == DataType::int32)
      throw Error(ErrorKind::unsupported, fmt::format("tensor '{}': {} bits cannot be written for an activation",
                                                      encodings.tensor, encodings.spec.bitwidth));
    const Shape shape = known != nullptr ? *known : shape_of(encodings);
    const Parameters parameters = add_parameters(encodings, grid, shape);
    std::string input = from;
    if (!grid.whole_range) input = clamp(encodings, grid, shape, from, nodes);
    const std::string codes = names_.make(encodings.tensor + "_quantized");
    add_linear("QuantizeLinear", encodings, parameters, input, codes, nodes);
    add_linear("DequantizeLinear", encodings, parameters, codes, to, nodes);
  }

  std::string clamp(const TensorEncodings& encodings, const OnnxGrid& grid, const Shape& shape, const std::string& from,
                    Nodes& nodes) {
    const DataType type = type_of(encodings);
    std::vector<float> low, high;
    for (std::size_t i = 0; i < grid.scales.size(); ++i) {
      const float scale = stored_scale(grid.scales[i], type);
      low.push_back(scale * static_cast<float>(grid.lowest[i] - grid.zero_points[i]));
      high.push_back(scale * static_cast<float>(grid.highest[i] - grid.zero_points[i]));
    }
    std::vector<std::int64_t> dims;
    if (encodings.spec.channel_axis) {
      dims.assign(shape.rank() - static_cast<std::size_t>(*encodings.spec.channel_axis), 1);
      dims[0] = static_cast<std::int64_t>(low.size());
    }
    const std::string lowest = add_initializer(encodings.tensor + "_min", real_tensor(type, dims, low));
    const std::string highest = add_initializer(encodings.tensor + "_max", real_tensor(type, dims, high));
    const std::string clipped = names_.make(encodings.tensor + "_clipped");
    if (dims.empty()) {
      add("Clip", {from, lowest, highest}, clipped, nodes);
    } else {
      const std::string raised = names_.make(encodings.tensor + "_raised");
      add("Max", {from, lowest}, raised, nodes);
      add("Min", {raised, highest}, clipped, nodes);
    }
    return clipped;
  }

  /// Readers of quantized graph inputs, in bodies too unless a body has a value of that name itself.
  void rename_reads(onnx::GraphProto& graph, const std::unordered_map<std::string, std::string>& names) {
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      for (std::string& input : *node.mutable_input())
        if (const auto it = names.find(input); it != names.end()) input = it->second;
      for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
        if (!attribute.has_g()) continue;
        auto visible = names;
        for (const auto& own : attribute.g().input()) visible.erase(own.name());
        for (const auto& own : attribute.g().initializer()) visible.erase(own.name());
        rename_reads(*attribute.mutable_g(), visible);
        for (auto& output : *attribute.mutable_g()->mutable_output())
          if (const auto it = visible.find(output.name()); it != visible.end()) output.set_name(it->second);
      }
    }
  }

  /// Puts the new nodes where they belong: those of inputs and parameters first, the others behind their producers.
  void assemble() {
    rename_reads(graph_, renamed_reads_);
    google::protobuf::RepeatedPtrField<onnx::NodeProto> old;
    old.Swap(graph_.mutable_node());
    for (onnx::NodeProto& node : front_) graph_.add_node()->Swap(&node);
    for (onnx::NodeProto& node : old) {
      if (node.output_size() == 1 && promoted_.contains(node.output(0))) continue;
      std::vector<std::string> quantized;
      for (std::string& output : *node.mutable_output())
        if (const auto it = renamed_outputs_.find(output); it != renamed_outputs_.end()) {
          quantized.push_back(output);
          output = it->second;
        }
      graph_.add_node()->Swap(&node);
      for (const std::string& tensor : quantized)
        for (onnx::NodeProto& added : after_producer_.at(tensor)) graph_.add_node()->Swap(&added);
    }
    // A parameter that was listed as an input is now provided by a node.
    auto& inputs = *graph_.mutable_input();
    for (int i = inputs.size() - 1; i >= 0; --i)
      if (freed_inputs_.contains(inputs[i].name())) inputs.DeleteSubrange(i, 1);
  }

  const Model& model_;
  const QdqOptions& options_;
  onnx::ModelProto proto_;
  onnx::GraphProto& graph_;
  Names names_;
  KnownValues values_;
  std::unordered_set<std::string> produced_, inputs_, freed_inputs_, promoted_;
  std::unordered_map<std::string, const onnx::TensorProto*> constants_;  ///< of Constant nodes, in the model as read
  std::unordered_map<std::string, int> initializers_;
  std::unordered_map<std::string, std::string> renamed_outputs_, renamed_reads_;
  std::unordered_map<std::string, Nodes> after_producer_;
  Nodes front_;
};

}  // namespace

void save_qdq_model(const Model& model, const EncodingSet& encodings, const std::filesystem::path& file,
                    const QdqOptions& options) {
  if (model.source == nullptr)
    throw Error(ErrorKind::usage, "the model was not loaded from a file: there is nothing to export");
  onnx::ModelProto proto = Writer(model, options).write(encodings);
  write_model_proto(proto, *model.source, file, options.save);
}

}  // namespace tare
