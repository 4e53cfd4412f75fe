#include "cli/waits.hpp"

#include <unistd.h>

#include <cstdlib>

namespace tare::cli {

void wait_briefly(char** arguments) {
  // 0.05 ms where a pause takes the longest: more than passes between two nodes that share their work.
  constexpr const char* spins = "1000";
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  if (::setenv("GOMP_SPINCOUNT", spins, 1) == 0) ::execv("/proc/self/exe", arguments);
}

}  // namespace tare::cli
