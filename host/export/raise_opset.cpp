// Operators whose definition changed in a way that old nodes would notice: attributes that became inputs, defaults that
// moved. Everything else means the same in every opset from 7 on.
// Odd: old Softmax flattens its input to a matrix; where that differs from the new one, the flattening is written out.
#include "export/raise_opset.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "tare/error.hpp"
#include "tare/numerics.hpp"

namespace tare {

std::string Names::make(const std::string& wanted) {
  std::string name = wanted;
  for (std::size_t i = 1; !taken_.insert(name).second; ++i) name = fmt::format("{}_{}", wanted, i);
  return name;
}

void Names::collect(const onnx::GraphProto& graph) {
  for (const auto& info : graph.input()) taken_.insert(info.name());
  for (const auto& info : graph.output()) {
    taken_.insert(info.name());
    read_.insert(info.name());
  }
  for (const auto& tensor : graph.initializer()) taken_.insert(tensor.name());
  for (const auto& tensor : graph.sparse_initializer()) taken_.insert(tensor.values().name());
  for (const onnx::NodeProto& node : graph.node()) {
    taken_.insert(node.name());
    taken_.insert(node.output().begin(), node.output().end());
    read_.insert(node.input().begin(), node.input().end());
    for (const onnx::AttributeProto& attribute : node.attribute())
      if (attribute.has_g()) collect(attribute.g());
  }
}

namespace {

using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

template <std::size_t N>
bool is_one_of(std::string_view op, const std::array<std::string_view, N>& list) {
  return std::find(list.begin(), list.end(), op) != list.end();
}

constexpr std::array<std::string_view, 9> reductions_of_18 = {"ReduceL1",        "ReduceL2",   "ReduceLogSum",
                                                              "ReduceLogSumExp", "ReduceMax",  "ReduceMean",
                                                              "ReduceMin",       "ReduceProd", "ReduceSumSquare"};
constexpr std::array<std::string_view, 3> softmaxes = {"Softmax", "LogSoftmax", "Hardmax"};

class Converter {
 public:
  Converter(std::int64_t from, std::int64_t to, const KnownValues& values, Names& names)
      : from_(from), to_(to), values_(values), names_(names) {}

  void convert(onnx::GraphProto& graph) {
    graph_ = &graph;
    Nodes old;
    old.Swap(graph.mutable_node());
    for (onnx::NodeProto& node : old) {
      for (onnx::AttributeProto& attribute : *node.mutable_attribute())
        if (attribute.has_g()) Converter(from_, to_, values_, names_).convert(*attribute.mutable_g());
      if (node.domain().empty() || node.domain() == "ai.onnx")
        convert(node);
      else
        keep(node);
    }
  }

 private:
  /// True when the change that came with opset `version` lies between the old and the new opset.
  bool crosses(std::int64_t version) const { return from_ < version && to_ >= version; }

  [[noreturn]] static void refuse(const onnx::NodeProto& node, std::string_view why) {
    throw Error(ErrorKind::unsupported,
                fmt::format("{} '{}': {}; convert the model to a newer opset first", node.op_type(), node.name(), why));
  }

  void keep(onnx::NodeProto& node) { graph_->add_node()->Swap(&node); }

  static const onnx::AttributeProto* find(const onnx::NodeProto& node, std::string_view name) {
    for (const onnx::AttributeProto& attribute : node.attribute())
      if (attribute.name() == name) return &attribute;
    return nullptr;
  }

  static onnx::AttributeProto take(onnx::NodeProto& node, std::string_view name) {
    onnx::AttributeProto result;
    for (int i = 0; i < node.attribute_size(); ++i)
      if (node.attribute(i).name() == name) {
        result.Swap(node.mutable_attribute(i));
        node.mutable_attribute()->DeleteSubrange(i, 1);
        return result;
      }
    return result;
  }

  static void set_integer(onnx::NodeProto& node, const std::string& name, std::int64_t value) {
    take(node, name);
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(onnx::AttributeProto::INT);
    attribute.set_i(value);
  }

  static void set_text(onnx::NodeProto& node, const std::string& name, const std::string& value) {
    take(node, name);
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(onnx::AttributeProto::STRING);
    attribute.set_s(value);
  }

  /// Puts `value` at input `index`, filling omitted inputs before it.
  static void set_input(onnx::NodeProto& node, int index, const std::string& value) {
    while (node.input_size() <= index) node.add_input("");
    node.set_input(index, value);
  }

