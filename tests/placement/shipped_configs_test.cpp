// What every shipped config makes of one small graph, as AIMET's files of those names do:
// x → Conv(w, b) → c → BatchNormalization(g, β, μ, σ) → n → HardSwish → h → Flatten → f → MatMul(v) → m → Tanh → t
//   → Softmax → s → Mean(s, t) → a → Neg → y
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "placement/scene.hpp"

namespace tare {
namespace {

using test::Scene;

/// Names of tensors, sorted; of quantizers that are on.
struct Switched {
  const char* config;
  const char* activations;
  const char* parameters;
  const char* per_channel;
  const char* symmetric;
  const char* fixed;
};

void PrintTo(const Switched& switched, std::ostream* stream) { *stream << switched.config; }

class ShippedConfig : public testing::TestWithParam<Switched> {
 protected:
  ShippedConfig() {
    scene.input("x", {1, 2, 4, 4}).output("y", {1, 3});
    scene.constant("w", {4, 2, 1, 1}).constant("b", {4}).constant("v", {64, 3});
    for (const char* name : {"g", "beta", "mu", "sigma"}) scene.constant(name, {4});
    scene.node("Conv", {"x", "w", "b"}, {"c"});
    scene.node("BatchNormalization", {"c", "g", "beta", "mu", "sigma"}, {"n"});
    scene.node("HardSwish", {"n"}, {"h"});
    scene.node("Flatten", {"h"}, {"f"});
    scene.node("MatMul", {"f", "v"}, {"m"});
    scene.node("Tanh", {"m"}, {"t"});
    scene.node("Softmax", {"t"}, {"s"});
    scene.node("Mean", {"s", "t"}, {"a"});
    scene.node("Neg", {"a"}, {"y"});
    scene.place_with(GetParam().config);
  }
  template <class Predicate>
  std::string names_where(const Predicate& holds) const {
    std::set<std::string> names;
    for (const QuantSite& site : scene.sites)
      if (site.enabled && holds(site)) names.insert(site.tensor);
    return fmt::format("{}", fmt::join(names, " "));
  }
  Scene scene;
};

TEST_P(ShippedConfig, SwitchesWhatAimetsDoes) {
  const Switched& expected = GetParam();
  EXPECT_EQ(names_where([](const QuantSite& s) { return s.role == SiteRole::activation; }), expected.activations);
  EXPECT_EQ(names_where([](const QuantSite& s) { return s.role == SiteRole::parameter; }), expected.parameters);
  EXPECT_EQ(names_where([](const QuantSite& s) { return s.spec.channel_axis.has_value(); }), expected.per_channel);
  EXPECT_EQ(names_where([](const QuantSite& s) { return s.spec.symmetric; }), expected.symmetric);
  EXPECT_EQ(names_where([](const QuantSite& s) { return s.spec.fixed_min.has_value(); }), expected.fixed);
  EXPECT_EQ(names_where([](const QuantSite& s) { return s.spec.strict_symmetric || s.spec.unsigned_symmetric; }), "");
  EXPECT_FALSE(scene.has("f"));  // what only moves never has one
}

constexpr const char* all = "a c h m n s t x y";
constexpr const char* fused = "a h m s t x y";    // Conv, BatchNormalization and HardSwish are one
constexpr const char* with_tanh = "a h s t x y";  // and MatMul and Tanh another

INSTANTIATE_TEST_SUITE_P(Names, ShippedConfig,
                         testing::Values(Switched{"default", all, "g v w", "v w", "v w", ""},
                                         Switched{"default_per_tensor", all, "g v w", "", "v w", ""},
                                         Switched{"dsp", "c h m n s t x y", "g mu sigma v w", "", "", ""},
                                         Switched{"enpu_v6", with_tanh, "v w", "", "a h s t v w x y", "s t"},
                                         Switched{"enpu_v7", with_tanh, "v w", "", "a h s t v w x y", "s t"},
                                         Switched{"enpu_v7_per_channel", "a c h s t x y", "v w", "v w",
                                                  "a c h s t v w x y", "s t"},
                                         Switched{"htp_v66", all, "g v w", "", "t v w", "t"},
                                         Switched{"htp_v68", all, "g v w", "w", "t v w", "t"},
                                         Switched{"htp_v69", all, "g v w", "v w", "t v w", "t"},
                                         Switched{"htp_v73", fused, "g v w", "v w", "t v w", "s t"},
                                         Switched{"htp_v75", fused, "g v w", "v w", "t v w", "s t"},
                                         Switched{"htp_v79", fused, "g v w", "v w", "t v w", "s t"},
                                         Switched{"htp_v81", fused, "g v w", "v w", "t v w", "s t"},
                                         Switched{"htp_v85", fused, "g v w", "v w", "t v w", "s t"}),
                         [](const auto& test) { return std::string(test.param.config); });

}  // namespace
}  // namespace tare
