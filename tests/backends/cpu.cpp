// A build without CUDA.
#include "support/backends.hpp"

namespace tare::test {

std::vector<NamedBackend> backends() {
  return {{"cpu", [] { return make_cpu_backend(); }, ""}};
}

}  // namespace tare::test
