// What users mistake for one another: each gets a line that says what it is and what to do.
#include <fmt/format.h>

#include <fstream>

#include "cli/command.hpp"
#include "tare/dataset.hpp"

namespace tare::test {
namespace {

using testing::HasSubstr;

class Mistakes : public testing::Test {
 protected:
  void SetUp() override {
    write_model(small_model(), folder_ / "m.onnx");
    write_samples(folder_ / "x.npz", 8);
    ASSERT_EQ(tare({"calibrate", at("m.onnx"), "--data", at("x.npz"), "--output", at("out")}).exit_code, 0);
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  CommandResult run(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"run", at("m.onnx")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return tare(arguments);
  }
  template <class T>
  void write_array(const std::string& name, DataType type, const Shape& shape) const {
    Tensor tensor = Tensor::host(type, shape);
    std::fill_n(tensor.mutable_data<T>(), tensor.elements(), T{1});
    write_npy(folder_ / name, tensor);
  }

  TemporaryFolder folder_;
};

TEST_F(Mistakes, FlagsThatThereAreNot) {
  expect_error(run({"--data", at("x.npz"), "--batchsize", "4"}), 2,
               "there is no flag '--batchsize'; did you mean --batch-size; see 'tare run --help'");
  expect_error(run({"--data", at("x.npz"), "--bits", "4"}), 2, "there is no flag '--bits'; see 'tare run --help'");
  expect_error(run({at("x.npz"), "--data", at("x.npz")}), 2, "x.npz' belongs to no flag; files of data follow --data");
  expect_error(run({"--data", at("x.npz"), "--mean", "0.4", "0.5"}), 2, "'0.5' belongs to no flag");
  expect_error(tare({"--bogus", "run", at("m.onnx"), "--data", at("x.npz")}), 2, "there is no flag '--bogus'");
  expect_error(run({"--data", at("x.npz"), "-z"}), 2, "there is no flag '-z'");
  expect_error(run({"--data", at("x.npz"), "-", "--"}), 2, "tare run --help");
  expect_error(tare({"diff", "a", "b", "c"}), 2, "'c' belongs to no flag; see 'tare diff --help'");
}

TEST_F(Mistakes, InputsGivenTwice) {
  expect_error(run({"--data", at("x.npz"), "--data", at("x.npz")}), 2,
               "--data is given 2 times; give it once; several files go into a folder");
  const std::string encodings = at("out/m.encodings");
  expect_error(
      tare({"simulate", at("m.onnx"), "--data", at("x.npz"), "--encodings", encodings, "--encodings", encodings}), 2,
      "--encodings is given 2 times; give it once");
  EXPECT_EQ(run({"--data", at("x.npz"), "--threads", "2", "--threads", "1"}).exit_code, 0);  // the last one counts
}

TEST_F(Mistakes, ShortFlagsWithEquals) {
  EXPECT_EQ(run({"--data", at("x.npz"), "-o=" + at("o.npz")}).exit_code, 0);
  EXPECT_TRUE(std::filesystem::exists(at("o.npz")));
  expect_error(run({"--data", at("x.npz"), "-o", at("o.npy")}), 2, "let its name end so");
}

TEST_F(Mistakes, FilesInEachOthersPlace) {
  expect_error(tare({"calibrate", at("x.npz"), "--data", at("m.onnx")}), 3, "it is a NumPy file of data");
  write_array<float>("x.npy", DataType::float32, {8, 3, 8, 8});
  expect_error(tare({"inspect", at("x.npy")}), 3, "it is a NumPy file of data");
  expect_error(tare({"run", at("out/m.encodings"), "--data", at("x.npz")}), 3, "it is JSON, as encodings and configs");
  expect_error(tare({"simulate", at("m.onnx"), "--data", at("x.npz"), "--encodings", at("out/m.qdq.onnx")}), 3,
               "is an ONNX model, not an encodings file");
  std::filesystem::copy(at("x.npz"), at("list.txt"));
  expect_error(run({"--data", at("list.txt")}), 4, "is binary, no text; a list has a line a sample");
  expect_error(tare({"evaluate", at("m.onnx"), "--data", at("x.npz"), "--labels", at("x.npz")}), 4,
               "is binary, no text; labels are an .npy file of integers");
}

TEST_F(Mistakes, ArraysOfAnotherShapeOrScale) {
  write_array<float>("last.npy", DataType::float32, {4, 8, 8, 3});
  expect_error(run({"--data", at("last.npy")}), 4, "its channels are last: a.transpose(0, 3, 1, 2)");
  write_array<float>("one.npy", DataType::float32, {3, 8, 8});
  expect_error(run({"--data", at("one.npy")}), 4, "for a single sample add the axis of the batch: a[None]");
  write_array<float>("other.npy", DataType::float32, {4, 5, 6, 7});
  EXPECT_THAT(run({"--data", at("other.npy")}).errors, testing::Not(HasSubstr("transpose")));
  write_array<std::uint8_t>("pixels.npy", DataType::uint8, {4, 3, 8, 8});
  expect_error(run({"--data", at("pixels.npy")}), 4,
               "scale it as the model was trained, e.g. with numpy: a.astype('float32') / 255");
  std::filesystem::create_directory(at("arrays"));
  for (const char* name : {"arrays/a.npy", "arrays/b.npy"}) write_array<float>(name, DataType::float32, {3, 8, 8});
  expect_error(run({"--data", at("arrays")}), 4, "its 2 .npy files have to be one array: numpy.stack");
}

TEST_F(Mistakes, MeansOfPixels) {
  expect_error(run({"--data", at("x.npz"), "--mean", "123.675,116.28,103.53"}), 2,
               "--mean 123.675: pixels are divided by 255 first, so that they lie in 0 … 1; give 0.485");
  expect_error(run({"--data", at("x.npz"), "--std", "57.375"}), 2, "give 0.225");
}

TEST_F(Mistakes, NamesThatOnlyPartsMatch) {
  const auto calibrate = [&](const std::string& text) {
    return tare({"calibrate", at("m.onnx"), "--data", at("x.npz"), "--output", at("o"), "--override", text});
  };
  expect_error(calibrate("^:bits=4"), 2, "it is compared with whole names: '.*^.*' would match 4");
  expect_error(calibrate("z|$:bits=4"), 2, "'.*(z|$).*' would match 4");
  expect_error(calibrate("x:scheme=best"), 2, "'best' is none of min_max, sqnr,");
  expect_error(tare({"calibrate", at("m.onnx"), "--data", at("x.npz"), "--output", at("o"), "--nodes-to-exclude", "n"}),
               2, "the model has no node 'n'; 'tare inspect --all' names those around every quantizer");
}

TEST_F(Mistakes, NodesAroundQuantizersAreNamed) {
  const CommandResult text = tare({"inspect", at("m.onnx"), "--all"});
  EXPECT_THAT(text.output, HasSubstr("made by"));
  EXPECT_THAT(text.output, HasSubstr("convolution"));
  const auto sites = tare({"inspect", at("m.onnx"), "--all", "--json"}).json()["quantizers"]["sites"];
  EXPECT_EQ(sites[0]["producer"], nullptr);
  EXPECT_EQ(sites[0]["readers"], nlohmann::json::array({"convolution"}));
  EXPECT_EQ(sites[2]["producer"], "convolution");
}

TEST_F(Mistakes, MixedTypesAreInTheSummary) {
  const std::vector<std::string> line = {"calibrate", at("m.onnx"), "--data", at("x.npz"), "--output", at("o")};
  EXPECT_THAT(tare(line).output, testing::Not(HasSubstr("types ")));
  std::vector<std::string> mixed = line;
  mixed.insert(mixed.end(), {"--override", "y:bits=16"});
  EXPECT_THAT(tare(mixed).output, HasSubstr("types       activations 1 int16, 1 int8; weights 1 int8\n"));
  mixed.push_back("--json");
  const auto report = tare(mixed).json();
  EXPECT_EQ(report["overrides"], nlohmann::json::array({"y:bits=16"}));
  EXPECT_EQ(report["param_scheme"], "sqnr");
  EXPECT_EQ(report["activation_type"], "int8");
}

}  // namespace
}  // namespace tare::test
