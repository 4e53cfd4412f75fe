// 32-bit grids of biases in version 2.0.0: which ones there are, and their scales. What is expected is what
// aimet_onnx 2.42 writes for the same models.
#include <gmock/gmock.h>

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "support/model_builder.hpp"
#include "tare/export.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

class BiasEncodings : public testing::Test {
 protected:
  BiasEncodings() : graph_(*model_.mutable_graph()) {
    test::add_input(graph_, "x", {1, 2, 2, 2});
    test::add_output(graph_, "y", {1, 2, 2, 2});
  }
  void initializer(const std::string& name, const std::vector<std::int64_t>& dims, const std::vector<float>& values) {
    test::add_initializer<float>(graph_, name, 1, dims, values);
  }
  void weight_and_bias() {
    initializer("w", {2, 2, 1, 1}, {1, -2, 0.5f, 0.25f});
    initializer("b", {2}, {3, -5});
  }
  void norm(const std::string& of) {
    for (const auto& [name, value] : {std::pair{"s", 1.0f}, {"t", 2.0f}, {"mean", 0.0f}, {"variance", 1.0f}})
      initializer(name, {2}, {value, value});
    test::add_node(graph_, "BatchNormalization", {of, "s", "t", "mean", "variance"}, {"y"});
  }
  void calibrate(const QuantizedType& parameters = {}, float largest = 1) {
    Session session(test::write_model(model_, folder_ / "m.onnx"));
    CalibrationOptions options;
    options.config = config_;
    options.search.scheme = Scheme::min_max;
    options.types.parameter = parameters;
    std::vector<Tensor> inputs;
    for (const onnx::ValueInfoProto& input : graph_.input()) {
      std::vector<std::int64_t> dims;
      for (const auto& dim : input.type().tensor_type().shape().dim()) dims.push_back(dim.dim_value());
      Tensor tensor = Tensor::host(DataType::float32, Shape(dims.begin(), dims.end()));
      for (std::int64_t i = 0; i < tensor.elements(); ++i)
        tensor.mutable_data<float>()[i] = largest * std::sin(0.7f * static_cast<float>(i));
      inputs.push_back(std::move(tensor));
    }
    Calibration calibration = session.start_calibration(options);
    calibration.add(inputs);
    const CalibrationResult result = calibration.finish();
    listed_ = result.encodings;
    add_derived_encodings(listed_, session.graph(), result.sites);
  }
  std::vector<double> scales_of(const std::string& tensor) const {
    std::vector<double> scales;
    for (const SiteRole role : {SiteRole::parameter, SiteRole::activation})
      if (const TensorEncodings* found = listed_.find(tensor, role))
        for (const Encoding& encoding : found->encodings) scales.push_back(encoding.scale);
    return scales;
  }
  /// The scale of each channel of the bias is that of the input times that of the channel's weight.
  void expect_product(const std::string& input, const std::string& weight, std::size_t channels) {
    const std::vector<double> bias = scales_of("b"), scales = scales_of(weight), of_input = scales_of(input);
    ASSERT_EQ(scales.size(), channels);
    ASSERT_EQ(of_input.size(), 1u);
    ASSERT_EQ(bias.size(), channels);
    for (std::size_t c = 0; c < channels; ++c) EXPECT_DOUBLE_EQ(bias[c], of_input[0] * scales[c]);
  }

  onnx::ModelProto model_ = test::empty_model();
  onnx::GraphProto& graph_;
  std::string config_ = "default";
  test::TemporaryFolder folder_;
  EncodingSet listed_;
};

TEST_F(BiasEncodings, AWeightThatIsComputedHasAScale) {
  initializer("b", {2}, {3, -5});
  test::add_input(graph_, "w", {2, 2, 1, 1});
  test::add_node(graph_, "Conv", {"x", "w", "b"}, {"y"});
  calibrate();
  expect_product("x", "w", 1);
}

TEST_F(BiasEncodings, TheInputsGridIsFoundBehindCasts) {
  weight_and_bias();
  for (const auto& [from, to, type] : {std::tuple{"x", "half", 10}, {"half", "c", 1}})
    test::add_integer(test::add_node(graph_, "Cast", {from}, {to}), "to", type);
  test::add_node(graph_, "Conv", {"c", "w", "b"}, {"y"});
  calibrate();
  expect_product("x", "w", 2);
}

TEST_F(BiasEncodings, AProductOfScalesHasNoSmallest) {
  weight_and_bias();
  test::add_node(graph_, "Conv", {"x", "w", "b"}, {"y"});
  calibrate({}, 1e-9f);
  expect_product("x", "w", 2);
}

TEST_F(BiasEncodings, ANormHasOneOfItsOwnRange) {
  norm("x");
  calibrate();
  EXPECT_EQ(scales_of("t"), std::vector<double>{2 / 0x1p31});
}

TEST_F(BiasEncodings, NoneForANormWhoseInputHasNoGrid) {
  config_ = "htp_v81";
  weight_and_bias();
  test::add_node(graph_, "Conv", {"x", "w", "b"}, {"h"});
  norm("h");
  graph_.mutable_node(1)->set_output(0, "n");
  test::add_node(graph_, "Relu", {"n"}, {"y"});
  calibrate();
  EXPECT_EQ(scales_of("b").size(), 2u);
  EXPECT_EQ(scales_of("t").size(), 0u);
}

TEST_F(BiasEncodings, NoneBesideAWeightWithoutIntegers) {
  weight_and_bias();
  test::add_node(graph_, "Conv", {"x", "w", "b"}, {"y"});
  calibrate({NumberFormat::float16, 16});
  EXPECT_EQ(scales_of("b").size(), 0u);
}

}  // namespace
}  // namespace tare
