// Which quantizers share a range, and when fixed ranges keep them apart.
#include <gtest/gtest.h>

#include "placement/scene.hpp"

namespace tare {
namespace {

using test::ConfigText;
using test::Scene;

TEST(Ties, InputsOfAConcatTakeItsRange) {
  Scene scene;
  scene.input("x", {1, 4}).output("y", {1, 16}).output("z", {1, 4});
  scene.node("Neg", {"x"}, {"a"});
  scene.node("Abs", {"x"}, {"b"});
  scene.node("Exp", {"x"}, {"e"});
  test::add_integers(scene.node("Reshape", {"b", "shape"}, {"moved"}), "unused", {});
  scene.graph().mutable_node(3)->clear_attribute();
  test::add_initializer<std::int64_t>(scene.graph(), "shape", 7, {2}, {1, 4});
  test::add_integer(scene.node("Concat", {"a", "moved", "e", "x"}, {"y"}), "axis", 1);
  scene.node("Neg", {"e"}, {"z"});
  scene.place(ConfigText{});
  EXPECT_TRUE(scene.tied("a", "y"));
  EXPECT_TRUE(scene.tied("b", "y"));   // through what only moves it
  EXPECT_FALSE(scene.tied("e", "y"));  // read elsewhere too
  EXPECT_FALSE(scene.tied("x", "y"));
}

TEST(Ties, OutputsOfReluPoolingAndResizeTakeTheirInputs) {
  Scene scene;
  scene.input("x", {1, 1, 4, 4}).output("y", {1, 1, 8, 8}).constant("scales", {4}, 2);
  scene.node("Neg", {"x"}, {"n"});
  scene.node("Relu", {"n"}, {"r"});
  test::add_integers(scene.node("AveragePool", {"r"}, {"p"}), "kernel_shape", {1, 1});
  scene.node("Resize", {"p", "", "scales"}, {"u"});
  scene.node("Sigmoid", {"u"}, {"y"});
  scene.place(ConfigText{});
  for (const char* name : {"r", "p", "u"}) EXPECT_TRUE(scene.tied("n", name)) << name;
  EXPECT_LT(scene.site("y").group, 0);
}

TEST(Ties, ARangeBecomesTheNarrowestOfItsMembers) {
  Scene scene;
  scene.input("x", {1, 4}).output("y", {1, 4});
  scene.node("Neg", {"x"}, {"n"});
  scene.node("Relu", {"n"}, {"r"});
  scene.node("Sigmoid", {"r"}, {"y"});
  ConfigText config;
  config.op_type = R"({"Relu": {"encoding_constraints": {"min": 0}}, "Sigmoid": {"is_symmetric": "True"}})";
  scene.place(config);
  ASSERT_TRUE(scene.tied("n", "r"));
  EXPECT_EQ(scene.site("n").spec.fixed_min, 0.0);  // what the Relu cuts off needs no codes
  EXPECT_TRUE(scene.site("n").spec.symmetric);
}

/// What htp_v73 says of Relu.
ConfigText with_fixed_relu() {
  ConfigText config;
  config.op_type = R"({"Relu": {"encoding_constraints": {"min": 0}}})";
  return config;
}

/// Running AIMET, a gets an offset of -123 where Add reads it too, and r one of 0.
TEST(Ties, AFixedRangeDoesNotCutWhatOthersRead) {
  Scene scene;
  scene.input("x", {1, 4}).output("y", {1, 4}).output("z", {4, 4}).output("u", {1, 4});
  scene.node("Neg", {"x"}, {"a"});
  scene.node("Relu", {"a"}, {"r"});
  scene.node("Add", {"a", "r"}, {"y"});
  scene.node("Exp", {"x"}, {"b"});
  test::add_initializer<std::int64_t>(scene.graph(), "shape", 7, {2}, {4, 4});
  scene.node("Expand", {"b", "shape"}, {"moved"});
  scene.node("Relu", {"moved"}, {"s"});
  scene.node("Add", {"b", "s"}, {"z"});
  scene.node("Relu", {"x"}, {"t"});
  scene.node("Sigmoid", {"t"}, {"u"});
  scene.place(with_fixed_relu());
  for (const char* name : {"a", "r", "b", "s", "x", "t"}) EXPECT_LT(scene.site(name).group, 0) << name;
  for (const char* name : {"a", "b", "x"}) EXPECT_EQ(scene.site(name).spec.fixed_min, std::nullopt) << name;
  for (const char* name : {"r", "s", "t"}) EXPECT_EQ(scene.site(name).spec.fixed_min, 0.0) << name;
  scene.place(ConfigText{});
  EXPECT_TRUE(scene.tied("a", "r"));  // nothing is cut off where no range is fixed
  EXPECT_TRUE(scene.tied("b", "s"));
  EXPECT_TRUE(scene.tied("x", "t"));
}

/// AIMET ties all of these and cuts off what the other reader gets: its simulation has 2 to 7 dB here, 40 dB untied.
TEST(Ties, AFixedRangeDoesNotCutWhatIsReadFurtherOn) {
  Scene scene;
  scene.input("x", {1, 4}).output("a", {1, 4}).output("r", {1, 4}).output("y", {4, 4});
  scene.output("z", {1, 1, 2, 2}).output("u", {1, 2}).output("v", {1, 2});
  scene.node("Neg", {"x"}, {"a"});  // a model output
  scene.node("Relu", {"a"}, {"r"});
  scene.node("Exp", {"x"}, {"b"});
  test::add_initializer<std::int64_t>(scene.graph(), "shape", 7, {2}, {4, 4});
  scene.node("Expand", {"b", "shape"}, {"moved"});  // read twice where it has no quantizer
  scene.node("Relu", {"moved"}, {"s"});
  scene.node("Add", {"moved", "s"}, {"y"});
  scene.input("w", {1, 1, 2, 2});
  scene.node("Cos", {"w"}, {"c"});  // read beside what shares its range already
  test::add_integers(scene.node("AveragePool", {"c"}, {"p"}), "kernel_shape", {1, 1});
  scene.node("Relu", {"p"}, {"q"});
  scene.node("Add", {"c", "q"}, {"z"});
  scene.node("Sin", {"x"}, {"d"});  // the other half is read
  test::add_integer(scene.node("Split", {"d"}, {"d1", "d2"}), "axis", 1);
  scene.node("Relu", {"d1"}, {"t"});
  scene.node("Sigmoid", {"t"}, {"u"});
  scene.node("Sigmoid", {"d2"}, {"v"});
  scene.place(with_fixed_relu());
  for (const char* name : {"a", "b", "c", "d"}) EXPECT_EQ(scene.site(name).spec.fixed_min, std::nullopt) << name;
  for (const char* name : {"r", "s", "q", "t"}) EXPECT_EQ(scene.site(name).spec.fixed_min, 0.0) << name;
}

TEST(Ties, FixedRangesStayApartFromOthers) {
  Scene scene;
  scene.input("x", {1, 4}).output("y", {1, 8}).output("z", {1, 8});
  scene.node("Sigmoid", {"x"}, {"a"});
  scene.node("Neg", {"x"}, {"b"});
  test::add_integer(scene.node("Concat", {"a", "b"}, {"y"}), "axis", 1);
  scene.node("Sigmoid", {"x"}, {"c"});
  scene.node("Sigmoid", {"x"}, {"d"});
  test::add_integer(scene.node("Concat", {"c", "d"}, {"z"}), "axis", 1);
  ConfigText config;
  config.op_type = R"({"Sigmoid": {"encoding_constraints": {"min": 0, "max": 1}}})";
  scene.place(config);
  EXPECT_FALSE(scene.tied("a", "y"));
  EXPECT_TRUE(scene.tied("b", "y"));
  EXPECT_TRUE(scene.tied("c", "z"));  // all alike: the result has their range
  EXPECT_TRUE(scene.tied("d", "z"));
  EXPECT_EQ(scene.site("z").spec.fixed_max, 1.0);
}

TEST(Ties, StatesOfARecurrentLayer) {
  Scene scene;
  scene.input("x", {3, 1, 2}).input("h", {1, 1, 2}).input("c", {1, 1, 2});
  scene.output("y", {3, 1, 1, 2}).output("hn", {1, 1, 2}).output("cn", {1, 1, 2});
  scene.constant("w", {1, 8, 2}).constant("r", {1, 8, 2});
  test::add_integer(scene.node("LSTM", {"x", "w", "r", "", "", "h", "c"}, {"y", "hn", "cn"}), "hidden_size", 2);
  scene.place(ConfigText{});
  for (const char* name : {"h", "y", "hn"}) EXPECT_TRUE(scene.tied("x", name)) << name;
  EXPECT_TRUE(scene.tied("c", "cn"));
  EXPECT_FALSE(scene.tied("x", "c"));
}

/// Running AIMET, all three share one range: with a zero point, and found from their values.
TEST(Ties, StatesOfARecurrentLayerFollowTheRulesOfItsOutput) {
  Scene scene;
  scene.input("u", {3, 1, 2}).input("v", {1, 1, 2}).output("y", {3, 1, 1, 2});
  scene.constant("w", {1, 6, 2}).constant("r", {1, 6, 2});
  scene.node("Sigmoid", {"u"}, {"x"});
  scene.node("Tanh", {"v"}, {"h"});
  test::add_integer(scene.node("GRU", {"x", "w", "r", "", "", "h"}, {"y"}), "hidden_size", 2);
  ConfigText config;
  config.op_type = R"({"Sigmoid": {"encoding_constraints": {"min": 0, "max": 1}},
                       "Tanh": {"encoding_constraints": {"min": -1, "max": 1}}})";
  scene.place(config);
  for (const char* name : {"x", "h"}) EXPECT_TRUE(scene.tied(name, "y")) << name;
  for (const char* name : {"x", "h", "y"}) {
    EXPECT_EQ(scene.site(name).spec.fixed_min, std::nullopt) << name;
    EXPECT_FALSE(scene.site(name).spec.symmetric) << name;
  }
  config.op_type = R"({"Sigmoid": {"encoding_constraints": {"min": 0, "max": 1}}, "GRU": {"is_symmetric": "True"}})";
  scene.place(config);
  EXPECT_TRUE(scene.site("x").spec.symmetric);
  EXPECT_EQ(scene.site("x").spec.fixed_min, std::nullopt);
}

