// Reading configs: the shipped ones by name and by path, and what is wrong with a file, by its JSON path.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "placement/scene.hpp"
#include "support/paths.hpp"
#include "tare/error.hpp"

namespace tare {
namespace {

using test::ConfigText;
using testing::ElementsAre;
using testing::HasSubstr;

Config load(const std::string& text) {
  const test::TemporaryFolder folder;
  test::write_bytes(folder / "config.json", text);
  return load_config((folder / "config.json").string());
}

std::string complaint(const std::string& text) {
  try {
    load(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string complaint(const ConfigText& text) { return complaint(text.text()); }

class ShippedConfigs : public testing::TestWithParam<std::string> {};

TEST_P(ShippedConfigs, AreTheSameByNameAndByPath) {
  const Config named = load_config(GetParam());
  const Config file = load_config((test::data_folder() / "../../configs" / (GetParam() + ".json")).string());
  EXPECT_EQ(named.source, GetParam());
  EXPECT_EQ(named.supergroups, file.supergroups);
  EXPECT_EQ(named.supergroup_passes, file.supergroup_passes);
  EXPECT_EQ(named.hw_version, file.hw_version);
  EXPECT_EQ(named.op_types.size(), file.op_types.size());
  EXPECT_EQ(named.default_op.output_quantized, true);
  EXPECT_EQ(named.default_parameter.quantized, true);
  EXPECT_EQ(named.parameters.at("bias").quantized, false);
  EXPECT_EQ(named.model_input_quantized, true);
}

INSTANTIATE_TEST_SUITE_P(Names, ShippedConfigs, testing::ValuesIn(config_names()),
                         [](const auto& test) { return test.param; });

TEST(ShippedConfigNames, AreAll) {
  EXPECT_THAT(config_names(),
              ElementsAre("default", "default_per_tensor", "dsp", "enpu_v6", "enpu_v7", "enpu_v7_per_channel",
                          "htp_v66", "htp_v68", "htp_v69", "htp_v73", "htp_v75", "htp_v79", "htp_v81", "htp_v85"));
}

TEST(ShippedConfigNames, SayWhatTheHardwareIs) {
  for (const auto& [name, version] : std::map<std::string, std::string>{{"htp_v66", "V66"},
                                                                        {"htp_v68", "V68"},
                                                                        {"htp_v69", "V69"},
                                                                        {"htp_v73", "V73"},
                                                                        {"htp_v75", "V75"},
                                                                        {"htp_v79", "V79"},
                                                                        {"htp_v81", "V81"},
                                                                        {"htp_v85", "V85"},
                                                                        {"default", ""}})
    EXPECT_EQ(load_config(name).hw_version, version);
  EXPECT_EQ(load_config("htp_v81").op_types.at("Sigmoid").fixed_max, 1.0);
  EXPECT_FALSE(load_config("htp_v69").op_types.contains("Sigmoid"));
  EXPECT_FALSE(load_config("htp_v68").op_types.contains("Gemm"));
  EXPECT_FALSE(load_config("htp_v66").per_channel);
  EXPECT_EQ(load_config("enpu_v6").default_op.symmetric, true);
  EXPECT_EQ(load_config("enpu_v7").model_output_quantized, true);
  EXPECT_EQ(load_config("enpu_v7_per_channel").op_types.at("Gemm").per_channel, true);
  EXPECT_NE(load_config("dsp").default_parameter.symmetric, true);
}

TEST(ShippedConfigNames, OfAimetsFilesAreTakenToo) {
  for (const auto& [file, name] :
       std::map<std::string, std::string>{{"default_config.json", "default_per_tensor"},
                                          {"default_config_per_channel", "default"},
                                          {"htp_quantsim_config_v73.json", "htp_v73"},
                                          {"htp_quantsim_config_v81_per_channel_linear.json", "htp_v81"},
                                          {"dsp_quantsim_config.json", "dsp"}})
    EXPECT_EQ(load_config(file).source, name);
  for (const char* none :
       {"htp_quantsim_config_v99", "default_config_2", ".json", "", "default.json", "htp_v81.json", "quantsim_config"})
    EXPECT_THROW(load_config(none), Error) << none;
}

TEST(ConfigFile, VersionsOfHardwareAreWrittenAsAimetDoes) {
  for (const char* wrong : {"v73", "V9", "V730", "73", "Vxy"}) {
    ConfigText text;
    text.more_defaults = fmt::format(R"(, "hw_version": "{}")", wrong);
    EXPECT_THAT(complaint(text),
                HasSubstr(fmt::format("$.defaults.hw_version is '{}'; a version is written as V73", wrong)));
  }
}

TEST(ConfigFile, BooleansAreStringsOrReal) {
  for (const char* yes : {R"("True")", R"("true")", "true"}) {
    ConfigText text;
    text.more_defaults = std::string(R"(, "strict_symmetric": )") + yes;
    EXPECT_TRUE(load(text.text()).strict_symmetric) << yes;
  }
  for (const char* no : {R"("False")", R"("false")", "false"}) {
    ConfigText text;
    text.model_input = std::string(R"({"is_input_quantized": )") + no + "}";
    EXPECT_EQ(load(text.text()).model_input_quantized, false) << no;
  }
  ConfigText text;
  text.more_defaults = R"(, "unsigned_symmetric": 1)";
  EXPECT_THAT(complaint(text), HasSubstr("$.defaults.unsigned_symmetric must be \"True\" or \"False\""));
}

TEST(ConfigFile, EveryKeyIsRead) {
  ConfigText text;
  text.ops = R"({"is_input_quantized": "True", "is_output_quantized": "False", "is_symmetric": "True"})";
  text.more_defaults = R"(, "strict_symmetric": "True", "unsigned_symmetric": "True",
    "per_channel_quantization": "True", "hw_version": "V73",
    "supported_kernels": [{"activation": {"bitwidth": 16, "dtype": "int"}, "param": {"bitwidth": 8, "dtype": "int"}}])";
  text.params_by_type = R"({"weight": {"is_symmetric": "False"}, "running_var": {"is_quantized": "False"}})";
  text.op_type = R"({"Conv": {"is_input_quantized": "False", "is_output_quantized": "True", "is_symmetric": "False",
    "per_channel_quantization": "False", "params": {"bias": {"is_quantized": "True"}},
    "encoding_constraints": {"min": -1, "max": 2.5},
    "supported_kernels": [{"activation": {"bitwidth": 16, "dtype": "float"}, "param": {"bitwidth": 4, "dtype": "int"}}]}})";
  text.supergroups = R"([{"op_list": ["Conv", "Relu"]}])";
  text.passes = R"(["MatmulAdd", "MaskedSoftmax"])";
  text.model_output = R"({"is_output_quantized": "True"})";
  const Config config = load(text.text());
  EXPECT_EQ(config.default_op.input_quantized, true);
  EXPECT_EQ(config.default_op.output_quantized, false);
  EXPECT_EQ(config.default_op.symmetric, true);
  EXPECT_TRUE(config.strict_symmetric && config.unsigned_symmetric && config.per_channel);
  EXPECT_EQ(config.hw_version, "V73");
  EXPECT_EQ(config.parameters.at("weight").symmetric, false);
  EXPECT_EQ(config.parameters.at("running_var").quantized, false);
  const OpRule& conv = config.op_types.at("Conv");
  EXPECT_EQ(conv.input_quantized, false);
  EXPECT_EQ(conv.output_quantized, true);
  EXPECT_EQ(conv.symmetric, false);
  EXPECT_EQ(conv.per_channel, false);
  EXPECT_EQ(conv.parameters.at("bias").quantized, true);
  EXPECT_EQ(conv.fixed_min, -1.0);
  EXPECT_EQ(conv.fixed_max, 2.5);
  EXPECT_THAT(config.supergroups, ElementsAre(ElementsAre("Conv", "Relu")));
  EXPECT_THAT(config.supergroup_passes, ElementsAre("MatmulAdd", "MaskedSoftmax"));
  EXPECT_EQ(config.model_output_quantized, true);
}

TEST(ConfigFile, WrongKeysAreNamedByTheirPath) {
  const auto with = [](std::string ConfigText::*section, const std::string& value) {
    ConfigText text;
    text.*section = value;
    return complaint(text);
  };
  EXPECT_THAT(with(&ConfigText::ops, R"({"is_output_quantised": "True"})"),
              HasSubstr("$.defaults.ops.is_output_quantised is not a key of this section; known: is_input_quantized"));
  EXPECT_THAT(with(&ConfigText::more_defaults, R"(, "bitwidth": 8)"), HasSubstr("$.defaults.bitwidth"));
  EXPECT_THAT(with(&ConfigText::params_by_type, R"({"gamma": {}})"), HasSubstr("$.params.gamma"));
  EXPECT_THAT(with(&ConfigText::params_by_type, R"({"bias": {"bits": 8}})"), HasSubstr("$.params.bias.bits"));
  EXPECT_THAT(with(&ConfigText::op_type, R"({"Conv": {"is_quantized": "True"}})"),
              HasSubstr("$.op_type.Conv.is_quantized"));
  EXPECT_THAT(with(&ConfigText::op_type, R"({"Conv": {"encoding_constraints": {"max": 1}}})"),
              HasSubstr("$.op_type.Conv.encoding_constraints.min is missing"));
  EXPECT_THAT(with(&ConfigText::op_type, R"({"Conv": {"encoding_constraints": {"min": 1, "max": 0}}})"),
              HasSubstr("$.op_type.Conv.encoding_constraints.min is above 0, which every range holds"));
  EXPECT_THAT(with(&ConfigText::op_type, R"({"Conv": {"encoding_constraints": {"min": -5, "max": -3}}})"),
              HasSubstr("$.op_type.Conv.encoding_constraints.max is below 0, which every range holds"));
  EXPECT_THAT(with(&ConfigText::op_type, R"({"Conv": {"encoding_constraints": {"min": 0, "max": 0}}})"),
              HasSubstr("$.op_type.Conv.encoding_constraints.max is no more than min"));
  EXPECT_THAT(with(&ConfigText::supergroups, R"([{"op_list": ["Conv", "Relu"]}, {"op_list": ["Conv"]}])"),
              HasSubstr("$.supergroups[1].op_list must name at least two op types"));
  EXPECT_THAT(with(&ConfigText::passes, R"(["MatmulAdd", "MatMulAdd"])"),
              HasSubstr("$.supergroup_pass_list[1] is 'MatMulAdd', which is not a pass; known: LayerNormalization"));
  EXPECT_THAT(with(&ConfigText::model_output, R"({"is_input_quantized": "True"})"),
              HasSubstr("$.model_output.is_input_quantized"));
  EXPECT_THAT(with(&ConfigText::more_defaults,
                   R"(, "supported_kernels": [{"activation": {"bitwidth": 7, "dtype": "int"}, "param": {}}])"),
              HasSubstr("$.defaults.supported_kernels[0].activation.bitwidth must be 4, 8, 16 or 32"));
  EXPECT_THAT(with(&ConfigText::op_type, R"({"Conv": {"supported_kernels": [
    {"activation": {"bitwidth": 8, "dtype": "int"}, "param": {"bitwidth": 8, "dtype": "uint"}}]}})"),
              HasSubstr("$.op_type.Conv.supported_kernels[0].param.dtype must be \"int\" or \"float\""));
  EXPECT_THAT(with(&ConfigText::op_type, R"({"Conv": []})"), HasSubstr("$.op_type.Conv must be an object"));
  EXPECT_THAT(complaint(R"({"params": {}})"), HasSubstr("$.defaults is missing"));
  EXPECT_THAT(complaint(std::string("{")), HasSubstr("is not valid JSON"));
}

