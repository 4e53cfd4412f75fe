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

}  // namespace
}  // namespace tare::test
