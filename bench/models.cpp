// Plain inference, observing (what calibration adds) and simulating of 17 models, milliseconds a batch. What is
// measured, and how, is what `tare bench` does with a model. Peers on the same models and data: bench/peers.py.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bench/support/models.hpp"
#include "cli/benchmark.hpp"
#include "cli/waits.hpp"

namespace tare::bench {
namespace {

struct Options {
  int threads = 2;
  int repetitions = 7;
  double seconds = 10;
  std::vector<std::string> only;
  std::filesystem::path folder;
  bool list = false;
  std::string scheme = "sqnr";
  std::string output;
  bool json = false;
};

struct Row {
  std::string model;
  cli::BenchmarkResult result;
};

Row run_model(const BenchModel& model, const Options& options) {
  CpuOptions cpu;
  cpu.threads = options.threads;
  cli::ObserverClock clock;
  SessionOptions session_options;
  session_options.cpu = cpu;
  Session session(model.model, clock.wrap(make_cpu_backend(cpu)), session_options);
  cli::BenchmarkOptions benchmark;
  benchmark.calibration.search.scheme = *scheme_of(options.scheme);
  benchmark.repetitions = options.repetitions;
  benchmark.seconds = options.seconds;
  return {model.name, run_benchmark(session, clock, model.batches(session.graph()), benchmark)};
}

void print_table(const std::vector<Row>& rows) {
  fmt::print("{:12} {:>11} {:>11} {:>11} {:>8} {:>8} {:>10} {:>10} {:>10}\n", "ms a batch", "plain", "observe",
             "simulate", "obs/pl", "sim/pl", "observing", "observers", "obs GB/s");
  for (const auto& [model, r] : rows)
    fmt::print("{:12} {:11.3f} {:11.3f} {:11.3f} {:8.2f} {:8.2f} {:10.3f} {:10.3f} {:10.1f}\n", model,
               r.plain.median_ms, r.observe.median_ms, r.simulate.median_ms, r.observe.median_ms / r.plain.median_ms,
               r.simulate.median_ms / r.plain.median_ms, r.observing_ms, r.observer_ms, r.observer_gbs);
}

std::string json_text(const std::vector<Row>& rows, const Options& options) {
  nlohmann::ordered_json models;
  const auto entry = [](const cli::BatchTime& time) {
    return nlohmann::ordered_json{{"best_ms", time.best_ms}, {"median_ms", time.median_ms}};
  };
  for (const auto& [model, r] : rows)
    models[model] = {{"plain", entry(r.plain)},
                     {"observe", entry(r.observe)},
                     {"simulate", entry(r.simulate)},
                     {"observing_ms", r.observing_ms},
                     {"observer_ms", r.observer_ms},
                     {"search_ms", r.search_ms},
                     {"observed_elements", r.observed_elements},
                     {"observer_gbs", r.observer_gbs}};
  const nlohmann::ordered_json report = {{"threads", options.threads}, {"scheme", options.scheme}, {"models", models}};
  return report.dump(2) + "\n";
}

int run(int argc, char** argv) {
  Options options;
  options.folder = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "bench-models";
  CLI::App app("Plain, observing and simulating runs of real models and of well-known architectures");
  app.add_option("--threads", options.threads, "Threads")->check(CLI::Range(1, 1024));
  app.add_option("--repetitions", options.repetitions, "Repetitions of every batch")->check(CLI::Range(1, 1000000));
  app.add_option("--seconds", options.seconds, "Of a model: fewer repetitions when it takes longer")
      ->check(CLI::PositiveNumber);
  app.add_option("--model", options.only, "Only these models")->delimiter(',');
  app.add_option("--folder", options.folder, "Where models with random weights are kept");
  app.add_flag("--list", options.list, "Only write what is missing there, and list the models as JSON");
  app.add_option("--scheme", options.scheme, "What is observed")
      ->check(CLI::IsMember({"sqnr", "min_max", "tf_enhanced"}));
  app.add_option("--output", options.output, "Also write JSON to this file");
  app.add_flag("--json", options.json, "Print JSON");
  CLI11_PARSE(app, argc, argv);
  std::vector<Row> rows;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const BenchModel& model : bench_models(options.folder)) {
    if (!options.only.empty() && std::find(options.only.begin(), options.only.end(), model.name) == options.only.end())
      continue;
    if (options.list) {
      list.push_back({{"name", model.name}, {"model", model.model.string()}, {"data", model.data.string()}});
      continue;
    }
    fmt::print(stderr, "bench_models: {}\n", model.name);
    rows.push_back(run_model(model, options));
  }
  if (options.list) {
    std::cout << list.dump(2) << '\n';
    return 0;
  }
  if (options.json)
    std::cout << json_text(rows, options);
  else
    print_table(rows);
  if (!options.output.empty() && !(std::ofstream(options.output) << json_text(rows, options)).flush())
    throw Error(ErrorKind::io, fmt::format("cannot write '{}'", options.output));
  return 0;
}

}  // namespace
}  // namespace tare::bench

int main(int argc, char** argv) {
  tare::cli::wait_briefly(argv);
  try {
    return tare::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
