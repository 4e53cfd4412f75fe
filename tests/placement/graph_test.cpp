// What the graph itself decides: candidates, parameters and their axes, and the exceptions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "placement/scene.hpp"

namespace tare {
namespace {

using test::ConfigText;
using test::Scene;

std::optional<int> axis(const Scene& scene, const std::string& tensor) { return scene.site(tensor).spec.channel_axis; }

ConfigText per_channel() {
  ConfigText config;
  config.more_defaults = R"(, "per_channel_quantization": "True")";
  return config;
}

TEST(Candidates, OpsThatKeepTheGridHaveNoQuantizerUnlessNamed) {
  Scene scene;
  scene.input("x", {1, 2, 4, 4}).output("y", {1, 16});
  test::add_integers(scene.node("MaxPool", {"x"}, {"p"}), "kernel_shape", {1, 1});
  scene.node("Relu", {"p"}, {"r"});
  scene.node("Flatten", {"r"}, {"f"});
  scene.node("Neg", {"f"}, {"y"});
  ConfigText config;
  scene.place(config);
  EXPECT_FALSE(scene.site("p").enabled);
  EXPECT_FALSE(scene.has("f"));  // not even a disabled one
  config.op_type = R"({"MaxPool": {"is_output_quantized": "True"}, "Flatten": {"is_output_quantized": "True"}})";
  scene.place(config);
  EXPECT_TRUE(scene.site("p").enabled);
  EXPECT_FALSE(scene.has("f"));
}

TEST(Candidates, OnlyFloatsAndTheDataOfAResize) {
  Scene scene;
  scene.input("x", {1, 1, 2, 2}).output("y", {1, 1, 4, 4}).output("n", {4});
  test::add_input(scene.graph(), "i", {4}, 7);
  scene.constant("scales", {4}, 2);
  scene.node("Resize", {"x", "", "scales"}, {"y"});
  scene.node("Identity", {"i"}, {"n"});
  scene.graph().mutable_output(1)->mutable_type()->mutable_tensor_type()->set_elem_type(7);
  scene.place(ConfigText{});
  EXPECT_TRUE(scene.has("x"));
  EXPECT_TRUE(scene.has("y"));
  EXPECT_FALSE(scene.has("scales"));
  EXPECT_FALSE(scene.has("i"));
}

TEST(Parameters, AxesOfConvolutions) {
  Scene scene;
  scene.input("x", {1, 4, 8, 8}).output("y", {1, 2, 8, 8}).output("z", {1, 8, 8, 8});
  scene.constant("w", {6, 4, 1, 1}).constant("b", {6}).constant("t", {6, 2, 1, 1}).constant("g", {6, 2, 1, 1});
  scene.node("Conv", {"x", "w", "b"}, {"c"});
  scene.node("ConvTranspose", {"c", "t"}, {"y"});
  test::add_integer(scene.node("ConvTranspose", {"c", "g"}, {"z"}), "group", 2);
  scene.place(per_channel());
  EXPECT_EQ(scene.site("w").role, SiteRole::parameter);
  EXPECT_EQ(axis(scene, "w"), 0);
  EXPECT_EQ(axis(scene, "b"), 0);
  EXPECT_EQ(axis(scene, "t"), 1);
  EXPECT_EQ(axis(scene, "g"), std::nullopt);  // grouped: one range
}

TEST(Parameters, AxesOfProducts) {
  Scene scene;
  scene.input("x", {2, 4}).output("y", {2, 3});
  for (const char* name : {"plain", "turned", "product", "behind"}) scene.constant(name, {4, 4});
  scene.node("Gemm", {"x", "plain"}, {"g"});
  test::add_integer(scene.node("Gemm", {"g", "turned"}, {"h"}), "transB", 1);
  scene.node("MatMul", {"h", "product"}, {"m"});
  scene.node("Transpose", {"behind"}, {"turning"});
  scene.node("MatMul", {"m", "turning"}, {"y"});
  scene.place(per_channel());
  EXPECT_EQ(axis(scene, "plain"), 1);
  EXPECT_EQ(axis(scene, "turned"), 0);
  EXPECT_EQ(axis(scene, "product"), 1);
  EXPECT_EQ(scene.site("behind").role, SiteRole::parameter);
  EXPECT_EQ(axis(scene, "behind"), 0);
}

/// Exporters hand stored tensors that they share through Identities. AIMET 2.42 then quantizes the stored tensor.
TEST(Parameters, BehindIdentitiesAreWhatIsStored) {
  Scene scene;
  scene.input("x", {1, 4, 8, 8}).output("y", {1, 6, 8, 8}).constant("w", {6, 4, 1, 1}).constant("b", {6});
  for (const char* name : {"scale", "shift", "mean", "var"}) scene.constant(name, {6});
  const auto behind = [&](const std::string& name) {
    scene.node("Identity", {name}, {name + "_1"});
    scene.node("Identity", {name + "_1"}, {name + "_2"});
    return name + "_2";
  };
  scene.node("Conv", {"x", behind("w"), behind("b")}, {"c"});
  scene.node("BatchNormalization", {"c", behind("scale"), behind("shift"), behind("mean"), behind("var")}, {"y"});
  ConfigText config = per_channel();
  config.params_by_type = R"({"bias": {"is_quantized": "False"}, "running_mean": {"is_quantized": "False"},
                              "running_var": {"is_quantized": "False"}})";
  scene.place(config, 16, 4);
  EXPECT_EQ(scene.enabled(), (std::set<std::string>{"x", "w", "c", "scale", "y"}));
  EXPECT_EQ(scene.site("w").role, SiteRole::parameter);
  EXPECT_EQ(scene.site("w").spec.bitwidth, 4);
  EXPECT_TRUE(scene.site("w").spec.symmetric);
  EXPECT_EQ(axis(scene, "w"), 0);
  EXPECT_EQ(axis(scene, "scale"), 0);
  EXPECT_EQ(scene.site("scale").spec.bitwidth, 8);
}