TEST(ConfigFile, KeysThatStandTwiceAreNamedByTheirPath) {
  ConfigText text;
  text.op_type = R"({"Conv": {"is_symmetric": "True", "is_symmetric": "False"}})";
  EXPECT_THAT(complaint(text), HasSubstr("config.json: $.op_type.Conv.is_symmetric stands there twice; keep one"));
  text.op_type = R"({"Conv": {"is_symmetric": "True"}, "Relu": {}, "Conv": {}})";
  EXPECT_THAT(complaint(text), HasSubstr("$.op_type.Conv stands there twice"));
  text.op_type = R"({"Conv": {"is_symmetric": "True"}, "Relu": {"is_symmetric": "True"}})";
  text.supergroups = R"([{"op_list": ["Conv", "Relu"]}, {"op_list": ["Conv", "Add"]}])";
  EXPECT_EQ(complaint(text), "no error");
  text.supergroups = R"([{"op_list": ["Conv", "Relu"]}, {"op_list": [], "op_list": ["Conv", "Add"]}])";
  EXPECT_THAT(complaint(text), HasSubstr("$.supergroups[1].op_list stands there twice"));
}

TEST(ConfigFile, TheDocumentsExampleIsOne) {
  const std::string document = test::read_bytes(test::data_folder() / "../../docs/config.md");
  const std::size_t begin = document.find("```json") + 7;
  const Config config = load(document.substr(begin, document.find("```", begin) - begin));
  EXPECT_EQ(config.op_types.at("Sigmoid").output_quantized, false);
}

