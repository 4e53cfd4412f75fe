// What a calibration says of itself: when it has ended, and what became of values that are none.
#include <gmock/gmock.h>

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "support/model_builder.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr float infinity = std::numeric_limits<float>::infinity();

Tensor row(const std::vector<float>& values) {
  return Tensor::of<float>({1, static_cast<std::int64_t>(values.size())}, values);
}

/// The kind and message of what `action` throws.
std::pair<ErrorKind, std::string> error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return {error.kind(), error.what()};
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

class CalibrationTest : public testing::Test {
 protected:
  /// y = op(a, b), or op(a).
  Session session(const std::string& op, std::size_t inputs, int threads = 1) {
    onnx::ModelProto model = test::empty_model();
    onnx::GraphProto& graph = *model.mutable_graph();
    std::vector<std::string> names = {"a", "b"};
    names.resize(inputs);
    for (const std::string& name : names) test::add_input(graph, name, {-1, -1});
    onnx::NodeProto& node = test::add_node(graph, op, names, {"y"});
    if (op == "Concat") test::add_integer(node, "axis", 1);
    test::add_output(graph, "y", {-1, -1});
    SessionOptions options;
    options.cpu.threads = threads;
    return Session(test::write_model(model, folder_ / "m.onnx"), options);
  }
  CalibrationResult calibrate(Session& session, const std::vector<Tensor>& batch, const CalibrationOptions& options) {
    Calibration calibration = session.start_calibration(options);
    calibration.add(batch);
    return calibration.finish();
  }
  static Encoding encoding_of(const CalibrationResult& result, const char* tensor) {
    return result.encodings.find(tensor, SiteRole::activation)->encodings.at(0);
  }
  static double lowest(const CalibrationResult& result, const char* tensor) { return encoding_of(result, tensor).min; }

  test::TemporaryFolder folder_;
};

TEST_F(CalibrationTest, EndsWithItsResult) {
  for (const int threads : {1, 2})
    for (const bool refines : {false, true}) {
      Session model = session("Relu", 1, threads);
      Calibration calibration = model.start_calibration({});
      calibration.add(std::array{row({1, -2, 3})});
      if (refines) calibration.start_refinement();
      EXPECT_EQ(calibration.finish().samples, 1u);
      for (const std::function<void()>& action : {std::function<void()>([&] { calibration.finish(); }),
                                                  {[&] { calibration.add(std::array{row({1})}); }},
                                                  {[&] { calibration.start_refinement(); }}}) {
        const auto [kind, message] = error_of(action);
        EXPECT_EQ(kind, ErrorKind::usage);
        EXPECT_THAT(message, HasSubstr("begin another one with Session::start_calibration"));
      }
      EXPECT_NO_THROW(calibration.wait());
    }
}

TEST_F(CalibrationTest, GoesOnAfterItWasAskedTooEarly) {
  Session model = session("Relu", 1);
  Calibration calibration = model.start_calibration({});
  EXPECT_EQ(error_of([&] { calibration.finish(); }).first, ErrorKind::data);
  calibration.add(std::array{row({1, -2, 3})});
  EXPECT_EQ(calibration.finish().samples, 1u);
}

TEST_F(CalibrationTest, EndsWithABatchThatFails) {
  for (const int threads : {1, 2}) {
    Session model = session("Exp", 1, threads);
    Calibration calibration = model.start_calibration({});
    calibration.add(std::array{row({1, 2})});
    const auto failure = error_of([&] {
      calibration.add(std::array{row({1, 100})});
      calibration.wait();
    });
    EXPECT_THAT(failure.second, HasSubstr("tensor 'y' holds inf"));
    EXPECT_EQ(error_of([&] { calibration.add(std::array{row({1, 2})}); }), failure);
    EXPECT_EQ(error_of([&] { calibration.wait(); }), failure);
    EXPECT_EQ(error_of([&] { calibration.start_refinement(); }), failure);
    EXPECT_EQ(error_of([&] { calibration.finish(); }), failure);
  }
}

TEST_F(CalibrationTest, EndsWithASearchThatFails) {
  Session model = session("Relu", 1);
  CalibrationOptions options;
  options.search.gamma = -1;
  for (const bool refines : {false, true}) {
    Calibration calibration = model.start_calibration(options);
    calibration.add(std::array{row({1, -2, 3})});
    const auto failure = error_of([&] { refines ? calibration.start_refinement() : (void)calibration.finish(); });
    EXPECT_THAT(failure.second, HasSubstr("gamma -1"));
    EXPECT_EQ(error_of([&] { calibration.add(std::array{row({1, 2})}); }), failure);
    EXPECT_EQ(error_of([&] { calibration.finish(); }), failure);
  }
}