/// There AIMET looks through a Transpose only.
TEST(Parameters, OfAProductAreNotSoughtBehindIdentities) {
  Scene scene;
  scene.input("x", {2, 4}).output("y", {2, 3}).constant("w", {4, 3});
  scene.node("Identity", {"w"}, {"same"});
  scene.node("MatMul", {"x", "same"}, {"y"});
  scene.place(per_channel(), 16, 4);
  EXPECT_EQ(scene.site("w").role, SiteRole::activation);
  EXPECT_EQ(scene.site("w").spec.bitwidth, 16);
}

TEST(Parameters, OfNormalizationsAndRecurrentLayers) {
  Scene scene;
  scene.input("x", {3, 1, 2}).output("y", {3, 1, 1, 2});
  for (const char* name : {"scale", "shift", "mean", "var"}) scene.constant(name, {1});
  scene.constant("w", {1, 6, 2}).constant("r", {1, 6, 2}).constant("b", {1, 12});
  scene.node("BatchNormalization", {"x", "scale", "shift", "mean", "var"}, {"n"});
  test::add_integer(scene.node("GRU", {"n", "w", "r", "b"}, {"y"}), "hidden_size", 2);
  ConfigText config;
  config.params_by_type = R"({"bias": {"is_quantized": "False"}, "weight_r": {"is_quantized": "False"},
                              "running_mean": {"is_quantized": "False"}})";
  scene.place(config);
  for (const char* name : {"scale", "var", "w"}) EXPECT_TRUE(scene.site(name).enabled) << name;
  for (const char* name : {"shift", "mean", "r", "b"}) EXPECT_FALSE(scene.site(name).enabled) << name;
}

