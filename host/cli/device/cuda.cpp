// A build with the CUDA backend.
#include <fmt/format.h>

#include <charconv>

#include "cli/options.hpp"
#include "tare/cuda.hpp"

namespace tare::cli {
namespace {

int index_of(std::string_view device) {
  if (device == "cuda") return 0;
  const std::string_view digits = device.starts_with("cuda:") ? device.substr(5) : std::string_view();
  int index = -1;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (digits.empty() || status != std::errc() || end != digits.data() + digits.size() || index < 0)
    throw Error(ErrorKind::usage, fmt::format("'{}' is not a device; use auto, cpu or cuda:N", device));
  return index;
}

}  // namespace

std::unique_ptr<Backend> make_cuda_device(const RunFlags& flags, const SessionOptions& session) {
  cuda::CudaOptions options;
  options.device = index_of(flags.device);
  options.math = flags.math == "tf32"   ? cuda::Math::tf32
                 : flags.math == "bf16" ? cuda::Math::bf16
                                        : cuda::Math::float32;
  options.fallback_to_cpu = flags.fallback == "cpu";
  options.host = session.cpu;
  return cuda::make_cuda_backend(options);
}

}  // namespace tare::cli
