#include "support/paths.hpp"

#include <cstdlib>
#include <fstream>
#include <string>

namespace tare::test {

/// Binaries that were carried to another machine (tools/gpu_bundle.sh) run in the root of its copy.
std::filesystem::path source_folder() {
  const std::filesystem::path built_from = TARE_SOURCE_DIR;
  return std::filesystem::exists(built_from) ? built_from : std::filesystem::current_path();
}

std::filesystem::path data_folder() { return source_folder() / "tests/data"; }

std::filesystem::path cache_folder() {
  if (const char* cache = std::getenv("TARE_CACHE")) return cache;
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home == nullptr ? "/root" : home) / ".cache/tare";
}

std::filesystem::path onnx_tests_folder() {
  const std::string package = "onnx==";
  std::ifstream packages(source_folder() / "tools/models.txt");
  std::string version;
  for (std::string line; std::getline(packages, line);)
    if (line.starts_with(package)) version = line.substr(package.size(), line.find(' ') - package.size());
  return cache_folder() / "onnx-backend-tests" / version;
}

}  // namespace tare::test
