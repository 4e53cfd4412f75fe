// Quantizer placement, in the order in which AIMET applies a config (later wins): defaults, parameter types, op types,
// fused groups, model inputs, model outputs, bitwidths, per-channel, dynamic weights, exceptions, ties.
// Odd: an activation quantizer belongs to a tensor, not to an op; "input quantizer of an op" means that of the tensor
// it reads.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "plan/control_flow.hpp"
#include "plan/fixed_range.hpp"
#include "plan/ops.hpp"
#include "plan/ties.hpp"
#include "tare/error.hpp"
#include "tare/placement.hpp"

namespace tare {
namespace {

/// What the rules of one stage said of one setting of each tensor, with the key that said it.
class Said {
 public:
  explicit Said(const std::string& config) : config_(config) {}
  void say(const QuantSite& site, const std::optional<bool>& setting, const std::string& key) {
    if (!setting) return;
    const auto [it, is_new] = said_.try_emplace(site.value, *setting, key);
    if (!is_new && it->second.first != *setting)
      throw Error(ErrorKind::model, fmt::format("config {}: $.{} and $.{} disagree about tensor '{}'; drop one of them",
                                                config_, it->second.second, key, site.tensor));
  }

 private:
  const std::string& config_;
  std::map<ValueId, std::pair<bool, std::string>> said_;
};

/// Rules of which none comes later than another.
struct Stage {
  explicit Stage(const std::string& config) : enabled(config), symmetric(config) {}
  Said enabled, symmetric;
};

class Placement {
 public:
  Placement(const Graph& graph, const Config& config, const PlacementOptions& options)
      : graph_(graph),
        config_(config),
        options_(options),
        ops_(collect_ops(graph, config.supergroup_passes)),
        producers_(producers(graph)),
        consumers_(consumers(graph)),
        site_of_(graph.values.size(), -1) {}

  std::vector<QuantSite> run() {
    find_candidates();
    apply_defaults();
    apply_op_types();
    apply_supergroups();
    apply_model_inputs();
    apply_model_outputs();
    apply_types();
    apply_per_channel();
    apply_dynamic_weights();
    apply_norm_exceptions();
    apply_product_exceptions();
    tie_sites(graph_, ops_, site_of_, sites_, fused_outputs_);
    return std::move(sites_);
  }

 private:
  QuantSite* site(ValueId value) {
    const std::int32_t s = value == absent ? -1 : site_of_[static_cast<std::size_t>(value)];
    return s < 0 ? nullptr : &sites_[static_cast<std::size_t>(s)];
  }
  bool is_constant(ValueId value) const { return graph_.constant(value) != nullptr; }
  bool is_float(ValueId value) const {
    const Tensor* constant = graph_.constant(value);
    return is_quantizable(constant != nullptr ? constant->type() : graph_.value(value).type);
  }
  const OpRule* rule_of(const Op& op) const {
    const auto it = config_.op_types.find(op.type);
    return it == config_.op_types.end() ? nullptr : &it->second;
  }

  void add_site(ValueId value, SiteRole role) {
    if (value == absent || !is_float(value) || site(value) != nullptr) return;
    if (is_constant(value) && graph_.constant(value)->elements() == 0) return;  // it has no range
    QuantSite s;
    s.value = value;
    s.tensor = graph_.value(value).name;
    s.role = role;
    s.enabled = false;
    s.spec.strict_symmetric = config_.strict_symmetric;
    s.spec.unsigned_symmetric = config_.unsigned_symmetric;
    site_of_[static_cast<std::size_t>(value)] = static_cast<std::int32_t>(sites_.size());
    sites_.push_back(std::move(s));
  }

  void find_candidates() {
    for (const ValueId input : graph_.inputs) add_site(input, SiteRole::activation);
    for (const Op& op : ops_)
      for (const Parameter& parameter : op.parameters) add_site(parameter.value, SiteRole::parameter);
    std::set<ValueId> without;
    for (const Op& op : ops_)
      if (has_no_output_quantizer(op.type)) without.insert(op.outputs.begin(), op.outputs.end());
    for (const Op& op : ops_) {
      const Node& node = graph_.nodes[static_cast<std::size_t>(op.nodes[0])];
      for (const ValueId input : op.inputs) {
        const bool resize_setting = op.type == "Resize" && input != node.inputs[0];
        if (!resize_setting && !without.contains(input)) add_site(input, SiteRole::activation);
      }
      for (const ValueId output : op.outputs)
        if (!without.contains(output)) add_site(output, SiteRole::activation);
    }
  }

