// A build without the CUDA backend.
#include <fmt/format.h>

#include "cli/options.hpp"

namespace tare::cli {

std::vector<std::unique_ptr<Backend>> make_cuda_devices(const RunFlags& flags, const SessionOptions&) {
  throw Error(ErrorKind::unsupported,
              fmt::format("device '{}': this build has no CUDA backend; use --device cpu", flags.device));
}

int with_convolutions(RunFlags&, const std::function<int()>& command) { return command(); }

}  // namespace tare::cli
