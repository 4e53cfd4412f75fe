// The commands of README.md and docs/cli.md run as they are written: every ```sh block after a line `<!-- tested -->`,
// in an empty folder where `build`, `tests` and the like are those of the source tree.
#include <cstdlib>
#include <fstream>

#include "cli/command.hpp"
#include "support/paths.hpp"

namespace tare::test {
namespace {

std::vector<std::string> tested_blocks(const std::filesystem::path& document) {
  std::vector<std::string> blocks;
  std::ifstream file(document);
  bool marked = false;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (inside && line.starts_with("```"))
      inside = false;
    else if (inside)
      blocks.back() += line + "\n";
    else if (marked && line.starts_with("```sh")) {
      inside = true;
      blocks.emplace_back();
    }
    if (!line.empty()) marked = line == "<!-- tested -->";
  }
  return blocks;
}

class Document : public testing::TestWithParam<const char*> {};

TEST_P(Document, CommandsRun) {
  const std::filesystem::path source = TARE_SOURCE_DIR;
  const std::vector<std::string> blocks = tested_blocks(source / GetParam());
  EXPECT_FALSE(blocks.empty());
  const TemporaryFolder folder;
  for (const char* name : {"tests", "configs", "docs"})
    std::filesystem::create_directory_symlink(source / name, folder / name);
  std::filesystem::create_directory_symlink(tare_binary().parent_path(), folder / "build");
  ::setenv("TARE_CACHE", cache_folder().c_str(), 1);
  CommandOptions options;
  options.folder = folder.path();
  for (const std::string& block : blocks) {
    const CommandResult result = run_command({"/bin/sh", "-ec", block}, options);
    EXPECT_EQ(result.exit_code, 0) << block << result.errors;
  }
}

INSTANTIATE_TEST_SUITE_P(Cli, Document, testing::Values("README.md", "docs/cli.md"), [](const auto& test) {
  return std::string(test.param).starts_with("docs") ? "Manual" : "Readme";
});

}  // namespace
}  // namespace tare::test
