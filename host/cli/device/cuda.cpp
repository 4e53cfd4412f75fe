// A build with the CUDA backend: "cuda", "cuda:N", "cuda:0,1", "cuda:all".
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "cli/options.hpp"
#include "model/atomic_file.hpp"
#include "tare/cuda.hpp"

namespace tare::cli {
namespace {

std::vector<int> indices_of(const std::string& device) {
  if (device == "cuda") return {0};
  std::vector<int> indices;
  if (device == "cuda:all") {
    for (int i = 0; i < std::max(cuda::device_count(), 1); ++i) indices.push_back(i);
    return indices;
  }
  const auto refuse = [&](std::string_view why) {
    throw Error(ErrorKind::usage,
                fmt::format("'{}' is not a device{}; use auto, cpu, cuda:N, cuda:N,M or cuda:all", device, why));
  };
  if (!device.starts_with("cuda:")) refuse("");
  for (std::size_t begin = 5; begin <= device.size();) {
    const std::size_t end = std::min(device.find(',', begin), device.size());
    int index = -1;
    const auto [last, status] = std::from_chars(device.data() + begin, device.data() + end, index);
    if (begin == end || status != std::errc() || last != device.data() + end || index < 0) refuse("");
    if (std::find(indices.begin(), indices.end(), index) != indices.end()) refuse(": it names one twice");
    indices.push_back(index);
    begin = end + 1;
  }
  return indices;
}

bool exists(const std::filesystem::path& file) {
  std::error_code unknown;
  return std::filesystem::exists(file, unknown);
}

}  // namespace

std::vector<std::unique_ptr<Backend>> make_cuda_devices(const RunFlags& flags, const SessionOptions& session) {
  cuda::CudaOptions options;
  options.math = flags.math == "tf32"   ? cuda::Math::tf32
                 : flags.math == "bf16" ? cuda::Math::bf16
                                        : cuda::Math::float32;
  options.fallback_to_cpu = flags.fallback == "cpu";
  options.graphs = flags.graphs == "on";
  options.host = session.cpu;
  options.choices = flags.choices;
  std::vector<std::unique_ptr<Backend>> backends;
  const std::vector<int> indices = indices_of(flags.device);
  for (const int index : indices) {
    options.device = index;
    backends.push_back(cuda::make_cuda_backend(options));
  }
  if (flags.convolutions.empty()) return backends;
  for (const int index : indices)
    if (!cuda::are_alike(indices[0], index))
      throw Error(ErrorKind::usage,
                  fmt::format("--convolutions: devices cuda:{} and cuda:{} are of different kinds; run "
                              "them apart, with a file each",
                              indices[0], index));
  if (exists(flags.convolutions)) cuda::load_convolution_choices(*options.choices, flags.convolutions, indices[0]);
  return backends;
}

int with_convolutions(RunFlags& flags, const std::function<int()>& command) {
  if (!flags.device.starts_with("cuda")) return command();
  flags.choices = cuda::make_convolution_choices();
  // A file that cannot be written is found before the work is done.
  if (!flags.convolutions.empty() && !exists(flags.convolutions)) AtomicFile probe(flags.convolutions);
  const int result = command();
  if (!flags.convolutions.empty() && cuda::has_unsaved(*flags.choices))
    cuda::save_convolution_choices(*flags.choices, flags.convolutions, indices_of(flags.device).front());
  return result;
}

}  // namespace tare::cli
