// tare bench: how fast a model is on this machine: as it is, while it is calibrated, and simulated.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/bandwidth.hpp"
#include "cli/benchmark.hpp"
#include "cli/options.hpp"
#include "cli/profile.hpp"
#include "cli/terminal.hpp"
#include "run/cores.hpp"

namespace tare::cli {
namespace {

constexpr std::size_t bandwidth_bytes = std::size_t{256} << 20;  ///< more than caches hold

struct Flags {
  std::string model;
  DataFlags data;
  RunFlags run;
  ReportFlags report;
  std::string config = "default";
  std::string scheme = "sqnr";
  std::string parameter_type = "int8";
  std::string activation_type = "int8";
  int repetitions = 7;
  std::string profile;
};

CalibrationOptions calibration_options(const Flags& flags) {
  CalibrationOptions options;
  options.config = flags.config;
  options.types.parameter = parse_quantized_type(flags.parameter_type);
  options.types.activation = parse_quantized_type(flags.activation_type);
  options.search.scheme = parse_scheme(flags.scheme);
  options.nonfinite = nonfinite_policy(flags.run);
  return options;
}

/// What one run was, and what was measured around it.
struct Report {
  std::string device;
  int threads = 0;
  std::string data;  ///< "64 samples in 8 batches from pages.npz", and what was left out
  std::size_t batches = 0;
  std::size_t left_out = 0;
  BenchmarkResult result;
  std::size_t peak_memory = 0;
  double read_gbs = 0;  ///< 0: not measured
  double copy_gbs = 0;
  double batch_size() const { return static_cast<double>(result.samples) / static_cast<double>(batches); }
  double rate(const BatchTime& time) const { return batch_size() / time.median_ms * 1e3; }
};

nlohmann::ordered_json to_json(const Flags& flags, const Report& report) {
  const BenchmarkResult& r = report.result;
  nlohmann::ordered_json object = {{"model", flags.model},
                                   {"device", report.device},
                                   {"threads", report.threads},
                                   {"scheme", name_of(parse_scheme(flags.scheme))},
                                   {"samples", r.samples},
                                   {"batches", report.batches},
                                   {"samples_left_out", report.left_out},
                                   {"repetitions", flags.repetitions},
                                   {"quantizers", r.quantizers}};
  for (const auto& [name, time] : {std::pair{"plain", r.plain}, {"observe", r.observe}, {"simulate", r.simulate}}) {
    object[fmt::format("{}_ms", name)] = time.median_ms;
    object[fmt::format("{}_best_ms", name)] = time.best_ms;
    object[fmt::format("{}_samples_per_second", name)] = report.rate(time);
  }
  object["observe_ratio"] = r.observe.median_ms / r.plain.median_ms;
  object["simulate_ratio"] = r.simulate.median_ms / r.plain.median_ms;
  object["observing_ms"] = r.observing_ms;
  object["search_ms"] = r.search_ms;
  object["observed_elements"] = r.observed_elements;
  object["observer_ms"] = r.observer_ms;
  object["observer_gbs"] = r.observer_gbs;
  if (report.read_gbs > 0) {
    object["read_gbs"] = report.read_gbs;
    object["copy_gbs"] = report.copy_gbs;
  }
  object["peak_memory_bytes"] = report.peak_memory;
  return object;
}

std::string to_text(const Flags& flags, const Report& report) {
  const BenchmarkResult& r = report.result;
  std::string text = fmt::format("{}, on {}, {} threads; medians of {} repetitions, a batch\n", report.data,
                                 report.device, report.threads, flags.repetitions);
  const auto line = [&](const char* name, const BatchTime& time) {
    text += fmt::format("{:<12}{:10.3f} ms {:10.1f} samples/s {:7.2f} x plain   (fastest {:.3f} ms)\n", name,
                        time.median_ms, report.rate(time), time.median_ms / r.plain.median_ms, time.best_ms);
  };
  line("plain", r.plain);
  line("observe", r.observe);
  line("simulate", r.simulate);
  text +=
      fmt::format("search      {:10.3f} ms, once, for {} quantizers ({})\n", r.search_ms, r.quantizers, flags.scheme);
  if (r.observed_elements > 0)  // a model that holds its quantizers is not observed
    text += fmt::format("observers   {:10.3f} ms for {:.3f} million elements, {:.1f} GB/s\n", r.observer_ms,
                        r.observed_elements / 1e6, r.observer_gbs);
  if (report.read_gbs > 0)
    text += fmt::format("bandwidth   read {:.1f} GB/s, copy {:.1f} GB/s\n", report.read_gbs, report.copy_gbs);
  return text + fmt::format("memory      {} at most\n", bytes_text(report.peak_memory));
}

Profiled profiled(const Flags& flags) {
  if (flags.profile == "simulate") return Profiled::simulate;
  return flags.profile == "observe" ? Profiled::observe : Profiled::plain;
}

nlohmann::ordered_json to_json(const std::vector<NodeTime>& nodes, Profiled what) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const NodeTime& node : nodes)
    list.push_back({{"operator", node.op_type},
                    {"node", node.label},
                    {"shape", node.shape},
                    {"run_ms", node.run_ms},
                    {what == Profiled::simulate ? "quantize_ms" : "observe_ms", node.site_ms}});
  return list;
}

