// Operators put together from smaller ones. What is expected where a norm lacks parameters, passes are listed in either
// order, or a softmax is masked below its smallest score, was read from AIMET 2.42 for the same graphs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "placement/scene.hpp"
#include "plan/batch_norms.hpp"

namespace tare {
namespace {

using test::ConfigText;
using test::Scene;
using Names = std::set<std::string>;

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

/// How a norm is spelled.
struct Spelling {
  bool centred = true, weighted = true, shifted = true;
  std::string division = "Div";  ///< or Reciprocal, or Pow for the power of -0.5
  std::int64_t mean_axis = -1, variance_axis = -1;
};

/// x -> [mean; y = x - mean] -> n = y / sqrt(mean(y^2) + epsilon) -> [scaled = w * n] -> [shifted = scaled + b] -> out
class Norm : public testing::Test {
 protected:
  void build(const Spelling& spelling) {
    scene.input("x", {2, 3, 8}).output("out", {2, 3, 8});
    scene.constant("two", {}, 2).constant("epsilon", {}, 1e-5f).constant("power", {}, -0.5f);
    scene.constant("w", {8}).constant("b", {8});
    const std::string y = spelling.centred ? "y" : "x";
    if (spelling.centred) {
      test::add_integers(scene.node("ReduceMean", {"x"}, {"mean"}), "axes", {spelling.mean_axis});
      scene.node("Sub", {"x", "mean"}, {"y"});
    }
    if (spelling.division == "Reciprocal") {
      scene.node("Mul", {y, y}, {"square"});
    } else {
      scene.node("Pow", {y, "two"}, {"square"});
    }
    test::add_integers(scene.node("ReduceMean", {"square"}, {"variance"}), "axes", {spelling.variance_axis});
    scene.node("Add", {"variance", "epsilon"}, {"sum"});
    if (spelling.division != "Pow") scene.node("Sqrt", {"sum"}, {"root"});
    if (spelling.division == "Div") scene.node("Div", {y, "root"}, {"n"});
    if (spelling.division == "Reciprocal") scene.node("Reciprocal", {"root"}, {"inverse"});
    if (spelling.division == "Pow") scene.node("Pow", {"sum", "power"}, {"inverse"});
    if (spelling.division != "Div") scene.node("Mul", {y, "inverse"}, {"n"});
    if (spelling.weighted) scene.node("Mul", {"w", "n"}, {"scaled"});
    const std::string before = spelling.weighted ? "scaled" : "n";
    if (spelling.shifted) scene.node("Add", {before, "b"}, {"shifted"});
    scene.node("Neg", {spelling.shifted ? "shifted" : before}, {"out"});
  }
  void place(const std::string& passes = R"("LayerNormalization", "RMSNormalization")", int activation_bits = 8) {
    ConfigText config;
    config.passes = "[" + passes + "]";
    config.params_by_type = R"({"bias": {"is_quantized": "False"}})";
    scene.place(config, activation_bits);
  }
  Scene scene;
};

class SpelledNorm : public Norm, public testing::WithParamInterface<std::string> {};

TEST_P(SpelledNorm, LayerNormalizationIsOneOperator) {
  build({.division = GetParam()});
  place(R"("LayerNormalization")");
  EXPECT_EQ(scene.enabled(), (Names{"x", "w", "shifted", "out"}));
  EXPECT_EQ(scene.site("w").role, SiteRole::parameter);
  EXPECT_EQ(scene.site("b").role, SiteRole::parameter);
}

TEST_P(SpelledNorm, RmsNormalizationIsOneOperator) {
  build({.centred = false, .shifted = false, .division = GetParam()});
  place(R"("RMSNormalization")");
  EXPECT_EQ(scene.enabled(), (Names{"x", "w", "scaled", "out"}));
}

TEST_P(SpelledNorm, RmsNormalizationNeedsNoWeight) {
  build({.centred = false, .weighted = false, .shifted = false, .division = GetParam()});
  place();
  EXPECT_EQ(scene.enabled(), (Names{"x", "n", "out"}));
}

INSTANTIATE_TEST_SUITE_P(Divisions, SpelledNorm, testing::Values("Div", "Reciprocal", "Pow"),
                         [](const auto& test) { return test.param; });

TEST_F(Norm, LayerNormalizationNeedsNoBias) {
  build({.shifted = false});
  place(R"("LayerNormalization", "RMSNormalization")", 16);
  EXPECT_EQ(scene.enabled(), (Names{"x", "w", "scaled", "out"}));
  EXPECT_EQ(scene.site("w").spec.bitwidth, 8);  // that of an RMS norm would follow its output
}

/// Without a weight AIMET finds the RMS norm of what is behind the subtraction.
TEST_F(Norm, LayerNormalizationWithoutParametersIsAnRmsNormalizationOfDifferences) {
  build({.weighted = false, .shifted = false});
  place();
  EXPECT_EQ(scene.enabled(), (Names{"x", "mean", "y", "n", "out"}));
}

TEST_F(Norm, ABiasWithoutAWeightIsAnAddition) {
  build({.weighted = false});
  place();
  EXPECT_EQ(scene.enabled(), (Names{"x", "mean", "y", "n", "b", "shifted", "out"}));
}

TEST_F(Norm, LayerNormalizationsComeFirstHoweverPassesAreListed) {
  build({});
  place(R"("RMSNormalization", "LayerNormalization")");
  EXPECT_EQ(scene.enabled(), (Names{"x", "w", "shifted", "out"}));
}

TEST_F(Norm, OverAnyOneAxis) {
  build({.shifted = false, .mean_axis = 1, .variance_axis = 1});
  place();
  EXPECT_EQ(scene.enabled(), (Names{"x", "w", "scaled", "out"}));
}

TEST_F(Norm, OneAxisMayBeCountedFromEitherEnd) {
  build({.variance_axis = 2});
  place();
  EXPECT_EQ(scene.enabled(), (Names{"x", "w", "shifted", "out"}));
}

TEST_F(Norm, MeansOverDifferentAxesAreNoLayerNormalization) {
  build({.shifted = false, .mean_axis = 1, .variance_axis = 2});
  place();
  EXPECT_EQ(scene.enabled(), (Names{"x", "mean", "y", "w", "scaled", "out"}));
}

TEST_F(Norm, ParametersBehindAnIdentity) {
  build({});
  for (onnx::NodeProto& node : *scene.graph().mutable_node())
    if (node.output(0) == "scaled") node.set_input(0, "same");
  scene.node("Identity", {"w"}, {"same"});
  place();
  EXPECT_EQ(scene.enabled(), (Names{"x", "w", "shifted", "out"}));
  EXPECT_EQ(scene.site("w").role, SiteRole::parameter);
}

TEST_F(Norm, PassesFindOnlyTheirOwn) {
  build({.centred = false, .shifted = false});
  place(R"("LayerNormalization")");
  EXPECT_TRUE(scene.site("n").enabled);
  EXPECT_EQ(scene.site("w").role, SiteRole::activation);
}

TEST_F(Norm, AValueThatOthersReadStaysVisible) {
  build({});
  scene.output("other", {2, 3, 8}).node("Neg", {"n"}, {"other"});
  place();
  EXPECT_TRUE(scene.site("n").enabled);
  EXPECT_TRUE(scene.site("scaled").enabled);
  EXPECT_FALSE(scene.has("variance"));  // the RMS norm ends there
}

TEST_F(Norm, ASumThatIsReadTwiceEndsBeforeItsBias) {
  build({});
  scene.output("other", {2, 3, 8}).node("Neg", {"scaled"}, {"other"});
  place();
  EXPECT_EQ(scene.enabled(), (Names{"x", "w", "scaled", "b", "shifted", "out", "other"}));
}

TEST_F(Norm, SpelledOutRmsNormalizationFollowsItsOutput) {
  build({.centred = false, .shifted = false});
  place(R"("RMSNormalization")", 16);
  EXPECT_EQ(scene.site("w").spec.bitwidth, 16);
  EXPECT_FALSE(scene.site("w").spec.symmetric);
}

TEST(Patterns, MaskedSoftmaxHidesTheFill) {
  Scene scene;
  scene.input("x", {2, 4}).output("y", {2, 4}).constant("fill", {}, -1e9f);
  test::add_input(scene.graph(), "keep", {2, 4}, 9);
  scene.node("Where", {"keep", "x", "fill"}, {"masked"});
  scene.node("Softmax", {"masked"}, {"y"});
  ConfigText config;
  scene.place(config);
  EXPECT_EQ(scene.enabled(), (Names{"x", "fill", "masked", "y"}));
  config.passes = R"(["MaskedSoftmax"])";
  scene.place(config);
  EXPECT_EQ(scene.enabled(), (Names{"x", "y"}));
}

/// softmax(where(keep, x, min(x) + number))
class MaskedBelow : public testing::Test {
 protected:
  Names place(float number, std::vector<std::int64_t> shape = {2, 3, 4, 4}, std::int64_t axis = -1) {
    Scene scene(18);
    scene.input("x", shape).output("y", shape).constant("number", {}, number);
    test::add_input(scene.graph(), "keep", shape, 9);
    test::add_initializer<std::int64_t>(scene.graph(), "axes", 7, {1}, {axis});
    scene.node("ReduceMin", {"x", "axes"}, {"lowest"});
    scene.node("Add", {"lowest", "number"}, {"fill"});
    scene.node("Where", {"keep", "x", "fill"}, {"masked"});
    test::add_integer(scene.node("Softmax", {"masked"}, {"y"}), "axis", -1);
    ConfigText config;
    config.passes = R"(["MaskedSoftmax"])";
    scene.place(config);
    return scene.enabled();
  }
  const Names apart = {"x", "number", "fill", "masked", "y"};
};

TEST_F(MaskedBelow, TheSmallestScoreByTwentyOrMore) {
  EXPECT_EQ(place(-20), (Names{"x", "y"}));
  EXPECT_EQ(place(-20, {2, 3, 4, 4}, 3), (Names{"x", "y"}));
  EXPECT_EQ(place(-10), apart);
}

TEST_F(MaskedBelow, OnlyScoresOfFourAxesAlongTheLast) {
  EXPECT_EQ(place(-20, {3, 4, 4}), apart);
  EXPECT_EQ(place(-20, {2, 3, 4, 4}, 2), apart);
}

TEST(BatchNorms, ThatConvertersFoldAreFound) {
  const auto unfolded = [](const ConfigText& config, bool read_twice, std::int64_t training) {
    Scene scene;
    scene.input("x", {1, 1, 4, 4}).output("y", {1, 1, 4, 4}).constant("w", {1, 1, 1, 1}).constant("k", {1});
    scene.node("Conv", {"x", "w"}, {"c"}).set_name("convolution");
    onnx::NodeProto& norm = scene.node("BatchNormalization", {"c", "k", "k", "k", "k"}, {"n"});
    norm.set_name("norm");
    if (training != 0) test::add_integer(norm, "training_mode", training);
    scene.node("BatchNormalization", {"x", "k", "k", "k", "k"}, {"m"});
    scene.node("Add", {"n", "m"}, {"s"});
    scene.node("Add", {"s", read_twice ? "c" : "x"}, {"y"});
    scene.place(config);
    return unfolded_batch_norms(scene.loaded, scene.sites);
  };
  EXPECT_THAT(unfolded({}, false, 0), testing::ElementsAre("norm"));
  EXPECT_THAT(unfolded({}, true, 0), testing::IsEmpty());
  EXPECT_THAT(unfolded({}, false, 1), testing::IsEmpty());
  ConfigText fused;
  fused.supergroups = R"([{"op_list": ["Conv", "BatchNormalization"]}])";
  EXPECT_THAT(unfolded(fused, false, 0), testing::IsEmpty());
}

}  // namespace
}  // namespace tare
