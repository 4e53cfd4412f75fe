// What the user says of single quantizers: by operator, by name, and encodings that are given.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "support/golden.hpp"
#include "support/model_builder.hpp"
#include "tare/export.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

template <class Action>
void expect_error(ErrorKind kind, const std::string& text, const Action& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected: " << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(text));
  }
}

/// x → Conv(w1) → c1 → MaxPool → p → Conv(w2) → c2 → Sigmoid → y
class Overrides : public testing::Test {
 protected:
  void SetUp() override {
    onnx::ModelProto model = test::empty_model();
    onnx::GraphProto& graph = *model.mutable_graph();
    test::add_input(graph, "x", {-1, 2, 4, 4});
    test::add_output(graph, "y", {-1, 2, 2, 2});
    std::vector<float> weights(4);
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = 0.25f * static_cast<float>(i) - 0.3f;
    test::add_initializer(graph, "w1", 1, {2, 2, 1, 1}, weights);
    test::add_initializer(graph, "w2", 1, {2, 2, 1, 1}, weights);
    test::add_node(graph, "Conv", {"x", "w1"}, {"c1"}, "first");
    onnx::NodeProto& pool = test::add_node(graph, "MaxPool", {"c1"}, {"p"}, "pool");
    test::add_integers(pool, "kernel_shape", {2, 2});
    test::add_integers(pool, "strides", {2, 2});
    test::add_node(graph, "Conv", {"p", "w2"}, {"c2"}, "second");
    test::add_node(graph, "Sigmoid", {"c2"}, {"y"}, "sigmoid");
    session_.emplace(test::write_model(model, folder_ / "m.onnx"));
    input_ = Tensor::host(DataType::float32, {4, 2, 4, 4});
    for (std::int64_t i = 0; i < input_.elements(); ++i)
      input_.mutable_data<float>()[i] = std::sin(0.7f * static_cast<float>(i)) * (i % 5 == 0 ? 3.0f : 1.0f);
  }
  CalibrationResult calibrate(const CalibrationOptions& options) {
    Calibration calibration = session_->start_calibration(options);
    calibration.add(std::array{input_});
    return calibration.finish();
  }
  static std::vector<std::string> tensors(const CalibrationResult& result) {
    std::vector<std::string> names;
    for (const TensorEncodings& tensor : result.encodings.tensors) names.push_back(tensor.tensor);
    return names;
  }
  static const TensorEncodings& of(const CalibrationResult& result, const std::string& tensor) {
    for (const TensorEncodings& found : result.encodings.tensors)
      if (found.tensor == tensor) return found;
    throw std::runtime_error("no encodings of " + tensor);
  }
  static CalibrationOptions with(const std::vector<std::string>& overrides) {
    CalibrationOptions options;
    options.search.scheme = Scheme::min_max;
    for (const std::string& text : overrides) options.overrides.push_back(parse_override(text));
    return options;
  }

  test::TemporaryFolder folder_;
  std::optional<Session> session_;
  Tensor input_;
};

TEST_F(Overrides, TextHasTheLastColonAndEveryKey) {
  const SiteOverride given = parse_override(
      "a:b=c.*:enabled=true,type=float16,symmetric=true,strict=true,unsigned=false,scheme=tf,min=-1.5,max=2");
  EXPECT_EQ(given.pattern, "a:b=c.*");
  EXPECT_EQ(given.enabled, true);
  EXPECT_EQ(given.type->format, NumberFormat::float16);
  EXPECT_EQ(parse_override("c1:bits=12").bitwidth, 12);
  EXPECT_EQ(given.symmetric, true);
  EXPECT_EQ(given.strict_symmetric, true);
  EXPECT_EQ(given.unsigned_symmetric, false);
  EXPECT_EQ(given.scheme, Scheme::min_max);
  EXPECT_EQ(given.min, -1.5);
  EXPECT_EQ(given.max, 2);
  for (const char* bad : {"c1", "c1:", ":bits=8", "c1:bits", "c1:bits=1", "c1:bits=17", "c1:bits=8.5", "c1:bits=x",
                          "c1:bits=8,colour=red", "c1:symmetric=maybe", "c1:scheme=best", "c1:max=3", "c1:min=2,max=1"})
    expect_error(ErrorKind::usage, std::string("'") + bad, [&] { parse_override(bad); });
  expect_error(ErrorKind::usage, "int99", [&] { parse_override("c1:type=int99"); });
}

