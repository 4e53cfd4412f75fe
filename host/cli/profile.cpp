#include "cli/profile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>

#include "cli/terminal.hpp"
#include "plan/fuse.hpp"
#include "plan/quantized_graph.hpp"
#include "run/executor.hpp"
#include "run/observed_run.hpp"
#include "run/quantize_hook.hpp"

namespace tare::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t shown_nodes = 24;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// Does what another hook does and notes how long each site took.
class TimedHook final : public ValueHook {
 public:
  TimedHook(Backend& backend, ValueHook& inner, std::size_t sites)
      : backend_(backend), inner_(inner), best_(sites, infinity) {}
  Tensor on_value(std::size_t site, Tensor value) override {
    const auto start = Clock::now();
    value = inner_.on_value(site, std::move(value));
    backend_.synchronize();
    best_[site] = std::min(best_[site], milliseconds_since(start));
    last_end_ = Clock::now();
    return value;
  }
  Clock::time_point last_end() const { return last_end_; }
  double best(std::size_t site) const { return std::isfinite(best_[site]) ? best_[site] : 0; }

 private:
  Backend& backend_;
  ValueHook& inner_;
  std::vector<double> best_;
  Clock::time_point last_end_;
};

ObserverKind observer_of(Scheme scheme) {
  if (scheme == Scheme::min_max) return ObserverKind::min_max;
  return scheme == Scheme::tf_enhanced ? ObserverKind::tf_enhanced : ObserverKind::histogram;
}

std::vector<NodeTime> time_nodes(Backend& backend, Graph runnable, const std::vector<std::int32_t>& site_of_value,
                                 std::size_t sites, ValueHook& inner, std::span<const Tensor> inputs, int repetitions) {
  Executor executor(std::move(runnable), backend, site_of_value, &interrupted());
  const Graph& graph = executor.graph();
  TimedHook hook(backend, inner, sites);
  std::vector<NodeTime> nodes(graph.nodes.size());
  for (std::size_t n = 0; n < nodes.size(); ++n)
    nodes[n] = {graph.nodes[n].op_type, graph.nodes[n].label(), {}, infinity, 0};
  Clock::time_point last;
  executor.watch([&](std::size_t node, std::span<const Tensor> outputs) {
    backend.synchronize();
    nodes[node].run_ms = std::min(nodes[node].run_ms, milliseconds_since(std::max(last, hook.last_end())));
    if (!outputs.empty() && outputs[0].present())
      nodes[node].shape = outputs[0].shape().text() + (outputs[0].layout() == Layout::plain ? "" : " channels_last");
    last = Clock::now();
  });
  for (int r = 0; r < repetitions; ++r) {
    last = Clock::now();
    executor.run(inputs, &hook);
  }
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    if (!std::isfinite(nodes[n].run_ms)) nodes[n].run_ms = 0;  // in a body that was not entered
    for (const ValueId value : graph.nodes[n].outputs)
      if (value != absent && static_cast<std::size_t>(value) < site_of_value.size() &&
          site_of_value[static_cast<std::size_t>(value)] >= 0)
        nodes[n].site_ms += hook.best(static_cast<std::size_t>(site_of_value[static_cast<std::size_t>(value)]));
  }
  return nodes;
}

std::vector<NodeTime> profile_float(Session& session, std::span<const Tensor> inputs,
                                    const CalibrationOptions& calibration, bool observing, int repetitions) {
  const Graph& graph = session.graph();
  Backend& backend = session.backend();
  std::vector<std::int32_t> sites(graph.values.size(), -1);
  std::vector<bool> visible(graph.values.size());
  std::size_t count = 0;
  if (observing)
    for (const QuantSite& site : place(graph, load_config(calibration.config), calibration.types))
      if (site.enabled && site.role == SiteRole::activation && graph.constant(site.value) == nullptr) {
        sites[static_cast<std::size_t>(site.value)] = static_cast<std::int32_t>(count++);
        visible[static_cast<std::size_t>(site.value)] = true;
      }
  const std::unique_ptr<Observer> observer = backend.make_observer(observer_of(calibration.search.scheme), count);
  ObserveHook hook([&](std::size_t site, const Tensor& value) { observer->observe(site, value); });
  return time_nodes(backend, make_runnable(graph, visible, backend), sites, count, hook, inputs, repetitions);
}

std::vector<NodeTime> profile_simulated(Session& session, const Batch& batch, const CalibrationOptions& options,
                                        Rounding rounding, int repetitions) {
  Backend& backend = session.backend();
  Calibration calibration = session.start_calibration(options);
  calibration.add(batch.inputs, batch.samples);
  QuantizedGraph quantized = make_simulated(session.graph(), calibration.finish().encodings, backend, rounding);
  QuantizeHook hook(backend, quantized.sites, rounding);
  return time_nodes(backend, std::move(quantized.graph), quantized.site_of_value, quantized.sites.size(), hook,
                    batch.inputs, repetitions);
}

}  // namespace

std::vector<NodeTime> profile(Session& session, const Batch& batch, const CalibrationOptions& calibration,
                              Profiled what, Rounding rounding, int repetitions) {
  if (what == Profiled::simulate) return profile_simulated(session, batch, calibration, rounding, repetitions);
  return profile_float(session, batch.inputs, calibration, what == Profiled::observe, repetitions);
}

std::string profile_text(std::vector<NodeTime> nodes, Profiled what) {
  struct Sum {
    double run = 0;
    double site = 0;
    int nodes = 0;
  };
  Sum total;
  std::map<std::string, Sum> by_operator;
  for (const NodeTime& node : nodes)
    for (Sum* sum : {&total, &by_operator[node.op_type]}) {
      sum->run += node.run_ms;
      sum->site += node.site_ms;
      ++sum->nodes;
    }
  std::vector<std::pair<std::string, Sum>> operators(by_operator.begin(), by_operator.end());
  std::sort(operators.begin(), operators.end(),
            [](const auto& a, const auto& b) { return a.second.run + a.second.site > b.second.run + b.second.site; });
  std::string text = fmt::format("{:24} {:>12} {:>7} {:>6} {:>12}\n", "operator", "run", "", "nodes",
                                 what == Profiled::simulate ? "quantize" : "observe");
  const auto line = [&](const std::string& name, const Sum& sum) {
    text += fmt::format("{:24} {:9.3f} ms {:5.1f} % {:6} {:9.3f} ms\n", name, sum.run,
                        total.run > 0 ? 100 * sum.run / total.run : 0, sum.nodes, sum.site);
  };
  for (const auto& [name, sum] : operators) line(name, sum);
  line("all", total);
  std::stable_sort(nodes.begin(), nodes.end(),
                   [](const NodeTime& a, const NodeTime& b) { return a.run_ms + a.site_ms > b.run_ms + b.site_ms; });
  nodes.resize(std::min(nodes.size(), shown_nodes));
  text += "\nslowest nodes\n";
  for (const NodeTime& node : nodes)
    text += fmt::format("{:9.3f} ms {:9.3f} ms  {} {}\n", node.run_ms, node.site_ms, one_line(node.label), node.shape);
  return text;
}

}  // namespace tare::cli
