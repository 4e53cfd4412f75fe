#include "cli/waits.hpp"

#include <unistd.h>

#include <cstdlib>

namespace tare::cli {

void wait_briefly(char** arguments) {
  // 0.6 ms where a pause takes the longest: with a third of that, small models wait for threads that have gone to
  // sleep.
  constexpr const char* spins = "12000";
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  if (::setenv("GOMP_SPINCOUNT", spins, 1) == 0) ::execv("/proc/self/exe", arguments);
}

}  // namespace tare::cli
