// Names come from files of others. A terminal obeys control characters, and a line end in a name begins a line that
// says something else.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/command.hpp"
#include "tare/export.hpp"

namespace tare::test {
namespace {

using testing::HasSubstr;
using testing::Not;

/// Clears the screen, three ways; forges a line; and is a name that people have, too.
const std::string hostile = "\x1b[2J\u009b2J\x7f\r\n0 findings: größe";
const std::string shown = "?[2J?2J?? 0 findings: größe";

class HostileNames : public testing::Test {
 protected:
  HostileNames() {
    onnx::ModelProto model = small_model();
    onnx::GraphProto& graph = *model.mutable_graph();
    graph.mutable_input(0)->set_name(hostile);
    graph.mutable_node(0)->set_input(0, hostile);
    graph.mutable_node(0)->set_name(hostile);
    graph.mutable_output(0)->set_name("y" + hostile);
    graph.mutable_node(1)->set_output(0, "y" + hostile);
    write_model(model, folder_ / "m.onnx");
    write_samples(folder_ / "x.npz", 2);
    options_.folder = folder_.path();
    calibrated_ = tare({"calibrate", "m.onnx", "--data", "x.npz"}, options_);
    EncodingSet fewer = load_encodings(folder_ / "out/m.encodings");
    std::erase_if(fewer.tensors, [](const TensorEncodings& tensor) { return tensor.tensor == hostile; });
    save_encodings(fewer, EncodingVersion::v1_0_0, folder_ / "fewer.encodings");
  }
  static void expect_harmless(const std::string& text) {
    for (const char* part : {"\x1b", "\u009b", "\x7f", "\r", "\n0 findings"}) EXPECT_THAT(text, Not(HasSubstr(part)));
  }

  TemporaryFolder folder_;
  CommandOptions options_;
  CommandResult calibrated_;
};

TEST_F(HostileNames, AreShownWithoutWhatATerminalObeys) {
  ASSERT_EQ(calibrated_.exit_code, 0) << calibrated_.errors;
  expect_harmless(calibrated_.output);
  for (const std::vector<std::string>& line : {std::vector<std::string>{"inspect", "m.onnx", "--all"},
                                               {"inspect", "out/m.encodings"},
                                               {"lint", "m.onnx", "fewer.encodings"},
                                               {"diff", "out/m.encodings", "fewer.encodings"}}) {
    SCOPED_TRACE(fmt::to_string(fmt::join(line, " ")));
    const std::string output = tare(line, options_).output;
    EXPECT_THAT(output, HasSubstr(shown));
    expect_harmless(output);
  }
  const CommandResult refused =
      tare({"calibrate", "m.onnx", "--data", "x.npz", "--encodings-in", "fewer.encodings", "--strict"}, options_);
  expect_error(refused, 3, shown);
}

TEST_F(HostileNames, StayThemselvesInJson) {
  const nlohmann::json findings = tare({"lint", "m.onnx", "fewer.encodings", "--json"}, options_).json()["findings"];
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0]["tensor"], hostile);
}

}  // namespace
}  // namespace tare::test
