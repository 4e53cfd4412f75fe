// tare lint: an encodings file against its model, one line a finding.
#include "tare/lint.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/options.hpp"
#include "cli/overrides.hpp"
#include "cli/terminal.hpp"
#include "run/fingerprint.hpp"
#include "tare/export.hpp"

namespace tare::cli {
namespace {

struct Flags {
  std::string model;
  std::string encodings;
  std::string from_stats;
  std::string config = "default";
  std::string parameter_type = "int8";
  std::string activation_type = "int8";
  OverrideFlags overrides;
  ReportFlags report;
};

std::string text_of(const LintReport& result, std::size_t tensors, bool with_data) {
  std::string text;
  for (const Finding& finding : result.findings)
    text += fmt::format("{:<10}  {}  {}\n", name_of(finding.kind), finding.tensor, finding.detail);
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

int lint(const Flags& flags) {
  const Model model = take_quantizers(load_model(flags.model)).model;
  const EncodingSet encodings = load_encodings(flags.encodings);
  const bool with_data = !flags.from_stats.empty();
  const StatisticsFile statistics = with_data ? load_statistics(flags.from_stats) : StatisticsFile{};
  if (with_data) {  // weights may have changed since: their ranges are what the file is asked about
    Fingerprint current = statistics.fingerprint;
    current.model = hash_of_file(flags.model);
    require_same_origin(statistics.fingerprint, current, flags.from_stats);
  }
  const LintReport result =
      lint_encodings(model.graph, placed_sites(model.graph, flags), encodings, statistics.tensors);
  if (flags.report.json) {
    nlohmann::ordered_json object = {{"model", flags.model},        {"encodings", flags.encodings},
                                     {"config", flags.config},      {"tensors", encodings.tensors.size()},
                                     {"ranges", result.ranges},     {"ranges_checked", result.checked},
                                     {"repeated", result.repeated}, {"findings", nlohmann::ordered_json::array()}};
    for (const Finding& finding : result.findings)
      object["findings"].push_back(
          {{"kind", name_of(finding.kind)}, {"tensor", finding.tensor}, {"detail", finding.detail}});
    print(object.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
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
  command.add_option("--from-stats", flags->from_stats, "Also check the ranges against kept statistics")
      ->type_name("F");
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
