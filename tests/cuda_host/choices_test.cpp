// The file of convolution choices: what one process has searched, another one takes over.
#include "choices.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "support/model_builder.hpp"

namespace tare::cuda {
namespace {

using testing::HasSubstr;

const ConvolutionPlatform here{"9.13.0", "NVIDIA H200", {9, 0, 132}};

Convolution image_convolution() {
  return {DataType::float32, {1, 3, 224, 224}, {64, 3, 7, 7}, {1, 64, 112, 112}, {3, 3}, {2, 2}, {1, 1}, 1, false};
}
Convolution volume_convolution() {
  return {
      DataType::bfloat16, {2, 8, 5, 6, 7}, {8, 4, 3, 3, 3}, {2, 8, 3, 4, 5}, {0, 0, 0}, {1, 1, 1}, {1, 1, 1}, 2, true};
}

/// What is chosen; -1 where nothing was known and the search was asked.
int chosen(ConvolutionChoices& choices, const Convolution& convolution, Math math, const ChosenAlgorithm& searched) {
  bool asked = false;
  const ChosenAlgorithm found = choices.find(convolution, math, here.model, [&] {
    asked = true;
    return searched;
  });
  return asked ? -1 : found.number;
}

class Choices : public testing::Test {
 protected:
  std::string read() const {
    std::ifstream stream(file_, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  void write(const std::string& text) const { std::ofstream(file_, std::ios::binary) << text; }
  std::string saved() {
    ConvolutionChoices choices;
    chosen(choices, image_convolution(), Math::float32, {1, 3, 4096});
    choices.save(file_, here);
    return read();
  }
  void expect_refused(const std::string& text, ErrorKind kind, const std::vector<std::string>& parts,
                      const ConvolutionPlatform& platform = here) {
    write(text);
    ConvolutionChoices choices;
    try {
      choices.load(file_, platform);
      ADD_FAILURE() << "no error for " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(file_.string()));
      for (const std::string& part : parts) EXPECT_THAT(error.what(), HasSubstr(part));
    }
    EXPECT_EQ(chosen(choices, image_convolution(), Math::float32, {}), -1) << "something was taken over";
  }

  test::TemporaryFolder folder_;
  std::filesystem::path file_ = folder_ / "convolutions.json";
};

std::string replaced(std::string text, const std::string& from, const std::string& by) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), by);
}

TEST_F(Choices, ComeBackFromTheFile) {
  ConvolutionChoices first;
  EXPECT_FALSE(first.unsaved());
  EXPECT_EQ(chosen(first, image_convolution(), Math::float32, {1, 3, 4096}), -1);
  EXPECT_EQ(chosen(first, image_convolution(), Math::tf32, {0, 1, 0}), -1);
  EXPECT_EQ(chosen(first, volume_convolution(), Math::float32, {1, 2, 1 << 30}), -1);
  EXPECT_TRUE(first.unsaved());
  first.save(file_, here);
  EXPECT_FALSE(first.unsaved());

  ConvolutionChoices second;
  second.load(file_, here);
  const auto fail = [] {
    ADD_FAILURE() << "searched again";
    return ChosenAlgorithm{};
  };
  const ChosenAlgorithm image = second.find(image_convolution(), Math::float32, here.model, fail);
  EXPECT_EQ(std::tuple(image.number, image.math, image.workspace), std::tuple(1, 3, 4096u));
  const ChosenAlgorithm volume = second.find(volume_convolution(), Math::float32, here.model, fail);
  EXPECT_EQ(std::tuple(volume.number, volume.math, volume.workspace), std::tuple(1, 2, 1u << 30));
  EXPECT_EQ(second.find(image_convolution(), Math::tf32, here.model, fail).number, 0);
  EXPECT_FALSE(second.unsaved());
  const std::string text = read();
  second.save(file_, here);
  EXPECT_EQ(read(), text);
}

TEST_F(Choices, CanBeReadByAPerson) {
  EXPECT_EQ(saved(),
            "{\n  \"format\": \"tare convolutions\",\n  \"version\": 1,\n  \"cudnn\": \"9.13.0\",\n"
            "  \"device\": {\"name\":\"NVIDIA H200\",\"compute_capability\":\"9.0\",\"multiprocessors\":132},\n"
            "  \"convolutions\": [\n"
            "    {\"input\":[1,3,224,224],\"weights\":[64,3,7,7],\"output\":[1,64,112,112],\"pads\":[3,3],"
            "\"strides\":[2,2],\"dilations\":[1,1],\"groups\":1,\"transposed\":false,\"type\":\"float32\","
            "\"math\":\"fp32\",\"algorithm\":\"implicit_precomp_gemm\",\"math_type\":\"fma\",\"workspace\":4096}\n"
            "  ]\n}\n");
  ConvolutionChoices choices;
  chosen(choices, volume_convolution(), Math::bf16, {1, 0, 0});
  choices.save(file_, here);
  EXPECT_THAT(read(), HasSubstr("{\"input\":[2,8,3,4,5],\"weights\":[8,4,3,3,3],\"output\":[2,8,5,6,7],"));
  EXPECT_THAT(read(), HasSubstr("\"transposed\":true,\"type\":\"bfloat16\",\"math\":\"bf16\","
                                "\"algorithm\":\"algorithm_1\",\"math_type\":\"default\""));
}

