// A loop over independent sites on several threads; the first failure is thrown again on the caller's thread.
#pragma once

#include <cstddef>

#include "calib/share.hpp"

namespace tare {

template <class Body>
void parallel_sites(std::size_t count, int threads, Body&& body) {
  calib::Failure failure;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (std::size_t i = 0; i < count; ++i) failure.caught([&] { body(i); });
  failure.rethrow();
}

}  // namespace tare
