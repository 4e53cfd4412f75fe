// What every key of a config does to a graph: x -> Conv -> Relu -> Sigmoid -> Mul by a constant -> y.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "placement/scene.hpp"
#include "tare/calibration.hpp"
#include "tare/error.hpp"

namespace tare {
namespace {

using test::ConfigText;
using test::Scene;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::UnorderedElementsAre;

class Options : public testing::Test {
 protected:
  Options() {
    scene.input("x", {1, 2, 4, 4}).output("y", {1, 3, 4, 4});
    scene.constant("w", {3, 2, 1, 1}).constant("b", {3}).constant("k", {1});
    scene.node("Conv", {"x", "w", "b"}, {"c"});
    scene.node("Relu", {"c"}, {"r"});
    scene.node("Sigmoid", {"r"}, {"s"});
    scene.node("Mul", {"s", "k"}, {"y"});
  }
  std::set<std::string> enabled() {
    scene.place(config);
    return scene.enabled();
  }
  const QuantizerSpec& spec(const std::string& tensor) {
    scene.place(config);
    return scene.site(tensor).spec;
  }
  std::string conflict() {
    try {
      scene.place(config);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  Scene scene;
  ConfigText config;
};

TEST_F(Options, OutputsOfOperators) {
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "w", "b", "c", "r", "s", "y"));
  config.ops = R"({"is_output_quantized": "False"})";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "w", "b"));
  config.op_type = R"({"Relu": {"is_output_quantized": "True"}})";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "w", "b", "r"));
}

TEST_F(Options, InputsOfOperators) {
  config.ops = R"({"is_input_quantized": "True"})";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "w", "b", "c", "r", "s"));
  config.ops = "{}";
  config.model_input = "{}";
  EXPECT_THAT(enabled(), UnorderedElementsAre("w", "b"));
  config.op_type = R"({"Conv": {"is_input_quantized": "True"}, "Sigmoid": {"is_input_quantized": "True"}})";
  EXPECT_THAT(enabled(), UnorderedElementsAre("w", "b", "x", "r"));
}

TEST_F(Options, Parameters) {
  config.params = R"({"is_quantized": "False"})";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "c", "r", "s", "y"));
  config.params_by_type = R"({"weight": {"is_quantized": "True"}})";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "w", "c", "r", "s", "y"));
  config.op_type = R"({"Conv": {"params": {"weight": {"is_quantized": "False"}, "bias": {"is_quantized": "True"}}}})";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "b", "c", "r", "s", "y"));
}

TEST_F(Options, ModelInputs) {
  config.model_input = R"({"is_input_quantized": "False"})";
  EXPECT_THAT(enabled(), UnorderedElementsAre("w", "b", "c", "r", "s", "y"));
  config.model_input = "{}";
  EXPECT_THAT(enabled(), UnorderedElementsAre("w", "b", "c", "r", "s", "y"));
}

TEST_F(Options, ModelOutputs) {
  config.ops = "{}";
  config.model_output = R"({"is_output_quantized": "True"})";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "w", "b", "y"));
  config.ops = R"({"is_output_quantized": "True"})";
  config.model_output = R"({"is_output_quantized": "False"})";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "w", "b", "c", "r", "s"));
}

TEST_F(Options, SymmetricActivations) {
  EXPECT_FALSE(spec("s").symmetric);
  config.ops = R"({"is_output_quantized": "True", "is_symmetric": "True"})";
  EXPECT_TRUE(spec("s").symmetric);
  EXPECT_TRUE(spec("x").symmetric);
  config.op_type = R"({"Mul": {"is_symmetric": "False"}})";
  EXPECT_FALSE(spec("s").symmetric);  // what an operator reads
  EXPECT_FALSE(spec("y").symmetric);  // and what it gives
  EXPECT_TRUE(spec("c").symmetric);
}

TEST_F(Options, SymmetricParameters) {
  EXPECT_TRUE(spec("w").symmetric);
  config.params = R"({"is_quantized": "True"})";
  EXPECT_FALSE(spec("w").symmetric);
  config.params_by_type = R"({"bias": {"is_symmetric": "True"}})";
  EXPECT_FALSE(spec("w").symmetric);
  EXPECT_TRUE(spec("b").symmetric);
  config.op_type = R"({"Conv": {"params": {"weight": {"is_symmetric": "True"}, "bias": {"is_symmetric": "False"}}}})";
  EXPECT_TRUE(spec("w").symmetric);
  EXPECT_FALSE(spec("b").symmetric);
}

TEST_F(Options, StrictSymmetric) {
  EXPECT_EQ(min_max_encoding(-1, 2, spec("w")).offset, -128);
  config.more_defaults = R"(, "strict_symmetric": "True")";
  const Encoding strict = min_max_encoding(-1, 2, spec("w"));
  EXPECT_EQ(strict.offset, -127);
  EXPECT_EQ(strict.min, -strict.max);
  EXPECT_TRUE(spec("s").strict_symmetric);
}

