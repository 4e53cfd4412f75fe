// A build with CUDA, on a machine with a device or without.
#include "tare/cuda.hpp"

#include <cstdlib>

#include "support/backends.hpp"

namespace tare::test {

/// Where TARE_REQUIRE_DEVICE is set a device that is missing fails its tests.
std::vector<NamedBackend> backends() {
  const bool skipped = cuda::device_count() == 0 && std::getenv("TARE_REQUIRE_DEVICE") == nullptr;
  return {{"cpu", [] { return make_cpu_backend(); }, ""},
          {"cuda", [] { return cuda::make_cuda_backend(); }, skipped ? "no CUDA device" : ""}};
}

}  // namespace tare::test