/// Running AIMET, each of these has one range for all that is tied.
TEST(Ties, WhatSharesARangeWithAStateGoesAlong) {
  Scene scene;
  scene.input("u", {3, 1, 2})
      .input("v", {3, 1, 1})
      .output("z", {1, 1, 4})
      .output("p", {3, 1, 1, 2})
      .constant("scales", {3}, 1);
  scene.constant("w", {1, 6, 2}).constant("r", {1, 6, 2});
  scene.node("Neg", {"u"}, {"n"});
  scene.node("Relu", {"n"}, {"x"});  // tied to the input
  test::add_integer(scene.node("GRU", {"x", "w", "r"}, {"y", "hn"}), "hidden_size", 2);
  test::add_integer(scene.node("Concat", {"hn", "hn"}, {"z"}), "axis", 2);  // to the hidden state
  scene.node("Resize", {"v", "", "scales"}, {"m"});
  test::add_integer(scene.node("GRU", {"m", "w", "r"}, {"p"}), "hidden_size", 2);
  scene.place(ConfigText{});
  for (const char* name : {"n", "x", "hn", "z"}) EXPECT_TRUE(scene.tied(name, "y")) << name;
  for (const char* name : {"v", "m"}) EXPECT_TRUE(scene.tied(name, "p")) << name;
  EXPECT_FALSE(scene.tied("y", "p"));
}

