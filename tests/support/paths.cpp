#include "support/paths.hpp"

#include <cstdlib>

namespace tare::test {

std::filesystem::path data_folder() { return std::filesystem::path(TARE_SOURCE_DIR) / "tests/data"; }

std::filesystem::path cache_folder() {
  if (const char* cache = std::getenv("TARE_CACHE")) return cache;
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home == nullptr ? "/root" : home) / ".cache/tare";
}

}  // namespace tare::test
