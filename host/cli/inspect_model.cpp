// What is in a model: operators, inputs and outputs, sizes, where quantizers go and why, what the backend cannot run.
// Of a QDQ model the quantizers are its own, and their tensors those of the float model inside of it.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cli/inspect.hpp"
#include "cli/terminal.hpp"
#include "plan/simplify.hpp"
#include "tare/export.hpp"
#include "tare/model.hpp"
#include "tare/overrides.hpp"
#include "tare/placement.hpp"

namespace tare::cli {
namespace {

constexpr std::size_t shown_kept = 10;

void count_ops(const Graph& graph, std::map<std::string, std::size_t>& counts) {
  for (const Node& node : graph.nodes) {
    ++counts[node.domain.empty() ? node.op_type : node.domain + "." + node.op_type];
    for (const auto& [name, attribute] : node.attributes)
      if (const auto* body = std::get_if<Subgraph>(&attribute)) count_ops(*body->graph, counts);
  }
}

std::string shape_text(const Value& value) {
  if (!value.shape) return "[?]";
  std::string text;
  for (const std::int64_t dim : *value.shape)
    text += fmt::format("{}{}", text.empty() ? "" : ",", dim < 0 ? std::string("?") : std::to_string(dim));
  return fmt::format("[{}]", text);
}

struct Constants {
  std::size_t count = 0;
  std::size_t elements = 0;
  std::size_t bytes = 0;
};

Constants constants_of(const Graph& graph) {
  Constants result;
  for (const auto& [value, tensor] : graph.constants) {
    ++result.count;
    result.elements += static_cast<std::size_t>(tensor.elements());
    result.bytes += tensor.bytes();
  }
  return result;
}

void add_values(Inspection& result, const Graph& graph, const std::vector<ValueId>& values, const char* kind) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Value& value = graph.value(values[i]);
    result.text += fmt::format("{:<12}{}  {} {}\n", i == 0 ? kind : "", one_line(value.name), name_of(value.type),
                               shape_text(value));
    result.json[kind].push_back({{"name", value.name}, {"type", name_of(value.type)}, {"shape", shape_text(value)}});
  }
}

/// Pairs of a QDQ model that are no quantizers here, one line each.
void add_kept(Inspection& result, const std::vector<std::string>& kept, bool all) {
  result.json["quantizers"]["kept"] = kept;
  if (kept.empty()) return;
  const std::size_t shown = all ? kept.size() : std::min(kept.size(), shown_kept);
  result.text += fmt::format("{:>10}  left as operators:\n", kept.size());
  for (std::size_t i = 0; i < shown; ++i) result.text += fmt::format("            {}\n", one_line(kept[i]));
  if (shown < kept.size())
    result.text += fmt::format("            … and {} more; --all lists all\n", kept.size() - shown);
}

std::vector<std::string> names_of(const Graph& graph, const std::vector<std::int32_t>& nodes) {
  std::vector<std::string> names;
  for (const std::int32_t node : nodes)
    if (node >= 0) names.push_back(graph.nodes[static_cast<std::size_t>(node)].name);
  return names;
}

/// As many as a column holds.
std::string names_text(const std::vector<std::string>& names) {
  if (names.empty()) return "-";
  return names.size() == 1 ? names[0] : fmt::format("{} and {} more", names[0], names.size() - 1);
}

