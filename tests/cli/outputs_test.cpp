// What a command may write over, and what it leaves where it fails.
#include "cli/command.hpp"

namespace tare::test {
namespace {

using testing::ElementsAre;

class Outputs : public testing::Test {
 protected:
  Outputs() {
    write_model(small_model(), folder_ / "m.onnx");
    write_samples(folder_ / "x.npz", 2);
    options_.folder = folder_.path();
  }
  CommandResult calibrate(std::vector<std::string> flags) const {
    flags.insert(flags.begin(), {"calibrate", "m.onnx"});
    return tare(flags, options_);
  }

  TemporaryFolder folder_;
  CommandOptions options_;
};

TEST_F(Outputs, FoldersThatWereMadeForNothingGoAgain) {
  expect_error(calibrate({"--data", "none.npz", "--output", "a/b/c"}), 5, "none.npz");
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("m.onnx", "x.npz"));
  // Others stay: those that were there, and those that hold something.
  std::filesystem::create_directories(folder_ / "a/b");
  expect_error(calibrate({"--data", "none.npz", "--output", "a/b/c/d"}), 5, "none.npz");
  EXPECT_THAT(names_in(folder_ / "a"), ElementsAre("b"));
  EXPECT_THAT(names_in(folder_ / "a/b"), ElementsAre());
  EXPECT_EQ(calibrate({"--data", "x.npz", "--output", "a/b/c/d", "--no-qdq"}).exit_code, 0);
  EXPECT_THAT(names_in(folder_ / "a/b/c/d"), ElementsAre("m.encodings", "m.onnx"));
}

TEST_F(Outputs, FoldersThatCannotBeMadeLeaveNone) {
  CommandOptions bound = options_;
  bound.obeys_permissions = true;
  std::filesystem::create_directory(folder_ / "locked");
  std::filesystem::permissions(folder_ / "locked",
                               std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  std::filesystem::create_symlink("nowhere", folder_ / "link");
  for (const char* output : {"locked/a/b", "link", "link/a", "x.npz/a"})
    expect_error(tare({"calibrate", "m.onnx", "--data", "x.npz", "--output", output}, bound), 5, output);
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("link", "locked", "m.onnx", "x.npz"));
}

TEST_F(Outputs, StatisticsThatCannotBeWrittenAreFoundBeforeTheDataAre) {
  std::filesystem::create_directory(folder_ / "folder");
  std::filesystem::create_symlink("loop", folder_ / "loop");
  // Data that do not exist would be the next thing to complain about.
  for (const char* file : {"folder", "missing/x.stats", "x.npz/x.stats", "/proc/x.stats", "loop/x.stats"})
    expect_error(calibrate({"--data", "none.npz", "--save-stats", file}), 5, file);
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("folder", "loop", "m.onnx", "x.npz"));
  const std::string long_name(250, 's');
  EXPECT_EQ(calibrate({"--data", "x.npz", "--save-stats", long_name}).exit_code, 0);
  EXPECT_EQ(tare({"inspect", long_name, "--quiet"}, options_).exit_code, 0);
  EXPECT_EQ(calibrate({"--data", "x.npz", "--save-stats", "loop"}).exit_code, 0);
}

}  // namespace
}  // namespace tare::test
