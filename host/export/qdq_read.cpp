// Quantizers out of a QDQ model: every QuantizeLinear / DequantizeLinear pair, with the clamp before it, becomes an
// encoding, and the model computes in float again. Works on the message, so that what is exported later is the user's
// model without its quantizers. Odd: tools name the tensors around a pair differently (docs/encodings.md); the tensor
// keeps the name that the others were made from. An encoding quantizes a tensor for all who read it: a pair that only
// some of them read stays in the model, as does what is no quantizer that tare has.
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

std::string label(const onnx::NodeProto& node) {
  const bool nameless = node.name().empty() && node.output_size() > 0;
  return fmt::format("{} '{}'", node.op_type(), nameless ? node.output(0) : node.name());
}

/// The same values of a tensor, in whichever type the codes are.
bool same_grid(const TensorEncodings& a, const TensorEncodings& b) {
  return a.encodings == b.encodings && a.spec.channel_axis == b.spec.channel_axis &&
         a.spec.block_axis == b.spec.block_axis && a.spec.block_size == b.spec.block_size;
}

/// Calls `use` with every name that the bodies of a node read from the graph around it.
template <class Use>
void visit_captures(onnx::NodeProto& node, const std::unordered_set<std::string>& hidden, const Use& use) {
  for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
    if (!attribute.has_g()) continue;
    onnx::GraphProto& body = *attribute.mutable_g();
    std::unordered_set<std::string> own = hidden;
    for (const auto& input : body.input()) own.insert(input.name());
    for (const auto& tensor : body.initializer()) own.insert(tensor.name());
    for (const onnx::NodeProto& inner : body.node()) own.insert(inner.output().begin(), inner.output().end());
    const auto visit = [&](std::string& name) {
      if (!own.contains(name)) use(name);
    };
    for (onnx::NodeProto& inner : *body.mutable_node()) {
      for (std::string& input : *inner.mutable_input()) visit(input);
      visit_captures(inner, own, use);
    }
    for (auto& output : *body.mutable_output()) visit(*output.mutable_name());
  }
}

/// Every name that a node or its bodies read.
template <class Use>
void visit_reads(onnx::NodeProto& node, const Use& use) {
  for (std::string& input : *node.mutable_input()) use(input);
  visit_captures(node, {}, use);
}

struct Pair {
  int dequantize = 0;
  int quantize = 0;
  std::vector<int> clamps;  ///< from the quantizer backwards
  std::string before;       ///< the tensor that goes into all of it
  TensorEncodings encodings;
  int first() const { return clamps.empty() ? quantize : clamps.back(); }
};

class Taker {
 public:
  explicit Taker(const Model& model) : whole_(model.graph), source_(std::make_shared<ModelSource>(*model.source)) {
    for (std::size_t v = 0; v < whole_.values.size(); ++v) ids_.emplace(whole_.values[v].name, static_cast<ValueId>(v));
    onnx::GraphProto& graph = *source_->proto.mutable_graph();
    for (int n = 0; n < graph.node_size(); ++n) {
      for (const std::string& output : graph.node(n).output()) producer_[output] = n;
      visit_reads(*graph.mutable_node(n), [&](const std::string& name) { readers_[name].push_back(n); });
    }
    for (const auto& input : graph.input())
      if (constant(input.name()) == nullptr) inputs_.insert(input.name());
    for (const auto& output : graph.output()) outputs_.insert(output.name());
    removed_.resize(static_cast<std::size_t>(graph.node_size()));
  }

  UnquantizedModel take(const std::filesystem::path& path) {
    std::vector<Pair> pairs;
    for (const Node& node : whole_.nodes) {  // makers before readers, whatever the order of the file
      const auto it = node.outputs.size() == 1 ? producer_.find(whole_.value(node.outputs[0]).name) : producer_.end();
      if (it == producer_.end() || !is_operator(at(it->second), "DequantizeLinear")) continue;
      if (at(it->second).input_size() < 2) continue;
      if (const Tensor* codes = constant(at(it->second).input(0)))
        take_codes(it->second, *codes);
      else if (std::optional<Pair> pair = read_pair(it->second))
        pairs.push_back(std::move(*pair));
    }
    for (const Pair& pair : pairs) grids_.emplace(pair.first(), &pair.encodings);
    for (const Pair& pair : pairs) take_pair(pair);
    UnquantizedModel result;
    result.encodings.tensors = std::move(taken_);
    result.encodings.sort();
    result.kept = std::move(kept_);
    result.model.path = path;
    if (result.encodings.tensors.empty()) return result;
    rewrite();
    result.model.graph = build_graph(source_);
    expand_gradients(result.model.graph);
    infer_types(result.model.graph);
    result.model.source = source_;
    return result;
  }

 private:
  const Tensor* constant(const std::string& name) const {
    const auto it = ids_.find(name);
    return it == ids_.end() ? nullptr : whole_.constant(it->second);
  }
  const Value& value(const std::string& name) const { return whole_.value(ids_.at(name)); }
  const onnx::NodeProto& at(int node) const { return source_->proto.graph().node(node); }
  const onnx::NodeProto* producer(const std::string& name) const {
    const auto it = producer_.find(name);
    return it == producer_.end() ? nullptr : &at(it->second);
  }

