// Quantizers out of a QDQ model: every QuantizeLinear / DequantizeLinear pair, with the clamp before it, becomes an
// encoding, and the model computes in float again. Works on the message, so that what is exported later is the user's
// model without its quantizers. Odd: tools name the tensors around a pair differently (docs/encodings.md); the tensor
// keeps the name that the others were made from. What is no quantizer that tare has stays in the model.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "export/qdq_grid_read.hpp"
#include "model/gradient.hpp"
#include "model/graph_builder.hpp"
#include "model/source.hpp"
#include "plan/encoding_index.hpp"
#include "tare/export.hpp"

namespace tare {
namespace {

using qdq::Bounds;

bool is_operator(const onnx::NodeProto& node, std::string_view type) {
  return node.op_type() == type && (node.domain().empty() || node.domain() == "ai.onnx");
}

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
    result.encodings.sort();
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
    if (const Tensor* known = constant(codes)) return take_codes(dequantize, index, *known);
    const onnx::NodeProto* quantize = producer(codes);
    if (quantize == nullptr || !is_operator(*quantize, "QuantizeLinear") || !same_grid(*quantize, dequantize)) return;
    std::string before = quantize->input(0);
    std::vector<int> clamps;
    const std::optional<Bounds> bounds = read_bounds(before, clamps);
    std::optional<TensorEncodings> encodings = read_encodings(dequantize, bounds, quantize->input(0));
    if (!encodings && bounds) {  // the clamp is the model's own
      before = quantize->input(0);
      clamps.clear();
      encodings = read_encodings(dequantize, std::nullopt, before);
    }
    if (!encodings) return;
    before = final_name(before);
    const std::string& after = dequantize.output(0);
    const std::string name = common_name(before, after);
    if (name.empty()) return;
    encodings->tensor = name;
    const bool kind_of_parameters = encodings->spec.symmetric || encodings->spec.format != NumberFormat::integer;
    encodings->role =
        constant(quantize->input(0)) != nullptr && kind_of_parameters ? SiteRole::parameter : SiteRole::activation;
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

  /// Of the tensor around `node`, a DequantizeLinear; `before` as it goes into the quantizer. None: not a grid that
  /// tare has.
  std::optional<TensorEncodings> read_encodings(const onnx::NodeProto& node, const std::optional<Bounds>& bounds,
                                                const std::string& before) const {
    const auto value = [&](const std::string& name) -> const Value& { return whole_.value(ids_.at(name)); };
    qdq::Grid grid{constant(node.input(1)), nullptr, value(node.input(0)).type, {}};
    if (node.input_size() > 2 && !node.input(2).empty()) {
      grid.zero_points = constant(node.input(2));
      if (grid.zero_points == nullptr) return {};
    }
    for (const std::string& name : {before, node.input(0), node.output(0)})
      if (!grid.shape) grid.shape = value(name).shape;
    return qdq::read_grid(node, grid, bounds);
  }

  /// A constant of codes: the float values take its place.
  void take_codes(const onnx::NodeProto& dequantize, int index, const Tensor& stored) {
    std::optional<TensorEncodings> encodings = read_encodings(dequantize, std::nullopt, dequantize.input(0));
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
    const Shape& shape = stored.shape();
    if (!EncodingIndex::fits(spec, shape)) return;
    const EncodingIndex encoding_of(spec, shape);
    if (encoding_of.count() != encodings->encodings.size()) return;
    onnx::TensorProto values;
    values.set_name(name);
    values.set_data_type(static_cast<int>(DataType::float32));
    for (const std::int64_t d : shape) values.add_dims(d);
    for (std::int64_t i = 0; i < stored.elements(); ++i) {
      const Encoding& encoding = encodings->encodings[encoding_of[static_cast<std::size_t>(i)]];
      const float zero = qdq::zero_point_of(encoding, stored.type());
      values.add_float_data(static_cast<float>(encoding.scale) * (qdq::code_at(stored, i) - zero));
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
    return equal(1) && equal(2) && qdq::attribute(a, "axis", 1) == qdq::attribute(b, "axis", 1) &&
           qdq::attribute(a, "block_size", 0) == qdq::attribute(b, "block_size", 0) &&
           qdq::attribute(a, "saturate", 1) != 0;  // of 8-bit floats
  }

  /// A Clip, or a Max and a Min, that only the quantizer reads; `tensor` becomes what goes into it.
  std::optional<Bounds> read_bounds(std::string& tensor, std::vector<int>& clamps) const {
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
      const Bounds result{bound(*last, 1), bound(*last, 2)};
      tensor = last->input(0);
      return result;
    }
    if (!is_operator(*last, "Min") || last->input_size() != 2 || bound(*last, 1) == nullptr) return {};
    const onnx::NodeProto* first = producer(last->input(0));
    if (first == nullptr || !is_operator(*first, "Max") || first->input_size() != 2 || bound(*first, 1) == nullptr ||
        !only_reader(last->input(0)))
      return {};
    clamps = {producer_.at(tensor), producer_.at(last->input(0))};
    const Bounds result{bound(*first, 1), bound(*last, 1)};
    tensor = first->input(0);
    return result;
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
  const auto dequantizes = [](const onnx::NodeProto& node) { return is_operator(node, "DequantizeLinear"); };
  if (model.source == nullptr || std::ranges::none_of(model.source->proto.graph().node(), dequantizes))
    return {model, {}};  // without a copy of the weights
  UnquantizedModel result = Taker(model).take(model.path);
  if (result.encodings.tensors.empty()) result.model = model;
  return result;
}

}  // namespace tare