TEST_F(Choices, OfSeveralFilesTheFirstStays) {
  ConvolutionChoices first;
  chosen(first, image_convolution(), Math::float32, {1, 3, 0});
  first.save(folder_ / "first.json", here);
  ConvolutionChoices second;
  chosen(second, image_convolution(), Math::float32, {2, 3, 0});
  chosen(second, volume_convolution(), Math::float32, {1, 1, 0});
  second.save(folder_ / "second.json", here);

  ConvolutionChoices both;
  both.load(folder_ / "first.json", here);
  both.load(folder_ / "second.json", here);
  EXPECT_EQ(chosen(both, image_convolution(), Math::float32, {}), 1);
  EXPECT_EQ(chosen(both, volume_convolution(), Math::float32, {}), 1);
  EXPECT_FALSE(both.unsaved());
  Convolution other = image_convolution();
  other.x[0] = 8;
  other.y[0] = 8;
  EXPECT_EQ(chosen(both, other, Math::float32, {2, 3, 0}), -1) << "a shape that no file has is searched";
  EXPECT_TRUE(both.unsaved());
  both.save(file_, here);
  ConvolutionChoices all;
  all.load(file_, here);
  EXPECT_EQ(chosen(all, image_convolution(), Math::float32, {}), 1);
  EXPECT_EQ(chosen(all, volume_convolution(), Math::float32, {}), 1);
  EXPECT_EQ(chosen(all, other, Math::float32, {}), 2);
}

TEST_F(Choices, GiveWayToOthers) {
  ConvolutionChoices choices;
  chosen(choices, image_convolution(), Math::float32, {1, 3, 4096});
  choices.save(file_, here);
  choices.replace(image_convolution(), Math::float32, here.model, {2, 3, 0});
  EXPECT_TRUE(choices.unsaved());
  EXPECT_EQ(chosen(choices, image_convolution(), Math::float32, {}), 2);
  EXPECT_EQ(chosen(choices, image_convolution(), Math::tf32, {}), -1);
}

TEST_F(Choices, AreOfAlgorithmsThatRoundLittle) {
  for (const bool faithful : {true, false}) {
    for (const int forward : {0, 1, 2}) EXPECT_TRUE(may_be_chosen(forward, faithful, false)) << forward;
    for (const int forward : {3, 4, 5, 7, -1}) EXPECT_FALSE(may_be_chosen(forward, faithful, false)) << forward;
    for (const int back : {0, 2, 3, 4, 5, 6, -1}) EXPECT_FALSE(may_be_chosen(back, faithful, true)) << back;
    EXPECT_TRUE(may_be_chosen(1, faithful, true));
    EXPECT_EQ(may_be_chosen(6, faithful, false), faithful) << "Winograd's";
  }
}

TEST_F(Choices, HoldForOneKindOfDevice) {
  ConvolutionChoices choices;
  const auto search = [] { return ChosenAlgorithm{1, 3, 0}; };
  choices.find(image_convolution(), Math::float32, here.model, search);
  choices.find(volume_convolution(), Math::float32, {8, 0, 108}, search);
  choices.save(file_, here);
  EXPECT_THAT(read(), HasSubstr("[1,3,224,224]"));
  EXPECT_THAT(read(), testing::Not(HasSubstr("[2,8,3,4,5]")));

  const std::string text = saved();
  const auto elsewhere = [&](const ConvolutionPlatform& platform, const std::vector<std::string>& parts) {
    expect_refused(text, ErrorKind::usage, parts, platform);
  };
  elsewhere({"9.14.1", here.device, here.model},
            {"cudnn: the choices were made with cuDNN 9.13.0, here it is 9.14.1; delete the file"});
  elsewhere({here.cudnn, "NVIDIA H100", here.model}, {"device: ", "made on NVIDIA H200", "this is NVIDIA H100"});
  elsewhere({here.cudnn, here.device, {10, 0, 132}}, {"compute capability 9.0", "compute capability 10.0"});
  elsewhere({here.cudnn, here.device, {9, 0, 66}}, {"132 multiprocessors", "66 multiprocessors", "delete the file"});
}

