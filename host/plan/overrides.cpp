// Overrides by operator and by tensor name. See tare/overrides.hpp.
#include "tare/overrides.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "plan/expression.hpp"
#include "plan/ops.hpp"
#include "tare/error.hpp"

namespace tare {
namespace {

/// Throws Error(usage) naming what is in `wanted` and not in `known`.
void require_known(const std::vector<std::string>& wanted, const std::set<std::string>& known, std::string_view what) {
  for (const std::string& name : wanted)
    if (!known.contains(name))
      throw Error(
          ErrorKind::usage,
          fmt::format("the model has no {} '{}'; 'tare inspect --all' names those around every quantizer", what, name));
}

class Selection {
 public:
  Selection(const Graph& graph, const std::vector<QuantSite>& sites, const SiteSelection& selection)
      : graph_(graph), producers_(producers(graph)), consumers_(consumers(graph)), chosen_(graph.nodes.size()) {
    const auto has = [](const std::vector<std::string>& list, const std::string& item) {
      return std::find(list.begin(), list.end(), item) != list.end();
    };
    for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
      const Node& node = graph.nodes[n];
      chosen_[n] = (selection.op_types_to_quantize.empty() || has(selection.op_types_to_quantize, node.op_type)) &&
                   !has(selection.op_types_to_exclude, node.op_type) && !has(selection.nodes_to_exclude, node.name);
    }
    for (const QuantSite& site : sites)
      if (site.enabled) quantized_.insert(site.value);
  }

  bool keeps(ValueId value) const {
    const std::int32_t producer = producers_[static_cast<std::size_t>(value)];
    return (producer >= 0 && chosen_[static_cast<std::size_t>(producer)]) || is_read(value);
  }

 private:
  bool is_read(ValueId value) const {
    const std::vector<std::int32_t>& readers = consumers_[static_cast<std::size_t>(value)];
    return std::any_of(readers.begin(), readers.end(), [&](std::int32_t n) {
      const Node& node = graph_.nodes[static_cast<std::size_t>(n)];
      if (!is_grid_preserving(node.op_type)) return bool{chosen_[static_cast<std::size_t>(n)]};
      return std::any_of(node.outputs.begin(), node.outputs.end(), [&](ValueId output) {
        return output != absent && !quantized_.contains(output) && is_read(output);
      });
    });
  }

