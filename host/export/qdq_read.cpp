// Quantizers out of a QDQ model: every QuantizeLinear / DequantizeLinear pair, with the clamp before it, becomes an
// encoding, and the model computes in float again. Works on the message, so that what is exported later is the user's
// model without its quantizers. Odd: tools name the tensors around a pair differently (docs/encodings.md); the tensor
// keeps the name that the others were made from. What is no quantizer that tare has stays in the model.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "model/gradient.hpp"
#include "model/graph_builder.hpp"
#include "model/source.hpp"
#include "tare/export.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

bool is_operator(const onnx::NodeProto& node, std::string_view type) {
  return node.op_type() == type && (node.domain().empty() || node.domain() == "ai.onnx");
}

std::int64_t attribute(const onnx::NodeProto& node, std::string_view name, std::int64_t otherwise) {
  for (const onnx::AttributeProto& a : node.attribute())
    if (a.name() == name) return a.i();
  return otherwise;
}
bool has_attribute(const onnx::NodeProto& node, std::string_view name) {
  return std::any_of(node.attribute().begin(), node.attribute().end(), [&](const auto& a) { return a.name() == name; });
}

std::int64_t code_at(const Tensor& tensor, std::int64_t i) {
  switch (tensor.type()) {
    case DataType::int16: return tensor.data<std::int16_t>()[i];
    case DataType::uint16: return tensor.data<std::uint16_t>()[i];
    case DataType::int32: return tensor.data<std::int32_t>()[i];
    case DataType::uint8:
    case DataType::uint4: return tensor.data<std::uint8_t>()[i];
    default: return tensor.data<std::int8_t>()[i];
  }
}

double real_at(const Tensor& tensor, std::int64_t i) {
  switch (tensor.type()) {
    case DataType::float16: return static_cast<double>(half_to_float(tensor.data<std::uint16_t>()[i]));
    case DataType::bfloat16: return static_cast<double>(bfloat_to_float(tensor.data<std::uint16_t>()[i]));
    default: return static_cast<double>(tensor.data<float>()[i]);
  }
}

struct CodeType {
  int bits = 0;
  bool is_signed = false;
};
CodeType code_type(DataType type) {
  switch (type) {
    case DataType::int4: return {4, true};
    case DataType::uint4: return {4, false};
    case DataType::int8: return {8, true};
    case DataType::uint8: return {8, false};
    case DataType::int16: return {16, true};
    case DataType::uint16: return {16, false};
    case DataType::int32: return {32, true};
    default: return {};
  }
}

/// The lowest and highest value that a clamp lets through, a channel each.
struct Bounds {
  std::vector<double> low;
  std::vector<double> high;
};

class Taker {
 public:
  explicit Taker(const Model& model) : whole_(model.graph), source_(std::make_shared<ModelSource>(*model.source)) {
    for (std::size_t v = 0; v < whole_.values.size(); ++v) ids_.emplace(whole_.values[v].name, static_cast<ValueId>(v));
    const onnx::GraphProto& graph = source_->proto.graph();
    for (int n = 0; n < graph.node_size(); ++n) {
      for (const std::string& output : graph.node(n).output()) producer_[output] = n;
      for (const std::string& input : graph.node(n).input()) ++reads_[input];
    }
    for (const auto& input : graph.input())
      if (constant(input.name()) == nullptr) inputs_.insert(input.name());
    for (const auto& output : graph.output()) outputs_.insert(output.name());
    removed_.resize(static_cast<std::size_t>(graph.node_size()));
  }

  UnquantizedModel take(const std::filesystem::path& path) {
    const onnx::GraphProto graph = source_->proto.graph();
    for (int n = 0; n < graph.node_size(); ++n)
      if (is_operator(graph.node(n), "DequantizeLinear")) take_pair(graph.node(n), n);
    UnquantizedModel result;
    result.encodings.tensors = std::move(taken_);
    std::stable_sort(result.encodings.tensors.begin(), result.encodings.tensors.end(),
                     [](const TensorEncodings& a, const TensorEncodings& b) {
                       return a.role != b.role ? a.role < b.role : a.tensor < b.tensor;
                     });
    if (result.encodings.tensors.empty()) {
      result.model.path = path;
      return result;
    }
    rewrite();
    result.model.graph = build_graph(source_);
    expand_gradients(result.model.graph);
    infer_types(result.model.graph);
    result.model.path = path;
    result.model.source = source_;
    return result;
  }