int bench(const CLI::App& command, const Flags& flags) {
  if (flags.profile == "plain")
    refuse_idle(command, {"--config", "--scheme", "--param-type", "--activation-type"},
                "--profile plain runs the float model alone");
  if (flags.profile == "plain" || flags.profile == "observe")
    refuse_idle(command, {"--rounding"}, fmt::format("--profile {} quantizes nothing", flags.profile));
  BenchmarkOptions options{calibration_options(flags), flags.repetitions};
  ObserverClock clock;
  Session session = open_session(flags.model, flags.run, true,
                                 [&](std::unique_ptr<Backend> backend) { return clock.wrap(std::move(backend)); });
  if (!session.held_encodings().tensors.empty() && flags.profile != "observe")
    refuse_idle(command, {"--config", "--scheme", "--param-type", "--activation-type"},
                "the model's own quantizers are taken as they are");
  session.prepare();
  Report report;
  std::vector<Batch> batches;
  {
    const std::unique_ptr<Dataset> data = open_data(flags.data, flags.run, session.graph());
    report.data = data->description();
    report.left_out = data->left_out();
    while (std::optional<Batch> batch = data->next()) batches.push_back(std::move(*batch));
  }
  if (batches.empty()) throw Error(ErrorKind::data, "the data holds no samples");
  if (!flags.profile.empty()) {
    const Profiled what = profiled(flags);
    const std::vector<NodeTime> nodes =
        profile(session, batches[0], options.calibration, what, session_options(flags.run).rounding, flags.repetitions);
    if (flags.report.json)
      print_json({{"model", flags.model}, {"device", session.backend().name()}, {"nodes", to_json(nodes, what)}});
    else if (!flags.report.quiet)
      print(profile_text(nodes, what));
    return 0;
  }

  report.device = session.backend().name();
  report.threads = flags.run.threads > 0 ? flags.run.threads : usable_cores();
  report.batches = batches.size();
  {
    ProgressBar progress("measuring", flags.report.quiet);
    options.calibration.progress = [&](std::size_t done, std::size_t total) { return progress.update(done, total); };
    report.result = run_benchmark(session, clock, batches, options);
  }
  report.peak_memory = peak_memory_bytes();
  if (report.device == "cpu") {  // memory of another device is not what a host thread can measure
    Bandwidth bandwidth(bandwidth_bytes, report.threads);
    report.read_gbs = bandwidth.read();
    report.copy_gbs = bandwidth.copy();
  }
  stop_if_interrupted();
  if (flags.report.json)
    print_json(to_json(flags, report));
  else if (!flags.report.quiet)
    print(to_text(flags, report));
  return 0;
}

}  // namespace

void add_bench(CLI::App& root, Action& action) {
  CLI::App& command = *root.add_subcommand("bench", "Time the model: plain, while it is observed, and simulated");
  const auto flags = std::make_shared<Flags>();
  flags->data.samples = 64;
  command.add_option("model", flags->model, "The model")->type_name("MODEL.onnx")->required();
  add_data_flags(command, flags->data);
  command.add_option("--config", flags->config, "Quantizer config: a shipped one's name, or a file (docs/config.md)")
      ->type_name("NAME|FILE")
      ->capture_default_str();
  command.add_option("--scheme", flags->scheme, "What is observed and searched, as in calibrate")
      ->type_name("SCHEME")
      ->capture_default_str();
  command.add_option("--param-type", flags->parameter_type, "Of weights, as in calibrate")
      ->type_name("TYPE")
      ->capture_default_str();
  command.add_option("--activation-type", flags->activation_type, "Of activations, as in calibrate")
      ->type_name("TYPE")
      ->capture_default_str();
  command.add_option("--repetitions", flags->repetitions, "Passes through the data; the figures are medians")
      ->type_name("N")
      ->check(CLI::Range(1, 1000000).description(""))
      ->capture_default_str();
  command
      .add_option("--profile", flags->profile,
                  "List instead where the first batch spends its time: plain, with its observers, or simulated")
      ->type_name("plain|observe|simulate")
      ->check(CLI::IsMember({"plain", "observe", "simulate"}).description(""));
  add_run_flags(command, flags->run);
  add_report_flags(command, flags->report);
  add_examples(command,
               {"tare bench model.onnx --data samples.npz",
                "tare bench model.onnx --data samples.npz --scheme min_max --threads 1 --repetitions 20 --json",
                "tare bench model.onnx --data samples.npz --profile observe"});
  command.callback([flags, &action, &command] {
    action = [flags, &command] { return with_convolutions(flags->run, [&] { return bench(command, *flags); }); };
  });
}

}  // namespace tare::cli