  const Graph& graph_;
  std::vector<std::int32_t> producers_;
  std::vector<std::vector<std::int32_t>> consumers_;
  std::vector<bool> chosen_;
  std::set<ValueId> quantized_;
};

[[noreturn]] void refuse(std::string_view text, std::string_view why) {
  throw Error(ErrorKind::usage, fmt::format("override '{}': {}", text, why));
}

bool parse_boolean(std::string_view value, std::string_view text) {
  if (value == "true" || value == "True" || value == "1") return true;
  if (value == "false" || value == "False" || value == "0") return false;
  refuse(text, fmt::format("'{}' is neither true nor false", value));
}

double parse_number(std::string_view value, std::string_view text) {
  double result = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
  if (error != std::errc() || end != value.data() + value.size() || !std::isfinite(result))
    refuse(text, fmt::format("'{}' is not a number", value));
  return result;
}

using Setter = void (*)(SiteOverride&, std::string_view value, std::string_view text);

const std::map<std::string_view, Setter>& setters() {
  static const std::map<std::string_view, Setter> all = {
      {"enabled", [](SiteOverride& o, std::string_view v, std::string_view t) { o.enabled = parse_boolean(v, t); }},
      {"symmetric", [](SiteOverride& o, std::string_view v, std::string_view t) { o.symmetric = parse_boolean(v, t); }},
      {"strict",
       [](SiteOverride& o, std::string_view v, std::string_view t) { o.strict_symmetric = parse_boolean(v, t); }},
      {"unsigned",
       [](SiteOverride& o, std::string_view v, std::string_view t) { o.unsigned_symmetric = parse_boolean(v, t); }},
      {"min", [](SiteOverride& o, std::string_view v, std::string_view t) { o.min = parse_number(v, t); }},
      {"max", [](SiteOverride& o, std::string_view v, std::string_view t) { o.max = parse_number(v, t); }},
      {"type",
       [](SiteOverride& o, std::string_view v, std::string_view) { o.type = parse_quantized_type(std::string(v)); }},
      {"bits",
       [](SiteOverride& o, std::string_view v, std::string_view t) {
         const double bits = parse_number(v, t);
         if (bits != std::floor(bits) || bits < 2 || bits > 16) refuse(t, fmt::format("'{}' is not 2 … 16 bits", v));
         o.bitwidth = static_cast<int>(bits);
       }},
      {"block",
       [](SiteOverride& o, std::string_view v, std::string_view t) {
         const double size = parse_number(v, t);
         if (size != std::floor(size) || size < 1 || size > 1 << 30)
           refuse(t, fmt::format("'{}' is not a number of elements", v));
         o.block_size = static_cast<int>(size);
       }},
      {"decompressed_bits",
       [](SiteOverride& o, std::string_view v, std::string_view t) {
         const double bits = parse_number(v, t);
         if (bits != std::floor(bits) || bits < 3 || bits > 16) refuse(t, fmt::format("'{}' is not 3 … 16 bits", v));
         o.decompressed_bitwidth = static_cast<int>(bits);
       }},
      {"scheme",
       [](SiteOverride& o, std::string_view v, std::string_view t) {
         o.scheme = scheme_of(v);
         if (!o.scheme)
           refuse(t, fmt::format("'{}' is none of min_max, sqnr, mse, percentile, entropy, tf_enhanced", v));
       }},
  };
  return all;
}

std::string keys_text() {
  std::vector<std::string_view> keys;
  for (const auto& [key, unused] : setters()) keys.push_back(key);
  return fmt::format("{}", fmt::join(keys, ", "));
}

/// Where the expression ends: names of tensors hold colons themselves.
std::size_t end_of_pattern(std::string_view text) {
  for (std::size_t colon = text.rfind(':'); colon != std::string_view::npos && colon > 0;
       colon = text.rfind(':', colon - 1)) {
    const std::size_t equals = text.find('=', colon);
    if (equals != std::string_view::npos && setters().contains(text.substr(colon + 1, equals - colon - 1)))
      return colon;
  }
  refuse(text, fmt::format("it must be REGEX:KEY=VALUE,… with keys of {}", keys_text()));
}

void apply(QuantSite& site, const SiteOverride& given) {
  QuantizerSpec& spec = site.spec;
  if (given.type) {
    spec.format = given.type->format;
    spec.bitwidth = given.type->bitwidth;
    if (!given.type->quantized) site.enabled = false;
  }
  if (given.bitwidth) {
    spec.format = NumberFormat::integer;
    spec.bitwidth = *given.bitwidth;
  }
  if (given.symmetric) spec.symmetric = *given.symmetric;
  if (given.strict_symmetric) spec.strict_symmetric = *given.strict_symmetric;
  if (given.unsigned_symmetric) spec.unsigned_symmetric = *given.unsigned_symmetric;
  if (given.scheme) spec.scheme = given.scheme;
  if (given.decompressed_bitwidth) spec.decompressed_bitwidth = *given.decompressed_bitwidth;
  if (given.min) spec.fixed_min = given.min;
  if (given.max) spec.fixed_max = given.max;
  if (given.decompressed_bitwidth && !given.block_size && !spec.block_axis)
    refuse(given.pattern, "decompressed_bits goes with block: the scales of blocks are multiples of their channel's");
  // Every range holds zero: one bound alone must leave room for it.
  if ((given.min || given.max) && spec.fixed_min.value_or(0) > spec.fixed_max.value_or(0))
    refuse(given.pattern,
           fmt::format("'{}' would range from {:g} to {:g}; a range holds zero, and min is not above max", site.tensor,
                       spec.fixed_min.value_or(0), spec.fixed_max.value_or(0)));
  if (given.enabled) site.enabled = *given.enabled;
  site.reason = fmt::format("override {}", given.pattern);
}

[[noreturn]] void refuse_unmatched(const std::string& pattern, const std::vector<QuantSite>& sites) {
  const bool choice = pattern.find('|') != std::string::npos;
  const std::string anywhere = choice ? ".*(" + pattern + ").*" : ".*" + pattern + ".*";
  const std::regex wider = compile_expression(anywhere, [&](const std::string& why) { refuse(anywhere, why); });
  const auto parts = std::count_if(sites.begin(), sites.end(),
                                   [&](const QuantSite& site) { return std::regex_match(site.tensor, wider); });
  refuse(pattern,
         "no tensor with a quantizer, enabled or not, has such a name; " +
             (parts == 0 ? "'tare inspect --all' lists them"
                         : fmt::format("it is compared with whole names: '{}' would match {}", anywhere, parts)));
}

/// Axes of a weight: of its channels, and along which its blocks are cut.
void cut_into_blocks(QuantSite& site, const Graph& graph, const std::vector<Op>& ops, const SiteOverride& given) {
  const Tensor* constant = graph.constant(site.value);
  for (const Op& op : ops)
    for (const Parameter& parameter : op.parameters) {
      if (parameter.value != site.value || !parameter.block_axis || constant == nullptr) continue;
      if (constant->shape()[static_cast<std::size_t>(*parameter.block_axis)] % *given.block_size != 0)
        throw Error(ErrorKind::usage,
                    fmt::format("override '{}': '{}' of shape {} has no blocks of {} along axis {}", given.pattern,
                                site.tensor, constant->shape().text(), *given.block_size, *parameter.block_axis));
      site.spec.channel_axis = parameter.channel_axis;
      site.spec.block_axis = parameter.block_axis;
      site.spec.block_size = *given.block_size;
      return;
    }
  throw Error(ErrorKind::usage, fmt::format("override '{}': '{}' is no weight of a product: it has no blocks",
                                            given.pattern, site.tensor));
}

}  // namespace

