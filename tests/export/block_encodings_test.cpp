// Encodings of weights in blocks and in low-power blocks (AIMET's LPBQ): how each version says them, what is read
// again, and what is made of them on a model.
#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "support/model_builder.hpp"
#include "tare/error.hpp"
#include "tare/export.hpp"
#include "tare/lint.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

using nlohmann::json;
using testing::HasSubstr;

QuantizerSpec blocks_of(int size, int block_axis, int channel_axis) {
  QuantizerSpec spec;
  spec.bitwidth = 4;
  spec.symmetric = true;
  spec.block_size = size;
  spec.block_axis = block_axis;
  spec.channel_axis = channel_axis;
  return spec;
}

/// Scales in the order [channel, block].
EncodingSet weight(const QuantizerSpec& spec, const std::vector<double>& scales) {
  TensorEncodings tensor{"w", SiteRole::parameter, spec, {}};
  for (const double scale : scales) tensor.encodings.push_back({-8 * scale, 7 * scale, scale, -8});
  return {{tensor}};
}

struct Written {
  json entry;
  TensorEncodings read;
};

/// The entry of `w`, a constant of `shape`, and what is read of it.
Written write(const EncodingSet& set, const Shape& shape, EncodingVersion version) {
  Graph graph;
  const ValueId value = graph.add_value({"w", DataType::float32, std::nullopt});
  graph.constants[value] = Tensor::host(DataType::float32, shape);
  ExportInfo info;
  info.graph = &graph;
  const std::string text = encodings_to_json(set, version, info);
  const char* section = version == EncodingVersion::v2_0_0 ? "encodings" : "param_encodings";
  return {json::parse(text)[section][0], encodings_from_json(text, "text").tensors.at(0)};
}

std::vector<double> scales_of(const TensorEncodings& tensor) {
  std::vector<double> scales;
  for (const Encoding& encoding : tensor.encodings) {
    EXPECT_EQ(encoding.offset, -8);
    EXPECT_EQ(encoding.min, -8 * encoding.scale);
    EXPECT_EQ(encoding.max, 7 * encoding.scale);
    scales.push_back(encoding.scale);
  }
  return scales;
}

const std::vector<double> six = {1, 2, 3, 4, 5, 6};  // three channels of two blocks

TEST(BlockEncodings, StandInTheOrderOfTheAxes) {
  struct Case {
    Shape shape;
    int block_axis, channel_axis;
    const char* scales;
  };
  for (const Case& c :
       {Case{{4, 3}, 0, 1, "[[1.0,3.0,5.0],[2.0,4.0,6.0]]"}, Case{{3, 4}, 1, 0, "[[1.0,2.0],[3.0,4.0],[5.0,6.0]]"},
        Case{{3, 4, 5, 1}, 1, 0, "[[[[1.0]],[[2.0]]],[[[3.0]],[[4.0]]],[[[5.0]],[[6.0]]]]"},
        Case{{4, 3, 5}, 0, 1, "[[[1.0],[3.0],[5.0]],[[2.0],[4.0],[6.0]]]"}}) {
    const EncodingSet set = weight(blocks_of(2, c.block_axis, c.channel_axis), six);
    const Written written = write(set, c.shape, EncodingVersion::v2_0_0);
    EXPECT_EQ(written.entry["y_scale"], json::parse(c.scales));
    EXPECT_EQ(written.entry["axis"], c.block_axis);
    EXPECT_EQ(written.entry["block_size"], 2);
    EXPECT_EQ(scales_of(written.read), six);
    EXPECT_EQ(written.read.spec.block_axis, c.block_axis);
    EXPECT_EQ(written.read.spec.channel_axis, c.channel_axis);
    EXPECT_EQ(written.read.spec.block_size, 2);
    const Written old = write(set, c.shape, EncodingVersion::v1_0_0);
    EXPECT_EQ(old.entry["enc_type"], "PER_BLOCK");
    EXPECT_EQ(old.entry["block_size"], 2);
    EXPECT_EQ(old.entry["scale"], json(six));
    EXPECT_EQ(scales_of(old.read), six);
  }
}

TEST(BlockEncodings, OneChannelAndOneBlock) {
  const Written one = write(weight(blocks_of(4, 0, 1), {0.5}), {4, 1}, EncodingVersion::v2_0_0);
  EXPECT_EQ(one.entry["y_scale"], json::parse("[[0.5]]"));
  EXPECT_EQ(one.read.spec.block_axis, 0);
  EXPECT_EQ(one.read.spec.channel_axis, 1);
}