TEST_F(Overrides, ByNameLaterOnesWin) {
  const CalibrationResult plain = calibrate(with({}));
  const CalibrationResult result =
      calibrate(with({"c.*:bits=4", "c2:bits=16,symmetric=true", "w2:bits=4,strict=true", "x:enabled=false"}));
  EXPECT_THAT(tensors(plain), ElementsAre("c1", "c2", "x", "y", "w1", "w2"));
  EXPECT_THAT(tensors(result), ElementsAre("c1", "c2", "y", "w1", "w2"));
  EXPECT_EQ(of(result, "c1").spec.bitwidth, 4);
  EXPECT_EQ(of(result, "c2").spec.bitwidth, 16);
  EXPECT_EQ(of(result, "c2").encodings[0].offset, -32768);
  EXPECT_EQ(of(result, "w2").encodings[1].offset, -7);
  EXPECT_EQ(of(result, "w1").encodings, of(plain, "w1").encodings);
  // A disabled quantizer can be enabled: MaxPool keeps the grid of its input by default.
  EXPECT_EQ(tensors(calibrate(with({"p:enabled=true"}))).size(), 7u);
}

TEST_F(Overrides, SchemesAndFixedRangesOfSingleTensors) {
  CalibrationOptions mse = with({});
  mse.search.scheme = Scheme::mse;
  const CalibrationResult whole = calibrate(mse);
  const CalibrationResult plain = calibrate(with({}));
  const CalibrationResult result = calibrate(with({"c1:scheme=mse,bits=8", "y:min=-1,max=3"}));
  EXPECT_EQ(of(result, "c1").encodings, of(whole, "c1").encodings);
  EXPECT_EQ(of(result, "c2").encodings, of(plain, "c2").encodings);
  EXPECT_NEAR(of(result, "y").encodings[0].min, -1, 0.02);
  EXPECT_NEAR(of(result, "y").encodings[0].max, 3, 0.02);
  expect_error(ErrorKind::usage, "'c1': tf_enhanced needs", [&] { calibrate(with({"c1:scheme=tf_enhanced"})); });
  CalibrationOptions aimet = with({"c1:scheme=sqnr"});
  aimet.search.scheme = Scheme::tf_enhanced;
  expect_error(ErrorKind::usage, "'c1': a run of tf_enhanced", [&] { calibrate(aimet); });
}

/// Whatever the pattern and however long the name: no hang and no crash.
TEST(OverridePatterns, TakeNoExponentialTimeAndNoEndlessStack) {
  const auto apply = [](const std::string& name, const std::string& text) {
    QuantSite site;
    site.value = 0;
    site.tensor = name;
    std::vector<QuantSite> sites{site};
    apply_overrides(sites, Graph(), {parse_override(text)});
    return sites[0].spec.bitwidth;
  };
  EXPECT_EQ(apply(std::string(60000, 'a'), ".*:bits=4"), 4);
  EXPECT_EQ(apply("head/w", "(?!.*tail).*(/w|/b):bits=4"), 4);
  expect_error(ErrorKind::usage, "no tensor", [&] { apply(std::string(60, 'a'), "(a*)*b:bits=4"); });
  const std::vector<std::pair<std::string, const char*>> refused = {
      {"(a{1000}){1000}", "it is too large; shorten it"},
      {std::string(101, '(') + "a" + std::string(101, ')'), "parentheses lie more than 100 deep"},
      {"(?=.*(?=.*b)).*", "a lookahead, (?= or (?!, within another"},
      {R"((a)\1)", R"(refers back to a group with \1)"},
      {"(a", "not a regular expression"}};
  for (const auto& [pattern, message] : refused) {
    expect_error(ErrorKind::usage, "override '" + pattern + "': ", [&] { apply("aa", pattern + ":bits=4"); });
    expect_error(ErrorKind::usage, message, [&] { apply("aa", pattern + ":bits=4"); });
  }
}

/// A fixed range is one of integers: the scale of an 8-bit float is that of its data.
TEST_F(Overrides, FixedRangesLeaveFloatsAlone) {
  const CalibrationResult plain = calibrate(with({"y:type=float8e4m3fn"}));
  const CalibrationResult fixed = calibrate(with({"y:type=float8e4m3fn,min=-1,max=3"}));
  EXPECT_EQ(of(fixed, "y").encodings, of(plain, "y").encodings);
}

