// tf_enhanced, where tied tensors feed one histogram: constants and inputs of the graph come in the order in which
// AIMET runs their quantizers. Expected encodings: aimet_onnx 2.42 on the same models and batches.
#include <gmock/gmock.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/model_builder.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

using Values = std::vector<float>;

/// Two batches; the window of the first batch of each lies a decade or more apart from the others'.
const Values small = {0.02f, 0.01f}, medium = {0.3f, 0.1f}, large = {1.5f, 0.7f};
const std::vector<Values> data = {{1.5f, -0.7f}, {0.4f, 0.1f}};
const std::vector<Values> small_data = {{0.02f, -0.01f}, {0.02f, -0.01f}};
constexpr double scale_of_small = 7.843137427698821e-05;
constexpr double scale_of_large = 0.0058823530562222;

class TfEnhancedOrder : public testing::Test {
 protected:
  TfEnhancedOrder() : graph_(*model_.mutable_graph()) { test::add_output(graph_, "y", {-1, -1}); }

  void input(const std::string& name, const std::vector<Values>& batches) {
    test::add_input(graph_, name, {1, 2});
    for (std::size_t b = 0; b < batches.size(); ++b) {
      batches_.resize(batches.size());
      batches_[b].push_back(Tensor::of<float>({1, 2}, batches[b]));
    }
  }
  void initializer(const std::string& name, const Values& values) {
    test::add_initializer<float>(graph_, name, 1, {1, 2}, values);
  }
  void constant(const std::string& name, const Values& values) {
    onnx::NodeProto& node = test::add_node(graph_, "Constant", {}, {name});
    onnx::TensorProto& tensor = *test::add_attribute(node, "value", onnx::AttributeProto::TENSOR).mutable_t();
    test::set_tensor(tensor, "", 1, {1, 2});
    test::set_raw(tensor, values);
  }
  void magnitude() { test::add_node(graph_, "Abs", {"x"}, {"r"}); }
  void concatenated(const std::vector<std::string>& names) {
    test::add_integer(test::add_node(graph_, "Concat", names, {"y"}), "axis", 1);
  }
  CalibrationResult calibrate() {
    SessionOptions on_one_thread;
    on_one_thread.cpu.threads = 1;
    Session session(test::write_model(model_, folder_ / "m.onnx"), on_one_thread);
    CalibrationOptions options;
    options.search.scheme = Scheme::tf_enhanced;
    options.nonfinite = NonfinitePolicy::error;
    Calibration calibration = session.start_calibration(options);
    for (const std::vector<Tensor>& batch : batches_) calibration.add(batch);
    return calibration.finish();
  }
  void expect(double scale, double offset = 0) {
    const CalibrationResult result = calibrate();
    const Encoding found = result.encodings.find("y", SiteRole::activation)->encodings.at(0);
    EXPECT_NEAR(found.scale, scale, 1e-6 * scale);
    EXPECT_EQ(found.offset, offset);
  }

  onnx::ModelProto model_ = test::empty_model();
  onnx::GraphProto& graph_;
  test::TemporaryFolder folder_;
  std::vector<std::vector<Tensor>> batches_;
};

TEST_F(TfEnhancedOrder, AnInitializerComesBehindWhatIsComputed) {
  input("x", data);
  initializer("c", small);
  magnitude();
  concatenated({"c", "r"});
  expect(scale_of_large);
}

TEST_F(TfEnhancedOrder, WhicheverOfThemIsReadFirst) {
  input("x", data);
  initializer("c", small);
  magnitude();
  concatenated({"r", "c"});
  expect(scale_of_large);
}

TEST_F(TfEnhancedOrder, AConstantNodeStandsWhereTheModelHasIt) {
  input("x", data);
  magnitude();
  constant("c", small);
  concatenated({"c", "r"});
  expect(scale_of_small);
}

TEST_F(TfEnhancedOrder, AConstantNodeBeforeOthersComesBehindThem) {
  input("x", data);
  constant("c", small);
  magnitude();
  concatenated({"c", "r"});
  expect(scale_of_large);
}

TEST_F(TfEnhancedOrder, TheInitializerThatIsReadLastComesFirst) {
  input("x", data);
  for (const auto& [name, values] : {std::pair{"d", large}, {"c", small}, {"e", medium}}) initializer(name, values);
  concatenated({"c", "d", "e"});
  test::add_output(graph_, "r", {-1, -1});
  magnitude();
  expect(0.0011764706578105688);
}

TEST_F(TfEnhancedOrder, TheInputThatIsDeclaredLastComesFirst) {
  input("a", small_data);
  input("b", data);
  concatenated({"a", "b"});
  expect(0.008618992753326893, -81);
}

TEST_F(TfEnhancedOrder, InWhicheverOrderTheyAreRead) {
  input("b", data);
  input("a", small_data);
  concatenated({"b", "a"});
  expect(0.0001176470541395247, -85);
}

TEST_F(TfEnhancedOrder, AnInitializerComesBeforeInputs) {
  input("x", data);
  initializer("c", small);
  concatenated({"c", "x"});
  expect(scale_of_small);
}

/// -inf in tied constants is the model's own business; the data is not to make any.
TEST_F(TfEnhancedOrder, OnlyTheDataMustBeFinite) {
  input("x", data);
  initializer("c", {-INFINITY, -INFINITY});
  test::add_initializer<std::int64_t>(graph_, "places", 7, {1, 2}, {0, 1});
  magnitude();
  test::add_node(graph_, "Log", {"r"}, {"log"});
  test::add_node(graph_, "Neg", {"log"}, {"l"});
  test::add_integer(test::add_node(graph_, "ScatterElements", {"c", "places", "l"}, {"y"}), "axis", 1);
  EXPECT_NO_THROW(calibrate());
  batches_[1][0] = Tensor::of<float>({1, 2}, Values{0, 1});
  try {
    calibrate();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("tensor 'l' holds inf at index [0] of sample 1"));
  }
}

}  // namespace
}  // namespace tare