/// Beside the blocks' axis there are two of one element in the file, and only the model says which one has the
/// channels.
TEST(BlockEncodings, OfOneColumnFitTheModelTheyCameFrom) {
  const test::TemporaryFolder folder;
  onnx::ModelProto model = test::empty_model(18);
  onnx::GraphProto& graph = *model.mutable_graph();
  test::add_input(graph, "x", {2, 3, 16});
  test::add_output(graph, "y", {2, 3, 1});
  std::vector<float> weights(32);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = std::cos(static_cast<float>(i));
  test::add_initializer<float>(graph, "w", 1, {2, 16, 1}, weights);
  test::add_node(graph, "MatMul", {"x", "w"}, {"y"});
  Session session(test::write_model(model, folder / "m.onnx"));
  Tensor x = Tensor::host(DataType::float32, {2, 3, 16});
  for (std::int64_t i = 0; i < x.elements(); ++i) x.mutable_data<float>()[i] = std::sin(static_cast<float>(i));
  for (const char* override : {"w:block=4,bits=4", "w:block=16,bits=4"}) {
    SCOPED_TRACE(override);
    CalibrationOptions options;
    options.overrides.push_back(parse_override(override));
    Calibration calibration = session.start_calibration(options);
    calibration.add(std::array{x});
    const EncodingSet found = calibration.finish().encodings;
    session.set_encodings(found);
    const Tensor before = session.simulate(std::array{x}).at(0);
    ExportInfo info;
    info.graph = &session.graph();
    for (const EncodingVersion version : {EncodingVersion::v1_0_0, EncodingVersion::v2_0_0}) {
      SCOPED_TRACE(name_of(version));
      const EncodingSet read = encodings_from_json(encodings_to_json(found, version, info), "text");
      session.set_encodings(read);
      const Tensor after = session.simulate(std::array{x}).at(0);
      for (std::int64_t i = 0; i < before.elements(); ++i) EXPECT_EQ(after.data<float>()[i], before.data<float>()[i]);
      options.given.emplace();
      options.given->set = read;
      options.given->strict = true;
      EXPECT_EQ(session.calibrate(options).encodings.find("w", SiteRole::parameter)->spec.channel_axis, 2);
    }
  }
}

TEST(BlockEncodings, OldestVersionHasNone) {
  QuantizerSpec low_power = blocks_of(2, 1, 0);
  low_power.decompressed_bitwidth = 8;
  for (const QuantizerSpec& spec : {blocks_of(2, 1, 0), low_power}) try {
      write(weight(spec, six), {3, 4}, EncodingVersion::v0_6_1);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::unsupported);
      EXPECT_THAT(error.what(), HasSubstr("'w': version 0.6.1 has no blocks"));
    }
}

/// Two channels of two blocks: 8 and 16 units of 0.002, 10 and 9 of 0.0017.
EncodingSet low_power(int block_axis = 0, int channel_axis = 1) {
  QuantizerSpec spec = blocks_of(16, block_axis, channel_axis);
  spec.decompressed_bitwidth = 8;
  return weight(spec, {8 * 0.002, 16 * 0.002, 10 * 0.0017, 9 * 0.0017});
}

void expect_low_power(const TensorEncodings& read) {
  EXPECT_EQ(read.role, SiteRole::parameter);
  EXPECT_EQ(read.spec.bitwidth, 4);
  EXPECT_EQ(read.spec.decompressed_bitwidth, 8);
  EXPECT_EQ(read.spec.block_size, 16);
  EXPECT_TRUE(read.spec.symmetric);
  const std::vector<double> scales = scales_of(read);
  const std::vector<double> wanted = scales_of(low_power().tensors[0]);
  ASSERT_EQ(scales.size(), wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_DOUBLE_EQ(scales[i], wanted[i]);
}

TEST(LowPowerBlockEncodings, AimetsEntriesAreRead) {
  const EncodingSet old = encodings_from_json(R"({"version":"1.0.0","activation_encodings":[],"param_encodings":[
      {"name":"w","bw":8,"compressed_bw":4,"dtype":"INT","enc_type":"LPBQ","block_size":16,"is_sym":true,
       "offset":[-128,-128],"scale":[0.002,0.0017],"per_block_int_scale":[8,16,10,9]}]})",
                                              "text");
  expect_low_power(old.tensors.at(0));
  const EncodingSet set = encodings_from_json(R"({"version":"2.0.0","encodings":[
      {"name":"w","output_dtype":"int4","axis":0,"block_size":16,"per_block_int_scale":[[8,10],[16,9]],
       "per_channel_float_scale":[[0.002,0.0017]]}]})",
                                              "text");
  expect_low_power(set.tensors.at(0));
  EXPECT_EQ(set.tensors[0].spec.block_axis, 0);
  EXPECT_EQ(set.tensors[0].spec.channel_axis, 1);
}

