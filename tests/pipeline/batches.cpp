#include "batches.hpp"

#include <algorithm>
#include <cmath>

#include "plan/simplify.hpp"
#include "run/executor.hpp"
#include "run/observed_run.hpp"
#include "tare/error.hpp"

namespace tare::test {
namespace {

double cost(const Tensor& tensor, const Encoding& encoding, std::int64_t steps) {
  const double last = static_cast<double>(steps);
  const double per_scale = 1 / encoding.scale;
  double total = 0;
  for (const float value : tensor.span<float>()) {
    const double x = static_cast<double>(value);
    const double position = x * per_scale - encoding.offset;
    const double code = std::clamp(std::nearbyint(position), 0.0, last);
    const double error = x - encoding.scale * (code + encoding.offset);
    total += error * error * (position < 0 || position > last ? 3 : 1);
  }
  return total;
}

}  // namespace

const GoldenModel& golden_model(const std::string& name) {
  const auto it = std::find_if(golden_models.begin(), golden_models.end(),
                               [&](const GoldenModel& model) { return name == model.name; });
  if (it == golden_models.end()) throw Error(ErrorKind::usage, "no golden model is called " + name);
  return *it;
}

std::vector<Batch> first_batches(const GoldenModel& model, const Graph& graph, std::size_t count) {
  std::vector<Batch> batches = golden_batches(model, graph);
  if (batches.size() > count) batches.resize(count);
  return batches;
}

std::map<std::string, std::vector<double>> true_costs(Session& session, const std::vector<Batch>& batches,
                                                      const std::vector<QuantSite>& sites,
                                                      const std::vector<const EncodingSet*>& sets) {
  std::vector<std::int32_t> site_of_value(session.graph().values.size(), -1);
  std::vector<std::string> key(sites.size());
  std::map<std::int32_t, std::string> first_of_group;
  std::map<std::string, std::vector<double>> costs;
  const auto add = [&](std::size_t s, const Tensor& tensor) {
    std::vector<double>& sums = costs[key[s]];
    sums.resize(sets.size());
    for (std::size_t i = 0; i < sets.size(); ++i) {
      const TensorEncodings* found = sets[i]->find(sites[s].tensor, SiteRole::activation);
      if (found != nullptr) sums[i] += cost(tensor, found->encodings.front(), found->spec.steps());
    }
  };
  for (std::size_t s = 0; s < sites.size(); ++s) {
    if (!sites[s].enabled || sites[s].role != SiteRole::activation) continue;
    key[s] =
        sites[s].group < 0 ? sites[s].tensor : first_of_group.emplace(sites[s].group, sites[s].tensor).first->second;
    site_of_value[static_cast<std::size_t>(sites[s].value)] = static_cast<std::int32_t>(s);
  }
  std::vector<bool> visible(site_of_value.size());
  for (std::size_t v = 0; v < visible.size(); ++v) visible[v] = site_of_value[v] >= 0;
  Executor executor(simplify(session.graph(), visible, session.backend()), session.backend(), site_of_value);
  ObserveHook hook([&](std::size_t s, const Tensor& value) { add(s, session.backend().download(value)); });
  for (const Batch& batch : batches) {
    executor.run(batch.inputs, &hook);
    for (std::size_t s = 0; s < sites.size(); ++s)
      if (const Tensor* constant = key[s].empty() ? nullptr : session.graph().constant(sites[s].value))
        for (std::size_t sample = 0; sample < batch.samples; ++sample) add(s, *constant);
  }
  return costs;
}

}  // namespace tare::test