  std::string constant(const onnx::NodeProto& node, std::string_view what, onnx::TensorProto tensor) {
    const std::string stem = node.output_size() > 0 ? node.output(0) : node.name();
    tensor.set_name(names_.make(fmt::format("{}_{}", stem, what)));
    *graph_->add_initializer() = tensor;
    return tensor.name();
  }

  std::string integers(const onnx::NodeProto& node, std::string_view what, const std::vector<std::int64_t>& values,
                       bool scalar = false) {
    onnx::TensorProto tensor;
    tensor.set_data_type(onnx::TensorProto::INT64);
    if (!scalar) tensor.add_dims(static_cast<std::int64_t>(values.size()));
    for (const std::int64_t value : values) tensor.add_int64_data(value);
    return constant(node, what, std::move(tensor));
  }

  /// An attribute with a list of integers becomes an input; nothing happens when it is absent.
  void list_to_input(onnx::NodeProto& node, std::string_view name, int index) {
    if (find(node, name) == nullptr) return;
    const onnx::AttributeProto attribute = take(node, name);
    set_input(node, index, integers(node, name, {attribute.ints().begin(), attribute.ints().end()}));
  }

  /// A float attribute becomes a scalar input of the type of the node's data.
  void float_to_input(onnx::NodeProto& node, std::string_view name, int index) {
    if (find(node, name) == nullptr) return;
    const float value = take(node, name).f();
    const Value* data = known(node.input(0));
    onnx::TensorProto tensor;
    tensor.set_data_type(data == nullptr || data->type == DataType::undefined ? 1 : static_cast<int>(data->type));
    switch (static_cast<DataType>(tensor.data_type())) {
      case DataType::float32: tensor.add_float_data(value); break;
      case DataType::float64: tensor.add_double_data(static_cast<double>(value)); break;
      case DataType::float16: tensor.add_int32_data(float_to_half(value)); break;
      default: refuse(node, fmt::format("its attribute '{}' cannot become an input", name));
    }
    set_input(node, index, constant(node, name, std::move(tensor)));
  }

  const Value* known(const std::string& name) const {
    const auto it = values_.find(name);
    return it == values_.end() ? nullptr : it->second;
  }

  void convert(onnx::NodeProto& node) {
    const std::string op = node.op_type();
    if (is_one_of(op, softmaxes) && crosses(13)) return convert_softmax(node);
    if (op == "BatchNormalization") convert_batch_normalization(node);
    if (op == "Upsample" && crosses(10)) convert_upsample(node);
    if (op == "Resize" && crosses(11)) old_resize(node, node.input_size() > 1 ? node.input(1) : std::string());
    if (op == "Slice" && crosses(10)) {
      list_to_input(node, "starts", 1);
      list_to_input(node, "ends", 2);
      list_to_input(node, "axes", 3);
    }
    if (op == "TopK" && crosses(10)) set_input(node, 1, integers(node, "k", {take(node, "k").i()}));
    if (op == "Dropout" && crosses(12)) {
      if (from_ < 10 && node.output_size() > 1) {
        if (names_.is_read(node.output(1))) refuse(node, "its mask has another type in newer opsets");
        node.mutable_output()->RemoveLast();
      }
      take(node, "ratio");
    }
    if (op == "Clip" && crosses(11)) {
      float_to_input(node, "min", 1);
      float_to_input(node, "max", 2);
    }
    if (op == "Pad" && crosses(11)) {
      list_to_input(node, "pads", 1);
      float_to_input(node, "value", 2);
    }
    if (op == "Scatter" && crosses(11)) node.set_op_type("ScatterElements");
    if (op == "Scan" && crosses(9)) refuse(node, "Scan of opset 8 works on batches");
    if ((op == "Squeeze" || op == "Unsqueeze" || op == "ReduceSum") && crosses(13)) list_to_input(node, "axes", 1);
    if (op == "Split") {
      if (crosses(13)) list_to_input(node, "split", 1);
      const bool equal_parts = node.input_size() < 2 || node.input(1).empty();
      if (crosses(18) && equal_parts) set_integer(node, "num_outputs", node.output_size());
    }
    if (op == "RoiAlign" && crosses(16)) set_text(node, "coordinate_transformation_mode", "output_half_pixel");
    if (is_one_of(op, reductions_of_18) && crosses(18)) list_to_input(node, "axes", 1);
    if (op == "GridSample" && crosses(20)) {
      const onnx::AttributeProto* mode = find(node, "mode");
      if (mode == nullptr || mode->s() == "bilinear")
        set_text(node, "mode", "linear");
      else if (mode->s() == "bicubic")
        set_text(node, "mode", "cubic");
    }
    if (op == "DFT" && crosses(20)) {
      const onnx::AttributeProto axis = take(node, "axis");
      set_input(node, 2, integers(node, "axis", {axis.has_i() ? axis.i() : 1}, true));
    }
    if (op == "GroupNormalization" && crosses(21))
      refuse(node, "its scale and bias are per channel in opset 21, and per group here");
    keep(node);
  }