TEST(LowPowerBlockEncodings, AreWrittenAsAimetDoes) {
  const Written old = write(low_power(), {32, 2}, EncodingVersion::v1_0_0);
  expect_low_power(old.read);
  EXPECT_EQ(old.entry["enc_type"], "LPBQ");
  EXPECT_EQ(old.entry["bw"], 8);
  EXPECT_EQ(old.entry["compressed_bw"], 4);
  EXPECT_EQ(old.entry["block_size"], 16);
  EXPECT_EQ(old.entry["is_sym"], true);
  EXPECT_EQ(old.entry["offset"], json::parse("[-128.0,-128.0]"));
  // The second channel's largest multiple is 10 of 16: 0.0017 is the only scale that fits both of its blocks.
  EXPECT_EQ(old.entry["per_block_int_scale"], json::parse("[8,16,10,9]"));
  EXPECT_DOUBLE_EQ(old.entry["scale"][0].get<double>(), 0.002);
  EXPECT_DOUBLE_EQ(old.entry["scale"][1].get<double>(), 0.0017);

  const Written now = write(low_power(), {32, 2}, EncodingVersion::v2_0_0);
  expect_low_power(now.read);
  EXPECT_EQ(now.entry["output_dtype"], "int4");
  EXPECT_EQ(now.entry["per_block_int_scale"], json::parse("[[8,10],[16,9]]"));
  EXPECT_EQ(now.entry["per_channel_float_scale"].size(), 1u);
  EXPECT_EQ(now.entry["per_channel_float_scale"][0].size(), 2u);
  EXPECT_FALSE(now.entry.contains("y_scale"));

  const Written convolution = write(low_power(1, 0), {2, 32, 3, 3}, EncodingVersion::v2_0_0);
  expect_low_power(convolution.read);
  EXPECT_EQ(convolution.entry["per_block_int_scale"], json::parse("[[[[8]],[[16]]],[[[10]],[[9]]]]"));
  EXPECT_EQ(convolution.entry["per_channel_float_scale"][1].size(), 1u);
}

TEST(LowPowerBlockEncodings, StrictGridsStartOneCodeLaterInTheOldVersion) {
  EncodingSet set = low_power();
  set.tensors[0].spec.strict_symmetric = true;
  for (Encoding& encoding : set.tensors[0].encodings) encoding.offset = -7;
  const Written old = write(set, {32, 2}, EncodingVersion::v1_0_0);
  EXPECT_EQ(old.entry["offset"], json::parse("[-127.0,-127.0]"));
  EXPECT_TRUE(old.read.spec.strict_symmetric);
  for (const Encoding& encoding : old.read.encodings) EXPECT_EQ(encoding.offset, -7);
}