TEST_F(Overrides, WhatMatchesNothingIsNamed) {
  expect_error(ErrorKind::usage, "'conv.*'", [&] { calibrate(with({"conv.*:bits=4"})); });
  expect_error(ErrorKind::usage, "'('", [&] { calibrate(with({"(:bits=4"})); });
  CalibrationOptions options = with({});
  options.selection.nodes_to_exclude = {"third"};
  expect_error(ErrorKind::usage, "'third'", [&] { calibrate(options); });
  options.selection = {.op_types_to_quantize = {"Gemm"}, .op_types_to_exclude = {}, .nodes_to_exclude = {}};
  expect_error(ErrorKind::usage, "'Gemm'", [&] { calibrate(options); });
}

TEST_F(Overrides, AQuantizerStaysWhereAChosenOperatorMakesOrReadsItsTensor) {
  CalibrationOptions options = with({});
  options.selection.nodes_to_exclude = {"second"};
  EXPECT_THAT(tensors(calibrate(options)), ElementsAre("c1", "c2", "x", "y", "w1"));
  options.selection.nodes_to_exclude = {"first"};  // c1 is read by the second one, behind the pool
  EXPECT_THAT(tensors(calibrate(options)), ElementsAre("c1", "c2", "y", "w2"));
  options.selection = {.op_types_to_quantize = {"Conv"}, .op_types_to_exclude = {}, .nodes_to_exclude = {}};
  EXPECT_THAT(tensors(calibrate(options)), ElementsAre("c1", "c2", "x", "w1", "w2"));
  options.selection = {.op_types_to_quantize = {}, .op_types_to_exclude = {"Conv"}, .nodes_to_exclude = {}};
  EXPECT_THAT(tensors(calibrate(options)), ElementsAre("c2", "y"));
}

TEST_F(Overrides, TiedTensorsChangeTogether) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  test::add_input(graph, "x", {-1, 2, 4, 4});
  test::add_output(graph, "y", {-1, 4, 4, 4});
  test::add_node(graph, "Neg", {"x"}, {"a"});
  test::add_node(graph, "Abs", {"x"}, {"b"});
  test::add_integer(test::add_node(graph, "Concat", {"a", "b"}, {"y"}), "axis", 1);
  session_.emplace(test::write_model(model, folder_ / "tied.onnx"));
  const CalibrationResult plain = calibrate(with({}));
  ASSERT_EQ(of(plain, "a").encodings, of(plain, "y").encodings) << "tied";
  const CalibrationResult result = calibrate(with({"a:bits=16"}));
  EXPECT_EQ(of(result, "y").spec.bitwidth, 16);
  EXPECT_EQ(of(result, "a").encodings, of(result, "b").encodings);
  CalibrationOptions options = with({});
  options.given.emplace();
  options.given->set.tensors = {of(plain, "b")};
  options.given->set.tensors[0].encodings[0] = {-2, 2 - 4.0 / 256, 4.0 / 256, -128};
  const CalibrationResult given = calibrate(options);
  EXPECT_EQ(of(given, "y").encodings, options.given->set.tensors[0].encodings);
  EXPECT_EQ(of(given, "a").encodings, options.given->set.tensors[0].encodings);
}

TEST_F(Overrides, GivenEncodingsStayAndTheRestIsFound) {
  const CalibrationResult plain = calibrate(with({}));
  CalibrationOptions options = with({});
  options.given.emplace();
  options.given->set.tensors = {of(plain, "c1"), of(plain, "w1")};
  for (TensorEncodings& tensor : options.given->set.tensors)
    for (Encoding& encoding : tensor.encodings) {
      encoding.scale *= 2;
      encoding.min *= 2;
      encoding.max *= 2;
    }
  const CalibrationResult result = calibrate(options);
  EXPECT_EQ(result.given, 2u);
  ASSERT_EQ(result.mismatches.size(), 4u);  // c2, x, y and w2 are found
  EXPECT_EQ(result.mismatches[0], "'x': none given, placed 8 bits asymmetric");
  EXPECT_EQ(of(result, "c1").encodings, options.given->set.tensors[0].encodings);
  EXPECT_EQ(of(result, "w1").encodings, options.given->set.tensors[1].encodings);
  EXPECT_EQ(of(result, "x").encodings, of(plain, "x").encodings);
  EXPECT_EQ(tensors(result), tensors(plain));

  options.given->parameters_only = true;
  const CalibrationResult frozen = calibrate(options);
  EXPECT_EQ(frozen.given, 1u);
  EXPECT_THAT(frozen.mismatches, ElementsAre("'w2': none given, placed 8 bits symmetric per channel"));
  EXPECT_EQ(of(frozen, "w1").encodings, options.given->set.tensors[1].encodings);
  EXPECT_NE(of(frozen, "c1").encodings, options.given->set.tensors[0].encodings);
}

