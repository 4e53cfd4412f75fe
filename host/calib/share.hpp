// Loops whose iterations the threads of the caller's OpenMP team may take: those that have nothing left to do, from any
// depth of calls. Outside a team the caller does them all.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstddef>
#include <exception>

namespace tare::calib {

/// What bodies of parallel loops throw, none of which may leave the loop: one of them is thrown again behind it.
class Failure {
 public:
  template <class Body>
  void caught(Body&& body) {
    try {
      body();
    } catch (...) {
#pragma omp critical(tare_failure)
      failure_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::exception_ptr failure_;
};

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
  Failure failure;
#pragma omp taskloop grainsize(grain) default(shared)
  for (std::size_t i = 0; i < count; ++i) failure.caught([&] { body(i); });
  failure.rethrow();
}

/// Calls body() once, with a team of so many threads to share its loops with.
template <class Body>
void with_team(int threads, Body&& body) {
  Failure failure;
#pragma omp parallel num_threads(threads)
#pragma omp single
  failure.caught(body);
  failure.rethrow();
}

}  // namespace tare::calib