TEST(FusedGroups, NeverStartAtDepthwiseOrThreeDimensionalConvolutions) {
  Scene scene;
  scene.input("x", {1, 4, 8, 8}).input("v", {1, 2, 2, 2, 2}).output("y", {1, 4, 8, 8}).output("z", {1, 2, 2, 2, 2});
  scene.constant("w", {4, 1, 1, 1}).constant("u", {2, 2, 1, 1, 1});
  test::add_integer(scene.node("Conv", {"x", "w"}, {"c"}), "group", 4);
  scene.node("Relu", {"c"}, {"y"});
  scene.node("Identity", {"u"}, {"same"});
  scene.node("Conv", {"v", "same"}, {"d"});
  scene.node("Relu", {"d"}, {"z"});
  ConfigText config;
  config.supergroups = R"([{"op_list": ["Conv", "Relu"]}])";
  scene.place(config);
  EXPECT_TRUE(scene.site("c").enabled);
  EXPECT_TRUE(scene.site("d").enabled);
}

/// Two activations multiplied, with a normalization in front.
class Product : public testing::Test {
 protected:
  Product() {
    scene.input("x", {2, 4, 4}).input("z", {2, 4, 4}).output("y", {2, 4, 4});
    scene.constant("scale", {4}).constant("shift", {4});
    scene.node("LayerNormalization", {"x", "scale", "shift"}, {"n"});
    scene.node("Transpose", {"z"}, {"t"});
    scene.node("MatMul", {"n", "t"}, {"y"});
  }
  void place(const std::string& hardware, int activation_bits, int parameter_bits = 8) {
    ConfigText config;
    if (!hardware.empty()) config.more_defaults = R"(, "hw_version": ")" + hardware + R"(")";
    scene.place(config, activation_bits, parameter_bits);
  }
  Scene scene;
};

TEST_F(Product, ASecondOperandThatIsNoConstantIsSymmetricLikeAWeight) {
  place("", 8);
  EXPECT_TRUE(scene.site("z").spec.symmetric);  // what the Transpose moved
  EXPECT_FALSE(scene.site("n").spec.symmetric);
}

/// Where the config says nothing of parameters a weight is asymmetric, and so is what stands in its place.
TEST_F(Product, ASecondOperandIsAsymmetricLikeAWeight) {
  ConfigText config;
  config.ops = R"({"is_output_quantized": "True", "is_symmetric": "True"})";
  config.params = R"({"is_quantized": "True"})";
  scene.place(config);
  EXPECT_FALSE(scene.site("z").spec.symmetric);
  EXPECT_TRUE(scene.site("n").spec.symmetric);
}

/// As AIMET 2.42 has it: the weight of a product is its second operand. A range a channel of the first would change
/// along the axis that is summed over.
TEST(Products, AConstantFirstOperandIsAnActivation) {
  Scene scene;
  scene.input("x", {2, 4, 6}).output("y", {2, 3, 6}).constant("w", {3, 4}).constant("b", {6});
  scene.node("MatMul", {"w", "x"}, {"m"});
  scene.node("Add", {"m", "b"}, {"y"});
  ConfigText config = per_channel();
  config.passes = R"(["MatmulAdd"])";
  scene.place(config, 16, 4);
  EXPECT_EQ(scene.enabled(), (std::set<std::string>{"w", "x", "m", "b", "y"}));
  EXPECT_EQ(scene.site("w").role, SiteRole::activation);
  EXPECT_EQ(scene.site("w").spec.bitwidth, 16);
  EXPECT_FALSE(scene.site("w").spec.symmetric);
  EXPECT_EQ(axis(scene, "w"), std::nullopt);
  EXPECT_TRUE(scene.site("x").spec.symmetric);  // in the weight's place
  EXPECT_FALSE(scene.site("y").spec.symmetric);
}

TEST(Products, WeightsWithoutElementsHaveNoQuantizer) {
  Scene scene;
  scene.input("x", {2, 4}).output("y", {2, 0}).constant("w", {4, 0});
  scene.node("MatMul", {"x", "w"}, {"y"});
  scene.place(per_channel());
  EXPECT_EQ(scene.enabled(), (std::set<std::string>{"x", "y"}));
}

