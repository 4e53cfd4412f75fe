// Loops whose iterations the threads of the caller's OpenMP team may take: those that have nothing left to do, from any
// depth of calls. Outside a team the caller does them all.
#pragma once

#include <cstddef>
#include <exception>

namespace tare::calib {

/// Calls body(i) for i in [0, count); at most `grain` or so in a row on one thread. One failure is thrown again.
template <class Body>
void share(std::size_t count, std::size_t grain, Body&& body) {
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