/// A QDQ model has its own quantizers; others are placed by the config.
void add_sites(Inspection& result, const UnquantizedModel& parts, const InspectFlags& flags) {
  const Graph& graph = parts.model.graph;
  std::vector<QuantSite> sites = place(graph, load_config(flags.config));
  const bool own = !parts.encodings.tensors.empty();
  if (own) adopt_encodings(sites, graph, {.set = parts.encodings, .only_quantizers = true});
  std::size_t activations = 0;
  std::size_t parameters = 0;
  std::map<std::string, std::size_t> reasons;
  for (const QuantSite& site : sites) {
    if (!site.enabled)
      ++reasons[site.reason.empty() ? "disabled" : site.reason];
    else if (site.role == SiteRole::parameter)
      ++parameters;
    else
      ++activations;
  }
  result.text += fmt::format("\nquantizers  {}: {} of activations, {} of parameters, {} disabled\n",
                             own ? "the model's own" : "config " + flags.config, activations, parameters,
                             sites.size() - activations - parameters);
  for (const auto& [reason, count] : reasons) result.text += fmt::format("{:>10}  disabled: {}\n", count, reason);
  result.json["quantizers"] = {{"config", own ? nlohmann::ordered_json() : nlohmann::ordered_json(flags.config)},
                               {"own", own},
                               {"activations", activations},
                               {"parameters", parameters},
                               {"disabled", sites.size() - activations - parameters}};
  add_kept(result, parts.kept, flags.all);
  std::vector<std::vector<std::string>> rows = {{"tensor", "role", "bits", "made by", "read by", "why"}};
  const std::vector<std::int32_t> makers = producers(graph);
  const std::vector<std::vector<std::int32_t>> readers = consumers(graph);
  for (const QuantSite& site : sites) {
    const auto value = static_cast<std::size_t>(site.value);
    const std::vector<std::string> maker = names_of(graph, {makers[value]});
    const std::vector<std::string> reader = names_of(graph, readers[value]);
    const char* role = site.role == SiteRole::parameter ? "parameter" : "activation";
    rows.push_back({site.tensor, role, site.enabled ? fmt::format("{}", site.spec.bitwidth) : std::string("-"),
                    names_text(maker), names_text(reader), site.reason});
    nlohmann::ordered_json entry = {
        {"tensor", site.tensor},
        {"role", role},
        {"enabled", site.enabled},
        {"reason", site.reason},
        {"producer", maker.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(maker[0])},
        {"readers", reader}};
    if (site.enabled) {
      entry["bitwidth"] = site.spec.bitwidth;
      entry["symmetric"] = site.spec.symmetric;
      if (site.spec.channel_axis) entry["channel_axis"] = *site.spec.channel_axis;
      if (site.group >= 0) entry["group"] = site.group;
    }
    result.json["quantizers"]["sites"].push_back(std::move(entry));
  }
  if (flags.all)
    result.text.append("\n").append(table(rows));
  else
    result.text += "            --all lists every site\n";
}

}  // namespace

Inspection inspect_model(const InspectFlags& flags) {
  const Model model = load_model(flags.file);
  const Graph& graph = model.graph;
  Inspection result;
  result.json = {{"file", flags.file}};
  const Constants constants = constants_of(graph);
  result.text = fmt::format("model       {}: {} nodes, {} constants of {} values, {}\n", flags.file, graph.nodes.size(),
                            constants.count, constants.elements, bytes_text(constants.bytes));
  result.json["nodes"] = graph.nodes.size();
  result.json["constants"] = {{"count", constants.count}, {"values", constants.elements}, {"bytes", constants.bytes}};
  add_values(result, graph, graph.inputs, "inputs");
  add_values(result, graph, graph.outputs, "outputs");

  std::map<std::string, std::size_t> counts;
  count_ops(graph, counts);
  std::vector<std::pair<std::string, std::size_t>> ops(counts.begin(), counts.end());
  std::stable_sort(ops.begin(), ops.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  result.text += fmt::format("\noperators   {} kinds\n", ops.size());
  for (const auto& [op, count] : ops) {
    result.text += fmt::format("{:>10}  {}\n", count, one_line(op));
    result.json["operators"][op] = count;
  }
  const UnquantizedModel parts = take_quantizers(model);
  add_sites(result, parts, flags);

  const auto backend = make_cpu_backend();
  try {
    check_supported(graph, *backend);
    check_sound(graph);
    result.text += fmt::format("\nbackend     {}: runs all of it\n", backend->name());
    result.json["unsupported"] = nullptr;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported && error.kind() != ErrorKind::model) throw;
    result.text += fmt::format("\nbackend     {}\n", error.what());
    result.json["unsupported"] = error.what();
  }
  return result;
}

}  // namespace tare::cli
