#include "placement/scene.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace tare::test {

std::string ConfigText::text() const {
  return fmt::format(
      R"({{"defaults": {{"ops": {}, "params": {}{}}}, "params": {}, "op_type": {}, "supergroups": {},
           "supergroup_pass_list": {}, "model_input": {}, "model_output": {}}})",
      ops, params, more_defaults, params_by_type, op_type, supergroups, passes, model_input, model_output);
}

Scene& Scene::constant(const std::string& name, const std::vector<std::int64_t>& dims, float value) {
  const std::int64_t elements = std::accumulate(dims.begin(), dims.end(), std::int64_t{1}, std::multiplies<>());
  add_initializer<float>(graph(), name, 1, dims, std::vector<float>(static_cast<std::size_t>(elements), value));
  return *this;
}
Scene& Scene::input(const std::string& name, const std::vector<std::int64_t>& dims) {
  add_input(graph(), name, dims);
  return *this;
}
Scene& Scene::output(const std::string& name, const std::vector<std::int64_t>& dims) {
  add_output(graph(), name, dims);
  return *this;
}
onnx::NodeProto& Scene::node(const std::string& op, const std::vector<std::string>& inputs,
                             const std::vector<std::string>& outputs) {
  return add_node(graph(), op, inputs, outputs);
}

void Scene::place(const ConfigText& config, int activation_bits, int parameter_bits) {
  write_bytes(folder / "config.json", config.text());
  place_with((folder / "config.json").string(), activation_bits, parameter_bits);
}

void Scene::place_with(const std::string& config, int activation_bits, int parameter_bits) {
  write_model(model, folder / "model.onnx");
  loaded = load_model(folder / "model.onnx").graph;
  PlacementOptions options;
  options.activation.bitwidth = activation_bits;
  options.parameter.bitwidth = parameter_bits;
  sites = tare::place(loaded, load_config(config), options);
}

std::set<std::string> Scene::enabled() const {
  std::set<std::string> names;
  for (const QuantSite& s : sites)
    if (s.enabled) names.insert(s.tensor);
  return names;
}

bool Scene::has(const std::string& tensor) const {
  return std::any_of(sites.begin(), sites.end(), [&](const QuantSite& s) { return s.tensor == tensor; });
}

const QuantSite& Scene::site(const std::string& tensor) const {
  for (const QuantSite& s : sites)
    if (s.tensor == tensor) return s;
  throw std::out_of_range("no quantizer at " + tensor);
}

bool Scene::tied(const std::string& a, const std::string& b) const {
  return site(a).group >= 0 && site(a).group == site(b).group;
}

}  // namespace tare::test