  void convert_batch_normalization(onnx::NodeProto& node) {
    if (crosses(9)) {
      if (const onnx::AttributeProto* spatial = find(node, "spatial"); spatial != nullptr && spatial->i() == 0)
        refuse(node, "spatial = 0 has no counterpart in newer opsets");
      take(node, "spatial");
    }
    if (crosses(14) &&
        std::count_if(node.output().begin(), node.output().end(), [](const auto& o) { return !o.empty(); }) > 1)
      refuse(node, "its training outputs have changed in newer opsets");
  }

  void convert_upsample(onnx::NodeProto& node) {
    std::string scales = node.input_size() > 1 ? node.input(1) : std::string();
    if (const onnx::AttributeProto attribute = take(node, "scales"); attribute.floats_size() > 0) {
      onnx::TensorProto tensor;
      tensor.set_data_type(onnx::TensorProto::FLOAT);
      tensor.add_dims(attribute.floats_size());
      *tensor.mutable_float_data() = attribute.floats();
      scales = constant(node, "scales", std::move(tensor));
    }
    old_resize(node, scales);
  }

  void old_resize(onnx::NodeProto& node, const std::string& scales) {
    node.set_op_type("Resize");
    if (to_ < 11) return;
    set_input(node, 1, "");
    set_input(node, 2, scales);
    set_text(node, "coordinate_transformation_mode", "asymmetric");
    set_text(node, "nearest_mode", "floor");
  }

  void convert_softmax(onnx::NodeProto& node) {
    const onnx::AttributeProto* given = find(node, "axis");
    const std::int64_t axis = given == nullptr ? 1 : given->i();
    if (node.input_size() != 1 || node.output_size() != 1) refuse(node, "it must have one input and one output");
    const Value* data = known(node.input(0));
    if (data == nullptr || !data->shape) data = known(node.output(0));  // of the same shape
    const bool last =
        axis == -1 || (data != nullptr && data->shape && axis == static_cast<std::int64_t>(data->shape->rank()) - 1);
    if (last) {
      set_integer(node, "axis", -1);
      return keep(node);
    }
    const std::string input = node.input(0);
    const std::string output = node.output(0);
    const auto add = [&](const char* op, std::vector<std::string> inputs, const std::string& to) -> onnx::NodeProto& {
      onnx::NodeProto& added = *graph_->add_node();
      added.set_op_type(op);
      added.set_name(names_.make(to + "_" + op));
      for (std::string& name : inputs) added.add_input(std::move(name));
      added.add_output(to);
      return added;
    };
    const std::string shape = names_.make(output + "_shape");
    const std::string flat = names_.make(output + "_flat");
    const std::string result = names_.make(output + "_flat_result");
    add("Shape", {input}, shape);
    set_integer(add("Flatten", {input}, flat), "axis", axis);
    node.set_input(0, flat);
    node.set_output(0, result);
    set_integer(node, "axis", -1);
    keep(node);
    add("Reshape", {result, shape}, output);
  }

  std::int64_t from_;
  std::int64_t to_;
  const KnownValues& values_;
  Names& names_;
  onnx::GraphProto* graph_ = nullptr;
};

}  // namespace

void raise_opset(onnx::ModelProto& model, std::int64_t target, const KnownValues& values, Names& names) {
  const auto is_default = [](const onnx::OperatorSetIdProto& import) {
    return import.domain().empty() || import.domain() == "ai.onnx";
  };
  if (std::none_of(model.opset_import().begin(), model.opset_import().end(), is_default))
    model.add_opset_import()->set_version(target);  // of the nodes that are added: there were no others
  for (onnx::OperatorSetIdProto& import : *model.mutable_opset_import()) {
    if (!is_default(import) || import.version() >= target) continue;
    if (import.version() < 7)
      throw Error(ErrorKind::unsupported,
                  fmt::format("the model has opset {}; convert it to opset 7 or newer first", import.version()));
    Converter(import.version(), target, values, names).convert(*model.mutable_graph());
    import.set_version(target);
  }
  const std::int64_t ir_version = target >= 21 ? 10 : target >= 19 ? 9 : 7;
  model.set_ir_version(std::max<std::int64_t>(model.ir_version(), ir_version));
}

}  // namespace tare