TEST_F(Options, UnsignedSymmetric) {
  config.ops = R"({"is_output_quantized": "True", "is_symmetric": "True"})";
  EXPECT_EQ(min_max_encoding(0, 2, spec("s")).offset, -128);
  config.more_defaults = R"(, "unsigned_symmetric": "True")";
  EXPECT_EQ(min_max_encoding(0, 2, spec("s")).offset, 0);
  EXPECT_EQ(min_max_encoding(-1, 2, spec("s")).offset, -128);
}

TEST_F(Options, PerChannel) {
  EXPECT_EQ(spec("w").channel_axis, std::nullopt);
  config.more_defaults = R"(, "per_channel_quantization": "True")";
  EXPECT_EQ(spec("w").channel_axis, 0);
  config.op_type = R"({"Conv": {"per_channel_quantization": "False"}})";
  EXPECT_EQ(spec("w").channel_axis, std::nullopt);
  config.more_defaults = "";
  config.op_type = R"({"Conv": {"per_channel_quantization": "True"}})";
  EXPECT_EQ(spec("w").channel_axis, 0);
}

TEST_F(Options, FixedRanges) {
  config.op_type = R"({"Sigmoid": {"encoding_constraints": {"min": 0.0, "max": 1.0}}})";
  EXPECT_EQ(spec("s").fixed_min, 0.0);
  EXPECT_EQ(spec("s").fixed_max, 1.0);
  EXPECT_EQ(spec("y").fixed_min, std::nullopt);
  config.op_type = R"({"Sigmoid": {"encoding_constraints": {"min": 0.0}}})";
  EXPECT_EQ(spec("s").fixed_max, std::nullopt);
}

/// AIMET's fixed range of a Tanh: [-1, 1] is symmetric, so its quantizer is, whatever its readers are said to be.
TEST_F(Options, FixedRangesThatAreSymmetricMakeTheQuantizerSo) {
  config.op_type = R"({"Sigmoid": {"encoding_constraints": {"min": -1.0, "max": 1.0}},
                       "Mul": {"is_symmetric": "False"}})";
  EXPECT_TRUE(spec("s").symmetric);
  const Encoding grid = find_encoding(observe_values(std::vector<float>{-0.25f, 0.5f}), spec("s"));
  EXPECT_DOUBLE_EQ(grid.scale, 1.0 / 127);
  EXPECT_EQ(grid.offset, -128);
  config.op_type = R"({"Sigmoid": {"encoding_constraints": {"min": -1.0, "max": 2.0}}})";
  EXPECT_FALSE(spec("s").symmetric);
  scene.place_with("htp_v81");
  EXPECT_EQ(scene.site("s").spec.fixed_max, 1.0);
  EXPECT_FALSE(scene.site("s").spec.symmetric);
}

TEST_F(Options, FusedGroups) {
  config.supergroups = R"([{"op_list": ["Conv", "Relu"]}])";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "w", "b", "r", "s", "y"));
  config.supergroups = R"([{"op_list": ["Conv", "Relu"]}, {"op_list": ["Conv", "Relu", "Sigmoid"]}])";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "w", "b", "s", "y"));  // the longer chain first
  config.supergroups = R"([{"op_list": ["Relu", "Conv"]}])";
  EXPECT_THAT(enabled(), IsSupersetOf({"c", "r", "s", "y"}));
}

TEST_F(Options, FusedGroupsNeedSingleReaders) {
  config.supergroups = R"([{"op_list": ["Conv", "Relu"]}])";
  scene.output("z", {1, 3, 4, 4}).node("Neg", {"c"}, {"z"});
  EXPECT_TRUE(enabled().contains("c"));
}

/// AIMET gives r the same range of its own, without a quantizer for c.
TEST_F(Options, FusedGroupsKeepTheQuantizersOfModelOutputs) {
  config.supergroups = R"([{"op_list": ["Conv", "Relu"]}])";
  scene.output("c", {1, 3, 4, 4});
  EXPECT_TRUE(enabled().contains("c"));
  EXPECT_FALSE(scene.tied("c", "r"));  // twice the step for r
  config.supergroups = R"([{"op_list": ["Conv", "Relu", "Sigmoid"]}])";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "w", "b", "c", "s", "y"));
  config.supergroups = "[]";
  EXPECT_TRUE(enabled().contains("c"));
  EXPECT_TRUE(scene.tied("c", "r"));
}

TEST_F(Options, LaterStagesWin) {
  config.op_type = R"({"Relu": {"is_output_quantized": "True"}, "Conv": {"is_output_quantized": "True"},
                       "Mul": {"is_output_quantized": "True"}})";
  config.supergroups = R"([{"op_list": ["Conv", "Relu"]}])";
  config.model_output = R"({"is_output_quantized": "False"})";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "w", "b", "r", "s"));
}