/// x → Neg → n → Flatten → f → Transpose → t → Neg → y: a grid of its own for f is new, and t follows from it.
TEST_F(Overrides, WhatFollowsFromANewQuantizerIsNoneItself) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  test::add_input(graph, "x", {-1, 2, 4, 4});
  test::add_output(graph, "y", {32, -1});
  test::add_node(graph, "Neg", {"x"}, {"n"});
  test::add_node(graph, "Flatten", {"n"}, {"f"});
  test::add_node(graph, "Transpose", {"f"}, {"t"});
  test::add_node(graph, "Neg", {"t"}, {"y"});
  session_.emplace(test::write_model(model, folder_ / "moved.onnx"));
  CalibrationOptions options = with({});
  options.given.emplace();
  for (const char* tensor : {"t", "f"}) {
    TensorEncodings given{tensor, SiteRole::activation, {}, {{-2, 2 - 4.0 / 256, 4.0 / 256, -128}}};
    options.given->set.tensors.push_back(given);
  }
  const CalibrationResult result = calibrate(options);
  EXPECT_EQ(result.given, 1u);
  EXPECT_THAT(tensors(result), ElementsAre("f", "n", "x", "y"));
}

TEST_F(Overrides, MismatchesAreListedOrRefused) {
  const CalibrationResult plain = calibrate(with({}));
  CalibrationOptions options = with({"x:enabled=false", "c2:bits=16"});
  options.given.emplace();
  options.given->set = plain.encodings;
  const CalibrationResult result = session_->calibrate(options);  // all is given: no data
  ASSERT_EQ(result.mismatches.size(), 2u);
  EXPECT_THAT(result.mismatches[0], HasSubstr("'c2': given 8 bits asymmetric, placed 16 bits asymmetric"));
  EXPECT_THAT(result.mismatches[1], HasSubstr("'x': given 8 bits asymmetric, no quantizer here"));
  EXPECT_EQ(encodings_to_json(result.encodings, EncodingVersion::v1_0_0),
            encodings_to_json(plain.encodings, EncodingVersion::v1_0_0));
  options.given->strict = true;
  expect_error(ErrorKind::model, "2 encodings do not fit the quantizers: 'c2'", [&] { session_->calibrate(options); });
  options.given->set.tensors[0].tensor = "ghost";
  expect_error(ErrorKind::model, "ghost", [&] { session_->calibrate(options); });
  options.given->set.tensors.pop_back();
  options.given->set.tensors.erase(options.given->set.tensors.begin());
  options.given->strict = false;
  expect_error(ErrorKind::data, "1 tensors need it, such as 'c1'", [&] { session_->calibrate(options); });
}

TEST_F(Overrides, QuantizersThatTheFileLeavesOutAreRefusedWhenStrict) {
  const CalibrationResult plain = calibrate(with({}));
  CalibrationOptions options = with({});
  options.given.emplace();
  options.given->set = plain.encodings;
  options.given->strict = true;
  EXPECT_THAT(calibrate(options).mismatches, IsEmpty());
  std::erase_if(options.given->set.tensors, [](const TensorEncodings& tensor) { return tensor.tensor == "c1"; });
  expect_error(ErrorKind::model, "'c1': none given, placed 8 bits asymmetric", [&] { calibrate(options); });
  options.given->parameters_only = true;  // activations are not asked for
  EXPECT_THAT(calibrate(options).mismatches, IsEmpty());
  std::erase_if(options.given->set.tensors, [](const TensorEncodings& tensor) { return tensor.tensor == "w1"; });
  expect_error(ErrorKind::model, "'w1': none given", [&] { calibrate(options); });
}

TEST_F(Overrides, WhatIsUnsignedIsAnotherKind) {
  const CalibrationResult plain = calibrate(with({"y:symmetric=true,unsigned=true"}));
  ASSERT_EQ(of(plain, "y").encodings[0].offset, 0) << "a sigmoid is never negative";
  CalibrationOptions options = with({"y:symmetric=true"});
  options.given.emplace();
  options.given->set = plain.encodings;
  EXPECT_THAT(session_->calibrate(options).mismatches,
              ElementsAre("'y': given 8 bits symmetric unsigned, placed 8 bits symmetric"));
  // A quantizer that may be unsigned takes a signed grid as well: it depends on the data.
  options = with({"y:symmetric=true,unsigned=true"});
  options.given.emplace();
  options.given->set = calibrate(with({"y:symmetric=true"})).encodings;
  EXPECT_THAT(session_->calibrate(options).mismatches, IsEmpty());
}