TEST_F(Choices, BadFilesAreRefused) {
  const std::string good = saved();
  const auto refused = [&](const std::string& from, const std::string& by, const std::vector<std::string>& parts) {
    expect_refused(replaced(good, from, by), ErrorKind::model, parts);
  };
  expect_refused("", ErrorKind::model, {"no JSON", "delete the file"});
  expect_refused(good.substr(0, good.size() / 2), ErrorKind::model, {"no JSON"});
  expect_refused("[]", ErrorKind::model, {"not a file of convolution choices"});
  refused("tare convolutions", "tare", {"\"format\" is not \"tare convolutions\""});
  refused("\"version\": 1", "\"version\": 2", {"version: 2 is not the version", "which is 1"});
  refused("\"version\": 1", "\"version\": \"1\"", {"version: a number is needed"});
  refused("\"cudnn\": \"9.13.0\",", "", {"key 'cudnn' is missing"});
  refused("\"name\":\"NVIDIA H200\",", "", {"device: key 'name' is missing"});
  refused("\"multiprocessors\":132", "\"multiprocessors\":0", {"device.multiprocessors"});
  refused("\"convolutions\"", "\"convolution\"", {"key 'convolutions' is missing"});
  refused("\"convolutions\": [", "\"convolutions\": [7,", {"convolutions[0]: an object is needed here, not 7"});
  refused("\"input\":[1,3,224,224]", "\"input\":[3,224,224]", {"convolutions[0].input: 3 numbers instead of 4 to 5"});
  refused("\"input\":[1,3,224,224]", "\"input\":[1,3,224,0]", {"convolutions[0].input[3]: 0 is not an integer"});
  refused("\"weights\":[64,3,7,7]", "\"weights\":[64,3,7]", {"convolutions[0].weights: 3 numbers instead of 4"});
  refused("\"pads\":[3,3],", "", {"convolutions[0]: key 'pads' is missing"});
  refused("\"pads\":[3,3]", "\"pads\":[3,-1]", {"convolutions[0].pads[1]: -1"});
  refused("\"strides\":[2,2]", "\"strides\":[2,2,2]", {"convolutions[0].strides: 3 numbers instead of 2"});
  refused("\"dilations\":[1,1]", "\"dilations\":[1,1.5]", {"convolutions[0].dilations[1]: 1.5"});
  refused("\"groups\":1", "\"groups\":\"one\"", {"convolutions[0].groups"});
  refused("\"transposed\":false", "\"transposed\":0", {"convolutions[0].transposed: a boolean"});
  refused("\"type\":\"float32\"", "\"type\":\"int8\"", {"convolutions[0].type: 'int8' is not one of float32, float16"});
  refused("\"math\":\"fp32\"", "\"math\":\"fp64\"", {"convolutions[0].math: 'fp64' is not one of fp32, tf32, bf16"});
  refused("implicit_precomp_gemm", "fastest", {"convolutions[0].algorithm: 'fastest' is not one of implicit_gemm"});
  refused("implicit_precomp_gemm", "product", {"convolutions[0].algorithm", "single elements"});
  refused("implicit_precomp_gemm", "fft",
          {"implicit_gemm, implicit_precomp_gemm, gemm, winograd, product; delete the file"});
  refused("implicit_precomp_gemm", "", {"convolutions[0].algorithm: '' is not one of"});
  refused(R"("type":"float32","math":"fp32","algorithm":"implicit_precomp_gemm")",
          R"("type":"float16","math":"fp32","algorithm":"winograd")", {"convolutions[0].algorithm: only float32"});
  refused("\"math_type\":\"fma\"", "\"math_type\":\"tensor_op\"", {"convolutions[0].math_type", "it must be fma"});
  refused("\"workspace\":4096", "\"workspace\":1e15", {"convolutions[0].workspace"});
  const std::string line = good.substr(good.find("    {\"input\""), good.find("\n  ]") - good.find("    {\"input\""));
  refused(line, line + ",\n" + line, {"convolutions[1]: this convolution stands in the file twice"});
  ConvolutionChoices choices;
  EXPECT_THROW(choices.load(folder_ / "none.json", here), Error);
  EXPECT_THROW(choices.load(folder_.path(), here), Error);
  EXPECT_THROW(choices.save(folder_ / "no" / "folder.json", here), Error);
}

}  // namespace
}  // namespace tare::cuda