 private:
  const Tensor* constant(const std::string& name) const {
    const auto it = ids_.find(name);
    return it == ids_.end() ? nullptr : whole_.constant(it->second);
  }
  const onnx::NodeProto* producer(const std::string& name) const {
    const auto it = producer_.find(name);
    return it == producer_.end() ? nullptr : &source_->proto.graph().node(it->second);
  }

  void take_pair(const onnx::NodeProto& dequantize, int index) {
    if (dequantize.input_size() < 2 || dequantize.output_size() != 1) return;
    const std::string& codes = dequantize.input(0);
    if (const Tensor* integers = constant(codes)) return take_integers(dequantize, index, *integers);
    const onnx::NodeProto* quantize = producer(codes);
    if (quantize == nullptr || !is_operator(*quantize, "QuantizeLinear") || !same_grid(*quantize, dequantize)) return;
    std::string before = quantize->input(0);
    std::vector<int> clamps;
    const std::optional<Bounds> bounds = read_bounds(before, clamps);
    std::optional<TensorEncodings> encodings = read_encodings(dequantize, whole_.value(ids_.at(codes)).type, bounds);
    if (!encodings && bounds) {  // the clamp is the model's own
      before = quantize->input(0);
      clamps.clear();
      encodings = read_encodings(dequantize, whole_.value(ids_.at(codes)).type, std::nullopt);
    }
    if (!encodings) return;
    before = final_name(before);
    const std::string& after = dequantize.output(0);
    const std::string name = common_name(before, after);
    if (name.empty()) return;
    encodings->tensor = name;
    encodings->role = constant(quantize->input(0)) != nullptr && encodings->spec.symmetric ? SiteRole::parameter
                                                                                           : SiteRole::activation;
    if (const auto known = known_.find(before); known != known_.end()) {
      if (taken_[known->second].encodings != encodings->encodings) return;  // quantized again, differently
      taken_[known->second].tensor = name;
      known_[name] = known->second;
    } else {
      known_[name] = taken_.size();
      taken_.push_back(std::move(*encodings));
    }
    if (before != name) names_[before] = name;
    if (after != name) names_[after] = name;
    remove(index);
    if (--reads_[codes] == 0) {
      remove(producer_.at(codes));
      for (const int clamp : clamps) remove(clamp);
    }
  }

