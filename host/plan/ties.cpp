#include "plan/ties.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>

#include "plan/fixed_range.hpp"

namespace tare {
namespace {

bool is_backward(const std::string& type) {
  return type == "Concat" || type == "Scatter" || type == "ScatterElements" || type == "ScatterND";
}
bool is_forward(const std::string& type) {
  return type == "AveragePool" || type == "Relu" || type == "Resize" || type == "Upsample" || type == "CropAndResize";
}
bool is_recurrent(const std::string& type) { return type == "LSTM" || type == "GRU" || type == "RNN"; }

class Ties {
 public:
  Ties(const Graph& graph, const std::vector<Op>& ops, const std::vector<std::int32_t>& site_of,
       std::vector<QuantSite>& sites, const std::set<ValueId>& fused_outputs)
      : graph_(graph),
        ops_(ops),
        site_of_(site_of),
        sites_(sites),
        fused_outputs_(fused_outputs),
        effective_(graph, ops, site_of, sites),
        consumers_(consumers(graph)),
        object_(sites.size()) {
    std::iota(object_.begin(), object_.end(), 0);
    for (const QuantSite& site : sites) specs_.push_back(site.spec);
    for (std::size_t v = 0; v < graph.values.size(); ++v) on_grid_of_.push_back(effective_.of(static_cast<ValueId>(v)));
  }

  void run() {
    for (auto op = ops_.rbegin(); op != ops_.rend(); ++op)
      if (is_backward(op->type)) tie_backward(*op);
    for (const Op& op : ops_)
      if (is_forward(op.type)) tie_forward(op);
    // Last, so that all that shares a range with a state goes along with it.
    for (const Op& op : ops_)
      if (is_recurrent(op.type)) {
        tie_recurrent(op);
      } else if (op.type == "Scan") {
        tie_states(op);
      }
    number_groups();
  }

 private:
  std::size_t object(std::int32_t site) const { return object_[static_cast<std::size_t>(site)]; }
  QuantizerSpec& spec(std::int32_t site) { return specs_[object(site)]; }

  /// From now on `site` uses the quantizer of `other`, and no longer the one it shared before; what that one had to be,
  /// the other has to be as well.
  void take(std::int32_t site, std::int32_t other) {
    if (site < 0 || other < 0) return;
    const QuantizerSpec& old = spec(site);
    QuantizerSpec& merged = spec(other);
    merged.bitwidth = std::min(merged.bitwidth, old.bitwidth);
    merged.symmetric = merged.symmetric || old.symmetric;
    merged.unsigned_symmetric = merged.unsigned_symmetric || old.unsigned_symmetric;
    if (!merged.fixed_min) {
      merged.fixed_min = old.fixed_min;
      merged.fixed_max = old.fixed_max;
    }
    object_[static_cast<std::size_t>(site)] = object(other);
  }
  /// `site`, and all that share its quantizer, use that of `other` as it is: their own rules are dropped.
  void replace(std::int32_t site, std::int32_t other) {
    if (site >= 0 && other >= 0) std::replace(object_.begin(), object_.end(), object(site), object(other));
  }
  /// Of the quantizer that a site uses.
  FixedRange fixed_range(std::int32_t site) const {
    return site < 0 ? FixedRange() : fixed_range_of(specs_[object(site)]);
  }
  bool is_fixed(std::int32_t site) const { return fixed_range(site).min.has_value(); }
  bool have_different_ranges(std::int32_t a, std::int32_t b) const {
    return is_fixed(a) && is_fixed(b) && fixed_range(a) != fixed_range(b);
  }

  /// Layer input, hidden state and output are added and compared on one grid; so are the cell states of an LSTM. It is
  /// the output's: a Sigmoid in front, with its range of [0, 1], says nothing of what the layer makes.
  void tie_recurrent(const Op& op) {
    const Node& node = graph_.nodes[static_cast<std::size_t>(op.nodes[0])];
    const auto in = [&](std::size_t i) { return effective_.of(node.input(i)); };
    const auto out = [&](std::size_t i) { return effective_.of(node.output(i)); };
    const std::int32_t hidden = out(0) >= 0 ? out(0) : out(1);
    for (const std::int32_t state : {in(0), out(1), in(5)}) replace(state, hidden);
    if (op.type == "LSTM") replace(in(6), out(2));
  }
  /// What the body of a Scan gives as a state, it gets as one in the next step: initial and final state are on one
  /// grid.
  void tie_states(const Op& op) {
    const Node& node = graph_.nodes[static_cast<std::size_t>(op.nodes[0])];
    const std::size_t lengths = node.opset >= 9 ? 0 : 1;  // sequence_lens comes first in opset 8
    const auto inputs = static_cast<std::int64_t>(node.inputs.size());
    const std::int64_t states = inputs - static_cast<std::int64_t>(lengths) - node.integer("num_scan_inputs");
    for (std::size_t i = 0; static_cast<std::int64_t>(i) < states && i < node.outputs.size(); ++i)
      if (node.outputs[i] != absent && lengths + i < node.inputs.size())
        replace(effective_.of(node.inputs[lengths + i]), effective_.of(node.outputs[i]));
  }

