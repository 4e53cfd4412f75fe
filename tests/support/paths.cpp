#include "support/paths.hpp"

#include <cstdlib>

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

}  // namespace tare::test