TEST(Products, OfTwoConstantsTheSecondIsTheWeight) {
  Scene scene;
  scene.input("x", {3, 6}).output("y", {3, 6}).constant("w", {4, 3}).constant("v", {4, 6});
  scene.node("Transpose", {"w"}, {"turned"});
  scene.node("MatMul", {"turned", "v"}, {"m"});
  scene.node("Add", {"m", "x"}, {"y"});
  scene.place(per_channel());
  EXPECT_EQ(scene.site("w").role, SiteRole::activation);
  EXPECT_EQ(scene.site("v").role, SiteRole::parameter);
  EXPECT_EQ(axis(scene, "v"), 1);
}

TEST_F(Product, EarlyHardwareHasEightBitsThere) {
  place("V68", 16);
  EXPECT_EQ(scene.site("z").spec.bitwidth, 8);
  EXPECT_EQ(scene.site("n").spec.bitwidth, 16);
  place("V73", 16);
  EXPECT_EQ(scene.site("z").spec.bitwidth, 16);
  EXPECT_TRUE(scene.site("z").spec.symmetric);
}

TEST_F(Product, ParametersOfANormalizationHaveEightBitsOrMore) {
  place("", 8, 4);
  EXPECT_EQ(scene.site("scale").spec.bitwidth, 8);
  EXPECT_FALSE(scene.site("scale").spec.symmetric);
  place("V73", 8, 16);
  EXPECT_EQ(scene.site("scale").spec.bitwidth, 16);
  EXPECT_TRUE(scene.site("scale").spec.symmetric);
  place("V69", 8, 16);
  EXPECT_EQ(scene.site("scale").spec.bitwidth, 8);
  EXPECT_FALSE(scene.site("scale").spec.symmetric);
}

/// Their parameters are as wide and as symmetric as their output, but never narrower than 8 bits.
class FollowingNorms : public testing::TestWithParam<std::string> {
 protected:
  FollowingNorms() : scene(GetParam() == "RMSNormalization" ? 23 : 21) {
    scene.input("x", {1, 4, 2, 4}).output("y", {1, 4, 2, 4}).constant("scale", {4}).constant("shift", {4});
    std::vector<std::string> inputs = {"x", "scale", "shift"};
    if (GetParam() == "RMSNormalization") inputs.pop_back();
    onnx::NodeProto& node = scene.node(GetParam(), inputs, {"y"});
    if (GetParam() == "GroupNormalization") test::add_integer(node, "num_groups", 2);
  }
  Scene scene;
};

TEST_P(FollowingNorms, ParametersFollowTheirOutput) {
  ConfigText config;
  scene.place(config, 16, 8);
  EXPECT_EQ(scene.site("scale").role, SiteRole::parameter);
  EXPECT_EQ(scene.site("scale").spec.bitwidth, 16);
  EXPECT_FALSE(scene.site("scale").spec.symmetric);  // against the rule for parameters
  scene.place(config, 4, 16);
  EXPECT_EQ(scene.site("scale").spec.bitwidth, 8);
  config.op_type = R"({")" + GetParam() + R"(": {"is_symmetric": "True"}})";
  scene.place(config, 16, 8);
  EXPECT_TRUE(scene.site("scale").spec.symmetric);
  config.op_type = R"({")" + GetParam() + R"(": {"is_output_quantized": "False"}})";
  scene.place(config, 16, 4);
  EXPECT_EQ(scene.site("scale").spec.bitwidth, 8);  // nothing to follow: as wide as parameters are, and 8 at least
  EXPECT_TRUE(scene.site("scale").spec.symmetric);
}

INSTANTIATE_TEST_SUITE_P(Exceptions, FollowingNorms,
                         testing::Values("GroupNormalization", "InstanceNormalization", "RMSNormalization"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace tare
