#include "cli/profile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>

#include "plan/fuse.hpp"
#include "run/executor.hpp"

namespace tare::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t shown_nodes = 24;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// Observes like a calibration and notes how long each site took.
class TimedHook final : public ValueHook {
 public:
  TimedHook(Backend& backend, ObserverKind kind, std::size_t sites)
      : backend_(backend), observer_(backend.make_observer(kind, sites)), best_(sites, infinity) {}
  Tensor on_value(std::size_t site, Tensor value) override {
    const auto start = Clock::now();
    observer_->observe(site, value);
    backend_.synchronize();
    best_[site] = std::min(best_[site], milliseconds_since(start));
    last_end_ = Clock::now();
    return value;
  }
  Clock::time_point last_end() const { return last_end_; }
  double best(std::size_t site) const { return std::isfinite(best_[site]) ? best_[site] : 0; }

 private:
  Backend& backend_;
  std::unique_ptr<Observer> observer_;
  std::vector<double> best_;
  Clock::time_point last_end_;
};

ObserverKind observer_of(Scheme scheme) {
  if (scheme == Scheme::min_max) return ObserverKind::min_max;
  return scheme == Scheme::tf_enhanced ? ObserverKind::tf_enhanced : ObserverKind::histogram;
}

}  // namespace

std::vector<NodeTime> profile(const Graph& original, Backend& backend, std::span<const Tensor> inputs,
                              const CalibrationOptions& calibration, bool observing, int repetitions) {
  std::vector<std::int32_t> sites(original.values.size(), -1);
  std::size_t site_count = 0;
  if (observing)
    for (const QuantSite& site : place(original, load_config(calibration.config), calibration.types))
      if (site.enabled && site.role == SiteRole::activation && original.constant(site.value) == nullptr)
        sites[static_cast<std::size_t>(site.value)] = static_cast<std::int32_t>(site_count++);
  std::vector<bool> visible;
  visible.reserve(sites.size());
  for (const std::int32_t site : sites) visible.push_back(site >= 0);
  Executor executor(make_runnable(original, visible, backend), backend, sites);
  const Graph& graph = executor.graph();

  TimedHook hook(backend, observer_of(calibration.search.scheme), site_count);
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
    executor.run(inputs, observing ? &hook : nullptr);
  }
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    if (!std::isfinite(nodes[n].run_ms)) nodes[n].run_ms = 0;  // in a body that was not entered
    for (const ValueId value : graph.nodes[n].outputs)
      if (value != absent && static_cast<std::size_t>(value) < sites.size() &&
          sites[static_cast<std::size_t>(value)] >= 0)
        nodes[n].observe_ms += hook.best(static_cast<std::size_t>(sites[static_cast<std::size_t>(value)]));
  }
  return nodes;
}

std::string profile_text(std::vector<NodeTime> nodes) {
  struct Sum {
    double run = 0;
    double observe = 0;
    int nodes = 0;
  };
  Sum total;
  std::map<std::string, Sum> by_operator;
  for (const NodeTime& node : nodes)
    for (Sum* sum : {&total, &by_operator[node.op_type]}) {
      sum->run += node.run_ms;
      sum->observe += node.observe_ms;
      ++sum->nodes;
    }
  std::vector<std::pair<std::string, Sum>> operators(by_operator.begin(), by_operator.end());
  std::sort(operators.begin(), operators.end(), [](const auto& a, const auto& b) {
    return a.second.run + a.second.observe > b.second.run + b.second.observe;
  });
  std::string text = fmt::format("{:24} {:>12} {:>7} {:>6} {:>12}\n", "operator", "run", "", "nodes", "observe");
  const auto line = [&](const std::string& name, const Sum& sum) {
    text += fmt::format("{:24} {:9.3f} ms {:5.1f} % {:6} {:9.3f} ms\n", name, sum.run,
                        total.run > 0 ? 100 * sum.run / total.run : 0, sum.nodes, sum.observe);
  };
  for (const auto& [name, sum] : operators) line(name, sum);
  line("all", total);
  std::stable_sort(nodes.begin(), nodes.end(), [](const NodeTime& a, const NodeTime& b) {
    return a.run_ms + a.observe_ms > b.run_ms + b.observe_ms;
  });
  nodes.resize(std::min(nodes.size(), shown_nodes));
  text += "\nslowest nodes\n";
  for (const NodeTime& node : nodes)
    text += fmt::format("{:9.3f} ms {:9.3f} ms  {} {}\n", node.run_ms, node.observe_ms, node.label, node.shape);
  return text;
}

}  // namespace tare::cli