/// AIMET leaves y and x out of it; what hardware needs holds of both layers.
TEST(Ties, ALastHiddenStateThatIsAnInputTiesBothLayers) {
  Scene scene;
  scene.input("x", {3, 1, 2}).output("y", {3, 1, 1, 2}).output("z", {1, 1, 1, 2});
  scene.constant("w", {1, 6, 2}).constant("r", {1, 6, 2});
  test::add_integer(scene.node("GRU", {"x", "w", "r"}, {"y", "hn"}), "hidden_size", 2);
  test::add_integer(scene.node("GRU", {"hn", "w", "r"}, {"z"}), "hidden_size", 2);
  scene.place(ConfigText{});
  for (const char* name : {"x", "y", "hn"}) EXPECT_TRUE(scene.tied(name, "z")) << name;
}

/// y[t] = state[t + 1] = state[t] + x[t]
void add_scan(Scene& scene, const std::vector<std::string>& inputs) {
  scene.input("s", {2}).input("x", {3, 2}).output("y", {3, 2}).output("e", {2});
  onnx::NodeProto& scan = scene.node("Scan", inputs, {"e", "y"});
  test::add_integer(scan, "num_scan_inputs", 1);
  onnx::GraphProto& body = *test::add_attribute(scan, "body", onnx::AttributeProto::GRAPH).mutable_g();
  test::add_input(body, "state", {2});
  test::add_input(body, "one", {2});
  test::add_output(body, "next", {2});
  test::add_output(body, "each", {2});
  test::add_node(body, "Add", {"state", "one"}, {"next"});
  test::add_node(body, "Identity", {"next"}, {"each"});
}

TEST(Ties, StatesOfAScan) {
  Scene scene;
  add_scan(scene, {"s", "x"});
  scene.place(ConfigText{});
  EXPECT_TRUE(scene.tied("s", "e"));
  EXPECT_FALSE(scene.tied("x", "y"));
  Scene old(8);
  add_scan(old, {"", "s", "x"});
  old.place(ConfigText{});
  EXPECT_TRUE(old.tied("s", "e"));
  Scene fixed;
  add_scan(fixed, {"a", "x"});
  fixed.node("Sigmoid", {"s"}, {"a"});
  fixed.graph().mutable_node()->SwapElements(0, 1);
  ConfigText config;
  config.op_type = R"({"Sigmoid": {"encoding_constraints": {"min": 0, "max": 1}}})";
  fixed.place(config);
  EXPECT_TRUE(fixed.tied("a", "e"));
  EXPECT_EQ(fixed.site("e").spec.fixed_max, std::nullopt);  // the sum is larger
}

}  // namespace
}  // namespace tare
