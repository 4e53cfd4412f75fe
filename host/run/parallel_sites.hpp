// A loop over independent sites on several threads; the first failure is thrown again on the caller's thread.
#pragma once

#include <cstddef>
#include <exception>

namespace tare {

template <class Body>
void parallel_sites(std::size_t count, int threads, Body&& body) {
  std::exception_ptr failure;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (std::size_t i = 0; i < count; ++i) {
    try {
      body(i);
    } catch (...) {
#pragma omp critical(tare_parallel_sites)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace tare
