#include "cli/calibrate_flags.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "export/format_limits.hpp"
#include "tare/export.hpp"

namespace tare::cli {
namespace {

/// A part of the data serves for nothing but its statistics.
void check_shard_flags(const CalibrateFlags& flags, const CalibrationOptions& options) {
  if (flags.shard.empty()) return;
  if (options.search.scheme == Scheme::tf_enhanced)
    throw Error(ErrorKind::usage,
                "--shard: tf_enhanced depends on the user's batches in their order, so that shards cannot be added up; "
                "use sqnr, or calibrate on all the data");
  if (flags.refine) throw Error(ErrorKind::usage, "--shard: --refine needs all the data at once");
  if (flags.save_stats.empty() || flags.data.data.empty())
    throw Error(ErrorKind::usage, "--shard needs --data, and --save-stats for what it finds");
}

bool is_searched(Scheme scheme) { return scheme == Scheme::sqnr || scheme == Scheme::mse; }

/// What the scheme of a quantizer makes of --gamma, --percentile, --sentinels and --refine. An override may be of an
/// activation or of a weight.
void refuse_idle_settings(const CLI::App& command, const CalibrationOptions& options) {
  std::vector<Scheme> activations = {options.search.scheme};
  for (const SiteOverride& changed : options.overrides)
    if (changed.scheme) activations.push_back(*changed.scheme);
  std::vector<Scheme> all = activations;
  all.push_back(options.parameter_scheme.value_or(options.search.scheme));
  const bool overridden = !options.overrides.empty();
  if (!overridden && !options.types.parameter.quantized)
    refuse_idle(command, {"--param-scheme"}, "--param-type float32 leaves no weights to search");
  if (!overridden && !options.given && !options.types.parameter.quantized && !options.types.activation.quantized)
    throw Error(ErrorKind::usage, "--param-type and --activation-type are both float32: nothing would be quantized");
  const auto none_is = [](const std::vector<Scheme>& schemes, const auto& wanted) {
    return std::none_of(schemes.begin(), schemes.end(), wanted);
  };
  if (none_is(all, [](Scheme scheme) { return scheme == Scheme::sqnr; }))
    refuse_idle(command, {"--gamma"}, "it is a setting of sqnr, and nothing is searched with that");
  if (none_is(activations, [](Scheme scheme) { return scheme == Scheme::percentile; }))
    refuse_idle(command, {"--percentile"},
                "it is a setting of percentile for activations, and none is searched with that");
  if (none_is(all, [](Scheme scheme) { return scheme != Scheme::min_max && scheme != Scheme::tf_enhanced; }))
    refuse_idle(command, {"--sentinels"}, "min_max and tf_enhanced take all values as they are");
  if (none_is(activations, is_searched))
    refuse_idle(command, {"--refine"}, "only sqnr and mse have candidates to measure, and no activation has them");
}

/// Of files that are not written.
void refuse_idle_exports(const CLI::App& command, const CalibrateFlags& flags) {
  if (!flags.shard.empty())
    refuse_idle(command,
                {"--output", "--prefix", "--encoding-version", "--no-qdq", "--qdq-weights", "--qdq-int32-bias",
                 "--no-qdq-derived", "--int32-bias", "--activations-as", "--also"},
                "--shard writes only statistics, to --save-stats");
  if (flags.files.qdq) return;
  refuse_idle(command, {"--qdq-weights", "--qdq-int32-bias", "--no-qdq-derived"}, "--no-qdq leaves that model out");
  if (parse_encoding_version(flags.files.encoding_version) != EncodingVersion::v2_0_0)
    refuse_idle(command, {"--activations-as"}, "it is for the QDQ model and for version 2.0.0, and neither is written");
}

/// What the export would refuse, but behind all the data. Single quantizers of another type are found there.
void check_written_types(const CalibrateFlags& flags, const CalibrationOptions& options) {
  if (!flags.shard.empty()) return;
  const EncodingVersion version = parse_encoding_version(flags.files.encoding_version);
  const bool overrides =
      std::find(flags.files.also.begin(), flags.files.also.end(), "ort-overrides") != flags.files.also.end();
  const auto refuse = [](std::string_view flag, const std::string& type, const std::string& why) {
    throw Error(ErrorKind::unsupported, fmt::format("{} {}: {}", flag, type, why));
  };
  const auto check = [&](std::string_view flag, const std::string& name, const QuantizedType& type) {
    if (const EncodingVersion first = first_version_with(type.format); version < first)
      refuse(flag, name,
             fmt::format("version {} of encodings has no float8; use --encoding-version {}", name_of(version),
                         name_of(first)));
    if (type.quantized && overrides && !overrides_hold(type.format, type.bitwidth))
      refuse(flag, name, "--also ort-overrides holds integers of 4, 8 and 16 bits alone; leave it out");
  };
  check("--param-type", flags.parameter_type, options.types.parameter);
  check("--activation-type", flags.activation_type, options.types.activation);
}

void refuse_idle_data_flags(const CLI::App& command, const CalibrateFlags& flags) {
  if (!flags.data.data.empty()) return;
  refuse_idle(
      command,
      {"--samples", "--batch-size", "--mean", "--std", "--size", "--resize-shorter", "--layout", "--channel-order"},
      "there is no --data to read");
  if (flags.from_stats.empty())
    refuse_idle(command, {"--refine", "--read-every-tensor", "--observe-weights", "--save-stats"},
                "there is no --data to observe");
}

}  // namespace

void check_flags(const CLI::App& command, const CalibrateFlags& flags, const CalibrationOptions& options) {
  if (!flags.data.data.empty() && !flags.from_stats.empty())
    throw Error(ErrorKind::usage, "calibrate takes either --data or --from-stats");
  check_shard_flags(flags, options);
  if (flags.prefix.find('/') != std::string::npos || flags.prefix == "." || flags.prefix == "..")
    throw Error(ErrorKind::usage, fmt::format("--prefix: '{}' is a path; give the folder with --output", flags.prefix));
  refuse_idle_data_flags(command, flags);
  refuse_idle_settings(command, options);
  refuse_idle_exports(command, flags);
  check_written_types(flags, options);
}

void check_held_flags(const CLI::App& command, const CalibrationOptions& options, bool held) {
  if (!held) refuse_idle(command, {"--recalibrate"}, "the model holds no quantizers");
  if (held && !options.recalibrate)
    refuse_idle(command,
                {"--scheme", "--param-scheme", "--gamma", "--percentile", "--sentinels", "--refine",
                 "--read-every-tensor", "--observe-weights"},
                "the encodings of the model's own quantizers are kept; --recalibrate finds new ones");
}

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

CalibrationOptions calibration_options(const CalibrateFlags& flags) {
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

void add_calibrate_flags(CLI::App& command, const std::shared_ptr<CalibrateFlags>& flags) {
  command.add_option("model", flags->model, "The model")->type_name("MODEL.onnx")->required();
  flags->data.samples = DataOptions().samples;
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
                  "Of weights: int2 … int16, float16, float8e4m3fn, float8e5m2, float32 (not quantized)")
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
  add_statistics_flag(command, flags->from_stats,
                      "Search kept statistics instead of running the model; those of several runs are added up");
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
}

}  // namespace tare::cli