  /// A constant of integers: the float values take its place.
  void take_integers(const onnx::NodeProto& dequantize, int index, const Tensor& integers) {
    std::optional<TensorEncodings> encodings = read_encodings(dequantize, integers.type(), std::nullopt);
    if (!encodings) return;
    const QuantizerSpec& spec = encodings->spec;
    const std::string& codes = dequantize.input(0);
    const std::string& after = dequantize.output(0);
    std::string name = after;
    if (constexpr std::string_view mark = "_quantized"; codes.ends_with(mark)) {
      const std::string stem = codes.substr(0, codes.size() - mark.size());
      if (after.starts_with(stem) && (after == stem || !ids_.contains(stem))) name = stem;
    }
    if (outputs_.contains(after)) name = after;
    const Shape& shape = integers.shape();
    const auto dim = [&](int axis) { return shape[static_cast<std::size_t>(axis)]; };
    const auto stride = [&](int axis) { return shape.elements(static_cast<std::size_t>(axis) + 1, shape.rank()); };
    for (const std::optional<int> axis : {spec.channel_axis, spec.block_axis})
      if (axis && *axis >= static_cast<int>(shape.rank())) return;
    std::int64_t expected = spec.channel_axis ? dim(*spec.channel_axis) : 1;
    if (spec.block_axis) expected *= (dim(*spec.block_axis) + spec.block_size - 1) / spec.block_size;
    if (expected != static_cast<std::int64_t>(encodings->encodings.size())) return;
    const Tensor* zero_points = dequantize.input_size() > 2 ? constant(dequantize.input(2)) : nullptr;
    onnx::TensorProto values;
    values.set_name(name);
    values.set_data_type(static_cast<int>(DataType::float32));
    for (const std::int64_t d : shape) values.add_dims(d);
    for (std::int64_t i = 0; i < integers.elements(); ++i) {
      std::int64_t e = spec.channel_axis ? i / stride(*spec.channel_axis) % dim(*spec.channel_axis) : 0;
      if (spec.block_axis) {
        const std::int64_t blocks = (dim(*spec.block_axis) + spec.block_size - 1) / spec.block_size;
        e = e * blocks + i / stride(*spec.block_axis) % dim(*spec.block_axis) / spec.block_size;
      }
      const Encoding& encoding = encodings->encodings[static_cast<std::size_t>(e)];
      const std::int64_t zero = zero_points == nullptr ? 0 : zero_point_of(*encodings, encoding, integers.type());
      values.add_float_data(static_cast<float>(encoding.scale) * static_cast<float>(code_at(integers, i) - zero));
    }
    if (constant(dequantize.input(1))->type() != DataType::float32) return;
    encodings->tensor = name;
    encodings->role = SiteRole::parameter;
    known_[name] = taken_.size();
    taken_.push_back(std::move(*encodings));
    added_.push_back(std::move(values));
    if (after != name) names_[after] = name;
    remove(index);
    --reads_[codes];
    unused_.insert(codes);
  }

  static std::int64_t zero_point_of(const TensorEncodings& tensor, const Encoding& encoding, DataType type) {
    const CodeType code = code_type(type);
    return -std::llround(encoding.offset) -
           (code.is_signed ? std::int64_t{1} << (tensor.spec.bitwidth - 1) : std::int64_t{0});
  }

  bool same_grid(const onnx::NodeProto& a, const onnx::NodeProto& b) const {
    const auto equal = [&](int i) {
      const bool in_a = a.input_size() > i && !a.input(i).empty();
      const bool in_b = b.input_size() > i && !b.input(i).empty();
      if (in_a != in_b) return false;
      if (!in_a) return true;
      const Tensor* x = constant(a.input(i));
      const Tensor* y = constant(b.input(i));
      return x != nullptr && y != nullptr && x->type() == y->type() && x->shape() == y->shape() &&
             std::equal(x->data(), x->data() + x->bytes(), y->data());
    };
    return equal(1) && equal(2) && attribute(a, "axis", 1) == attribute(b, "axis", 1) &&
           attribute(a, "block_size", 0) == attribute(b, "block_size", 0);
  }

  /// A Clip, or a Max and a Min, that only the quantizer reads; `tensor` becomes what goes into it.
  std::optional<Bounds> read_bounds(std::string& tensor, std::vector<int>& clamps) const {
    const auto values = [](const Tensor& bound) {
      std::vector<double> result;
      for (std::int64_t i = 0; i < bound.elements(); ++i) result.push_back(real_at(bound, i));
      return result;
    };
    const auto bound = [&](const onnx::NodeProto& node, int i) {
      const Tensor* found = node.input_size() > i ? constant(node.input(i)) : nullptr;
      return found != nullptr && is_quantizable(found->type()) && found->elements() > 0 ? found : nullptr;
    };
    const auto only_reader = [&](const std::string& name) {
      return reads_.contains(name) && reads_.at(name) == 1 && !outputs_.contains(name);
    };
    const onnx::NodeProto* last = producer(tensor);
    if (last == nullptr || !only_reader(tensor)) return {};
    if (is_operator(*last, "Clip") && bound(*last, 1) != nullptr && bound(*last, 2) != nullptr) {
      clamps.push_back(producer_.at(tensor));
      Bounds result{values(*bound(*last, 1)), values(*bound(*last, 2))};
      tensor = last->input(0);
      return result;
    }
    if (!is_operator(*last, "Min") || last->input_size() != 2 || bound(*last, 1) == nullptr) return {};
    const onnx::NodeProto* first = producer(last->input(0));
    if (first == nullptr || !is_operator(*first, "Max") || first->input_size() != 2 || bound(*first, 1) == nullptr ||
        !only_reader(last->input(0)))
      return {};
    clamps = {producer_.at(tensor), producer_.at(last->input(0))};
    Bounds result{values(*bound(*first, 1)), values(*bound(*last, 1))};
    tensor = first->input(0);
    return result;
  }

