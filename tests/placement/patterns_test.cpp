// Operators put together from smaller ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "placement/scene.hpp"

namespace tare {
namespace {

using test::ConfigText;
using test::Scene;

TEST(Patterns, MatMulAndAddOfAVectorAreAGemm) {
  Scene scene;
  scene.input("x", {2, 4}).output("y", {2, 3}).constant("w", {4, 3}).constant("b", {3});
  scene.node("MatMul", {"x", "w"}, {"m"});
  scene.node("Add", {"b", "m"}, {"a"});
  scene.node("Relu", {"a"}, {"y"});
  ConfigText config;
  config.params_by_type = R"({"bias": {"is_quantized": "False"}})";
  config.supergroups = R"([{"op_list": ["Gemm", "Relu"]}])";
  scene.place(config);
  EXPECT_TRUE(scene.site("m").enabled);
  EXPECT_EQ(scene.site("b").role, SiteRole::activation);
  config.passes = R"(["MatmulAdd"])";
  scene.place(config);
  EXPECT_FALSE(scene.has("m"));
  EXPECT_FALSE(scene.site("a").enabled);  // Gemm + Relu
  EXPECT_EQ(scene.site("b").role, SiteRole::parameter);
  EXPECT_FALSE(scene.site("b").enabled);
}

/// x -> [x - mean] -> y / sqrt(mean(y^2) + epsilon) * w [+ b]
class Norm : public testing::Test {
 protected:
  void build(bool centred, bool with_reciprocal) {
    scene.input("x", {2, 3, 8}).output("out", {2, 3, 8});
    scene.constant("two", {}, 2).constant("epsilon", {}, 1e-5f).constant("w", {8}).constant("b", {8});
    const std::string y = centred ? "y" : "x";
    if (centred) {
      test::add_integers(scene.node("ReduceMean", {"x"}, {"mean"}), "axes", {-1});
      scene.node("Sub", {"x", "mean"}, {"y"});
    }
    if (with_reciprocal) {
      scene.node("Mul", {y, y}, {"square"});
    } else {
      scene.node("Pow", {y, "two"}, {"square"});
    }
    test::add_integers(scene.node("ReduceMean", {"square"}, {"variance"}), "axes", {2});
    scene.node("Add", {"variance", "epsilon"}, {"sum"});
    scene.node("Sqrt", {"sum"}, {"root"});
    if (with_reciprocal) {
      scene.node("Reciprocal", {"root"}, {"inverse"});
      scene.node("Mul", {y, "inverse"}, {"n"});
    } else {
      scene.node("Div", {y, "root"}, {"n"});
    }
    scene.node("Mul", {"w", "n"}, {"scaled"});
    if (centred) scene.node("Add", {"scaled", "b"}, {"shifted"});
    scene.node("Neg", {centred ? "shifted" : "scaled"}, {"out"});
  }
  void place(const std::string& pass) {
    ConfigText config;
    config.passes = R"([")" + pass + R"("])";
    config.params_by_type = R"({"bias": {"is_quantized": "False"}})";
    scene.place(config);
  }
  Scene scene;
};

TEST_F(Norm, LayerNormalizationIsOneOperator) {
  build(true, false);
  place("LayerNormalization");
  EXPECT_EQ(scene.enabled(), (std::set<std::string>{"x", "w", "shifted", "out"}));
  EXPECT_EQ(scene.site("w").role, SiteRole::parameter);
  EXPECT_EQ(scene.site("b").role, SiteRole::parameter);
}

TEST_F(Norm, LayerNormalizationWithAReciprocal) {
  build(true, true);
  place("LayerNormalization");
  EXPECT_EQ(scene.enabled(), (std::set<std::string>{"x", "w", "shifted", "out"}));
}

TEST_F(Norm, RmsNormalizationIsOneOperator) {
  build(false, false);
  place("RMSNormalization");
  EXPECT_EQ(scene.enabled(), (std::set<std::string>{"x", "w", "scaled", "out"}));
}

TEST_F(Norm, PassesFindOnlyTheirOwn) {
  build(false, true);
  place("LayerNormalization");
  EXPECT_TRUE(scene.site("n").enabled);
  EXPECT_EQ(scene.site("w").role, SiteRole::activation);
}

TEST_F(Norm, AValueThatOthersReadStaysVisible) {
  build(true, false);
  scene.output("other", {2, 3, 8}).node("Neg", {"n"}, {"other"});
  place("LayerNormalization");
  EXPECT_TRUE(scene.site("n").enabled);
}

TEST(Patterns, MaskedSoftmaxHidesTheFill) {
  Scene scene;
  scene.input("x", {2, 4}).output("y", {2, 4}).constant("fill", {}, -1e9f);
  test::add_input(scene.graph(), "keep", {2, 4}, 9);
  scene.node("Where", {"keep", "x", "fill"}, {"masked"});
  scene.node("Softmax", {"masked"}, {"y"});
  ConfigText config;
  scene.place(config);
  EXPECT_EQ(scene.enabled(), (std::set<std::string>{"x", "fill", "masked", "y"}));
  config.passes = R"(["MaskedSoftmax"])";
  scene.place(config);
  EXPECT_EQ(scene.enabled(), (std::set<std::string>{"x", "y"}));
}

TEST_F(Norm, SpelledOutRmsNormalizationFollowsItsOutput) {
  build(false, false);
  ConfigText config;
  config.passes = R"(["RMSNormalization"])";
  scene.place(config, 16, 8);
  EXPECT_EQ(scene.site("w").spec.bitwidth, 16);
  EXPECT_FALSE(scene.site("w").spec.symmetric);
}

}  // namespace
}  // namespace tare