TEST(LowPowerBlockEncodings, NeedMultiplesAndTwiceTheBits) {
  const auto complaint = [](const EncodingSet& set, EncodingVersion version) -> std::string {
    try {
      write(set, {32, 2}, version);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EncodingSet set = low_power();
  set.tensors[0].encodings[2].scale = 0.0171;
  EXPECT_THAT(complaint(set, EncodingVersion::v1_0_0),
              HasSubstr("'w': the scales of channel 1 are no whole multiples"));
  set = low_power();
  set.tensors[0].spec.decompressed_bitwidth = 10;
  EXPECT_THAT(complaint(set, EncodingVersion::v2_0_0), HasSubstr("to twice their 4 bits, not to 10; use 1.0.0"));
}

struct Hostile {
  const char* entry;
  const char* message;
};

#define OLD_ENTRY(rest)                                                                                                                        \
  R"({"version":"1.0.0","activation_encodings":[],"param_encodings":[{"name":"w","dtype":"INT","bw":8,"enc_type":"LPBQ","block_size":2,)" rest \
  "}]}"
#define NEW_ENTRY(rest) R"({"version":"2.0.0","encodings":[{"name":"w",)" rest "}]}"

class HostileBlocks : public testing::TestWithParam<Hostile> {};
TEST_P(HostileBlocks, AreRefusedWithTheirPlace) {
  try {
    encodings_from_json(GetParam().entry, "f.encodings");
    FAIL() << GetParam().entry;
  } catch (const Error& error) {
    EXPECT_TRUE(error.kind() == ErrorKind::model || error.kind() == ErrorKind::unsupported);
    EXPECT_THAT(error.what(), testing::StartsWith("f.encodings: "));
    EXPECT_THAT(error.what(), HasSubstr(GetParam().message));
  }
}
INSTANTIATE_TEST_SUITE_P(
    Encodings, HostileBlocks,
    testing::Values(
        Hostile{OLD_ENTRY(R"("is_sym":false)"), "is_sym: LPBQ grids are symmetric"},
        Hostile{OLD_ENTRY(R"("is_sym":true)"), "'compressed_bw' is missing"},
        Hostile{OLD_ENTRY(R"("is_sym":true,"compressed_bw":8)"), "codes of 8 bits cannot be widened to 8"},
        Hostile{OLD_ENTRY(R"("is_sym":true,"compressed_bw":4,"scale":[],"offset":[],"per_block_int_scale":[])"),
                "scale: a list"},
        Hostile{OLD_ENTRY(R"("is_sym":true,"compressed_bw":4,"scale":[1,1],"offset":[-128],"per_block_int_scale":[1])"),
                "as many offsets"},
        Hostile{
            OLD_ENTRY(
                R"("is_sym":true,"compressed_bw":4,"scale":[1,1],"offset":[-128,-128],"per_block_int_scale":[1,2,3])"),
            "3 blocks do not share 2 channels"},
        Hostile{OLD_ENTRY(R"("is_sym":true,"compressed_bw":4,"scale":[1],"offset":[-8],"per_block_int_scale":[1])"),
                "offset[0]: offset -8 is wrong: those of low-power blocks are all -128 or, strict, all -127"},
        Hostile{
            OLD_ENTRY(
                R"("is_sym":true,"compressed_bw":4,"scale":[1,1],"offset":[-127,-128],"per_block_int_scale":[1,2])"),
            "offset[1]: offset -128"},
        Hostile{OLD_ENTRY(R"("is_sym":true,"compressed_bw":4,"scale":[1],"offset":[-128],"per_block_int_scale":[17])"),
                "per_block_int_scale[0]: 17 is not an integer from 1 to 16"},
        Hostile{OLD_ENTRY(R"("is_sym":true,"compressed_bw":4,"scale":[1],"offset":[-128],"per_block_int_scale":[0])"),
                "per_block_int_scale[0]: 0"},
        Hostile{OLD_ENTRY(R"("is_sym":true,"compressed_bw":4,"scale":[-1],"offset":[-128],"per_block_int_scale":[2])"),
                "scale[0]"},
        Hostile{NEW_ENTRY(R"("output_dtype":"uint4","axis":0,"block_size":2,"per_block_int_scale":[[1]])"),
                "low-power blocks need a signed type"},
        Hostile{NEW_ENTRY(R"("output_dtype":"int4","axis":0,"block_size":2,"per_block_int_scale":[[1]])"),
                "'per_channel_float_scale' is missing"},
        Hostile{
            NEW_ENTRY(
                R"("output_dtype":"int4","axis":0,"block_size":2,"per_block_int_scale":[[1,2]],"per_channel_float_scale":[[1]])"),
            "per_channel_float_scale: a scale a channel"},
        Hostile{
            NEW_ENTRY(
                R"("output_dtype":"int4","axis":2,"block_size":2,"per_block_int_scale":[[1,2]],"per_channel_float_scale":[[1]])"),
            "as deep as the tensor has axes"},
        Hostile{NEW_ENTRY(R"("output_dtype":"int4","axis":0,"block_size":2,"y_scale":[[[1,2],[3,4]]])"),
                "more than one axis"},
        Hostile{NEW_ENTRY(R"("output_dtype":"int4","axis":0,"block_size":2,"y_scale":[1,2])"), "nested lists"}));

/// x [2, 8] times w [8, 4] in low-power blocks of four, plus b.
class LowPowerModel : public testing::Test {
 protected:
  LowPowerModel() {
    onnx::ModelProto model = test::empty_model();
    onnx::GraphProto& graph = *model.mutable_graph();
    test::add_input(graph, "x", {2, 8});
    test::add_output(graph, "y", {2, 4});
    std::vector<float> weights(32);
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = std::sin(static_cast<float>(i * i));
    test::add_initializer<float>(graph, "w", 1, {8, 4}, weights);
    test::add_initializer<float>(graph, "b", 1, {4}, {1, 2, 3, 4});
    test::add_node(graph, "Gemm", {"x", "w", "b"}, {"y"});
    session_.emplace(test::write_model(model, folder_ / "m.onnx"));
    options_.overrides = {parse_override("w:bits=4,symmetric=true,block=4,decompressed_bits=8")};
    Calibration calibration = session_->start_calibration(options_);
    calibration.add(std::array{input()});
    found_ = calibration.finish().encodings;
  }
  static Tensor input() {
    std::vector<float> values(16);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::cos(static_cast<float>(i));
    return Tensor::of<float>({2, 8}, values);
  }
  std::vector<float> simulate(const EncodingSet& set) {
    session_->set_encodings(set);
    const Tensor y = session_->simulate(std::array{input()}).at(0);
    return {y.data<float>(), y.data<float>() + y.elements()};
  }
  EncodingSet through_file(EncodingVersion version) {
    ExportInfo info;
    info.graph = &session_->graph();
    EncodingSet set = found_;
    if (version == EncodingVersion::v2_0_0) add_derived_encodings(set, session_->graph());
    return encodings_from_json(encodings_to_json(set, version, info), "text");
  }

  test::TemporaryFolder folder_;
  std::optional<Session> session_;
  CalibrationOptions options_;
  EncodingSet found_;
};

TEST_F(LowPowerModel, FilesSimulateAndCalibrateTheSame) {
  for (const EncodingVersion version : {EncodingVersion::v1_0_0, EncodingVersion::v2_0_0}) {
    SCOPED_TRACE(name_of(version));
    const EncodingSet read = through_file(version);
    EXPECT_EQ(simulate(read), simulate(found_));
    CalibrationOptions options;
    options.given.emplace();
    options.given->set = read;
    const EncodingSet again = session_->calibrate(options).encodings;
    const TensorEncodings* w = again.find("w", SiteRole::parameter);
    ASSERT_NE(w, nullptr);
    EXPECT_EQ(w->spec.decompressed_bitwidth, 8);
    EXPECT_EQ(w->spec.block_axis, 0);
    EXPECT_EQ(w->spec.channel_axis, 1);
    const std::vector<double> before = scales_of(*found_.find("w", SiteRole::parameter));
    const std::vector<double> after = scales_of(*w);
    ASSERT_EQ(after.size(), before.size());
    for (std::size_t i = 0; i < before.size(); ++i) EXPECT_DOUBLE_EQ(after[i], before[i]);
  }
}

TEST_F(LowPowerModel, BiasesHaveTheScaleOfTheirChannel) {
  EncodingSet set = found_;
  add_derived_encodings(set, session_->graph());
  const TensorEncodings* bias = set.find("b", SiteRole::parameter);
  ASSERT_NE(bias, nullptr);
  ASSERT_EQ(bias->encodings.size(), 4u);
  const TensorEncodings& w = *found_.find("w", SiteRole::parameter);
  const double input = found_.find("x", SiteRole::activation)->encodings.at(0).scale;
  for (std::size_t c = 0; c < 4; ++c) {
    const double largest = std::max(w.encodings[2 * c].scale, w.encodings[2 * c + 1].scale);
    EXPECT_DOUBLE_EQ(bias->encodings[c].scale, input * (largest / 16)) << c;
  }
}

TEST_F(LowPowerModel, LintKnowsTheKind) {
  std::vector<QuantSite> sites = place(session_->graph(), load_config("default"));
  const EncodingSet read = through_file(EncodingVersion::v1_0_0);
  const LintReport plain = lint_encodings(session_->graph(), sites, read);
  ASSERT_EQ(plain.findings.size(), 1u);
  EXPECT_EQ(plain.findings[0].kind, FindingKind::mismatch);
  EXPECT_THAT(plain.findings[0].detail,
              HasSubstr("given 4 bits symmetric per low-power block of 4, widened to 8 bits, placed 8 bits symmetric"));
  apply_overrides(sites, session_->graph(), options_.overrides);
  EXPECT_TRUE(lint_encodings(session_->graph(), sites, read).findings.empty());
}

}  // namespace
}  // namespace tare