  /// None: not a grid that tare has.
  std::optional<TensorEncodings> read_encodings(const onnx::NodeProto& node, DataType type,
                                                const std::optional<Bounds>& bounds) const {
    const Tensor* scales = constant(node.input(1));
    const bool has_zero_point = node.input_size() > 2 && !node.input(2).empty();
    const Tensor* zero_points = has_zero_point ? constant(node.input(2)) : nullptr;
    const CodeType code = code_type(zero_points == nullptr ? type : zero_points->type());
    if (scales == nullptr || !is_quantizable(scales->type()) || code.bits == 0 || scales->elements() == 0) return {};
    if (has_zero_point && (zero_points == nullptr || zero_points->shape() != scales->shape())) return {};
    TensorEncodings result;
    QuantizerSpec& spec = result.spec;
    spec.bitwidth = code.bits;
    const auto count = scales->elements();
    const std::int64_t block_size = attribute(node, "block_size", 0);
    const std::int64_t axis = attribute(node, "axis", 1);
    if (axis < 0) return {};
    if (block_size > 0) {
      if (scales->rank() != 2 || axis > 1) return {};
      spec.block_axis = static_cast<int>(axis);
      spec.channel_axis = 1 - static_cast<int>(axis);
      spec.block_size = static_cast<int>(block_size);
    } else if (scales->rank() == 1 && (count > 1 || has_attribute(node, "axis"))) {
      spec.channel_axis = static_cast<int>(axis);
    } else if (count != 1) {
      return {};
    }
    const double lowest = code.is_signed ? -std::ldexp(1.0, code.bits - 1) : 0;
    spec.symmetric = code.is_signed;
    const bool by_column = block_size > 0 && axis == 0;  // [block, channel] in the model
    const std::int64_t rows = by_column ? scales->shape()[0] : 1;
    const std::int64_t columns = by_column ? scales->shape()[1] : count;
    for (std::int64_t k = 0; k < count; ++k) {
      const std::int64_t i = by_column ? k % rows * columns + k / rows : k;
      const double scale = real_at(*scales, i);
      if (!(scale > 0) || !std::isfinite(scale)) return {};
      const auto zero = static_cast<double>(zero_points == nullptr ? 0 : code_at(*zero_points, i));
      if (zero != 0) spec.symmetric = false;
      result.encodings.push_back({0, 0, scale, lowest - zero});
    }
    if (bounds && !narrow(result, *bounds)) return {};
    for (Encoding& encoding : result.encodings) {
      encoding.min = encoding.scale * encoding.offset;
      encoding.max = encoding.scale * (encoding.offset + static_cast<double>(spec.steps()));
    }
    return result;
  }

  /// The codes that the clamp leaves: fewer bits, or a strict symmetric grid. False when they are neither.
  static bool narrow(TensorEncodings& tensor, const Bounds& bounds) {
    QuantizerSpec& spec = tensor.spec;
    const auto at = [](const std::vector<double>& list, std::size_t i) { return list[list.size() == 1 ? 0 : i]; };
    std::optional<double> steps;
    for (std::size_t i = 0; i < tensor.encodings.size(); ++i) {
      if ((bounds.low.size() != 1 && bounds.low.size() != tensor.encodings.size()) ||
          bounds.low.size() != bounds.high.size())
        return false;
      Encoding& encoding = tensor.encodings[i];
      const double low = std::round(at(bounds.low, i) / encoding.scale);
      const double high = std::round(at(bounds.high, i) / encoding.scale);
      if (std::abs(low * encoding.scale - at(bounds.low, i)) > 1e-3 * encoding.scale ||
          std::abs(high * encoding.scale - at(bounds.high, i)) > 1e-3 * encoding.scale)
        return false;
      if (steps && *steps != high - low) return false;
      steps = high - low;
      encoding.offset = low;
    }
    for (int bits = 2; bits <= spec.bitwidth; ++bits) {
      const double whole = std::ldexp(1.0, bits) - 1;
      const bool strict = spec.symmetric && *steps == whole - 1 && tensor.encodings[0].offset == -*steps / 2;
      if (*steps != whole && !strict) continue;
      spec.bitwidth = bits;
      spec.strict_symmetric = strict;
      return true;
    }
    return false;
  }

