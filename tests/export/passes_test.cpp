// Parameters that only a pass of the config makes such: a layer norm spelled out in small operators, whose weight is
// frozen and whose bias gets a 32-bit grid.
#include <gmock/gmock.h>

#include <cmath>

#include "support/model_builder.hpp"
#include "tare/export.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

/// x → (x − mean) / √(mean((x − mean)²) + ε) · w + b → y
class SpelledOutNorm : public testing::Test {
 protected:
  void SetUp() override {
    onnx::ModelProto model = test::empty_model();
    onnx::GraphProto& graph = *model.mutable_graph();
    test::add_input(graph, "x", {-1, 4});
    test::add_output(graph, "y", {-1, 4});
    test::add_initializer<float>(graph, "two", 1, {}, {2});
    test::add_initializer<float>(graph, "epsilon", 1, {}, {1e-5f});
    test::add_initializer<float>(graph, "w", 1, {4}, {0.5f, 1, 1.5f, 2});
    test::add_initializer<float>(graph, "b", 1, {4}, {0.25f, -1, 0.5f, 3});
    test::add_integers(test::add_node(graph, "ReduceMean", {"x"}, {"mean"}), "axes", {-1});
    test::add_node(graph, "Sub", {"x", "mean"}, {"centred"});
    test::add_node(graph, "Pow", {"centred", "two"}, {"square"});
    test::add_integers(test::add_node(graph, "ReduceMean", {"square"}, {"variance"}), "axes", {-1});
    test::add_node(graph, "Add", {"variance", "epsilon"}, {"sum"});
    test::add_node(graph, "Sqrt", {"sum"}, {"root"});
    test::add_node(graph, "Div", {"centred", "root"}, {"normal"});
    test::add_node(graph, "Mul", {"normal", "w"}, {"scaled"});
    test::add_node(graph, "Add", {"scaled", "b"}, {"y"});
    session_.emplace(test::write_model(model, folder_ / "m.onnx"));
  }
  CalibrationResult calibrate(CalibrationOptions options, const std::string& config) {
    options.config = config;
    options.search.scheme = Scheme::min_max;
    Tensor input = Tensor::host(DataType::float32, {8, 4});
    for (std::int64_t i = 0; i < input.elements(); ++i)
      input.mutable_data<float>()[i] = std::sin(0.7f * static_cast<float>(i));
    Calibration calibration = session_->start_calibration(options);
    calibration.add(std::array{input});
    return calibration.finish();
  }
  test::TemporaryFolder folder_;
  std::optional<Session> session_;
};

TEST_F(SpelledOutNorm, ItsWeightIsFrozen) {
  EncodingSet given = calibrate({}, "htp_v81").encodings;
  const TensorEncodings* weight = given.find("w", SiteRole::parameter);
  ASSERT_NE(weight, nullptr);
  std::vector<Encoding> doubled = weight->encodings;
  for (Encoding& encoding : doubled)
    encoding = {2 * encoding.min, 2 * encoding.max, 2 * encoding.scale, encoding.offset};
  for (TensorEncodings& tensor : given.tensors)
    if (tensor.tensor == "w") tensor.encodings = doubled;
  CalibrationOptions options;
  options.given.emplace();
  options.given->set = given;
  options.given->parameters_only = true;
  const CalibrationResult frozen = calibrate(options, "htp_v81");
  EXPECT_EQ(frozen.given, 1u);
  EXPECT_EQ(frozen.encodings.find("w", SiteRole::parameter)->encodings, doubled);
  const CalibrationResult without_pass = calibrate(options, "default");  // there it is a constant like others
  EXPECT_EQ(without_pass.given, 0u);
  EXPECT_EQ(without_pass.encodings.find("w", SiteRole::parameter), nullptr);
}

TEST_F(SpelledOutNorm, ItsBiasIsListed) {
  for (const bool pass : {true, false}) {
    const CalibrationResult result = calibrate({}, pass ? "htp_v81" : "default");
    EncodingSet listed = result.encodings;
    add_derived_encodings(listed, session_->graph(), result.sites);
    const TensorEncodings* bias = listed.find("b", SiteRole::parameter);
    ASSERT_EQ(bias != nullptr, pass);
    if (pass) {
      EXPECT_EQ(bias->spec.bitwidth, 32);
      EXPECT_DOUBLE_EQ(bias->encodings[0].scale, 3 / 0x1p31);
    }
  }
}

