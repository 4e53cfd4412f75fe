// A build with CUDA, on a machine with a device or without.
#include "tare/cuda.hpp"
#include "support/backends.hpp"

namespace tare::test {

std::vector<NamedBackend> backends() {
  return {{"cpu", [] { return make_cpu_backend(); }, ""},
          {"cuda", [] { return cuda::make_cuda_backend(); }, cuda::device_count() == 0 ? "no CUDA device" : ""}};
}

}  // namespace tare::test