  std::string final_name(std::string name) const {
    for (auto it = names_.find(name); it != names_.end(); it = names_.find(name)) name = it->second;
    return name;
  }

  /// Empty when one tensor cannot be both.
  std::string common_name(const std::string& before, const std::string& after) const {
    const bool fixed_before = inputs_.contains(before) || outputs_.contains(before);
    if (outputs_.contains(after)) return fixed_before ? std::string() : after;
    if (fixed_before) return before;
    return before.starts_with(after) ? after : before;
  }

  void remove(int node) { removed_[static_cast<std::size_t>(node)] = true; }

  void rename(onnx::GraphProto& graph) const {
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      for (std::string& input : *node.mutable_input()) input = final_name(input);
      for (std::string& output : *node.mutable_output()) output = final_name(output);
      for (onnx::AttributeProto& a : *node.mutable_attribute())
        if (a.has_g()) {
          rename(*a.mutable_g());
          for (auto& output : *a.mutable_g()->mutable_output()) output.set_name(final_name(output.name()));
        }
    }
  }

  void rewrite() {
    onnx::GraphProto& graph = *source_->proto.mutable_graph();
    google::protobuf::RepeatedPtrField<onnx::NodeProto> old;
    old.Swap(graph.mutable_node());
    for (int n = 0; n < old.size(); ++n) {
      if (!removed_[static_cast<std::size_t>(n)]) {
        graph.add_node()->Swap(&old[n]);
        continue;
      }
      for (int i = 1; i < old[n].input_size(); ++i) unused_.insert(old[n].input(i));
    }
    rename(graph);
    for (const onnx::NodeProto& node : graph.node())
      for (const std::string& input : node.input()) unused_.erase(input);
    auto& initializers = *graph.mutable_initializer();
    for (int i = initializers.size() - 1; i >= 0; --i) {
      if (unused_.contains(initializers[i].name()) && !outputs_.contains(initializers[i].name()))
        initializers.DeleteSubrange(i, 1);
      else
        initializers[i].set_name(final_name(initializers[i].name()));
    }
    for (onnx::TensorProto& tensor : added_) graph.add_initializer()->Swap(&tensor);
    auto& infos = *graph.mutable_value_info();
    for (int i = infos.size() - 1; i >= 0; --i)
      if (ids_.contains(infos[i].name()) && final_name(infos[i].name()) != infos[i].name()) infos.DeleteSubrange(i, 1);
  }

  const Graph& whole_;
  std::shared_ptr<ModelSource> source_;
  std::unordered_map<std::string, ValueId> ids_;
  std::unordered_map<std::string, int> producer_;
  std::unordered_map<std::string, int> reads_;
  std::unordered_set<std::string> inputs_, outputs_, unused_;
  std::vector<bool> removed_;
  std::unordered_map<std::string, std::string> names_;  ///< old to new
  std::unordered_map<std::string, std::size_t> known_;  ///< new name to index into `taken_`
  std::vector<TensorEncodings> taken_;
  std::vector<onnx::TensorProto> added_;
};

}  // namespace

UnquantizedModel take_quantizers(const Model& model) {
  if (model.source == nullptr) return {model, {}};
  UnquantizedModel result = Taker(model).take(model.path);
  if (result.encodings.tensors.empty()) result.model = model;
  return result;
}

}  // namespace tare
