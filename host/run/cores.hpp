// How many threads are worth starting.
#pragma once

#include <sched.h>

#include <algorithm>

namespace tare {

/// Cores that this process may run on, at least one: a container or taskset may give it fewer than there are.
inline int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

}  // namespace tare
