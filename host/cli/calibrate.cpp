// tare calibrate: data in; encodings, the clean model and a QDQ model out, all of them or none.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/export_files.hpp"
#include "cli/options.hpp"
#include "cli/overrides.hpp"
#include "cli/terminal.hpp"
#include "tare/export.hpp"

namespace tare::cli {
namespace {

constexpr std::size_t shown_lines = 10;

struct Flags {
  std::string model;
  DataFlags data;
  RunFlags run;
  ReportFlags report;
  std::string config = "default";
  std::string scheme = "sqnr";
  std::string parameter_scheme;
  double gamma = 3;
  double percentile = 99.99;
  std::string sentinels = "clamp";
  std::string parameter_type = "int8";
  std::string activation_type = "int8";
  std::string output = "out";
  std::string prefix;
  std::string save_stats;
  std::vector<std::string> from_stats;
  std::string shard;
  std::string observe_weights = "quantized";
  bool read_every_tensor = false;
  bool refine = false;
  ExportFlags files;
  OverrideFlags overrides;
  bool recalibrate = false;
};

CalibrationOptions calibration_options(const Flags& flags) {
  CalibrationOptions options;
  options.config = flags.config;
  options.types.parameter = parse_quantized_type(flags.parameter_type);
  options.types.activation = parse_quantized_type(flags.activation_type);
  options.search.scheme = parse_scheme(flags.scheme);
  if (!flags.parameter_scheme.empty())
    options.parameter_scheme = parse_scheme(flags.parameter_scheme, "--param-scheme");
  options.search.gamma = flags.gamma;
  options.search.percentile = flags.percentile;
  options.search.keep_sentinels = flags.sentinels == "keep";
  options.observe_quantized_weights = flags.observe_weights == "quantized";
  options.keep_histograms = !flags.save_stats.empty();
  options.read_every_tensor = flags.read_every_tensor;
  options.refine = flags.refine;
  options.nonfinite = nonfinite_policy(flags.run);
  set_overrides(flags.overrides, options);
  options.recalibrate = flags.recalibrate;
  return options;
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

std::string lines_text(std::string_view what, const std::vector<std::string>& lines) {
  if (lines.empty()) return {};
  std::string text = fmt::format("{:<12}{}\n", what, lines.size());
  for (std::size_t i = 0; i < std::min(lines.size(), shown_lines); ++i) text += fmt::format("  {}\n", lines[i]);
  if (lines.size() > shown_lines)
    text += fmt::format("  … and {} more; --json lists all\n", lines.size() - shown_lines);
  return text;
}

void report(const Flags& flags, const CalibrationResult& result, const std::vector<std::filesystem::path>& written) {
  const Counts counts = count_sites(result);
  const double rate = result.seconds > 0 ? static_cast<double>(result.samples) / result.seconds : 0;
  if (flags.report.json) {
    nlohmann::ordered_json object = {{"model", flags.model},
                                     {"scheme", name_of(parse_scheme(flags.scheme))},
                                     {"samples", result.samples},
                                     {"batches", result.batches},
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
    print_json(object);
    return;
  }
  if (flags.report.quiet) return;
  std::string text;
  if (result.samples == 0)
    text += fmt::format("calibrated  without data, {}\n", seconds_text(result.seconds));
  else if (flags.from_stats.empty())
    text += fmt::format("calibrated  {} samples in {} batches, {}, {:.1f} samples/s\n", result.samples, result.batches,
                        seconds_text(result.seconds), rate);
  else
    text += fmt::format("searched    statistics of {} samples, {}\n", result.samples, seconds_text(result.seconds));
  if (!flags.shard.empty())
    text += fmt::format("shard       {}: statistics alone; --from-stats takes those of all\n", flags.shard);
  text += fmt::format("scheme      {}, weights {}, activations {}, config {}\n", flags.scheme, flags.parameter_type,
                      flags.activation_type, flags.config);
  text += fmt::format("quantizers  {}; {} disabled\n", counts_text(counts), counts.disabled);
  if (result.given > 0) text += fmt::format("given       encodings of {} quantizers\n", result.given);
  text += lines_text("mismatches", result.mismatches) + lines_text("warnings", result.warnings);
  text += fmt::format("memory      {} at most\n", bytes_text(peak_memory_bytes()));
  for (std::size_t i = 0; i < written.size(); ++i)
    text += fmt::format("{}{}\n", i == 0 ? "written     " : "            ", written[i].string());
  print(text);
}

/// "2/4"
Shard parse_shard(const std::string& text) {
  Shard shard;
  const std::size_t slash = std::min(text.find('/'), text.size());
  const auto read = [&](std::size_t begin, std::size_t end, std::size_t& number) {
    const auto [last, status] = std::from_chars(text.data() + begin, text.data() + end, number);
    return status == std::errc() && last == text.data() + end;
  };
  if (slash == text.size() || !read(0, slash, shard.index) || !read(slash + 1, text.size(), shard.count) ||
      shard.index < 1 || shard.index > shard.count)
    throw Error(ErrorKind::usage, fmt::format("--shard: '{}' is not I/N with I from 1 to N", text));
  return shard;
}

/// A part of the data serves for nothing but its statistics.
void check_shard_flags(const Flags& flags, const CalibrationOptions& options) {
  if (flags.shard.empty()) return;
  if (options.search.scheme == Scheme::tf_enhanced)
    throw Error(ErrorKind::usage,
                "--shard: tf_enhanced depends on the user's batches in their order, so that shards cannot be added up; "
                "use sqnr, or calibrate on all the data");
  if (flags.refine) throw Error(ErrorKind::usage, "--shard: --refine needs all the data at once");
  if (flags.save_stats.empty() || flags.data.data.empty())
    throw Error(ErrorKind::usage, "--shard needs --data, and --save-stats for what it finds");
}

StatisticsFile load_all_statistics(const std::vector<std::string>& files) {
  StatisticsFile sum = load_statistics(files.at(0));
  for (std::size_t i = 1; i < files.size(); ++i) {
    try {
      merge(sum, load_statistics(files[i]));
    } catch (const Error& error) {
      throw Error(error.kind(), fmt::format("--from-stats: '{}': {}", files[i], error.what()));
    }
  }
  return sum;
}

int calibrate(const Flags& flags) {
  parse_encoding_version(flags.files.encoding_version);
  CalibrationOptions options = calibration_options(flags);
  if (!flags.data.data.empty() && !flags.from_stats.empty())
    throw Error(ErrorKind::usage, "calibrate takes either --data or --from-stats");
  check_shard_flags(flags, options);
  DataFlags part = flags.data;
  if (!flags.shard.empty()) part.shard = parse_shard(flags.shard);
  if (flags.prefix.find('/') != std::string::npos || flags.prefix == "." || flags.prefix == "..")
    throw Error(ErrorKind::usage, fmt::format("--prefix: '{}' is a path; give the folder with --output", flags.prefix));
  const std::filesystem::path model = flags.model;
  const std::string prefix = flags.prefix.empty() ? model.stem().string() : flags.prefix;

  std::vector<Session> sessions = open_sessions(model, flags.run, true);
  Session& session = sessions.front();
  const bool held = !session.held_encodings().tensors.empty() && !options.recalibrate;
  if (flags.data.data.empty() && flags.from_stats.empty() && !options.given && !held &&
      options.types.activation.quantized)
    throw Error(ErrorKind::usage,
                "calibrate needs either --data or --from-stats, or --encodings-in with all activations");
  std::error_code ignored;
  std::vector<std::filesystem::path> inputs = external_files(session.model());
  inputs.push_back(model);
  for (const char* ending : {".onnx", ".data", ".qdq.onnx", ".qdq.data"})
    for (const std::filesystem::path& input : inputs)
      if (std::filesystem::equivalent(input, std::filesystem::path(flags.output) / (prefix + ending), ignored))
        throw Error(ErrorKind::usage, fmt::format("the export would replace '{}', which is part of the model; give "
                                                  "another --output or --prefix",
                                                  input.string()));
  refuse_replacing(flags.save_stats, session.model(), {flags.model, flags.data.data, flags.config});
  if (!flags.data.data.empty()) session.prepare();
  OutputSet files(flags.output);
  const std::filesystem::path statistics = flags.save_stats.empty() ? "" : files.place_at(flags.save_stats);

  CalibrationResult result;
  if (flags.from_stats.empty() && flags.data.data.empty()) {
    result = session.calibrate(options);
  } else if (flags.from_stats.empty()) {
    const std::unique_ptr<Dataset> data = open_data(part, flags.run, session.graph());
    ProgressBar progress("calibrating", flags.report.quiet);
    options.progress = [&](std::size_t done, std::size_t total) { return progress.update(done, total); };
    result = calibrate_together(sessions, *data, options);
  } else {
    result = session.calibrate_from(load_all_statistics(flags.from_stats), options,
                                    fmt::to_string(fmt::join(flags.from_stats, "', '")));
  }
  stop_if_interrupted();

  if (flags.shard.empty()) export_files(flags.files, session, options, result, prefix, files);
  stop_if_interrupted();
  if (!flags.save_stats.empty()) save_statistics(statistics, result.statistics);
  report(flags, result, files.commit());
  return 0;
}

}  // namespace

void add_calibrate(CLI::App& root, Action& action) {
  CLI::App& command = *root.add_subcommand(
      "calibrate", "Find the encodings of a model from data; write them, the model and a QDQ model");
  const auto flags = std::make_shared<Flags>();
  command.add_option("model", flags->model, "The model")->type_name("MODEL.onnx")->required();
  add_data_flags(command, flags->data, false);
  command.add_option("--config", flags->config, "Quantizer config: a shipped one's name, or a file (docs/config.md)")
      ->type_name("NAME|FILE")
      ->capture_default_str();
  command.add_option("--scheme", flags->scheme, "min_max (tf), sqnr, mse, percentile, entropy or tf_enhanced")
      ->type_name("SCHEME")
      ->capture_default_str();
  command.add_option("--param-scheme", flags->parameter_scheme, "Of the weights (default: as --scheme)")
      ->type_name("SCHEME");
  command.add_option("--gamma", flags->gamma, "sqnr: weight of saturation noise")
      ->type_name("G")
      ->capture_default_str();
  command.add_option("--percentile", flags->percentile, "percentile: share of the values inside of the range")
      ->type_name("P")
      ->capture_default_str();
  command.add_option("--sentinels", flags->sentinels, "Values that only mark something (-1e9 in masks): clamp or keep")
      ->type_name("clamp|keep")
      ->check(CLI::IsMember({"clamp", "keep"}).description(""))
      ->capture_default_str();
  command
      .add_option("--param-type", flags->parameter_type,
                  "Of weights: int4, int8, int16, float16, float8e4m3fn, float8e5m2, float32 (not quantized)")
      ->type_name("TYPE")
      ->capture_default_str();
  command.add_option("--activation-type", flags->activation_type, "Of activations: the same types")
      ->type_name("TYPE")
      ->capture_default_str();
  command.add_option("--output,-o", flags->output, "Folder to write to")->type_name("DIR")->capture_default_str();
  command.add_option("--prefix", flags->prefix, "Name of the files (default: the model's)")->type_name("NAME");
  command
      .add_option("--save-stats", flags->save_stats, "Keep the statistics: other schemes and types without the data")
      ->type_name("F");
  command
      .add_option("--from-stats", flags->from_stats,
                  "Search kept statistics instead of running the model; those of several runs are added up")
      ->type_name("F,…")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command
      .add_option("--shard", flags->shard,
                  "Run only part I of N of the batches, and write only --save-stats; --from-stats takes all parts")
      ->type_name("I/N");
  command
      .add_option("--observe-weights", flags->observe_weights, "Observe activations behind quantized or float weights")
      ->type_name("quantized|float")
      ->check(CLI::IsMember({"quantized", "float"}).description(""))
      ->capture_default_str();
  command.add_flag("--read-every-tensor", flags->read_every_tensor,
                   "Do not derive histograms of x + 3 and the like from that of x");
  command.add_flag("--refine", flags->refine, "A second pass over the data measures the best candidates");
  add_export_flags(command, flags->files);
  command.add_flag("--recalibrate", flags->recalibrate,
                   "Of a QDQ model, find new encodings instead of keeping its own");
  add_given_flags(command, flags->overrides);
  add_override_flags(command, flags->overrides);
  add_run_flags(command, flags->run);
  add_report_flags(command, flags->report);
  add_examples(
      command,
      {"tare calibrate model.onnx --data samples.npz",
       "tare calibrate model.onnx --data images/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --samples 500",
       "tare calibrate model.onnx --data samples.npz --scheme min_max --activation-type int16 --prefix m16",
       "tare calibrate model.onnx --data samples.npz --save-stats model.stats",
       "tare calibrate model.onnx --from-stats model.stats --scheme mse --param-scheme sqnr --encoding-version 2.0.0",
       "tare calibrate model.onnx --data samples.npz --shard 1/2 --save-stats 1.stats",
       "tare calibrate model.onnx --from-stats 1.stats,2.stats"});
  command.callback([flags, &action] {
    action = [flags] { return with_convolutions(flags->run, [&] { return calibrate(*flags); }); };
  });
}

}  // namespace tare::cli