/// Our own files and AIMET's, in any version, are what the quantizers are: nothing to complain about, nothing changed.
TEST_F(Overrides, EveryVersionFitsTheQuantizersItCameFrom) {
  const CalibrationResult plain = calibrate(with({"c1:symmetric=true"}));
  for (const EncodingVersion version : {EncodingVersion::v0_6_1, EncodingVersion::v1_0_0, EncodingVersion::v2_0_0}) {
    EncodingSet listed = plain.encodings;
    if (version == EncodingVersion::v2_0_0) add_derived_encodings(listed, session_->graph());
    CalibrationOptions options = with({"c1:symmetric=true"});
    options.given.emplace();
    options.given->set = encodings_from_json(encodings_to_json(listed, version), "text");
    options.given->strict = true;
    EXPECT_EQ(encodings_to_json(session_->calibrate(options).encodings, EncodingVersion::v2_0_0),
              encodings_to_json(plain.encodings, EncodingVersion::v2_0_0));
  }
}

/// Version 2.0.0 writes an asymmetric signed grid whose zero point is 0 as a symmetric one.
TEST_F(Overrides, ASignedGridAroundZeroFitsAnAsymmetricQuantizer) {
  EncodingSet set = calibrate(with({})).encodings;
  for (TensorEncodings& tensor : set.tensors)
    if (tensor.tensor == "c1") tensor.encodings = {{-1.28, 1.27, 0.01, -128}};
  ExportInfo info;
  info.activations = ActivationCodes::as_signed;
  CalibrationOptions options;
  options.given.emplace();
  options.given->set = encodings_from_json(encodings_to_json(set, EncodingVersion::v2_0_0, info), "text");
  options.given->strict = true;
  expect_error(ErrorKind::model, "'c1': given 8 bits symmetric, placed 8 bits asymmetric", [&] { calibrate(options); });
  options.given->tells_symmetry = false;
  EXPECT_FALSE(of(session_->calibrate(options), "c1").spec.symmetric);
}

TEST(GivenEncodings, AimetsFilesFitStrictly) {
  struct Case {
    const char* model;
    const char* file;
    const char* config;
    int activation_bits;
  };
  for (const Case& given :
       {Case{"nmp.onnx", "basic_pitch.v0.6.1.encodings", "default", 8},
        Case{"nmp.onnx", "basic_pitch.a16.v1.0.0.encodings", "default", 16},
        Case{"silero_vad_16k_sequence.onnx", "silero_vad.v1.0.0.encodings", "default", 8},
        Case{"silero_vad_16k_sequence.onnx", "silero_vad.v2.0.0.encodings", "default", 8},
        Case{"silero_vad_16k_sequence.onnx", "silero_vad.htp_v81.a16.v1.0.0.encodings", "htp_v81", 16},
        Case{"ch_ppocr_mobile_v2.0_cls_infer.onnx", "ppocr_cls.htp_v81.v1.0.0.encodings", "htp_v81", 8}}) {
    SCOPED_TRACE(given.file);
    Session session(test::cache_folder() / "models" / given.model);
    const EncodingSet theirs = load_encodings(test::data_folder() / "encodings" / given.file);
    CalibrationOptions options;
    options.config = given.config;
    options.types.activation.bitwidth = given.activation_bits;
    options.given.emplace();
    options.given->set = theirs;
    options.given->strict = true;
    const CalibrationResult result = session.calibrate(options);
    EXPECT_THAT(result.mismatches, IsEmpty());
    EXPECT_EQ(result.given, result.encodings.tensors.size());
    for (const TensorEncodings& tensor : result.encodings.tensors) {
      const auto same = std::find_if(theirs.tensors.begin(), theirs.tensors.end(),
                                     [&](const TensorEncodings& t) { return t.tensor == tensor.tensor; });
      ASSERT_NE(same, theirs.tensors.end()) << tensor.tensor;
      EXPECT_EQ(tensor.encodings.size(), same->encodings.size());
      EXPECT_EQ(tensor.encodings[0].scale, same->encodings[0].scale);
    }
    // A channel axis of length one, which old versions do not name, is there again: written as AIMET wrote it.
    if (std::string_view(given.file) == "silero_vad.v1.0.0.encodings") {
      const TensorEncodings* weight = result.encodings.find("output.weight", SiteRole::parameter);
      ASSERT_NE(weight, nullptr);
      EXPECT_EQ(weight->spec.channel_axis, 0);
    }
  }
}

}  // namespace
}  // namespace tare
