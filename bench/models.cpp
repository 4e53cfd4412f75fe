// Time of one batch of the eight real models: plain inference, observing (what calibration adds) and simulating.
// The three take turns in one process, batch by batch, so that a noisy machine disturbs all of them alike; the figure
// of a batch is its fastest repetition, the figure of a model the mean over its batches. `--profile` lists where plain
// inference or observing spends it. ONNX Runtime's figures on the same data: bench/peer_onnxruntime.py.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "plan/fuse.hpp"
#include "plan/simplify.hpp"
#include "run/executor.hpp"
#include "support/golden.hpp"
#include "tare/placement.hpp"
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
  std::string profile;
};

Scheme scheme_of(const Options& options) {
  if (options.scheme == "min_max") return Scheme::min_max;
  return options.scheme == "tf_enhanced" ? Scheme::tf_enhanced : Scheme::sqnr;
}

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
  calibration_options.search.scheme = scheme_of(options);
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

/// Observes like a calibration and notes how long each site took.
class TimedObserver final : public ValueHook {
 public:
  TimedObserver(Backend& backend, ObserverKind kind, std::size_t sites)
      : observer_(backend.make_observer(kind, sites)), best_(sites, std::numeric_limits<double>::infinity()) {}
  Tensor on_value(std::size_t site, Tensor value) override {
    const auto start = Clock::now();
    observer_->observe(site, value);
    best_[site] = std::min(best_[site], milliseconds_since(start));
    last_end_ = Clock::now();
    return value;
  }
  Clock::time_point last_end() const { return last_end_; }
  double best(std::size_t site) const { return std::isfinite(best_[site]) ? best_[site] : 0; }

 private:
  std::unique_ptr<Observer> observer_;
  std::vector<double> best_;
  Clock::time_point last_end_;
};

/// Time by operator and by node, best repetition of the first batch: of plain inference, or of the run that a
/// calibration makes, without and with its observers.
void profile_model(const test::GoldenModel& model, const Options& options) {
  CpuOptions cpu;
  cpu.threads = options.threads;
  const auto backend = make_cpu_backend(cpu);
  const Graph original = load_model(model.model()).graph;
  const bool observing = options.profile == "observe";
  std::vector<std::int32_t> sites(original.values.size(), -1);
  std::size_t site_count = 0;
  if (observing)
    for (const QuantSite& site : place(original, load_config("default"), {}))
      if (site.enabled && site.role == SiteRole::activation && original.constant(site.value) == nullptr)
        sites[static_cast<std::size_t>(site.value)] = static_cast<std::int32_t>(site_count++);
  std::vector<bool> visible;
  for (const std::int32_t site : sites) visible.push_back(site >= 0);
  Executor executor(make_runnable(original, visible, *backend), *backend, sites);
  const Graph& graph = executor.graph();
  const std::vector<Batch> batches = test::golden_batches(model, original);

  TimedObserver observer(
      *backend, scheme_of(options) == Scheme::min_max ? ObserverKind::min_max : ObserverKind::histogram, site_count);
  std::vector<double> best(graph.nodes.size(), std::numeric_limits<double>::infinity());
  std::vector<std::string> shapes(graph.nodes.size());
  Clock::time_point last;
  executor.watch([&](std::size_t node, std::span<const Tensor> outputs) {
    best[node] = std::min(best[node], milliseconds_since(std::max(last, observer.last_end())));
    if (!outputs.empty() && outputs[0].present())
      shapes[node] = outputs[0].shape().text() + (outputs[0].layout() == Layout::plain ? "" : " channels_last");
    last = Clock::now();
  });
  for (int r = 0; r < options.repetitions; ++r) {
    last = Clock::now();
    executor.run(batches[0].inputs, observing ? &observer : nullptr);
  }

  struct Entry {
    double run = 0;
    double observe = 0;
    int nodes = 0;
  };
  const auto observed = [&](const Node& node) {
    double sum = 0;
    for (const ValueId value : node.outputs)
      if (observing && value != absent && static_cast<std::size_t>(value) < sites.size() &&
          sites[static_cast<std::size_t>(value)] >= 0)
        sum += observer.best(static_cast<std::size_t>(sites[static_cast<std::size_t>(value)]));
    return sum;
  };
  Entry total;
  std::map<std::string, Entry> by_operator;
  std::vector<std::size_t> order;
  for (std::size_t n = 0; n < best.size(); ++n) {
    for (Entry* entry : {&total, &by_operator[graph.nodes[n].op_type]}) {
      entry->run += best[n];
      entry->observe += observed(graph.nodes[n]);
      ++entry->nodes;
    }
    order.push_back(n);
  }
  fmt::print("\n{}: {} nodes, {:.3f} ms, observing their results {:.3f} ms\n", model.name, total.nodes, total.run,
             total.observe);
  std::vector<std::pair<std::string, Entry>> operators(by_operator.begin(), by_operator.end());
  std::sort(operators.begin(), operators.end(), [](const auto& a, const auto& b) {
    return a.second.run + a.second.observe > b.second.run + b.second.observe;
  });
  for (const auto& [name, entry] : operators)
    fmt::print("  {:24} {:9.3f} ms {:5.1f} %  {:4} nodes  {:9.3f} ms\n", name, entry.run, 100 * entry.run / total.run,
               entry.nodes, entry.observe);
  const auto cost = [&](std::size_t n) { return best[n] + observed(graph.nodes[n]); };
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return cost(a) > cost(b); });
  order.resize(std::min<std::size_t>(order.size(), 24));
  for (const std::size_t n : order)
    fmt::print("    {:9.3f} ms {:9.3f} ms  {} {}\n", best[n], observed(graph.nodes[n]), graph.nodes[n].label(),
               shapes[n]);
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
  app.add_option("--profile", options.profile, "List the time by operator instead")
      ->check(CLI::IsMember({"plain", "observe"}));
  CLI11_PARSE(app, argc, argv);
  std::vector<Result> results;
  for (const test::GoldenModel& model : test::golden_models) {
    if (!options.only.empty() && options.only != model.name) continue;
    if (!options.profile.empty())
      profile_model(model, options);
    else
      results.push_back(run_model(model, options));
  }
  if (options.json)
    print_json(results, options);
  else if (options.profile.empty())
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
