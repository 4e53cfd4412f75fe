// Encodings files: what is written is read again, and AIMET's own files are read and written again key for key.
#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "support/model_builder.hpp"
#include "support/paths.hpp"
#include "tare/export.hpp"

namespace tare {
namespace {

using nlohmann::json;

Encoding grid(double scale, double offset, std::int64_t steps) {
  return {scale * offset, scale * (offset + static_cast<double>(steps)), scale, offset};
}

TensorEncodings tensor(const std::string& name, SiteRole role, QuantizerSpec spec,
                       const std::vector<std::pair<double, double>>& grids) {
  TensorEncodings result{name, role, spec, {}};
  for (const auto& [scale, offset] : grids) result.encodings.push_back(grid(scale, offset, spec.steps()));
  return result;
}

EncodingSet example() {
  QuantizerSpec asymmetric;
  QuantizerSpec wide;
  wide.bitwidth = 16;
  QuantizerSpec half;
  half.format = NumberFormat::float16;
  half.bitwidth = 16;
  QuantizerSpec channels;
  channels.symmetric = true;
  channels.channel_axis = 0;
  QuantizerSpec strict;
  strict.symmetric = strict.strict_symmetric = true;
  strict.bitwidth = 4;
  EncodingSet set;
  set.tensors = {
      tensor("a", SiteRole::activation, asymmetric, {{0.1, -12}}),
      tensor("b/with:odd \"name\"é", SiteRole::activation, wide, {{1e-5, 0}}),
      {"h", SiteRole::activation, half, {}},
      tensor("w", SiteRole::parameter, channels, {{0.25, -128}, {1.0 / 3, -128}, {1.1920928955078125e-07, -128}}),
      tensor("z", SiteRole::parameter, strict, {{0.5, -7}})};
  return set;
}

EncodingSet round_trip(const EncodingSet& set, EncodingVersion version) {
  return encodings_from_json(encodings_to_json(set, version), "text");
}

void expect_same_grids(const TensorEncodings& a, const TensorEncodings& b) {
  ASSERT_EQ(a.encodings.size(), b.encodings.size()) << a.tensor;
  EXPECT_EQ(a.spec.format, b.spec.format) << a.tensor;
  EXPECT_EQ(a.spec.bitwidth, b.spec.bitwidth) << a.tensor;
  for (std::size_t i = 0; i < a.encodings.size(); ++i) {
    EXPECT_EQ(a.encodings[i].scale, b.encodings[i].scale) << a.tensor;
    EXPECT_EQ(a.encodings[i].offset, b.encodings[i].offset) << a.tensor;
    EXPECT_EQ(a.encodings[i].min, b.encodings[i].min) << a.tensor;
    EXPECT_EQ(a.encodings[i].max, b.encodings[i].max) << a.tensor;
  }
}

TEST(Encodings, OldVersionsKeepEverythingButTheAxis) {
  for (const EncodingVersion version : {EncodingVersion::v0_6_1, EncodingVersion::v1_0_0}) {
    const EncodingSet set = example();
    const EncodingSet read = round_trip(set, version);
    ASSERT_EQ(read.tensors.size(), set.tensors.size());
    for (std::size_t i = 0; i < set.tensors.size(); ++i) {
      EXPECT_EQ(read.tensors[i].tensor, set.tensors[i].tensor);
      EXPECT_EQ(read.tensors[i].role, set.tensors[i].role);
      EXPECT_EQ(read.tensors[i].spec.symmetric, set.tensors[i].spec.symmetric);
      EXPECT_EQ(read.tensors[i].spec.strict_symmetric, set.tensors[i].spec.strict_symmetric);
      EXPECT_EQ(read.tensors[i].spec.channel_axis, std::nullopt);
      expect_same_grids(read.tensors[i], set.tensors[i]);
    }
  }
}

TEST(Encodings, NewVersionKeepsGridsAndAxes) {
  EncodingSet set = example();
  set.tensors.pop_back();  // strictness is lost: a signed type has no place for it
  const EncodingSet read = round_trip(set, EncodingVersion::v2_0_0);
  ASSERT_EQ(read.tensors.size(), set.tensors.size() - 1) << "float16 tensors are left out";
  for (const TensorEncodings& wanted : set.tensors) {
    if (wanted.spec.format == NumberFormat::float16) continue;
    const TensorEncodings* found = read.find(wanted.tensor, wanted.role);
    ASSERT_NE(found, nullptr) << wanted.tensor;
    expect_same_grids(*found, wanted);
    EXPECT_EQ(found->spec.channel_axis, wanted.spec.channel_axis);
  }
}

/// Names the type of every key on the way down, lists by their first element.
json shape_of(const json& value) {
  if (value.is_object()) {
    json result = json::object();
    for (const auto& [key, member] : value.items()) result[key] = shape_of(member);
    return result;
  }
  if (value.is_array()) return json::array({value.empty() ? json("empty") : shape_of(value[0])});
  return value.is_number_integer() ? "integer" : value.type_name();
}

std::map<std::string, json> entries(const json& file) {
  std::map<std::string, json> result;
  for (const char* section : {"activation_encodings", "param_encodings", "encodings"}) {
    if (!file.contains(section)) continue;
    if (file[section].is_object())
      for (const auto& [name, list] : file[section].items()) result[std::string(section) + "/" + name] = list;
    else
      for (const json& entry : file[section])
        result[std::string(section) + "/" + entry["name"].get<std::string>()] = entry;
  }
  return result;
}

class AimetFile : public testing::TestWithParam<std::pair<const char*, EncodingVersion>> {};

TEST_P(AimetFile, IsReadAndWrittenAgainKeyForKey) {
  const std::filesystem::path path = test::data_folder() / "encodings" / GetParam().first;
  const json theirs = json::parse(test::read_bytes(path));
  const json ours = json::parse(encodings_to_json(load_encodings(path), GetParam().second));
  for (const auto& [key, value] : theirs.items()) {
    ASSERT_TRUE(ours.contains(key)) << key;
    if (key == "producer" || key == "quantizer_args") {
      EXPECT_EQ(shape_of(ours[key]), shape_of(value)) << key;
    }
  }
  EXPECT_EQ(ours.size(), theirs.size());
  EXPECT_EQ(ours["version"], theirs["version"]);
  EXPECT_EQ(ours["producer"]["package"], "tare");
  if (GetParam().second == EncodingVersion::v2_0_0) {
    std::map<std::string, json> wanted = entries(theirs);
    std::map<std::string, json> found = entries(ours);
    EXPECT_EQ(found, wanted);
  } else {
    std::map<std::string, json> wanted = entries(theirs);
    for (auto [name, entry] : entries(ours)) {
      ASSERT_TRUE(wanted.contains(name)) << name;
      // A tensor of one channel reads as per tensor: the grid is the same.
      if (entry.contains("enc_type") && entry["scale"].size() == 1) entry["enc_type"] = wanted[name]["enc_type"];
      EXPECT_EQ(entry, wanted[name]) << name;
      EXPECT_EQ(shape_of(entry), shape_of(wanted[name])) << name;
      wanted.erase(name);
    }
    EXPECT_TRUE(wanted.empty());
  }
}

INSTANTIATE_TEST_SUITE_P(Encodings, AimetFile,
                         testing::Values(std::pair{"basic_pitch.v0.6.1.encodings", EncodingVersion::v0_6_1},
                                         std::pair{"silero_vad.v1.0.0.encodings", EncodingVersion::v1_0_0},
                                         std::pair{"silero_vad.v2.0.0.encodings", EncodingVersion::v2_0_0}));

TEST(Encodings, KeysAreSortedAndBooleansAreThoseOfTheVersion) {
  const std::string old = encodings_to_json(example(), EncodingVersion::v0_6_1);
  EXPECT_NE(old.find("\"is_symmetric\": \"True\""), std::string::npos);
  EXPECT_NE(old.find("\"offset\": -12.0"), std::string::npos);
  const std::string text = encodings_to_json(example(), EncodingVersion::v1_0_0);
  EXPECT_NE(text.find("\"is_sym\": true"), std::string::npos);
  EXPECT_LT(text.find("activation_encodings"), text.find("param_encodings"));
  EXPECT_LT(text.find("param_encodings"), text.find("producer"));
  for (const char c : text) EXPECT_LT(static_cast<unsigned char>(c), 128) << "names outside ASCII are escaped";
}

TEST(Encodings, ActivationsAreUnsignedInTheNewVersion) {
  QuantizerSpec symmetric;
  symmetric.symmetric = true;
  EncodingSet set;
  set.tensors = {tensor("a", SiteRole::activation, symmetric, {{0.5, -128}}),
                 tensor("w", SiteRole::parameter, symmetric, {{0.5, -128}})};
  const json list = json::parse(encodings_to_json(set, EncodingVersion::v2_0_0))["encodings"];
  EXPECT_EQ(list[0], json::parse(R"({"name":"a","output_dtype":"uint8","y_scale":0.5,"y_zero_point":128})"));
  EXPECT_EQ(list[1], json::parse(R"({"name":"w","output_dtype":"int8","y_scale":0.5})"));
}

TEST(Encodings, Float8NeedsTheNewVersion) {
  QuantizerSpec spec;
  spec.format = NumberFormat::float8e4m3fn;
  EncodingSet set;
  set.tensors = {{"a", SiteRole::activation, spec, {{-448, 448, 1, 0}}}};
  const EncodingSet read = round_trip(set, EncodingVersion::v2_0_0);
  EXPECT_EQ(read.tensors.at(0).spec.format, NumberFormat::float8e4m3fn);
  EXPECT_EQ(read.tensors[0].encodings.at(0).scale, 1);
  for (const EncodingVersion version : {EncodingVersion::v0_6_1, EncodingVersion::v1_0_0}) {
    try {
      encodings_to_json(set, version);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::unsupported);
      EXPECT_THAT(error.what(), testing::HasSubstr("'a'"));
    }
  }
}

TEST(Encodings, FileIsWrittenWholeOrNotAtAll) {
  const test::TemporaryFolder folder;
  save_encodings(example(), EncodingVersion::v1_0_0, folder / "e.encodings");
  const std::string before = test::read_bytes(folder / "e.encodings");
  EncodingSet broken = example();
  broken.tensors[0].encodings[0].scale = NAN;
  EXPECT_THROW(save_encodings(broken, EncodingVersion::v1_0_0, folder / "e.encodings"), Error);
  EXPECT_EQ(test::read_bytes(folder / "e.encodings"), before);
  EXPECT_THROW(save_encodings(example(), EncodingVersion::v1_0_0, folder / "missing" / "e.encodings"), Error);
}

/// What AdaRound and SeqMSE of AIMET leave: the parameters alone.
TEST(Encodings, ABareSectionIsThatOfParameters) {
  for (const EncodingVersion version : {EncodingVersion::v0_6_1, EncodingVersion::v1_0_0}) {
    const json file = json::parse(encodings_to_json(example(), version));
    const EncodingSet bare = encodings_from_json(file["param_encodings"].dump(), "text");
    ASSERT_EQ(bare.tensors.size(), 2u);
    for (const TensorEncodings& tensor : bare.tensors) {
      EXPECT_EQ(tensor.role, SiteRole::parameter);
      expect_same_grids(tensor, *round_trip(example(), version).find(tensor.tensor, SiteRole::parameter));
    }
    const test::TemporaryFolder folder;
    test::write_bytes(folder / "bare", file["param_encodings"].dump());
    EXPECT_EQ(load_encodings_file(folder / "bare").version, version);
  }
}

TEST(Encodings, AMissingSectionIsEmpty) {
  for (const EncodingVersion version : {EncodingVersion::v0_6_1, EncodingVersion::v1_0_0}) {
    const json file = json::parse(encodings_to_json(example(), version));
    for (const auto& [missing, left] : {std::pair{"activation_encodings", 2u}, std::pair{"param_encodings", 3u}}) {
      json part = file;
      part.erase(missing);
      EXPECT_EQ(encodings_from_json(part.dump(), "text").tensors.size(), left);
    }
  }
}

/// The same grids in the integers that the user wants.
TEST(Encodings, ActivationsAreUnsignedSignedOrAsTheyAre) {
  QuantizerSpec asymmetric;
  QuantizerSpec symmetric;
  symmetric.symmetric = true;
  QuantizerSpec weight = symmetric;
  weight.channel_axis = 0;
  EncodingSet set;
  set.tensors = {tensor("a", SiteRole::activation, asymmetric, {{0.1, -12}}),
                 tensor("s", SiteRole::activation, symmetric, {{0.5, -128}}),
                 tensor("w", SiteRole::parameter, weight, {{0.25, -128}, {0.5, -128}})};
  const auto written = [&](ActivationCodes activations) {
    ExportInfo info;
    info.activations = activations;
    const std::string text = encodings_to_json(set, EncodingVersion::v2_0_0, info);
    const EncodingSet read = encodings_from_json(text, "text");
    for (const TensorEncodings& wanted : set.tensors)
      for (const TensorEncodings& found : read.tensors)
        if (found.tensor == wanted.tensor) expect_same_grids(found, wanted);
    std::string kinds;
    for (const auto& [name, entry] : entries(json::parse(text)))
      kinds += entry["output_dtype"].get<std::string>() + " " + std::to_string(entry.value("y_zero_point", 0)) + "; ";
    return kinds;
  };
  EXPECT_EQ(written(ActivationCodes::as_unsigned), "uint8 12; uint8 128; int8 0; ");
  EXPECT_EQ(written(ActivationCodes::as_signed), "int8 -116; int8 0; int8 0; ");
  EXPECT_EQ(written(ActivationCodes::as_is), "uint8 12; int8 0; int8 0; ");
}

}  // namespace
}  // namespace tare
