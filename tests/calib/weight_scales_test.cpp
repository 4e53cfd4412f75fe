// Weight scales against the overflow of 32-bit sums. The numbers are AIMET's own on channels of real models whose
// weights are all (almost) zero.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "calib/weight_scales.hpp"
#include "support/model_builder.hpp"
#include "tare/export.hpp"
#include "tare/model.hpp"
#include "tare/numerics.hpp"
#include "tare/placement.hpp"

namespace tare {
namespace {

class WeightScales : public testing::Test {
 protected:
  /// x -> Conv(w of two output channels, b) -> y, and whatever `more` adds.
  void build(std::vector<float> bias, const std::function<void(onnx::GraphProto&)>& more = {}) {
    onnx::ModelProto model = test::empty_model();
    onnx::GraphProto& proto = *model.mutable_graph();
    test::add_input(proto, "x", {1, 1, 1, 1});
    test::add_output(proto, "y", {1, 2, 1, 1});
    test::add_initializer<float>(proto, "w", 1, {2, 1, 1, 1}, {1, 1});
    test::add_initializer<float>(proto, "b", 1, {2}, bias);
    test::add_node(proto, "Conv", {"x", "w", "b"}, {"y"});
    if (more) more(proto);
    graph = load_model(test::write_model(model, folder / "model.onnx")).graph;
    sites = place(graph, load_config("default"));
  }
  void set(const std::string& tensor, int bitwidth, bool symmetric, const std::vector<double>& scales, double offset) {
    TensorEncodings t{tensor, tensor == "w" ? SiteRole::parameter : SiteRole::activation, {}, {}};
    t.spec.bitwidth = bitwidth;
    t.spec.symmetric = symmetric;
    for (const double scale : scales) t.encodings.push_back({scale * offset, 0, scale, offset});
    encodings.tensors.push_back(t);
  }
  std::vector<double> raised() {
    raise_weight_scales(graph, sites, {}, encodings);
    std::vector<double> scales;
    for (const Encoding& e : encodings.find("w", SiteRole::parameter)->encodings) scales.push_back(e.scale);
    return scales;
  }

