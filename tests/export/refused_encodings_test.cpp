// Encodings files that do not hold together: each is refused with the place in the file.
#include <gmock/gmock.h>

#include "support/model_builder.hpp"
#include "tare/error.hpp"
#include "tare/export.hpp"

namespace tare {
namespace {

struct Hostile {
  const char* text;
  const char* message;
};

class HostileFile : public testing::TestWithParam<Hostile> {};

TEST_P(HostileFile, IsRefusedWithItsPlace) {
  try {
    encodings_from_json(GetParam().text, "f.encodings");
    FAIL() << GetParam().text;
  } catch (const Error& error) {
    EXPECT_TRUE(error.kind() == ErrorKind::model || error.kind() == ErrorKind::unsupported);
    EXPECT_THAT(error.what(), testing::StartsWith("f.encodings: "));
    EXPECT_THAT(error.what(), testing::HasSubstr(GetParam().message));
    EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("\n")));
  }
}

#define ONE_ENTRY(entry) R"({"version":"1.0.0","activation_encodings":[],"param_encodings":[)" entry "]}"
#define ONE_NEW_ENTRY(entry) R"({"version":"2.0.0","encodings":[)" entry "]}"

INSTANTIATE_TEST_SUITE_P(
    Encodings, HostileFile,
    testing::Values(
        Hostile{"", "no valid JSON"}, Hostile{"{", "no valid JSON at byte"}, Hostile{"\xff\xfe", "no valid JSON"},
        Hostile{"[]", "an object is needed"}, Hostile{"{}", "key 'version' is missing"},
        Hostile{"[1]", "parameters[0]: an object is needed"}, Hostile{R"({"w":[1]})", "parameters 'w'"},
        Hostile{R"({"w":1})", "key 'version' is missing"},
        Hostile{R"({"param_encodings":[]})", "key 'version' is missing"},
        Hostile{R"({"version":1})", "version: a string is needed"},
        Hostile{R"({"version":"3.0.0"})", "'3.0.0' is not a version"},
        Hostile{R"({"version":"1.0.0"})", "'activation_encodings' and 'param_encodings' are both missing"},
        Hostile{R"({"version":"1.0.0","activation_encodings":{},"param_encodings":[]})",
                "activation_encodings: a list"},
        Hostile{R"({"version":"0.6.1","activation_encodings":[],"param_encodings":{}})",
                "activation_encodings: an object"},
        Hostile{R"({"version":"0.6.1","activation_encodings":{"x":[]},"param_encodings":{}})", "'x'"},
        Hostile{
            R"({"version":"0.6.1","activation_encodings":{"x":[{"bitwidth":8,"dtype":"int","is_symmetric":"True","min":2,"max":1,"offset":-128,"scale":1}]},"param_encodings":{}})",
            "above max"},
        Hostile{ONE_ENTRY("3"), "param_encodings[0]: an object"},
        Hostile{ONE_ENTRY(R"({"name":""})"), "param_encodings[0].name"},
        Hostile{ONE_ENTRY(R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_TENSOR","is_sym":true,"offset":[-128]})"),
                "'w': key 'scale' is missing"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_TENSOR","is_sym":true,"offset":[-128],"scale":[0.0]})"),
            "scale[0]: scale 0.0"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_TENSOR","is_sym":true,"offset":[-128],"scale":[-1.0]})"),
            "scale[0]"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_TENSOR","is_sym":true,"offset":[-128],"scale":[1e-300]})"),
            "scale[0]"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_TENSOR","is_sym":true,"offset":[-128],"scale":[NaN]})"),
            "no valid JSON"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_TENSOR","is_sym":true,"offset":[-128],"scale":[1e999]})"),
            "not an encodings file"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_TENSOR","is_sym":true,"offset":[-128],"scale":[null]})"),
            "scale[0]: a number"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_TENSOR","is_sym":true,"offset":[-128],"scale":[1,2]})"),
            "2 scales need"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_TENSOR","is_sym":true,"offset":[-1,-1],"scale":[1,2]})"),
            "takes 1 scale"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_CHANNEL","is_sym":true,"offset":[],"scale":[]})"),
            "scale: a list"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_TENSOR","is_sym":true,"offset":[-0.5],"scale":[1]})"),
            "fractional"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_TENSOR","is_sym":true,"offset":[1e30],"scale":[1]})"),
            "outside"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_TENSOR","is_sym":"maybe","offset":[0],"scale":[1]})"),
            "is_sym: a boolean"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":0,"enc_type":"PER_TENSOR","is_sym":true,"offset":[0],"scale":[1]})"),
            "bw: 0 is not an integer from 2 to 32"},
        Hostile{
            ONE_ENTRY(
                R"({"name":"w","dtype":"INT","bw":1e9,"enc_type":"PER_TENSOR","is_sym":true,"offset":[0],"scale":[1]})"),
            "bw"},
        Hostile{ONE_ENTRY(R"({"name":"w","dtype":"BOGUS","bw":8})"), "neither 'INT' nor 'FLOAT'"},
        Hostile{ONE_ENTRY(R"({"name":"w","dtype":"INT","bw":8,"enc_type":"PER_BLOCK","block_size":-1})"), "block_size"},
        Hostile{ONE_ENTRY(R"({"name":"w","dtype":"FLOAT","bw":16},{"name":"w","dtype":"FLOAT","bw":16})"), "twice"},
        Hostile{ONE_ENTRY(R"({"name":"w","dtype":"FLOAT","dtype":"FLOAT","bw":16})"),
                "param_encodings[0].dtype: the key stands there twice"},
        Hostile{
            R"({"version":"1.0.0","activation_encodings":[{"name":"w","dtype":"FLOAT","bw":16}],"param_encodings":[{"name":"w","dtype":"FLOAT","bw":16}]})",
            "f.encodings: tensor 'w' stands in the file twice"},
        Hostile{R"({"version":"0.6.1","param_encodings":{"w":[{"bitwidth":16,"dtype":"float"}],"w":[]}})",
                "param_encodings.w: the key stands there twice"},
        Hostile{
            R"({"version":"0.6.1","activation_encodings":{"w":[{"bitwidth":16,"dtype":"float"}]},"param_encodings":{"w":[{"bitwidth":16,"dtype":"float"}]}})",
            "f.encodings: tensor 'w' stands in the file twice"},
        Hostile{R"([{"name":"w","dtype":"FLOAT","bw":16},{"name":"v","bw":8,"bw":16}])", "[1].bw: the key stands"},
        Hostile{R"({"version":"2.0.0","encodings":[],"encodings":[]})", "encodings: the key stands there twice"},
        Hostile{ONE_NEW_ENTRY(
                    R"({"name":"w","output_dtype":"int8","y_scale":1},{"name":"w","output_dtype":"int8","y_scale":1})"),
                "tensor 'w' stands in the file twice"},
        Hostile{ONE_NEW_ENTRY(R"({"name":"w","output_dtype":"int99","y_scale":1})"), "'int99'"},
        Hostile{ONE_NEW_ENTRY(R"({"name":"w","output_dtype":"int","y_scale":1})"), "'int'"},
        Hostile{ONE_NEW_ENTRY(R"({"name":"w","output_dtype":"bogus","y_scale":1})"), "not supported"},
        Hostile{ONE_NEW_ENTRY(R"({"name":"w","output_dtype":"int8"})"), "y_scale"},
        Hostile{ONE_NEW_ENTRY(R"({"name":"w","output_dtype":"int8","y_scale":[1,2]})"), "needs an 'axis'"},
        Hostile{ONE_NEW_ENTRY(R"({"name":"w","output_dtype":"int8","y_scale":[1,2],"axis":-1})"), "axis"},
        Hostile{ONE_NEW_ENTRY(R"({"name":"w","output_dtype":"int8","y_scale":[1,[2]],"axis":0})"), "same length"},
        Hostile{ONE_NEW_ENTRY(R"({"name":"w","output_dtype":"int8","y_scale":[[1],2],"axis":0})"), "same length"},
        Hostile{ONE_NEW_ENTRY(R"({"name":"w","output_dtype":"int8","y_scale":[[1,2],[3]],"axis":0,"block_size":2})"),
                "same length"},
        Hostile{ONE_NEW_ENTRY(R"({"name":"w","output_dtype":"uint8","y_scale":1,"y_zero_point":[1]})"),
                "shape of the scales"},
        Hostile{ONE_NEW_ENTRY(R"({"name":"w","output_dtype":"uint8","y_scale":1,"y_zero_point":300})"), "outside"},
        Hostile{ONE_NEW_ENTRY(R"({"name":"w","output_dtype":"uint8","y_scale":1,"y_zero_point":"x"})"), "a number"}));

TEST(Encodings, DeepNestingIsNoCrash) {
  std::string text =
      R"({"version":"2.0.0","encodings":[{"name":"w","output_dtype":"int8","axis":0,"block_size":1,"y_scale":)";
  text += std::string(200000, '[') + std::string(200000, ']') + "}]}";
  EXPECT_THROW(encodings_from_json(text, "deep"), Error);
}

TEST(Encodings, MissingFilesAndFoldersAreInputErrors) {
  const test::TemporaryFolder folder;
  for (const std::filesystem::path& path : {folder / "missing.encodings", folder.path()}) {
    try {
      load_encodings(path);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::io);
      EXPECT_THAT(error.what(), testing::HasSubstr(path.string()));
    }
  }
}

}  // namespace
}  // namespace tare