/// A bias added behind a product is a parameter only where the config puts the two together.
TEST(Passes, BiasesOfProductsFollowTheConfig) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  test::add_input(graph, "x", {1, 2});
  test::add_output(graph, "y", {1, 2});
  test::add_initializer<float>(graph, "w", 1, {2, 2}, {1, 2, 3, 4});
  test::add_initializer<float>(graph, "b", 1, {2}, {1, 2});
  test::add_node(graph, "MatMul", {"x", "w"}, {"m"});
  test::add_node(graph, "Add", {"m", "b"}, {"y"});
  const test::TemporaryFolder folder;
  test::write_model(model, folder / "m.onnx");
  const Graph loaded = load_model(folder / "m.onnx").graph;
  for (const bool pass : {true, false}) {
    EncodingSet set;
    for (const auto& [tensor, role] : {std::pair{"x", SiteRole::activation}, {"w", SiteRole::parameter}})
      set.tensors.push_back({tensor, role, {}, {Encoding{-1, 1, 2 / 255.0, -128}}});
    add_derived_encodings(set, loaded, place(loaded, load_config(pass ? "default" : "htp_v66")));
    EXPECT_EQ(set.find("b", SiteRole::parameter) != nullptr, pass);
  }
}

/// What is stored is quantized, and computed with, as if the convolution read it without an Identity between.
TEST(StoredParameters, BehindIdentitiesAreQuantizedAsIfReadDirectly) {
  const test::TemporaryFolder folder;
  Tensor input = Tensor::host(DataType::float32, {1, 2, 3, 3});
  for (std::int64_t i = 0; i < input.elements(); ++i)
    input.mutable_data<float>()[i] = std::sin(0.7f * static_cast<float>(i));
  struct Outcome {
    EncodingSet encodings;
    std::vector<float> simulated, exported;
  };
  const auto outcome = [&](bool directly) {
    onnx::ModelProto model = test::empty_model();
    onnx::GraphProto& graph = *model.mutable_graph();
    test::add_input(graph, "x", {1, 2, 3, 3});
    test::add_output(graph, "y", {1, 3, 3, 3});
    test::add_initializer<float>(graph, "w", 1, {3, 2, 1, 1}, {0.3f, -1.7f, 0.11f, 0.07f, 5, -2.3f});
    test::add_initializer<float>(graph, "b", 1, {3}, {0.25f, -1, 0.5f});
    if (!directly) {
      test::add_node(graph, "Identity", {"w"}, {"same_w"});
      test::add_node(graph, "Identity", {"b"}, {"same_b"});
    }
    test::add_node(graph, "Conv", {"x", directly ? "w" : "same_w", directly ? "b" : "same_b"}, {"y"});
    Session session(test::write_model(model, folder / "m.onnx"));
    CalibrationOptions options;
    options.types.parameter.bitwidth = 4;
    options.search.scheme = Scheme::min_max;
    Calibration calibration = session.start_calibration(options);
    calibration.add(std::array{input});
    Outcome result;
    result.encodings = calibration.finish().encodings;
    session.set_encodings(result.encodings);
    const auto floats = [](const Tensor& tensor) {
      return std::vector<float>(tensor.data<float>(), tensor.data<float>() + tensor.elements());
    };
    result.simulated = floats(session.simulate(std::array{input})[0]);
    save_qdq_model(session.model(), result.encodings, folder / "q.onnx");
    result.exported = floats(Session(folder / "q.onnx").run(std::array{input})[0]);
    return result;
  };
  const Outcome direct = outcome(true);
  const Outcome behind = outcome(false);
  ASSERT_EQ(behind.encodings.tensors.size(), direct.encodings.tensors.size());
  const TensorEncodings* weight = behind.encodings.find("w", SiteRole::parameter);
  ASSERT_NE(weight, nullptr);
  EXPECT_EQ(weight->spec.bitwidth, 4);
  ASSERT_EQ(weight->encodings.size(), 3u);
  for (std::size_t i = 0; i < direct.encodings.tensors.size(); ++i) {
    EXPECT_EQ(behind.encodings.tensors[i].tensor, direct.encodings.tensors[i].tensor);
    EXPECT_EQ(behind.encodings.tensors[i].encodings, direct.encodings.tensors[i].encodings);
  }
  EXPECT_EQ(behind.simulated, direct.simulated);
  EXPECT_EQ(behind.exported, direct.exported);
}

}  // namespace
}  // namespace tare