  /// A pair whose grid tare has, with a clamp that only narrows it.
  std::optional<Pair> read_pair(int index) const {
    const onnx::NodeProto& dequantize = at(index);
    const std::string& codes = dequantize.input(0);
    const onnx::NodeProto* quantize = producer(codes);
    if (quantize == nullptr || !is_operator(*quantize, "QuantizeLinear") || !same_parameters(*quantize, dequantize))
      return {};
    const std::string& input = quantize->input(0);
    const DataType type = value(input).type;
    if (type != DataType::undefined && type != value(dequantize.output(0)).type) return {};  // a Cast, too
    Pair pair{index, producer_.at(codes), {}, input, {}};
    const std::optional<Bounds> bounds = read_bounds(pair.before, pair.clamps);
    std::optional<TensorEncodings> encodings = read_encodings(dequantize, bounds, input);
    if (!encodings && bounds) {  // the clamp is the model's own
      pair.before = input;
      pair.clamps.clear();
      encodings = read_encodings(dequantize, std::nullopt, input);
    }
    if (!encodings) return {};
    const bool kind_of_parameters = encodings->spec.symmetric || encodings->spec.format != NumberFormat::integer;
    encodings->role = constant(input) != nullptr && kind_of_parameters ? SiteRole::parameter : SiteRole::activation;
    pair.encodings = std::move(*encodings);
    return pair;
  }

  /// Why the tensor before a pair is not quantized for all who read it. Empty: it is.
  std::string use_without(const Pair& pair) const {
    if (outputs_.contains(pair.before)) return "the tensor is an output of the model, too";
    if (pair.encodings.spec.block_axis && constant(pair.before) == nullptr)
      return "only constants are quantized in blocks";
    for (const int reader : readers_.at(pair.before)) {
      if (is_operator(at(reader), "Shape") || is_operator(at(reader), "Size")) continue;  // they read no values
      const auto grid = grids_.find(reader);
      if (grid == grids_.end()) return fmt::format("{} reads the tensor, too", label(at(reader)));
      if (!same_grid(*grid->second, pair.encodings))
        return fmt::format("{} takes the tensor to another grid", label(at(reader)));
    }
    return {};
  }

  void keep(const Pair& pair, std::string_view why) {
    kept_.push_back(fmt::format("'{}': {} stays an operator, as {}", pair.before, label(at(pair.quantize)), why));
  }

  void take_pair(const Pair& pair) {
    const std::string& codes = at(pair.dequantize).input(0);
    const std::string& after = at(pair.dequantize).output(0);
    const std::string before = final_name(pair.before);
    const auto known = known_.find(before);
    const std::size_t index = known == known_.end() ? taken_.size() : known->second;
    if (index < taken_.size()) {  // on a grid already, which a pair of the same does not change
      if (!same_grid(taken_[index], pair.encodings)) return keep(pair, "the tensor is on another grid already");
    } else if (const std::string why = use_without(pair); !why.empty()) {
      return keep(pair, why);
    }
    const std::string name = common_name(before, after);
    if (name.empty()) return keep(pair, fmt::format("'{}' must keep its name, too", after));
    if (index == taken_.size()) taken_.push_back(pair.encodings);
    taken_[index].tensor = name;
    known_[name] = index;
    if (before != name) names_[before] = name;
    if (after != name) names_[after] = name;
    remove(pair.dequantize);
    std::erase(readers_[codes], pair.dequantize);
    if (!readers_[codes].empty() || outputs_.contains(codes)) return;
    remove(pair.quantize);
    for (const int clamp : pair.clamps) remove(clamp);
  }