  test::TemporaryFolder folder;
  Graph graph;
  std::vector<QuantSite> sites;
  EncodingSet encodings;
};

constexpr double floor_scale = 1.1920929e-07;

TEST_F(WeightScales, TheFactorToTheOutputStaysLargeEnough) {
  build({-2.1072269e-11f, 0});
  set("x", 8, false, {0.010135558013822519}, -3);
  set("y", 8, false, {0.059127005408791934}, -141);
  set("w", 8, true, {floor_scale, 0.5}, -128);
  const std::vector<double> scales = raised();
  EXPECT_NEAR(scales[0], 4.917374667456897e-07, 1e-13);
  EXPECT_EQ(scales[1], 0.5);
  const Encoding& first = encodings.find("w", SiteRole::parameter)->encodings[0];
  EXPECT_DOUBLE_EQ(first.min, -128 * first.scale);
  EXPECT_DOUBLE_EQ(first.max, 127 * first.scale);
}

TEST_F(WeightScales, TheOutputsOffsetFitsWithTheBias) {
  build({-1.4032168e-08f, 0.823823f});
  set("x", 16, false, {0.0002831181899955728}, -100);
  set("y", 16, false, {0.0002953050083268959}, -27005);
  set("w", 8, true, {floor_scale, 0.5}, -128);
  EXPECT_NEAR(raised()[0], 1.3116681657265872e-05, 1e-11);
}

TEST_F(WeightScales, ABiasFitsByItself) {
  build({100, -200});
  set("x", 8, false, {0.01}, -3);
  set("w", 8, true, {floor_scale, floor_scale}, -128);
  const std::vector<double> scales = raised();  // the output has no quantizer
  EXPECT_DOUBLE_EQ(scales[0] * 0.01 * (0x1p31 - 0x1p15), 100);
  EXPECT_DOUBLE_EQ(scales[1] * 0.01 * (0x1p31 - 0x1p15), 200);
}

TEST_F(WeightScales, OneScaleForAllChannelsFitsTheLargestBias) {
  build({100, -200});
  set("x", 8, false, {0.01}, -3);
  set("w", 8, true, {floor_scale}, -128);
  EXPECT_DOUBLE_EQ(raised()[0] * 0.01 * (0x1p31 - 0x1p15), 200);
}

/// Biases that the output's offset brings nearer to zero: AIMET looks at the two together, with one scale for all
/// channels, too. Numbers: its sim of a Gemm, 16 bits, config enpu_v6.
TEST_F(WeightScales, AnOffsetAloneIsNoBoundWhereThereAreBiases) {
  build({150, 100});
  set("x", 16, true, {3.051850947599719e-05}, -32768);
  set("y", 16, true, {0.0061037018951994385}, -32768);
  set("w", 16, true, {50 / 32767.0}, -32768);
  EXPECT_NEAR(raised()[0], 0.002288783434778452, 1e-9);
}

TEST_F(WeightScales, GivenWeightsKeepTheirScaleAndAreNamed) {
  build({100, -200});
  set("x", 8, false, {0.01}, -3);
  set("w", 8, true, {floor_scale, floor_scale}, -128);
  const EncodingSet given{{encodings.tensors[1]}};
  EXPECT_EQ(raise_weight_scales(graph, sites, {}, encodings, given), std::vector<std::string>{"w"});
  EXPECT_EQ(encodings.tensors[1].encodings[0].scale, floor_scale);
}

/// In a float16 model the scale of the bias is a float16: the product of the two others must not fall below its range.
TEST_F(WeightScales, TheScaleOfAHalfBiasDoesNotUnderflow) {
  constexpr int half = 10;
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& proto = *model.mutable_graph();
  test::add_input(proto, "x", {1, 1, 1, 1}, half);
  test::add_output(proto, "y", {1, 2, 1, 1}, half);
  const std::uint16_t one = float_to_half(1);
  test::add_initializer<std::uint16_t>(proto, "w", half, {2, 1, 1, 1}, {one, one});
  test::add_initializer<std::uint16_t>(proto, "b", half, {2}, {one, one});
  test::add_node(proto, "Conv", {"x", "w", "b"}, {"y"});
  graph = load_model(test::write_model(model, folder / "half.onnx")).graph;
  sites = place(graph, load_config("default"));
  set("x", 8, false, {0.01}, -3);
  set("w", 8, true, {0.001, 0.5}, -128);
  const std::vector<double> scales = raised();
  EXPECT_DOUBLE_EQ(scales[0] * 0.01, 0x1p-14);
  EXPECT_EQ(scales[1], 0.5);
  add_derived_encodings(encodings, graph, sites);
  const std::vector<Encoding>& bias = encodings.find("b", SiteRole::parameter)->encodings;
  for (std::size_t i = 0; i < 2; ++i) EXPECT_DOUBLE_EQ(bias[i].scale, scales[i] * 0.01);
}

TEST_F(WeightScales, FloatBiasesHaveNoSuchBound) {
  build({0, 0});
  set("x", 8, false, {0.01}, -3);
  set("w", 8, true, {0.001, 0.5}, -128);
  EXPECT_EQ(raised()[0], 0.001);
}

TEST_F(WeightScales, WeightsOfSeveralOperatorsFitAll) {
  build({0, 0}, [](onnx::GraphProto& proto) {
    test::add_input(proto, "x2", {1, 1, 1, 1});
    test::add_output(proto, "y2", {1, 2, 1, 1});
    test::add_node(proto, "Conv", {"x2", "w"}, {"y2"});
  });
  set("x", 8, false, {0.02}, -3);
  set("x2", 8, false, {0.01}, -3);
  set("y", 8, false, {0.06}, 0);
  set("y2", 8, false, {0.06}, 0);
  set("w", 8, true, {floor_scale, floor_scale}, -128);
  EXPECT_NEAR(raised()[0], std::exp2(-23.5) * 6, 1e-15);
}

TEST_F(WeightScales, NothingToDoWithoutIntegerInputsOrForBlocks) {
  build({100, 100});
  set("w", 8, true, {floor_scale, floor_scale}, -128);
  EXPECT_EQ(raised()[0], floor_scale);
  set("x", 8, false, {0.01}, -3);
  encodings.tensors[0].spec.block_axis = 1;
  EXPECT_EQ(raised()[0], floor_scale);
  encodings.tensors[0].spec.block_axis.reset();
  encodings.tensors[1].spec.format = NumberFormat::float16;
  EXPECT_EQ(raised()[0], floor_scale);
  encodings.tensors[1].spec.format = NumberFormat::integer;
  EXPECT_GT(raised()[0], floor_scale);
}

}  // namespace
}  // namespace tare
