// The CUDA backend with its kernels run on the host: planning, indexing, formulas, and what threads tell each other are
// tested where no device is. cuBLASLt and cuDNN are stood in for: their own algorithms are tested on a device alone.
#include "support/backends.hpp"
#include "tare/cuda.hpp"

namespace tare::test {

std::vector<NamedBackend> backends() {
  return {{"cuda_host", [] { return cuda::make_cuda_backend(); }, ""}};
}

}  // namespace tare::test