/// The keys that the complaints about a wrong one list, section by section, against the tables of the document.
TEST(ConfigFile, TheDocumentExplainsEveryKey) {
  const std::string document = test::read_bytes(test::data_folder() / "../../docs/config.md");
  std::vector<ConfigText> wrong(8);
  wrong[0].ops = R"({"?": 0})";
  wrong[1].params = R"({"?": 0})";
  wrong[2].more_defaults = R"(, "?": 0)";
  wrong[3].op_type = R"({"Conv": {"?": 0}})";
  wrong[4].op_type = R"({"Conv": {"encoding_constraints": {"?": 0}}})";
  wrong[5].supergroups = R"([{"?": 0}])";
  wrong[6].more_defaults = R"(, "supported_kernels": [{"?": 0}])";
  wrong[7].more_defaults = R"(, "supported_kernels": [{"activation": {"?": 0}}])";
  std::set<std::string> keys = {"supergroup_pass_list"};
  for (const ConfigText& text : wrong) {
    const std::string message = complaint(text);
    const std::size_t list = message.find("known: ");
    ASSERT_NE(list, std::string::npos) << message;
    std::stringstream known(message.substr(list + 7));
    for (std::string key; std::getline(known >> std::ws, key, ',');) keys.insert(key);
  }
  EXPECT_GE(keys.size(), 20u);
  for (const std::string& key : keys) {
    const bool explained =
        document.find("`" + key + "`") != std::string::npos || document.find("." + key + "`") != std::string::npos ||
        document.find("`" + key + ".") != std::string::npos || document.find("`" + key + "[") != std::string::npos;
    EXPECT_TRUE(explained) << key;
  }
}

TEST(ConfigFile, NeitherNameNorFile) {
  try {
    load_config("htp_v99");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("'htp_v99'"));
    EXPECT_THAT(error.what(), HasSubstr("htp_v85"));
  }
}

}  // namespace
}  // namespace tare