  /// Inputs with a fixed range (behind a Softmax) keep their quantizer, unless all have the same: then the output's is
  /// fixed too.
  void tie_backward(const Op& op) {
    if (op.outputs.empty() || op.inputs.empty()) return;
    const std::int32_t output = effective_output(op.outputs[0]);
    if (output < 0) return;
    const FixedRange first = fixed_range(effective_.of(op.inputs[0]));
    const bool alike = std::all_of(op.inputs.begin(), op.inputs.end(),
                                   [&](ValueId input) { return fixed_range(effective_.of(input)) == first; });
    if (alike && first.min && !is_fixed(output)) {
      fix_range(spec(output), first);
      fix_range(sites_[static_cast<std::size_t>(output)].spec, first);  // holds where nothing is tied to it, too
    }
    for (const ValueId input : op.inputs) adopt(input, output);
  }
  std::int32_t effective_output(ValueId value) const {
    const std::int32_t s = value == absent ? -1 : site_of_[static_cast<std::size_t>(value)];
    return s >= 0 && sites_[static_cast<std::size_t>(s)].enabled ? s : -1;
  }
  /// An input that only this op reads takes the op's grid, through ops that merely move it.
  void adopt(ValueId value, std::int32_t output) {
    if (value == absent || consumers_[static_cast<std::size_t>(value)].size() != 1) return;
    const std::int32_t s = site_of_[static_cast<std::size_t>(value)];
    if (s >= 0 && sites_[static_cast<std::size_t>(s)].enabled) {
      const bool free = !is_fixed(s) || fixed_range(s) == fixed_range(output);
      if (sites_[static_cast<std::size_t>(s)].role == SiteRole::activation && free) take(s, output);
      return;
    }
    const std::int32_t producer = effective_.producer(value);
    if (producer < 0) return;
    const Op& op = ops_[static_cast<std::size_t>(producer)];
    if (is_grid_preserving(op.type) && !op.inputs.empty()) adopt(op.inputs[0], output);
  }

  /// A fixed range of the output cuts the input to it, which whatever else reads the input would get, too.
  void tie_forward(const Op& op) {
    if (op.inputs.empty() || op.outputs.empty() || fused_outputs_.contains(op.inputs[0])) return;
    const std::int32_t input = effective_.of(op.inputs[0]);
    const std::int32_t output = effective_output(op.outputs[0]);
    if (input < 0 || output < 0 || have_different_ranges(input, output)) return;
    if (is_fixed(output) && !is_fixed(input) && readers_of_quantizer(input) > 1) return;
    take(output, input);
  }
  /// How many nodes, and callers of the model, take values off the grid of the quantizer that a site uses.
  std::size_t readers_of_quantizer(std::int32_t site) const {
    const auto is_on_it = [&](ValueId value) {
      const std::int32_t s = value == absent ? -1 : on_grid_of_[static_cast<std::size_t>(value)];
      return s >= 0 && object(s) == object(site);
    };
    std::size_t readers = 0;
    for (std::size_t v = 0; v < graph_.values.size(); ++v) {
      if (!is_on_it(static_cast<ValueId>(v))) continue;
      for (const std::int32_t n : consumers_[v]) {
        const std::vector<ValueId>& outputs = graph_.nodes[static_cast<std::size_t>(n)].outputs;
        if (!std::all_of(outputs.begin(), outputs.end(), is_on_it)) ++readers;
      }
    }
    for (const ValueId output : graph_.outputs)
      if (is_on_it(output)) ++readers;
    return readers;
  }

  void number_groups() {
    std::map<std::size_t, std::vector<std::size_t>> members;
    for (std::size_t s = 0; s < sites_.size(); ++s)
      if (sites_[s].enabled) members[object_[s]].push_back(s);
    std::int32_t next = 0;
    for (const auto& [quantizer, group] : members) {
      if (group.size() < 2) continue;
      for (const std::size_t s : group) {
        sites_[s].group = next;
        sites_[s].spec = specs_[quantizer];
      }
      ++next;
    }
  }

  const Graph& graph_;
  const std::vector<Op>& ops_;
  const std::vector<std::int32_t>& site_of_;
  std::vector<QuantSite>& sites_;
  const std::set<ValueId>& fused_outputs_;
  EffectiveSites effective_;
  std::vector<std::vector<std::int32_t>> consumers_;
  std::vector<std::int32_t> on_grid_of_;  ///< by value: its effective site, or -1
  std::vector<std::size_t> object_;       ///< by site: the quantizer it uses, named by one site that it began with
  std::vector<QuantizerSpec> specs_;      ///< by quantizer
};

}  // namespace

EffectiveSites::EffectiveSites(const Graph& graph, const std::vector<Op>& ops, const std::vector<std::int32_t>& site_of,
                               const std::vector<QuantSite>& sites)
    : ops_(ops), site_of_(site_of), sites_(sites), producer_(graph.values.size(), -1) {
  for (std::size_t o = 0; o < ops.size(); ++o)
    for (const ValueId output : ops[o].outputs)
      if (output != absent) producer_[static_cast<std::size_t>(output)] = static_cast<std::int32_t>(o);
}

std::int32_t EffectiveSites::of(ValueId value) const {
  while (value != absent) {
    const std::int32_t s = site_of_[static_cast<std::size_t>(value)];
    if (s >= 0 && sites_[static_cast<std::size_t>(s)].enabled) return s;
    if (producer(value) < 0) return -1;
    const Op& op = ops_[static_cast<std::size_t>(producer(value))];
    const bool passes = is_grid_preserving(op.type) || (op.type == "Cast" && s >= 0);
    if (!passes || op.inputs.empty()) return -1;
    value = op.inputs[0];
  }
  return -1;
}

void tie_sites(const Graph& graph, const std::vector<Op>& ops, const std::vector<std::int32_t>& site_of,
               std::vector<QuantSite>& sites, const std::set<ValueId>& fused_outputs) {
  Ties(graph, ops, site_of, sites, fused_outputs).run();
}

}  // namespace tare
