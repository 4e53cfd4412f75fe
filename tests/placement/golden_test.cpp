// The quantizers that AIMET enables on eight real models, tensor by tensor.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "support/golden.hpp"
#include "tare/model.hpp"
#include "tare/placement.hpp"

namespace tare {
namespace {

/// "int8 asymmetric x1", as far as a quantizers.json tells.
std::string describe(bool parameter, int bitwidth, bool symmetric, bool strict, bool unsigned_symmetric,
                     std::int64_t encodings) {
  return std::string(parameter ? "parameter" : "activation") + " int" + std::to_string(bitwidth) +
         (symmetric ? " symmetric" : " asymmetric") + (strict ? " strict" : "") +
         (unsigned_symmetric ? " unsigned" : "") + " x" + std::to_string(encodings);
}

std::map<std::string, std::string> expected_quantizers(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::map<std::string, std::string> result;
  const nlohmann::json json = nlohmann::json::parse(stream);
  for (const auto& [tensor, q] : json.items())
    result[tensor] = describe(q["param"], q["bitwidth"], q["symmetric"], q["strict"], q["unsigned"], q["encodings"]);
  return result;
}

std::map<std::string, std::string> placed_quantizers(const Graph& graph, const std::vector<QuantSite>& sites) {
  std::map<std::string, std::string> result;
  for (const QuantSite& site : sites) {
    if (!site.enabled) continue;
    const Tensor* constant = graph.constant(site.value);
    const std::int64_t encodings =
        site.spec.channel_axis ? constant->shape()[static_cast<std::size_t>(*site.spec.channel_axis)] : 1;
    result[site.tensor] = describe(site.role == SiteRole::parameter, site.spec.bitwidth, site.spec.symmetric,
                                   site.spec.strict_symmetric, site.spec.unsigned_symmetric, encodings);
  }
  return result;
}

class GoldenPlacement : public testing::TestWithParam<test::GoldenModel> {};

TEST_P(GoldenPlacement, EqualsAimets) {
  const Model model = load_model(GetParam().model());
  for (const int bits : {8, 16}) {
    PlacementOptions options;
    options.activation.bitwidth = bits;
    const auto placed = placed_quantizers(model.graph, place(model.graph, load_config("default"), options));
    const auto expected =
        expected_quantizers(GetParam().data("min_max.default.a" + std::to_string(bits) + ".quantizers.json"));
    for (const auto& [tensor, what] : expected) {
      const auto it = placed.find(tensor);
      if (it == placed.end())
        ADD_FAILURE() << "missing: " << tensor << " " << what;
      else
        EXPECT_EQ(it->second, what) << tensor;
    }
    for (const auto& [tensor, what] : placed)
      if (!expected.contains(tensor)) ADD_FAILURE() << "not AIMET's: " << tensor << " " << what;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenPlacement, testing::ValuesIn(test::golden_models),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace tare