  void set(QuantSite* s, const std::optional<bool>& enabled, const std::string& reason) {
    if (s == nullptr || !enabled) return;
    s->enabled = *enabled;
    s->reason = reason;
  }

  bool waits_for_model_input(const QuantSite& s) const {
    return s.role == SiteRole::activation && (is_constant(s.value) || is_graph_input(s.value));
  }

  void apply_defaults() {
    for (const Op& op : ops_) {
      for (const ValueId output : op.outputs) apply_default(output, config_.default_op.output_quantized);
      for (const ValueId input : op.inputs) apply_default(input, config_.default_op.input_quantized);
    }
    Stage defaults(config_.source);
    Stage types(config_.source);
    for (const Op& op : ops_)
      for (const Parameter& parameter : op.parameters)
        apply_parameter_rule(parameter, config_.default_parameter, "defaults.params", defaults);
    for (const Op& op : ops_)
      for (const Parameter& parameter : op.parameters)
        if (const auto it = config_.parameters.find(parameter.type); it != config_.parameters.end())
          apply_parameter_rule(parameter, it->second, "params." + parameter.type, types);
    for (QuantSite& s : sites_)
      if (waits_for_model_input(s)) {
        s.enabled = false;
        s.reason = "model_input";
      }
  }
  /// On where what makes the tensor or what reads it says so. All are off at first: "False" asks for nothing, and is no
  /// conflict with the other's "True".
  void apply_default(ValueId value, const std::optional<bool>& quantized) {
    QuantSite* s = site(value);
    if (s == nullptr || s->role != SiteRole::activation) return;
    if (!s->enabled) set(s, quantized, "defaults.ops");
    apply_symmetry(s, config_.default_op.symmetric);
  }

  static void apply_symmetry(QuantSite* s, const std::optional<bool>& symmetric) {
    if (s != nullptr && symmetric && s->role == SiteRole::activation) s->spec.symmetric = *symmetric;
  }
  /// A parameter that several operators share gets the rules of all of them.
  void apply_parameter_rule(const Parameter& parameter, const QuantizerRule& rule, const std::string& key,
                            Stage& stage) {
    QuantSite* s = site(parameter.value);
    if (s == nullptr || s->role != SiteRole::parameter) return;
    stage.enabled.say(*s, rule.quantized, key + ".is_quantized");
    stage.symmetric.say(*s, rule.symmetric, key + ".is_symmetric");
    set(s, rule.quantized, key);
    if (rule.symmetric) s->spec.symmetric = *rule.symmetric;
  }

  /// The rules of the op types are one stage: none of them comes later than another, so two that disagree about a
  /// tensor are an error. That an op keeps the grid of its input is no rule of the file, and gives way to one.
  void apply_op_types() {
    for (const Op& op : ops_)
      if (rule_of(op) == nullptr && is_grid_preserving(op.type))
        for (const ValueId output : op.outputs) set(site(output), false, op.type + " keeps the grid of its input");
    Stage stage(config_.source);
    for (const Op& op : ops_) {
      const OpRule* rule = rule_of(op);
      if (rule == nullptr) continue;
      const std::string key = "op_type." + op.type;
      for (const ValueId output : op.outputs) {
        QuantSite* s = site(output);
        if (s == nullptr) continue;
        stage.enabled.say(*s, rule->output_quantized, key + ".is_output_quantized");
        stage.symmetric.say(*s, rule->symmetric, key + ".is_symmetric");
        set(s, rule->output_quantized, key);
        apply_symmetry(s, rule->symmetric);
      }
      for (const ValueId input : op.inputs) {
        QuantSite* s = site(input);
        if (s == nullptr || s->role != SiteRole::activation) continue;
        stage.enabled.say(*s, rule->input_quantized, key + ".is_input_quantized");
        stage.symmetric.say(*s, rule->symmetric, key + ".is_symmetric");
        set(s, rule->input_quantized, "inputs of " + op.type);
        apply_symmetry(s, rule->symmetric);
      }
      for (const Parameter& parameter : op.parameters)
        if (const auto it = rule->parameters.find(parameter.type); it != rule->parameters.end())
          apply_parameter_rule(parameter, it->second, fmt::format("{}.params.{}", key, parameter.type), stage);
    }
    // After all symmetries: a range that is symmetric itself settles its own.
    for (const Op& op : ops_)
      if (const OpRule* rule = rule_of(op); rule != nullptr && rule->fixed_min)
        for (const ValueId output : op.outputs)
          if (QuantSite* s = site(output)) fix_range(s->spec, {rule->fixed_min, rule->fixed_max});
  }