void select_sites(std::vector<QuantSite>& sites, const Graph& graph, const SiteSelection& selection) {
  if (selection.op_types_to_quantize.empty() && selection.op_types_to_exclude.empty() &&
      selection.nodes_to_exclude.empty())
    return;
  std::set<std::string> types;
  std::set<std::string> names;
  for (const Node& node : graph.nodes) {
    types.insert(node.op_type);
    names.insert(node.name);
  }
  require_known(selection.op_types_to_quantize, types, "operator of type");
  require_known(selection.op_types_to_exclude, types, "operator of type");
  require_known(selection.nodes_to_exclude, names, "node");
  const Selection chosen(graph, sites, selection);
  for (QuantSite& site : sites)
    if (site.enabled && !chosen.keeps(site.value)) {
      site.enabled = false;
      site.reason = "no chosen operator makes or reads it";
    }
}

std::optional<Scheme> scheme_of(std::string_view name) {
  std::string plain(name);
  std::replace(plain.begin(), plain.end(), '-', '_');
  static const std::map<std::string, Scheme, std::less<>> schemes = {{"min_max", Scheme::min_max},
                                                                     {"tf", Scheme::min_max},
                                                                     {"sqnr", Scheme::sqnr},
                                                                     {"mse", Scheme::mse},
                                                                     {"entropy", Scheme::entropy},
                                                                     {"percentile", Scheme::percentile},
                                                                     {"tf_enhanced", Scheme::tf_enhanced}};
  const auto it = schemes.find(plain);
  return it == schemes.end() ? std::nullopt : std::optional(it->second);
}

std::string_view name_of(Scheme scheme) {
  switch (scheme) {
    case Scheme::min_max: return "min_max";
    case Scheme::sqnr: return "sqnr";
    case Scheme::mse: return "mse";
    case Scheme::percentile: return "percentile";
    case Scheme::entropy: return "entropy";
    case Scheme::tf_enhanced: return "tf_enhanced";
  }
  return "";
}

SiteOverride parse_override(std::string_view text) {
  const std::size_t colon = end_of_pattern(text);
  SiteOverride result;
  result.pattern = std::string(text.substr(0, colon));
  std::string_view rest = text.substr(colon + 1);
  std::set<std::string_view> keys;
  while (!rest.empty()) {
    const std::string_view setting = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), setting.size() + 1));
    const std::size_t equals = std::min(setting.find('='), setting.size());
    const auto setter = setters().find(setting.substr(0, equals));
    if (setter == setters().end() || equals == setting.size()) {
      refuse(text, fmt::format("'{}' is not KEY=VALUE with one of the keys {}", setting, keys_text()));
    }
    if (!keys.insert(setter->first).second) refuse(text, fmt::format("{} is given twice", setter->first));
    setter->second(result, setting.substr(equals + 1), text);
  }
  if (result.type && result.bitwidth) refuse(text, "type says the bits, too; give one of them");
  if (result.enabled == false && keys.size() > 1) refuse(text, "enabled=false leaves nothing to set; give it alone");
  if (result.min.value_or(0) > 0) refuse(text, "min is above 0, which every range holds");
  if (result.max.value_or(0) < 0) refuse(text, "max is below 0, which every range holds");
  if (result.max && !result.min) refuse(text, "max needs min, too");
  if (result.min && result.max && !(*result.min < *result.max)) refuse(text, "min must be below max");
  return result;
}

void apply_overrides(std::vector<QuantSite>& sites, const Graph& graph, const std::vector<SiteOverride>& overrides) {
  const std::vector<Op> ops = overrides.empty() ? std::vector<Op>() : collect_ops(graph, {});
  for (const SiteOverride& given : overrides) {
    std::set<std::int32_t> groups;
    bool matched = false;
    const std::regex pattern = compile_expression(given.pattern, [&](const std::string& why) {
      refuse(given.pattern, given.pattern.starts_with('*') ? why + "; any text is '.*', not '*'" : why);
    });
    for (QuantSite& site : sites) {
      if (!std::regex_match(site.tensor, pattern)) continue;
      matched = true;
      apply(site, given);
      if (given.block_size) cut_into_blocks(site, graph, ops, given);
      if (site.group >= 0) groups.insert(site.group);
    }
    if (!matched) refuse_unmatched(given.pattern, sites);
    for (QuantSite& site : sites)
      if (groups.contains(site.group)) apply(site, given);
  }
}

}  // namespace tare
