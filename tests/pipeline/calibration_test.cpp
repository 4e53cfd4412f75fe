// When a calibration has ended, it says so.
#include <gmock/gmock.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "support/model_builder.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

using testing::HasSubstr;

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

}  // namespace
}  // namespace tare