  /// Of the tensor around `node`, a DequantizeLinear; `before` as it goes into the quantizer. None: not a grid that
  /// tare has.
  std::optional<TensorEncodings> read_encodings(const onnx::NodeProto& node, const std::optional<Bounds>& bounds,
                                                const std::string& before) const {
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
  void take_codes(int index, const Tensor& stored) {
    const onnx::NodeProto& dequantize = at(index);
    const std::string& codes = dequantize.input(0);
    const std::string& after = dequantize.output(0);
    std::optional<TensorEncodings> encodings = read_encodings(dequantize, std::nullopt, codes);
    if (!encodings || value(after).type != DataType::float32) return;
    const auto same = of_codes_.find(codes);
    if (same != of_codes_.end() && !outputs_.contains(after) && same_grid(taken_[same->second], *encodings)) {
      names_[after] = taken_[same->second].tensor;
    } else {
      const std::string name = name_of_values(codes, after);
      std::optional<onnx::TensorProto> values = dequantized(stored, *encodings);
      if (!values) return;
      values->set_name(name);
      encodings->tensor = name;
      encodings->role = SiteRole::parameter;
      known_[name] = taken_.size();
      of_codes_.emplace(codes, taken_.size());
      taken_.push_back(std::move(*encodings));
      added_.push_back(std::move(*values));
      if (after != name) names_[after] = name;
    }
    remove(index);
    unused_.insert(codes);
  }

  std::string name_of_values(const std::string& codes, const std::string& after) const {
    constexpr std::string_view mark = "_quantized";
    if (!codes.ends_with(mark) || outputs_.contains(after)) return after;
    const std::string stem = codes.substr(0, codes.size() - mark.size());
    const bool is_free = after == stem || (!ids_.contains(stem) && !known_.contains(stem));
    return after.starts_with(stem) && is_free ? stem : after;
  }

  /// None: the encodings do not fit its shape.
  static std::optional<onnx::TensorProto> dequantized(const Tensor& stored, const TensorEncodings& encodings) {
    const Shape& shape = stored.shape();
    if (!EncodingIndex::fits(encodings.spec, shape)) return {};
    const EncodingIndex encoding_of(encodings.spec, shape);
    if (encoding_of.count() != encodings.encodings.size()) return {};
    onnx::TensorProto values;
    values.set_data_type(static_cast<int>(DataType::float32));
    for (const std::int64_t d : shape) values.add_dims(d);
    for (std::int64_t i = 0; i < stored.elements(); ++i) {
      const Encoding& encoding = encodings.encodings[encoding_of[static_cast<std::size_t>(i)]];
      const float zero = qdq::zero_point_of(encoding, stored.type());
      values.add_float_data(static_cast<float>(encoding.scale) * (qdq::code_at(stored, i) - zero));
    }
    return values;
  }

  bool same_parameters(const onnx::NodeProto& a, const onnx::NodeProto& b) const {
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
      const auto it = readers_.find(name);
      return it != readers_.end() && it->second.size() == 1 && !outputs_.contains(name);
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

  void rename(onnx::NodeProto& node) const {
    for (std::string& output : *node.mutable_output()) output = final_name(output);
    visit_reads(node, [&](std::string& name) { name = final_name(name); });
  }

  void rewrite() {
    onnx::GraphProto& graph = *source_->proto.mutable_graph();
    google::protobuf::RepeatedPtrField<onnx::NodeProto> old;
    old.Swap(graph.mutable_node());
    for (int n = 0; n < old.size(); ++n) {
      if (removed_[static_cast<std::size_t>(n)])
        for (int i = 1; i < old[n].input_size(); ++i) unused_.insert(old[n].input(i));
      else
        graph.add_node()->Swap(&old[n]);
    }
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      rename(node);
      visit_reads(node, [&](const std::string& name) { unused_.erase(name); });
    }
    for (const std::string& output : outputs_) unused_.erase(output);
    drop_unused(*graph.mutable_initializer());
    // Older models list their initializers as inputs; without one, an input would have to be fed.
    drop_unused(*graph.mutable_input());
    for (onnx::TensorProto& tensor : added_) {
      tensor.set_name(final_name(tensor.name()));
      graph.add_initializer()->Swap(&tensor);
    }
    auto& infos = *graph.mutable_value_info();
    for (int i = infos.size() - 1; i >= 0; --i)
      if (ids_.contains(infos[i].name()) && final_name(infos[i].name()) != infos[i].name()) infos.DeleteSubrange(i, 1);
  }

  /// Of initializers or inputs; the others get their names of now.
  template <class List>
  void drop_unused(List& list) const {
    for (int i = list.size() - 1; i >= 0; --i) {
      if (unused_.contains(list[i].name()))
        list.DeleteSubrange(i, 1);
      else
        list[i].set_name(final_name(list[i].name()));
    }
  }

  const Graph& whole_;
  std::shared_ptr<ModelSource> source_;
  std::unordered_map<std::string, ValueId> ids_;
  std::unordered_map<std::string, int> producer_;
  std::unordered_map<std::string, std::vector<int>> readers_;  ///< nodes; those around a body for what it reads
  std::unordered_set<std::string> inputs_, outputs_, unused_;
  std::vector<bool> removed_;
  std::unordered_map<std::string, std::string> names_;     ///< old to new
  std::unordered_map<std::string, std::size_t> known_;     ///< new name to index into `taken_`
  std::unordered_map<std::string, std::size_t> of_codes_;  ///< constants to index into `taken_`
  std::unordered_map<int, const TensorEncodings*> grids_;  ///< of the pairs, by their first nodes
  std::vector<TensorEncodings> taken_;
  std::vector<std::string> kept_;
  std::vector<onnx::TensorProto> added_;
};

}  // namespace

UnquantizedModel take_quantizers(const Model& model) {
  const auto dequantizes = [](const onnx::NodeProto& node) { return is_operator(node, "DequantizeLinear"); };
  if (model.source == nullptr || std::ranges::none_of(model.source->proto.graph().node(), dequantizes))
    return {model, {}, {}};  // without a copy of the weights
  UnquantizedModel result = Taker(model).take(model.path);
  if (result.encodings.tensors.empty()) result.model = model;
  return result;
}

}  // namespace tare