  bool is_graph_input(ValueId value) const {
    return std::find(graph_.inputs.begin(), graph_.inputs.end(), value) != graph_.inputs.end();
  }
  bool is_graph_output(ValueId value) const {
    return std::find(graph_.outputs.begin(), graph_.outputs.end(), value) != graph_.outputs.end();
  }

  void apply_supergroups() {
    std::vector<std::vector<std::size_t>> readers(graph_.values.size());
    for (std::size_t o = 0; o < ops_.size(); ++o)
      for (const ValueId input : ops_[o].inputs) readers[static_cast<std::size_t>(input)].push_back(o);
    std::vector<bool> used(ops_.size(), false);
    // Longer chains first: [Conv, BatchNormalization, Relu] before [Conv, Relu].
    std::vector<std::vector<std::string>> groups = config_.supergroups;
    std::stable_sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
    for (const auto& group : groups)
      for (std::size_t o = 0; o < ops_.size(); ++o) {
        std::vector<std::size_t> chain{o};
        if (!matches(o, group[0], used)) continue;
        while (chain.size() < group.size()) {
          const Op& last = ops_[chain.back()];
          const ValueId link = last.outputs.empty() ? absent : last.outputs[0];
          if (link == absent) break;
          const auto& next = readers[static_cast<std::size_t>(link)];
          if (next.size() != 1 || consumers_[static_cast<std::size_t>(link)].size() != 1 ||
              !matches(next[0], group[chain.size()], used))
            break;
          chain.push_back(next[0]);
        }
        if (chain.size() != group.size()) continue;
        for (const std::size_t member : chain) used[member] = true;
        for (std::size_t i = 0; i + 1 < chain.size(); ++i)
          for (const ValueId output : ops_[chain[i]].outputs)
            if (is_graph_output(output)) {
              fused_outputs_.insert(output);  // what the model gives away stays quantized
            } else {
              set(site(output), false, fmt::format("fused into {}", ops_[chain.back()].type));
            }
      }
  }
  bool matches(std::size_t o, const std::string& type, const std::vector<bool>& used) const {
    const Op& op = ops_[o];
    if (used[o] || op.type != type) return false;
    return !is_unfusable_convolution(graph_, producers_, graph_.nodes[static_cast<std::size_t>(op.nodes[0])]);
  }

  void apply_model_inputs() {
    for (QuantSite& s : sites_)
      if (waits_for_model_input(s)) set(&s, config_.model_input_quantized, "model_input");
  }
  void apply_model_outputs() {
    for (const ValueId output : graph_.outputs) set(site(output), config_.model_output_quantized, "model_output");
  }

  void apply_types() {
    for (QuantSite& s : sites_) {
      const QuantizedType& type = s.role == SiteRole::parameter ? options_.parameter : options_.activation;
      s.spec.format = type.format;
      s.spec.bitwidth = type.bitwidth;
      if (!type.quantized && s.enabled) {
        s.enabled = false;
        s.reason = "float32 was asked for";
      }
    }
  }

  /// Parameters that several operators share: an operator's own entry goes before the default of another.
  void apply_per_channel() {
    Said said(config_.source);
    for (const bool own : {false, true})
      for (const Op& op : ops_) {
        const OpRule* rule = rule_of(op);
        if ((rule != nullptr && rule->per_channel.has_value()) != own) continue;
        const bool per_channel = own ? *rule->per_channel : config_.per_channel;
        const Node& node = graph_.nodes[static_cast<std::size_t>(op.nodes[0])];
        const bool grouped = op.type == "ConvTranspose" && node.integer("group", 1) != 1;
        for (const Parameter& parameter : op.parameters) {
          QuantSite* s = site(parameter.value);
          if (s == nullptr || s->role != SiteRole::parameter || !parameter.channel_axis) continue;
          if (own) said.say(*s, per_channel, fmt::format("op_type.{}.per_channel_quantization", op.type));
          s->spec.channel_axis = per_channel && !grouped ? parameter.channel_axis : std::nullopt;
        }
      }
  }

