// Loops whose iterations the threads of the caller's OpenMP team may take: those that have nothing left to do, from any
// depth of calls. Outside a team the caller does them all.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstddef>
#include <exception>

namespace tare::calib {

/// Calls body(i) for i in [0, count), at least `grain` or so in a row on one thread. One failure is thrown again.
template <class Body>
void share(std::size_t count, std::size_t grain, Body&& body) {
  // GCC's runtime hands out no task of a loop that would make more than 64 for every thread, loops around it included.
  const std::size_t most_tasks = 16 * static_cast<std::size_t>(omp_get_num_threads());
  grain = std::max(grain, (count + most_tasks - 1) / most_tasks);
  if (count <= grain) {
    for (std::size_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::exception_ptr failure;  // none may leave a task
#pragma omp taskloop grainsize(grain) default(shared)
  for (std::size_t i = 0; i < count; ++i) {
    try {
      body(i);
    } catch (...) {
#pragma omp critical(tare_share)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

/// Calls body() once, with a team of so many threads to share its loops with.
template <class Body>
void with_team(int threads, Body&& body) {
  std::exception_ptr failure;
#pragma omp parallel num_threads(threads)
#pragma omp single
  {
    try {
      body();
    } catch (...) {
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace tare::calib
