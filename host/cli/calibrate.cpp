// tare calibrate: data in; encodings, the clean model and a QDQ model out, all of them or none.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/calibrate_flags.hpp"
#include "cli/terminal.hpp"
#include "export/given_encodings.hpp"
#include "tare/export.hpp"

namespace tare::cli {
namespace {

constexpr std::size_t shown_lines = 10;
/// Of all the files that an export may write.
constexpr const char* endings[] = {".encodings",         ".onnx", ".data", ".qdq.onnx", ".qdq.data", ".trt.cache",
                                   ".ort-overrides.json"};

/// Files beside those that were written that bear their prefix: of an earlier run, and not of these encodings.
std::vector<std::filesystem::path> older_files(const std::filesystem::path& folder, const std::string& prefix,
                                               const std::vector<std::filesystem::path>& written) {
  std::vector<std::filesystem::path> older;
  std::error_code ignored;
  for (const char* ending : endings) {
    std::filesystem::path file = folder / (prefix + ending);
    if (std::filesystem::exists(file, ignored) && std::find(written.begin(), written.end(), file) == written.end())
      older.push_back(std::move(file));
  }
  return older;
}

struct Counts : QuantizerCounts {
  std::size_t disabled = 0;
};

Counts count_sites(const CalibrationResult& result) {
  Counts counts;
  for (const QuantSite& site : result.sites) {
    if (!site.enabled)
      ++counts.disabled;
    else if (site.role == SiteRole::parameter)
      ++counts.parameters;
    else
      ++counts.activations;
  }
  return counts;
}

std::string parameter_scheme(const CalibrateFlags& flags) {
  return flags.parameter_scheme.empty() ? flags.scheme : flags.parameter_scheme;
}

/// As --param-type has it.
std::string type_text(const QuantizerSpec& spec) {
  return spec.format == NumberFormat::integer ? fmt::format("int{}", spec.bitwidth) : kind_text(spec);
}

/// "activations 617 int8, 1 int16; weights 48 int8" where a role has several types; else nothing.
std::string mixed_types_text(const std::vector<QuantSite>& sites) {
  std::map<SiteRole, std::map<std::string, std::size_t>> types;
  for (const QuantSite& site : sites)
    if (site.enabled) ++types[site.role][type_text(site.spec)];
  std::string text;
  bool mixed = false;
  for (const auto& [role, counts] : types) {
    std::string part;
    for (const auto& [type, count] : counts) part += fmt::format("{}{} {}", part.empty() ? "" : ", ", count, type);
    text +=
        fmt::format("{}{} {}", text.empty() ? "" : "; ", role == SiteRole::parameter ? "weights" : "activations", part);
    mixed = mixed || counts.size() > 1;
  }
  return mixed ? fmt::format("types       {}\n", text) : std::string();
}

std::string lines_text(std::string_view what, const std::vector<std::string>& lines) {
  if (lines.empty()) return {};
  std::string text = fmt::format("{:<12}{}\n", what, lines.size());
  for (std::size_t i = 0; i < std::min(lines.size(), shown_lines); ++i) text += "  " + one_line(lines[i]) + "\n";
  if (lines.size() > shown_lines)
    text += fmt::format("  … and {} more; --json lists all\n", lines.size() - shown_lines);
  return text;
}

/// What was calibrated on, once the data are closed.
struct Source {
  std::string description;
  std::size_t left_out = 0;
  std::size_t available = 0;
};

void report(const CalibrateFlags& flags, const Source& source, const CalibrationResult& result,
            const std::vector<std::filesystem::path>& written, const std::vector<std::filesystem::path>& older) {
  const Counts counts = count_sites(result);
  const double rate = result.seconds > 0 ? static_cast<double>(result.samples) / result.seconds : 0;
  if (flags.report.json) {
    nlohmann::ordered_json object = {{"model", flags.model},
                                     {"data", flags.data.data},
                                     {"config", flags.config},
                                     {"scheme", name_of(parse_scheme(flags.scheme))},
                                     {"param_scheme", name_of(parse_scheme(parameter_scheme(flags)))},
                                     {"param_type", flags.parameter_type},
                                     {"activation_type", flags.activation_type},
                                     {"overrides", flags.overrides.overrides},
                                     {"encoding_version", flags.files.encoding_version},
                                     {"samples", result.samples},
                                     {"batches", result.batches},
                                     {"samples_left_out", source.left_out},
                                     {"samples_available", source.available},
                                     {"seconds", result.seconds},
                                     {"samples_per_second", rate},
                                     {"quantizers", counts.all()},
                                     {"activation_quantizers", counts.activations},
                                     {"parameter_quantizers", counts.parameters},
                                     {"disabled_quantizers", counts.disabled},
                                     {"given_quantizers", result.given},
                                     {"mismatches", result.mismatches},
                                     {"warnings", result.warnings},
                                     {"peak_memory_bytes", peak_memory_bytes()}};
    for (const auto& file : written) object["files"].push_back(file.string());
    for (const auto& file : older) object["older_files"].push_back(file.string());
    print_json(object);
    return;
  }
  if (flags.report.quiet) return;
  std::string text;
  if (result.samples == 0)
    text += fmt::format("calibrated  without data, {}\n", seconds_text(result.seconds));
  else if (flags.from_stats.empty())
    text +=
        fmt::format("calibrated  {}, {}, {:.1f} samples/s\n", source.description, seconds_text(result.seconds), rate);
  else
    text += fmt::format("searched    statistics of {} samples, {}\n", result.samples, seconds_text(result.seconds));
  if (!flags.shard.empty())
    text += fmt::format("shard       {}: statistics alone; --from-stats takes those of all\n", flags.shard);
  if (result.given == 0 || result.given < counts.all())  // else the types are those given, and nothing was searched
    text += fmt::format("scheme      {}, weights {}, activations {}, config {}\n", flags.scheme, flags.parameter_type,
                        flags.activation_type, flags.config);
  text += fmt::format("quantizers  {}; {} disabled\n", counts_text(counts), counts.disabled);
  text += mixed_types_text(result.sites);
  if (result.given > 0) text += fmt::format("given       encodings of {} quantizers\n", result.given);
  text += lines_text("mismatches", result.mismatches) + lines_text("warnings", result.warnings);
  text += fmt::format("memory      {} at most\n", bytes_text(peak_memory_bytes()));
  for (std::size_t i = 0; i < written.size(); ++i)
    text += fmt::format("{}{}\n", i == 0 ? "written     " : "            ", written[i].string());
  for (const std::filesystem::path& file : older)
    text += fmt::format("older       {} is of an earlier run: not of these encodings\n", file.string());
  print(text);
}

/// Nothing that is read is written, and nothing twice.
void check_outputs(const CalibrateFlags& flags, const Model& model, const std::string& prefix) {
  std::vector<std::filesystem::path> read = {flags.model, flags.config, flags.overrides.encodings_in};
  read.insert(read.end(), flags.from_stats.begin(), flags.from_stats.end());
  refuse_replacing(flags.save_stats, model, flags.data.data, read);
  if (!flags.shard.empty()) return;
  const auto place_of = [](const std::filesystem::path& file) {  // which need not be there
    std::error_code unknown;
    return std::filesystem::weakly_canonical(std::filesystem::absolute(file, unknown), unknown);
  };
  for (const char* ending : endings) {
    const std::filesystem::path file = std::filesystem::path(flags.output) / (prefix + ending);
    refuse_replacing(file, model, flags.data.data, read);
    if (!flags.save_stats.empty() && place_of(file) == place_of(flags.save_stats))
      throw Error(ErrorKind::usage, fmt::format("--save-stats: '{}' is the name of a file of the export; give another",
                                                flags.save_stats));
  }
}

int calibrate(const CLI::App& command, const CalibrateFlags& flags) {
  parse_encoding_version(flags.files.encoding_version);
  CalibrationOptions options = calibration_options(flags);
  check_flags(command, flags, options);
  DataFlags part = flags.data;
  if (!flags.shard.empty()) part.shard = parse_shard(flags.shard);
  const std::filesystem::path model = flags.model;
  const std::string prefix = flags.prefix.empty() ? model.stem().string() : flags.prefix;

  std::vector<Session> sessions = open_sessions(model, flags.run, true);
  Session& session = sessions.front();
  check_held_flags(command, options, !session.held_encodings().tensors.empty());
  const bool held = !session.held_encodings().tensors.empty() && !options.recalibrate;
  if (flags.data.data.empty() && flags.from_stats.empty() && !options.given && !held &&
      options.types.activation.quantized)
    throw Error(ErrorKind::usage,
                "calibrate needs either --data or --from-stats, or --encodings-in with all activations");
  check_outputs(flags, session.model(), prefix);
  if (!flags.data.data.empty()) session.prepare();
  OutputSet files(flags.shard.empty() ? flags.output : std::string());
  const std::filesystem::path statistics = flags.save_stats.empty() ? "" : files.place_at(flags.save_stats);

  CalibrationResult result;
  Source source;
  if (flags.from_stats.empty() && flags.data.data.empty()) {
    result = session.calibrate(options);
  } else if (flags.from_stats.empty()) {
    const std::unique_ptr<Dataset> data = open_data(part, flags.run, session.graph());
    source = {data->description(), data->left_out(), data->available()};
    ProgressBar progress("calibrating", flags.report.quiet);
    options.progress = [&](std::size_t done, std::size_t total) { return progress.update(done, total); };
    result = calibrate_together(sessions, *data, options);
  } else {
    result = session.calibrate_from(load_all_statistics(flags.from_stats), options, names_in_quotes(flags.from_stats));
  }
  stop_if_interrupted();

  if (flags.shard.empty()) export_files(flags.files, session, options, result, prefix, files);
  stop_if_interrupted();
  if (!flags.save_stats.empty()) save_statistics(statistics, result.statistics);
  const std::vector<std::filesystem::path> written = files.commit();
  report(flags, source, result, written,
         flags.shard.empty() ? older_files(flags.output, prefix, written) : std::vector<std::filesystem::path>());
  return 0;
}

}  // namespace

void add_calibrate(CLI::App& root, Action& action) {
  CLI::App& command = *root.add_subcommand(
      "calibrate", "Find the encodings of a model from data; write them, the model and a QDQ model");
  const auto flags = std::make_shared<CalibrateFlags>();
  add_calibrate_flags(command, flags);
  add_examples(
      command,
      {"tare calibrate model.onnx --data samples.npz",
       "tare calibrate model.onnx --data images/ --resize-shorter 256 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
       "tare calibrate model.onnx --data samples.npz --scheme min_max --activation-type int16 --prefix m16",
       "tare calibrate model.onnx --data samples.npz --save-stats model.stats",
       "tare calibrate model.onnx --from-stats model.stats --scheme mse --param-scheme sqnr --encoding-version 2.0.0",
       "tare calibrate model.onnx --data samples.npz --shard 1/2 --save-stats 1.stats",
       "tare calibrate model.onnx --from-stats 1.stats,2.stats"});
  command.callback([flags, &action, &command] {
    action = [flags, &command] { return with_convolutions(flags->run, [&] { return calibrate(command, *flags); }); };
  });
}

}  // namespace tare::cli
