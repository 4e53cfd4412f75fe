// What readers other than AIMET's converters take: TensorRT's calibration cache and ONNX Runtime's overrides.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "export/format_limits.hpp"
#include "tare/error.hpp"
#include "tare/export.hpp"

namespace tare {
namespace {

using nlohmann::json;

/// Codes of TensorRT's only grid reach from -127 to 127.
constexpr double tensorrt_steps = 127;

[[noreturn]] void refuse(const TensorEncodings& tensor, std::string_view why) {
  throw Error(ErrorKind::unsupported, fmt::format("encodings of '{}': {}", tensor.tensor, why));
}

/// Unsigned for activations, signed for parameters, whatever their symmetry: a run of ONNX Runtime has one default for
/// each, and its own tool cannot read another type from the file.
std::string onnxruntime_type(const TensorEncodings& tensor) {
  const QuantizerSpec& spec = tensor.spec;
  if (spec.format != NumberFormat::integer)
    refuse(tensor, "ONNX Runtime's overrides hold integer grids only; disable this quantizer or leave them out");
  if (!overrides_hold(spec.format, spec.bitwidth))
    refuse(tensor, fmt::format("ONNX Runtime has no type of {} bits; use 4, 8 or 16", spec.bitwidth));
  if (spec.block_axis) refuse(tensor, "ONNX Runtime's overrides have no blocks");
  return fmt::format("Q{}Int{}", tensor.role == SiteRole::parameter ? "" : "U", spec.bitwidth);
}

std::int64_t onnxruntime_zero_point(const TensorEncodings& tensor, const Encoding& encoding) {
  if (tensor.role == SiteRole::activation) return -std::llround(encoding.offset);
  if (tensor.spec.symmetric && encoding.offset < 0) return 0;
  return std::llround(std::ldexp(-1.0, tensor.spec.bitwidth - 1) - encoding.offset);
}

}  // namespace

std::string to_tensorrt_cache(const EncodingSet& encodings) {
  std::string text = "TRT-100100-EntropyCalibration2\n";
  for (const TensorEncodings& tensor : encodings.tensors) {
    if (tensor.role != SiteRole::activation || tensor.encodings.empty()) continue;
    if (tensor.tensor.find('\n') != std::string::npos)
      refuse(tensor, "a line of TensorRT's cache cannot hold its name");
    const Encoding& encoding = tensor.encodings[0];
    const bool symmetric = tensor.spec.symmetric && tensor.spec.bitwidth == 8 && encoding.offset < 0;
    const double scale =
        symmetric ? encoding.scale : std::max(std::fabs(encoding.min), std::fabs(encoding.max)) / tensorrt_steps;
    text += fmt::format("{}: {:08x}\n", tensor.tensor, std::bit_cast<std::uint32_t>(static_cast<float>(scale)));
  }
  return text;
}

std::string to_onnxruntime_overrides(const EncodingSet& encodings) {
  std::map<SiteRole, std::map<std::string, std::size_t>> used;
  for (const TensorEncodings& tensor : encodings.tensors)
    if (!tensor.encodings.empty() && tensor.spec.bitwidth <= 16) ++used[tensor.role][onnxruntime_type(tensor)];
  std::map<SiteRole, std::string> usual;
  for (const auto& [role, types] : used)
    usual[role] = std::max_element(types.begin(), types.end(), [](const auto& a, const auto& b) {
                    return a.second < b.second;
                  })->first;
  json file = json::object();
  for (const TensorEncodings& tensor : encodings.tensors) {
    if (tensor.encodings.empty() || tensor.spec.bitwidth > 16) continue;
    const std::string type = onnxruntime_type(tensor);
    json& list = file[tensor.tensor] = json::array();
    for (const Encoding& encoding : tensor.encodings)
      list.push_back({{"scale", encoding.scale}, {"zero_point", onnxruntime_zero_point(tensor, encoding)}});
    if (tensor.spec.channel_axis)
      for (json& entry : list) entry["axis"] = *tensor.spec.channel_axis;
    if (type != usual[tensor.role])
      for (json& entry : list) entry["quant_type"] = type;
  }
  return file.dump(1, ' ', true, json::error_handler_t::replace) + "\n";
}

}  // namespace tare
