// What --help and --version say.
#include "cli/command.hpp"

namespace tare::test {
namespace {

using testing::HasSubstr;

TEST(Help, NamesEveryFlagAndShowsExamples) {
  for (const char* command : {"calibrate", "simulate", "run", "evaluate", "inspect", "diff", "lint", "bench"}) {
    const CommandResult result = tare({command, "--help"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.errors, "");
    EXPECT_THAT(result.output, HasSubstr("Examples:\n  tare "));
    EXPECT_THAT(result.output, HasSubstr(std::string("tare ") + command));
  }
  const std::string help = tare({"calibrate", "--help"}).output;
  for (const char* flag : {"--data",
                           "--samples",
                           "--batch-size",
                           "--mean",
                           "--std",
                           "--size",
                           "--resize-shorter",
                           "--layout",
                           "--channel-order",
                           "--device",
                           "--threads",
                           "--isa",
                           "--reproducible",
                           "--rounding",
                           "--nonfinite",
                           "--config",
                           "--scheme",
                           "--gamma",
                           "--percentile",
                           "--sentinels",
                           "--param-type",
                           "--activation-type",
                           "--encoding-version",
                           "--output",
                           "--prefix",
                           "--save-stats",
                           "--from-stats",
                           "--observe-weights",
                           "--refine",
                           "--qdq",
                           "--quiet",
                           "--json"})
    EXPECT_THAT(help, HasSubstr(flag));
  EXPECT_THAT(help, HasSubstr("Of weights: int2 … int16, float16, "));
  EXPECT_THAT(tare({"--help"}).output, HasSubstr("Exit codes"));
  EXPECT_THAT(tare({"--version"}).output, testing::MatchesRegex("tare [0-9.]+\n"));
}

}  // namespace
}  // namespace tare::test
