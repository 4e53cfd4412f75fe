// What a command may write over, and what it leaves where it fails.
#include "cli/command.hpp"
#include "support/bitmap.hpp"
#include "support/paths.hpp"

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

/// Whatever flag names them, and by whatever path.
TEST_F(Outputs, NothingThatIsReadIsReplaced) {
  ASSERT_EQ(calibrate({"--data", "x.npz", "--save-stats", "out/m.stats"}).exit_code, 0);
  std::filesystem::create_symlink("out", folder_ / "link");
  const auto expect_refused = [&](const std::vector<std::string>& flags, const std::string& file) {
    const std::string before = read_bytes(folder_ / file);
    const CommandResult result = calibrate(flags);
    EXPECT_THAT(result.errors, testing::HasSubstr(file + "', which is read; give the output another name or folder"));
    expect_error(result, 2, "would replace");
    EXPECT_EQ(read_bytes(folder_ / file), before);
  };
  std::filesystem::copy(folder_ / "out/m.encodings", folder_ / "given.encodings");
  write_bytes(folder_ / "config.json", read_bytes(source_folder() / "configs/default.json"));
  const std::vector<std::string> data = {"--data", "x.npz"};
  expect_refused({"--encodings-in", "out/m.encodings"}, "out/m.encodings");
  expect_refused({"--encodings-in", "out/m.encodings", "--output", "link"}, "out/m.encodings");
  expect_refused({"--data", "x.npz", "--encodings-in", "given.encodings", "--save-stats", "given.encodings"},
                 "given.encodings");
  expect_refused({"--from-stats", "out/m.stats", "--save-stats", "./link/m.stats"}, "out/m.stats");
  expect_refused({"--data", "x.npz", "--config", "config.json", "--save-stats", "config.json"}, "config.json");
  std::filesystem::rename(folder_ / "config.json", folder_ / "out/c.encodings");
  expect_refused({"--data", "x.npz", "--config", "out/c.encodings", "--prefix", "c"}, "out/c.encodings");
  expect_refused({"--data", "x.npz", "--output", "."}, "m.onnx");
}

TEST_F(Outputs, DataOfAFolderAndOfAListAreRead) {
  std::filesystem::create_directories(folder_ / "data/more");
  std::filesystem::copy(folder_ / "x.npz", folder_ / "data/x.npz");
  std::filesystem::copy(folder_ / "x.npz", folder_ / "data/more/y.npz");
  write_bytes(folder_ / "data/old.stats", "an old file of the same name");
  write_bytes(folder_ / "data/x.raw", std::string(3 * 8 * 8 * 4, '\0'));
  write_bytes(folder_ / "list.txt", "x:=data/x.raw\n");
  const std::string before = read_bytes(folder_ / "data/x.npz");
  expect_error(calibrate({"--data", "data", "--save-stats", "data/x.npz"}), 2,
               "would replace 'data/x.npz', which is read");
  expect_error(tare({"run", "m.onnx", "--data", "data", "--output", "data/x.npz"}, options_), 2, "which is read");
  EXPECT_EQ(read_bytes(folder_ / "data/x.npz"), before);
  expect_error(calibrate({"--data", "list.txt", "--save-stats", "data/x.raw"}), 2, "'data/x.raw', which is read");
  // No reader looks there.
  EXPECT_EQ(calibrate({"--data", "data", "--save-stats", "data/old.stats", "--output", "data"}).exit_code, 0);
  EXPECT_EQ(tare({"run", "m.onnx", "--data", "data", "--output", "data/more/y.npz"}, options_).exit_code, 0);
}

/// The readers go by endings in any case, and of a folder they read one kind of files.
TEST_F(Outputs, OnlyWhatReadersOpenIsData) {
  const auto run = [&](const char* data, const std::string& output) {
    return tare({"run", "m.onnx", "--data", data, "--output", output}, options_);
  };
  const std::string image = bitmap(8, 8, [](int x, int y) { return Pixel{x, y, 7}; });
  for (const char* file : {"images/sub/A.BMP", "archives/b.bmp"}) {
    std::filesystem::create_directories((folder_ / file).parent_path());
    write_bytes(folder_ / file, image);
  }
  expect_error(run("images", "images/sub/A.BMP"), 2, "'images/sub/A.BMP', which is read");
  std::filesystem::copy(folder_ / "x.npz", folder_ / "archives/X.NPZ");
  expect_error(run("archives/", "archives/X.NPZ"), 2, "'archives/X.NPZ', which is read");
  EXPECT_EQ(run("archives/", "archives/b.bmp").exit_code, 0);
  write_bytes(folder_ / "x.raw", std::string(3 * 8 * 8 * 4, '\0'));
  write_bytes(folder_ / "old.raw", "no data");
  write_bytes(folder_ / "LIST.TXT", "# x:=old.raw\nx:=x.raw\n");
  expect_error(run("LIST.TXT", "x.raw"), 2, "'x.raw', which is read");
  EXPECT_EQ(run("LIST.TXT", "old.raw").exit_code, 0);
}

TEST_F(Outputs, NoTwoHaveOneName) {
  for (const char* file : {"out/m.encodings", "./out/../out/m.qdq.onnx", "out/m.onnx"})
    expect_error(calibrate({"--data", "x.npz", "--save-stats", file}), 2, "is the name of a file of the export");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
}

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

/// A part of the data has no export: the folder of one is neither asked for nor touched.
TEST_F(Outputs, AShardWritesNothingButItsStatistics) {
  write_bytes(folder_ / "out", "no folder");
  EXPECT_EQ(calibrate({"--data", "x.npz", "--shard", "1/1", "--save-stats", "part.stats"}).exit_code, 0);
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("m.onnx", "out", "part.stats", "x.npz"));
  expect_error(calibrate({"--data", "x.npz", "--shard", "1/1", "--save-stats", "missing/part.stats"}), 5,
               "missing/part.stats");
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