TEST_F(CalibrationTest, SaysWhatTheSchemeOfATensorMakesOfItsSentinels) {
  Session model = session("Add", 2);
  const std::vector<Tensor> batch = {row({0.5f, -1, 2, 1}), row({0, -1e4f, 0, -1e4f})};
  CalibrationOptions options;
  options.overrides.push_back(parse_override("b:scheme=min_max"));
  CalibrationResult result = calibrate(model, batch, options);
  EXPECT_THAT(result.warnings,
              ElementsAre("'b': 2 values down to -10000 only mark something; they set the range",
                          testing::StartsWith("'y': 2 values down to -10001 only mark something; taken for -")));
  EXPECT_NEAR(lowest(result, "b"), -1e4, 50);
  EXPECT_GT(lowest(result, "y"), -30);

  options.search.scheme = Scheme::min_max;
  options.overrides = {parse_override("b:scheme=sqnr")};
  result = calibrate(model, batch, options);
  EXPECT_THAT(result.warnings, ElementsAre("'b': 2 values down to -10000 only mark something; taken for -20",
                                           "'y': 2 values down to -10001 only mark something; they set the range"));
  EXPECT_NEAR(lowest(result, "b"), -20, 0.1);
  EXPECT_NEAR(lowest(result, "y"), -10001, 50);

  options.overrides = {parse_override("b:type=float8e4m3fn,scheme=sqnr")};
  result = calibrate(model, batch, options);
  EXPECT_THAT(result.warnings.at(0), HasSubstr("'b': 2 values down to -10000 only mark something; they set the range"));
  EXPECT_EQ(lowest(result, "b"), -1e4);
}

/// They are sentinels where they stand out of all that shares their range.
TEST_F(CalibrationTest, SaysWhatARangeThatIsSharedMakesOfSentinels) {
  Session model = session("Concat", 2);
  const Tensor masked = row({0.5f, -1e4f, 2, 1});
  CalibrationResult result = calibrate(model, {masked, row({1000, -900, 700})}, {});
  EXPECT_THAT(result.warnings, ElementsAre("'a': 1 values down to -10000 only mark something; they set the range"));
  EXPECT_NEAR(lowest(result, "a"), -1e4, 100);

  result = calibrate(model, {masked, row({-1e4f, -2e4f, -1e4f})}, {});
  EXPECT_THAT(result.warnings, ElementsAre("'a': 1 values down to -10000 only mark something; taken for -19.5",
                                           "'b': all 3 values (down to -20000) only mark something; taken for -19.5",
                                           "'y': 4 values down to -20000 only mark something; taken for -19.5"));
  EXPECT_NEAR(lowest(result, "a"), -19.5, 0.2);
}

TEST_F(CalibrationTest, SaysWhatBecameOfInfinities) {
  Session model = session("Relu", 1);
  CalibrationOptions options;
  options.nonfinite = NonfinitePolicy::skip;
  options.search.scheme = Scheme::min_max;
  const std::vector<Tensor> batch = {row({1, infinity, -1, NAN})};
  CalibrationResult result = calibrate(model, batch, options);
  EXPECT_THAT(result.warnings.at(0),
              HasSubstr("'a': 1 of 4 values are infinite, which counts as the largest float; they set the range"));
  EXPECT_THAT(result.warnings.at(1), HasSubstr("'a': 1 of 4 values are NaN or infinite; left out"));
  EXPECT_GT(encoding_of(result, "a").max, 3e38) << "AIMET's rule";
  options.search.scheme = Scheme::sqnr;
  result = calibrate(model, batch, options);
  EXPECT_THAT(result.warnings.at(0), HasSubstr("'a': 2 of 4 values are NaN or infinite; left out"));
  result = calibrate(model, {row({0, -infinity, 1})}, options);
  EXPECT_THAT(result.warnings.at(0),
              HasSubstr("'a': 1 values down to -3.40282e+38 only mark something; taken for -20"));
  for (const std::string& line : result.warnings) EXPECT_THAT(line, testing::Not(HasSubstr("'a': 1 of 3")));
  EXPECT_NEAR(lowest(result, "a"), -20, 0.1);
}

/// As exporters write masked attention. The data is finite, so nothing is wrong with it.
TEST_F(CalibrationTest, AMaskOfInfinitiesGoesOnMasking) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  test::add_input(graph, "a", {-1, -1});
  test::add_initializer<float>(graph, "zero", 1, {}, {0});
  test::add_initializer<float>(graph, "fill", 1, {}, {-infinity});
  test::add_node(graph, "Greater", {"a", "zero"}, {"keeps"});
  test::add_node(graph, "Where", {"keeps", "zero", "fill"}, {"mask"});
  test::add_node(graph, "Add", {"a", "mask"}, {"scores"});
  test::add_node(graph, "Softmax", {"scores"}, {"y"});
  test::add_output(graph, "y", {-1, -1});
  Session masked(test::write_model(model, folder_ / "m.onnx"));
  const std::vector<Tensor> batch = {row({0.5f, -1, 1.5f, -0.25f})};
  for (const Scheme scheme : {Scheme::sqnr, Scheme::mse, Scheme::percentile}) {
    CalibrationOptions options;
    options.search.scheme = scheme;
    const CalibrationResult result = calibrate(masked, batch, options);
    EXPECT_LT(lowest(result, "fill"), -3e38);
    EXPECT_LT(lowest(result, "mask"), -19);
    masked.set_encodings(result.encodings);
    const Tensor y = masked.simulate(batch).at(0);
    EXPECT_LT(y.data<float>()[1], 0.01f);
    EXPECT_NEAR(y.data<float>()[2], 1 / (1 + std::exp(-1.0f)), 0.02f);
  }
  // What the data brings stays an error, and so does what is no mask.
  EXPECT_THAT(error_of([&] {
                calibrate(masked, {row({1, -infinity})}, {});
              }).second,
              HasSubstr("input 'a' holds -inf"));
  Session exponential = session("Exp", 1);
  EXPECT_THAT(error_of([&] { calibrate(exponential, {row({1, 1000})}, {}); }).second, HasSubstr("'y' holds inf"));
}

}  // namespace
}  // namespace tare