  /// The second operand of a product that is not constant takes the symmetry of a weight.
  void apply_dynamic_weights() {
    const EffectiveSites effective(graph_, ops_, site_of_, sites_);
    for (const Op& op : ops_) {
      if (op.type != "Conv" && op.type != "ConvTranspose" && op.type != "Gemm" && op.type != "MatMul") continue;
      const Node& node = graph_.nodes[static_cast<std::size_t>(op.nodes[0])];
      if (node.inputs.size() < 2) continue;
      // That the first operand of a MatMul is constant changes nothing: the hardware's weight is the second.
      if (std::find(op.inputs.begin(), op.inputs.end(), node.inputs[1]) == op.inputs.end()) continue;
      bool symmetric = config_.default_parameter.symmetric.value_or(false);
      const auto refine = [&](const std::map<std::string, QuantizerRule>& rules) {
        if (const auto it = rules.find("weight"); it != rules.end() && it->second.symmetric)
          symmetric = *it->second.symmetric;
      };
      refine(config_.parameters);
      if (const OpRule* rule = rule_of(op)) refine(rule->parameters);
      const std::int32_t s = effective.of(node.inputs[1]);
      if (s >= 0) apply_symmetry(&sites_[static_cast<std::size_t>(s)], symmetric);
    }
  }

  /// Parameters of normalizations: at least 8 bits; batch and layer norms symmetric only from 16 bits on, the others as
  /// their output.
  void apply_norm_exceptions() {
    for (const Op& op : ops_) {
      const bool like_output =
          op.type == "GroupNormalization" || op.type == "InstanceNormalization" || op.type == "RMSNormalization";
      const bool by_width = op.type == "LayerNormalization" || op.type == "BatchNormalization";
      if (!like_output && !by_width) continue;
      const QuantSite* output = op.outputs.empty() ? nullptr : site(op.outputs[0]);
      for (const Parameter& parameter : op.parameters) {
        QuantSite* s = site(parameter.value);
        if (s == nullptr || s->role != SiteRole::parameter || s->spec.format != NumberFormat::integer) continue;
        if (like_output && output != nullptr && output->enabled) {
          s->spec.bitwidth = output->spec.bitwidth;
          s->spec.symmetric = output->spec.symmetric;
        }
        s->spec.bitwidth = std::max(s->spec.bitwidth, 8);
        if (by_width && is_early_hardware()) s->spec.bitwidth = 8;
        if (by_width) s->spec.symmetric = s->spec.bitwidth >= 16;
      }
    }
  }
  bool is_early_hardware() const {
    return config_.hw_version == "V66" || config_.hw_version == "V68" || config_.hw_version == "V69";
  }

  /// What hardware can multiply when neither operand is constant: early versions have an 8-bit second operand; later
  /// ones take 16 bits there, symmetric, if the first operand has them too.
  void apply_product_exceptions() {
    if (config_.hw_version.empty()) return;
    const EffectiveSites effective(graph_, ops_, site_of_, sites_);
    for (const Op& op : ops_) {
      if (op.type != "MatMul" || !op.parameters.empty() || op.inputs.size() < 2) continue;
      const std::int32_t first = effective.of(op.inputs[0]);
      const std::int32_t second = effective.of(op.inputs[1]);
      if (second < 0) continue;
      QuantizerSpec& spec = sites_[static_cast<std::size_t>(second)].spec;
      if (spec.format != NumberFormat::integer) continue;
      if (is_early_hardware()) spec.bitwidth = 8;
      if (!is_early_hardware() && spec.bitwidth != 16) continue;
      spec.symmetric = true;
      if (first >= 0 && spec.bitwidth == 16) sites_[static_cast<std::size_t>(first)].spec.bitwidth = 16;
    }
  }

  const Graph& graph_;
  const Config& config_;
  const PlacementOptions& options_;
  std::vector<Op> ops_;
  std::vector<std::int32_t> producers_;
  std::vector<std::vector<std::int32_t>> consumers_;
  std::vector<std::int32_t> site_of_;
  std::vector<QuantSite> sites_;
  std::set<ValueId> fused_outputs_;  ///< model outputs inside of fused groups
};

}  // namespace

std::vector<QuantSite> place(const Graph& graph, const Config& config, const PlacementOptions& options) {
  return Placement(graph, config, options).run();
}

}  // namespace tare
