// The CUDA backend with its functors run as loops on the host: its planning, indexing and formulas are tested where no
// device is. Libraries and hand-made kernels are stood in for; those are tested on a device alone.
#include "support/backends.hpp"
#include "tare/cuda.hpp"

namespace tare::test {

std::vector<NamedBackend> backends() {
  return {{"cuda_host", [] { return cuda::make_cuda_backend(); }, ""}};
}

}  // namespace tare::test
