// Time of one batch of the eight real models: plain inference, observing (what calibration adds) and simulating.
// The three take turns in one process, batch by batch, so that a noisy machine disturbs all of them alike; the figure
// of a batch is its fastest repetition, the figure of a model the mean over its batches. `--profile` lists where plain
// inference spends it. ONNX Runtime's figures on the same data: bench/peer_onnxruntime.py.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "plan/fuse.hpp"
#include "plan/simplify.hpp"
#include "run/executor.hpp"
#include "support/golden.hpp"
#include "tare/session.hpp"

namespace tare::bench {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// The repetitions of one batch.
struct Times {
  std::vector<double> all;
  double best() const { return *std::min_element(all.begin(), all.end()); }
  double median() const {
    std::vector<double> sorted = all;
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2), sorted.end());
    return sorted[sorted.size() / 2];
  }
};

template <class Body>
void measure(Times& times, Body&& body) {
  const auto start = Clock::now();
  body();
  times.all.push_back(milliseconds_since(start));
}

struct Figure {
  double best = 0;
  double median = 0;
  explicit Figure(const std::vector<Times>& batches) {
    for (const Times& batch : batches) {
      best += batch.best() / static_cast<double>(batches.size());
      median += batch.median() / static_cast<double>(batches.size());
    }
  }
};

struct Options {
  int threads = 2;
  int repetitions = 7;
  std::string only;
  std::string scheme = "sqnr";
  bool json = false;
  bool profile = false;
};

struct Result {
  std::string model;
  Figure plain, observe, simulate;
};

Result run_model(const test::GoldenModel& model, const Options& options) {
  SessionOptions session_options;
  session_options.cpu.threads = options.threads;
  Session session(model.model(), session_options);
  const std::vector<Batch> batches = test::golden_batches(model, session.graph());
  CalibrationOptions calibration_options;
  if (options.scheme == "min_max") calibration_options.search.scheme = Scheme::min_max;
  if (options.scheme == "tf_enhanced") calibration_options.search.scheme = Scheme::tf_enhanced;
  {
    Calibration first = session.start_calibration(calibration_options);
    for (const Batch& batch : batches) first.add(batch.inputs, batch.samples);
    session.set_encodings(first.finish().encodings);
  }
  Calibration calibration = session.start_calibration(calibration_options);
  std::vector<Times> plain(batches.size()), observe(batches.size()), simulate(batches.size());
  for (int r = -1; r < options.repetitions; ++r)
    for (std::size_t b = 0; b < batches.size(); ++b) {
      Times warm_up;
      const std::vector<Tensor>& inputs = batches[b].inputs;
      measure(r < 0 ? warm_up : plain[b], [&] { session.run(inputs); });
      measure(r < 0 ? warm_up : observe[b], [&] { calibration.add(inputs, batches[b].samples); });
      measure(r < 0 ? warm_up : simulate[b], [&] { session.simulate(inputs); });
    }
  return {model.name, Figure(plain), Figure(observe), Figure(simulate)};
}

/// Time by operator and by node of plain inference, best repetition of the first batch.
void profile_model(const test::GoldenModel& model, const Options& options) {
  CpuOptions cpu;
  cpu.threads = options.threads;
  const auto backend = make_cpu_backend(cpu);
  const Graph original = load_model(model.model()).graph;
  const std::vector<bool> nothing_visible(original.values.size(), false);
  Executor executor(make_runnable(original, nothing_visible, *backend), *backend);
  const Graph& graph = executor.graph();
  const std::vector<Batch> batches = test::golden_batches(model, original);

  std::vector<double> best(graph.nodes.size(), std::numeric_limits<double>::infinity());
  std::vector<std::string> shapes(graph.nodes.size());
  Clock::time_point last;
  executor.watch([&](std::size_t node, std::span<const Tensor> outputs) {
    best[node] = std::min(best[node], milliseconds_since(last));
    if (!outputs.empty() && outputs[0].present())
      shapes[node] = outputs[0].shape().text() + (outputs[0].layout() == Layout::plain ? "" : " channels_last");
    last = Clock::now();
  });
  for (int r = 0; r < options.repetitions; ++r) {
    last = Clock::now();
    executor.run(batches[0].inputs);
  }

  double total = 0;
  std::map<std::string, std::pair<double, int>> by_operator;
  std::vector<std::size_t> order;
  for (std::size_t n = 0; n < best.size(); ++n) {
    total += best[n];
    auto& entry = by_operator[graph.nodes[n].op_type];
    entry.first += best[n];
    ++entry.second;
    order.push_back(n);
  }
  fmt::print("\n{}: {} nodes, {:.3f} ms\n", model.name, best.size(), total);
  std::vector<std::pair<std::string, std::pair<double, int>>> operators(by_operator.begin(), by_operator.end());
  std::sort(operators.begin(), operators.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [name, entry] : operators)
    fmt::print("  {:24} {:9.3f} ms {:5.1f} %  {:4} nodes\n", name, entry.first, 100 * entry.first / total,
               entry.second);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return best[a] > best[b]; });
  order.resize(std::min<std::size_t>(order.size(), 24));
  for (const std::size_t n : order) fmt::print("    {:9.3f} ms  {} {}\n", best[n], graph.nodes[n].label(), shapes[n]);
}

void print_table(const std::vector<Result>& results) {
  fmt::print("{:12} {:>11} {:>11} {:>11} {:>8} {:>8}\n", "ms a batch", "plain", "observe", "simulate", "obs/pl",
             "sim/pl");
  for (const Result& r : results)
    fmt::print("{:12} {:11.3f} {:11.3f} {:11.3f} {:8.2f} {:8.2f}\n", r.model, r.plain.best, r.observe.best,
               r.simulate.best, r.observe.best / r.plain.best, r.simulate.best / r.plain.best);
}

void print_json(const std::vector<Result>& results, const Options& options) {
  nlohmann::json models;
  for (const Result& r : results) {
    const auto entry = [](const Figure& figure) {
      return nlohmann::json{{"best_ms", figure.best}, {"median_ms", figure.median}};
    };
    models[r.model] = {{"plain", entry(r.plain)}, {"observe", entry(r.observe)}, {"simulate", entry(r.simulate)}};
  }
  fmt::print("{}\n",
             nlohmann::json{{"threads", options.threads}, {"scheme", options.scheme}, {"models", models}}.dump(2));
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Plain, observing and simulating runs of the golden models");
  app.add_option("--threads", options.threads, "Threads")->check(CLI::Range(1, 1024));
  app.add_option("--repetitions", options.repetitions, "Repetitions of every batch")->check(CLI::Range(1, 1000000));
  app.add_option("--model", options.only, "Only this model");
  app.add_option("--scheme", options.scheme, "What is observed")
      ->check(CLI::IsMember({"sqnr", "min_max", "tf_enhanced"}));
  app.add_flag("--json", options.json, "Print JSON");
  app.add_flag("--profile", options.profile, "List the time of plain inference by operator instead");
  CLI11_PARSE(app, argc, argv);
  std::vector<Result> results;
  for (const test::GoldenModel& model : test::golden_models) {
    if (!options.only.empty() && options.only != model.name) continue;
    if (options.profile)
      profile_model(model, options);
    else
      results.push_back(run_model(model, options));
  }
  if (options.json)
    print_json(results, options);
  else if (!options.profile)
    print_table(results);
  return 0;
}

}  // namespace
}  // namespace tare::bench

int main(int argc, char** argv) {
  try {
    return tare::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
