#include "plan/ties.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>

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
       std::vector<QuantSite>& sites)
      : graph_(graph),
        ops_(ops),
        site_of_(site_of),
        sites_(sites),
        producer_(graph.values.size(), -1),
        consumers_(consumers(graph)),
        object_(sites.size()) {
    for (std::size_t o = 0; o < ops.size(); ++o)
      for (const ValueId output : ops[o].outputs)
        if (output != absent) producer_[static_cast<std::size_t>(output)] = static_cast<std::int32_t>(o);
    std::iota(object_.begin(), object_.end(), 0);
  }

  /// Index of the effective site, or -1.
  std::int32_t effective(ValueId value) const {
    while (value != absent) {
      const std::int32_t s = site_of_[static_cast<std::size_t>(value)];
      if (s >= 0 && sites_[static_cast<std::size_t>(s)].enabled) return s;
      const std::int32_t producer = producer_[static_cast<std::size_t>(value)];
      if (producer < 0) return -1;
      const Op& op = ops_[static_cast<std::size_t>(producer)];
      const bool passes = is_grid_preserving(op.type) || (op.type == "Cast" && s >= 0);
      if (!passes || op.inputs.empty()) return -1;
      value = op.inputs[0];
    }
    return -1;
  }

  void run() {
    for (const Op& op : ops_)
      if (is_recurrent(op.type)) tie_recurrent(op);
    for (auto op = ops_.rbegin(); op != ops_.rend(); ++op)
      if (is_backward(op->type)) tie_backward(*op);
    for (const Op& op : ops_)
      if (is_forward(op.type)) tie_forward(op);
    number_groups();
  }

 private:
  /// From now on `site` uses the quantizer of `other`, and no longer the one it shared before.
  void take(std::int32_t site, std::int32_t other) {
    if (site >= 0 && other >= 0) object_[static_cast<std::size_t>(site)] = object_[static_cast<std::size_t>(other)];
  }
  bool is_fixed(std::int32_t s) const {
    return s >= 0 && sites_[static_cast<std::size_t>(s)].spec.fixed_min.has_value();
  }

  /// Layer input, hidden state and output are added and compared on one grid; so are the cell states of an LSTM.
  void tie_recurrent(const Op& op) {
    const Node& node = graph_.nodes[static_cast<std::size_t>(op.nodes[0])];
    const auto in = [&](std::size_t i) { return i < node.inputs.size() ? effective(node.inputs[i]) : -1; };
    const auto out = [&](std::size_t i) {
      return i < node.outputs.size() && node.outputs[i] != absent ? effective(node.outputs[i]) : -1;
    };
    tie_all({in(0), in(5), out(0), out(1)});
    if (op.type == "LSTM") tie_all({in(6), out(2)});
  }
  void tie_all(std::initializer_list<std::int32_t> members) {
    std::int32_t first = -1;
    for (const std::int32_t s : members) {
      if (first < 0) first = s;
      take(s, first);
    }
  }

  void tie_backward(const Op& op) {
    if (op.outputs.empty()) return;
    const std::int32_t output = effective_output(op.outputs[0]);
    if (output < 0) return;
    for (const ValueId input : op.inputs) adopt(input, output);
  }
  std::int32_t effective_output(ValueId value) const {
    const std::int32_t s = site_of_[static_cast<std::size_t>(value)];
    return s >= 0 && sites_[static_cast<std::size_t>(s)].enabled ? s : -1;
  }
  /// An input that only this op reads takes the op's grid, through ops that merely move it.
  void adopt(ValueId value, std::int32_t output) {
    if (value == absent || consumers_[static_cast<std::size_t>(value)].size() != 1) return;
    const std::int32_t s = site_of_[static_cast<std::size_t>(value)];
    if (s >= 0 && sites_[static_cast<std::size_t>(s)].enabled) {
      if (sites_[static_cast<std::size_t>(s)].role == SiteRole::activation && !is_fixed(s)) take(s, output);
      return;
    }
    const std::int32_t producer = producer_[static_cast<std::size_t>(value)];
    if (producer < 0) return;
    const Op& op = ops_[static_cast<std::size_t>(producer)];
    if (is_grid_preserving(op.type) && !op.inputs.empty()) adopt(op.inputs[0], output);
  }

  void tie_forward(const Op& op) {
    if (op.inputs.empty() || op.outputs.empty()) return;
    const std::int32_t input = effective(op.inputs[0]);
    const std::int32_t output = effective_output(op.outputs[0]);
    if (!is_fixed(output) && !is_fixed(input)) take(output, input);
  }

  void number_groups() {
    std::map<std::size_t, std::vector<std::size_t>> members;
    for (std::size_t s = 0; s < sites_.size(); ++s)
      if (sites_[s].enabled) members[object_[s]].push_back(s);
    std::int32_t next = 0;
    for (const auto& [object, group] : members) {
      if (group.size() < 2) continue;
      QuantizerSpec spec = sites_[group.front()].spec;
      for (const std::size_t s : group) {
        spec.bitwidth = std::min(spec.bitwidth, sites_[s].spec.bitwidth);
        spec.symmetric = spec.symmetric || sites_[s].spec.symmetric;
        spec.unsigned_symmetric = spec.unsigned_symmetric || sites_[s].spec.unsigned_symmetric;
      }
      for (const std::size_t s : group) {
        sites_[s].group = next;
        sites_[s].spec = spec;
      }
      ++next;
    }
  }

  const Graph& graph_;
  const std::vector<Op>& ops_;
  const std::vector<std::int32_t>& site_of_;
  std::vector<QuantSite>& sites_;
  std::vector<std::int32_t> producer_;
  std::vector<std::vector<std::int32_t>> consumers_;
  std::vector<std::size_t> object_;  ///< by site: the quantizer it uses, named by its first site
};

}  // namespace

void tie_sites(const Graph& graph, const std::vector<Op>& ops, const std::vector<std::int32_t>& site_of,
               std::vector<QuantSite>& sites) {
  Ties(graph, ops, site_of, sites).run();
}

QuantSite* effective_site(const Graph& graph, const std::vector<Op>& ops, const std::vector<std::int32_t>& site_of,
                          std::vector<QuantSite>& sites, ValueId value) {
  const std::int32_t s = Ties(graph, ops, site_of, sites).effective(value);
  return s < 0 ? nullptr : &sites[static_cast<std::size_t>(s)];
}

}  // namespace tare
