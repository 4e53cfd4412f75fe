// tare lint: an encodings file against its model, one line a finding.
#include "tare/lint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>

#include "cli/options.hpp"
#include "cli/overrides.hpp"
#include "cli/terminal.hpp"
#include "plan/simplify.hpp"
#include "run/derived_statistics.hpp"
#include "run/fingerprint.hpp"
#include "tare/backend.hpp"
#include "tare/export.hpp"

namespace tare::cli {
namespace {

struct Flags {
  std::string model;
  std::string encodings;
  std::vector<std::string> from_stats;
  std::string config = "default";
  std::string parameter_type = "int8";
  std::string activation_type = "int8";
  OverrideFlags overrides;
  ReportFlags report;
};

std::string text_of(const LintReport& result, std::size_t tensors, bool with_data) {
  std::string text;
  for (const Finding& finding : result.findings)
    text += one_line(fmt::format("{:<10}  {}  {}", name_of(finding.kind), finding.tensor, finding.detail)) + "\n";
  text += fmt::format("{} findings in encodings of {} tensors; {} only repeat what follows from others\n",
                      result.findings.size(), tensors, result.repeated.size());
  text += with_data
              ? fmt::format("ranges of {} of {} activations checked against data\n", result.checked, result.ranges)
              : std::string("ranges not checked against data; --from-stats F does\n");
  return text;
}

/// The quantizers that calibrate places with the same flags.
std::vector<QuantSite> placed_sites(const Graph& graph, const Flags& flags) {
  CalibrationOptions options;
  set_overrides(flags.overrides, options);
  options.types.parameter = parse_quantized_type(flags.parameter_type);
  options.types.activation = parse_quantized_type(flags.activation_type);
  std::vector<QuantSite> sites = place(graph, load_config(flags.config), options.types);
  select_sites(sites, graph, options.selection);
  apply_overrides(sites, graph, options.overrides);
  return sites;
}

bool has(const EncodingSet& set, std::string_view tensor) {
  return set.find(tensor, SiteRole::activation) != nullptr || set.find(tensor, SiteRole::parameter) != nullptr;
}

/// In a QDQ model a quantizer is also where the model and the file both have one, whatever the config places: the
/// export may have spelled an operator out.
void add_own_sites(std::vector<QuantSite>& sites, const Graph& graph, const EncodingSet& own,
                   const EncodingSet& listed) {
  GivenEncodings both;
  std::copy_if(own.tensors.begin(), own.tensors.end(), std::back_inserter(both.set.tensors),
               [&](const TensorEncodings& tensor) { return has(listed, tensor.tensor); });
  std::vector<QuantSite> adopted = sites;
  adopt_encodings(adopted, graph, both);
  for (std::size_t s = 0; s < adopted.size(); ++s) {
    if (s == sites.size())
      sites.push_back(std::move(adopted[s]));
    else if (!sites[s].enabled)
      sites[s] = std::move(adopted[s]);
  }
}

/// What a statistics file holds, and what follows from it for other quantized tensors.
std::vector<NamedStatistics> statistics_of(const StatisticsFile& file, const Graph& graph,
                                           std::span<const QuantSite> sites, Backend& backend) {
  std::map<ValueId, TensorStatistics> known = statistics_of_values(graph, file.tensors);
  std::vector<bool> observed(graph.values.size());
  for (const QuantSite& site : sites)
    if (site.role == SiteRole::activation && graph.constant(site.value) == nullptr)
      observed[static_cast<std::size_t>(site.value)] = true;
  add_known(observed, graph, known);
  DerivedStatistics(graph, observed, ObserverKind::histogram, false).complete(known, backend, 1);
  std::vector<NamedStatistics> all;
  all.reserve(known.size());
  for (auto& [value, statistics] : known) all.push_back({graph.value(value).name, std::move(statistics)});
  return all;
}

int lint(const Flags& flags) {
  UnquantizedModel parts = take_quantizers(load_model(flags.model));
  const std::unique_ptr<Backend> backend = make_cpu_backend();
  drop_dead_that_cannot_run(parts.model.graph, *backend);  // as a session does, before it places
  const Model& model = parts.model;
  const EncodingsFile listed = load_encodings_file(flags.encodings);
  const EncodingSet& encodings = listed.set;
  const bool with_data = !flags.from_stats.empty();
  std::vector<QuantSite> sites = placed_sites(model.graph, flags);
  const EncodingSet& own = parts.encodings;
  if (!own.tensors.empty()) add_own_sites(sites, model.graph, own, encodings);
  std::vector<NamedStatistics> statistics;
  if (with_data) {  // weights may have changed since: their ranges are what the file is asked about
    const StatisticsFile file = load_all_statistics(flags.from_stats);
    const std::string names = names_in_quotes(flags.from_stats);
    require_all_shards(file.fingerprint, names);
    Fingerprint current = file.fingerprint;
    current.model = hash_of_model(model);
    require_same_origin(file.fingerprint, current, names);
    statistics = statistics_of(file, model.graph, sites, *backend);
  }
  LintReport result = lint_encodings(model.graph, sites, encodings, statistics, listed.version);
  if (!own.tensors.empty())  // and there is none where neither has one
    std::erase_if(result.findings, [&](const Finding& finding) {
      return finding.kind == FindingKind::missing && !has(own, finding.tensor);
    });
  if (flags.report.json) {
    nlohmann::ordered_json object = {{"model", flags.model},        {"encodings", flags.encodings},
                                     {"config", flags.config},      {"tensors", encodings.tensors.size()},
                                     {"ranges", result.ranges},     {"ranges_checked", result.checked},
                                     {"repeated", result.repeated}, {"findings", nlohmann::ordered_json::array()}};
    for (const Finding& finding : result.findings)
      object["findings"].push_back(
          {{"kind", name_of(finding.kind)}, {"tensor", finding.tensor}, {"detail", finding.detail}});
    print_json(object);
  } else if (!flags.report.quiet) {
    print(text_of(result, encodings.tensors.size(), with_data));
  }
  return result.findings.empty() ? 0 : 1;
}

}  // namespace

void add_lint(CLI::App& root, Action& action) {
  CLI::App& command =
      *root.add_subcommand("lint", "Check an encodings file against its model; exit 1 when something is found");
  const auto flags = std::make_shared<Flags>();
  command.add_option("model", flags->model, "The model")->type_name("MODEL.onnx")->required();
  command.add_option("encodings", flags->encodings, "Encodings of tare or AIMET, any version")
      ->type_name("F.encodings")
      ->required();
  add_statistics_flag(command, flags->from_stats,
                      "Also check the ranges against kept statistics; those of several runs are added up");
  command.add_option("--config", flags->config, "Quantizer config: a shipped one's name, or a file (docs/config.md)")
      ->type_name("NAME|FILE")
      ->capture_default_str();
  command.add_option("--param-type", flags->parameter_type, "Of weights, as the file was made with")
      ->type_name("TYPE")
      ->capture_default_str();
  command.add_option("--activation-type", flags->activation_type, "Of activations, as the file was made with")
      ->type_name("TYPE")
      ->capture_default_str();
  add_override_flags(command, flags->overrides);
  add_report_flags(command, flags->report);
  add_examples(command, {"tare lint model.onnx out/model.encodings",
                         "tare lint model.onnx aimet.encodings --config default_per_tensor --from-stats model.stats",
                         "tare lint model.onnx out/model.encodings --json"});
  command.callback([flags, &action] { action = [flags] { return lint(*flags); }; });
}

}  // namespace tare::cli
