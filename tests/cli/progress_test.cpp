// What a user sees while a command runs: a bar on a terminal, plain lines elsewhere, nothing when told so.
#include <algorithm>

#include "cli/command.hpp"

namespace tare::test {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class Progress : public testing::Test {
 protected:
  Progress() {
    write_model(small_model(), folder_ / "m.onnx");
    write_samples(folder_ / "x.npz", 20000);
  }
  CommandResult run(std::vector<std::string> more, bool on_terminal) const {
    std::vector<std::string> arguments = {"run",          (folder_ / "m.onnx").string(),
                                          "--data",       (folder_ / "x.npz").string(),
                                          "--samples",    "20000",
                                          "--batch-size", "1",
                                          "--threads",    "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    CommandOptions options;
    options.on_terminal = on_terminal;
    return tare(arguments, options);
  }
  TemporaryFolder folder_;
};

TEST_F(Progress, ATerminalGetsABarWithRateAndTimeLeft) {
  const CommandResult result = run({}, true);
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.errors,
              ContainsRegex("\rrunning  \\[=* *\\] +[0-9]+ %  [0-9]+/20000 samples  [0-9]+\\.[0-9] samples/s  "
                            "[0-9]+\\.[0-9]+ s left\x1b\\[K"));
  EXPECT_THAT(result.errors, testing::EndsWith("\r\x1b[K")) << "the bar goes when the work is done";
  EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 0) << "one line, written over";
  EXPECT_GE(std::count(result.errors.begin(), result.errors.end(), '\r'), 2);
  EXPECT_THAT(result.output, HasSubstr("20000 samples"));
}

TEST_F(Progress, OthersGetNoBar) {
  const CommandResult result = run({}, false);
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.errors, Not(HasSubstr("\r")));
  EXPECT_THAT(result.errors, Not(HasSubstr("\x1b")));
}

TEST_F(Progress, QuietIsQuietOnATerminalToo) {
  const CommandResult result = run({"--quiet"}, true);
  ASSERT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.errors, "");
  EXPECT_EQ(result.output, "");
}

TEST_F(Progress, InterruptDoesNotWaitForTheEndOfABatch) {
  onnx::ModelProto model = empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {-1, 3, 8, 8});
  add_output(graph, "y", {-1, 3, 8, 8});
  add_initializer<std::int64_t>(graph, "count", 7, {}, {std::int64_t{1} << 26});  // for a minute or more
  onnx::GraphProto& body =
      *add_attribute(add_node(graph, "Loop", {"count", "", "x"}, {"y"}), "body", onnx::AttributeProto::GRAPH)
           .mutable_g();
  add_input(body, "i", {}, 7);
  add_input(body, "goes_on", {}, 9);
  body.add_input()->set_name("before");
  add_node(body, "Neg", {"before"}, {"after"});
  add_output(body, "goes_on", {}, 9);
  body.add_output()->set_name("after");
  write_model(model, folder_ / "loop.onnx");
  write_samples(folder_ / "one.npz", 1);
  CommandOptions options;
  options.folder = folder_.path();
  for (const char* threads : {"1", "2"}) {
    options.interrupt_when = [&] { return names_in(folder_.path()).size() > 4; };  // the output's temporary file
    expect_error(tare({"run", "loop.onnx", "--data", "one.npz", "--output", "y.npz", "--threads", threads}, options),
                 130, "tare: error: interrupted: nothing was written\n");
    EXPECT_EQ(names_in(folder_.path()).size(), 4u);
  }
}

}  // namespace
}  // namespace tare::test