TEST_F(Options, AnOperatorsRuleHoldsAgainstTheDefaultsOfItsReader) {
  config.ops = R"({"is_input_quantized": "True", "is_output_quantized": "True"})";
  config.op_type = R"({"Sigmoid": {"is_output_quantized": "False"}})";
  EXPECT_FALSE(enabled().contains("s"));
}

TEST_F(Options, RulesOfOneStageMustAgree) {
  config.op_type = R"({"Conv": {"is_output_quantized": "False"}, "Relu": {"is_input_quantized": "True"}})";
  EXPECT_THAT(conflict(),
              HasSubstr("$.op_type.Conv.is_output_quantized and $.op_type.Relu.is_input_quantized disagree about "
                        "tensor 'c'"));
  config.op_type = R"({"Conv": {"is_symmetric": "False"}, "Relu": {"is_symmetric": "True"}})";
  EXPECT_THAT(conflict(), HasSubstr("$.op_type.Conv.is_symmetric and $.op_type.Relu.is_symmetric disagree"));
  config.op_type = R"({"Conv": {"is_output_quantized": "True"}, "Relu": {"is_input_quantized": "True"}})";
  EXPECT_EQ(conflict(), "no error");
}

/// The default of a tensor that is an output and an input: on where either side says so.
TEST_F(Options, DefaultsOfBothSidesAddUp) {
  config.ops = R"({"is_input_quantized": "True", "is_output_quantized": "False"})";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "w", "b", "c", "r", "s"));
  config.ops = R"({"is_input_quantized": "False", "is_output_quantized": "True"})";
  EXPECT_THAT(enabled(), UnorderedElementsAre("x", "k", "w", "b", "c", "r", "s", "y"));
}

/// A weight of two operators, and the bias of another that is the scale of a norm.
class SharedParameters : public testing::Test {
 protected:
  SharedParameters() {
    scene.input("x", {4, 4}).output("y", {4, 4}).constant("w", {4, 4}).constant("b", {4});
    scene.node("Gemm", {"x", "w", "b"}, {"g"});
    scene.node("MatMul", {"g", "w"}, {"m"});
    scene.node("LayerNormalization", {"m", "b"}, {"y"});
  }
  std::string conflict() {
    try {
      scene.place(config);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  Scene scene;
  ConfigText config;
};

TEST_F(SharedParameters, RulesOfTheirOperatorsMustAgree) {
  EXPECT_EQ(conflict(), "no error");
  config.op_type = R"({"Gemm": {"params": {"weight": {"is_symmetric": "True"}}},
                       "MatMul": {"params": {"weight": {"is_symmetric": "False"}}}})";
  EXPECT_THAT(conflict(), HasSubstr("$.op_type.Gemm.params.weight.is_symmetric and "
                                    "$.op_type.MatMul.params.weight.is_symmetric disagree about tensor 'w'"));
  config.op_type = R"({"Gemm": {"params": {"weight": {"is_quantized": "False"}}},
                       "MatMul": {"params": {"weight": {"is_quantized": "True"}}}})";
  EXPECT_THAT(conflict(), HasSubstr("is_quantized disagree about tensor 'w'"));
  config.op_type = "{}";
  config.params_by_type = R"({"weight": {"is_quantized": "True"}, "bias": {"is_quantized": "False"}})";
  EXPECT_THAT(conflict(), HasSubstr("$.params.bias.is_quantized and $.params.weight.is_quantized disagree about "
                                    "tensor 'b'"));
}

TEST_F(SharedParameters, OperatorsMustAgreeAboutChannels) {
  config.op_type = R"({"Gemm": {"per_channel_quantization": "True"},
                       "MatMul": {"per_channel_quantization": "False"}})";
  EXPECT_THAT(conflict(), HasSubstr("$.op_type.Gemm.per_channel_quantization and "
                                    "$.op_type.MatMul.per_channel_quantization disagree about tensor 'w'"));
  config.op_type = R"({"Gemm": {"per_channel_quantization": "True"}})";  // the default of MatMul gives way
  EXPECT_EQ(conflict(), "no error");
  EXPECT_EQ(scene.site("w").spec.channel_axis, 1);
  config.more_defaults = R"(, "per_channel_quantization": "True")";
  config.op_type = R"({"Gemm": {"per_channel_quantization": "False"}})";
  EXPECT_EQ(conflict(), "no error");
  EXPECT_EQ(scene.site("w").spec.channel_axis, std::nullopt);
}

/// What is said of one type of parameters holds for those that are another elsewhere, in whatever order they come.
TEST_F(SharedParameters, TypesComeAfterTheDefaultsOfAllOperators) {
  config.params_by_type = R"({"bias": {"is_quantized": "False"}})";
  scene.place(config);
  EXPECT_FALSE(scene.site("b").enabled);
}

TEST_F(Options, Bitwidths) {
  scene.place(config, 16, 4);
  EXPECT_EQ(scene.site("s").spec.bitwidth, 16);
  EXPECT_EQ(scene.site("w").spec.bitwidth, 4);
}

}  // namespace
}  // namespace tare
