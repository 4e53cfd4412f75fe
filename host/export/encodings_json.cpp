// Encodings out, in the three versions of AIMET's file format, key for key (docs/encodings.md). Offsets are AIMET's:
// -zero_point on the unsigned grid. Odd: version 2.0.0 speaks ONNX (zero points, signed types, an axis), and leaves
// float16 tensors out.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "calib/low_power_blocks.hpp"
#include "export/format_limits.hpp"
#include "export/grid_tensors.hpp"
#include "export/json_fields.hpp"
#include "model/atomic_file.hpp"
#include "run/fingerprint.hpp"
#include "tare/error.hpp"
#include "tare/export.hpp"
#include "tare/overrides.hpp"

namespace tare {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(const TensorEncodings& tensor, ErrorKind kind, std::string_view why) {
  throw Error(kind, fmt::format("encodings of '{}': {}", tensor.tensor, why));
}

void check(const TensorEncodings& tensor, EncodingVersion version) {
  if (const EncodingVersion first = first_version_with(tensor.spec.format); version < first)
    refuse(tensor, ErrorKind::unsupported,
           fmt::format("version {} has no float8; use {}", name_of(version), name_of(first)));
  if (tensor.spec.format == NumberFormat::float16) return;
  if (tensor.encodings.empty()) refuse(tensor, ErrorKind::internal, "there are none");
  for (const Encoding& encoding : tensor.encodings)
    if (!(encoding.scale > 0) || !std::isfinite(encoding.scale) || !std::isfinite(encoding.offset) ||
        !std::isfinite(encoding.min) || !std::isfinite(encoding.max))
      refuse(tensor, ErrorKind::internal,
             fmt::format("scale {} and offset {} make no grid", encoding.scale, encoding.offset));
}

/// -0.0 is 0.0 in a file.
double plain_zero(double value) { return value == 0 ? 0.0 : value; }

std::string enc_type(const TensorEncodings& tensor) {
  if (tensor.spec.decompressed_bitwidth > 0) return "LPBQ";
  if (tensor.spec.block_axis || tensor.spec.block_size > 0) return "PER_BLOCK";
  return tensor.spec.channel_axis || tensor.encodings.size() > 1 ? "PER_CHANNEL" : "PER_TENSOR";
}

json entry_of_0_6_1(const TensorEncodings& tensor) {
  const QuantizerSpec& spec = tensor.spec;
  if (spec.format == NumberFormat::float16) return json::array({{{"bitwidth", 16}, {"dtype", "float"}}});
  if (tensor.spec.block_size > 0)
    refuse(tensor, ErrorKind::unsupported, "version 0.6.1 has no blocks; use 1.0.0 or 2.0.0");
  json list = json::array();
  for (const Encoding& encoding : tensor.encodings)
    list.push_back({{"bitwidth", spec.bitwidth},
                    {"dtype", "int"},
                    {"is_symmetric", spec.symmetric ? "True" : "False"},
                    {"min", plain_zero(encoding.min)},
                    {"max", plain_zero(encoding.max)},
                    {"offset", plain_zero(encoding.offset)},
                    {"scale", encoding.scale}});
  return list;
}

/// How many rows of blocks there are: needs the shape of the tensor where it has channels.
std::size_t channels_of(const TensorEncodings& tensor, const Graph* graph) {
  const QuantizerSpec& spec = tensor.spec;
  if (!spec.channel_axis && tensor.encodings.size() == 1) return 1;
  const ValueId value = graph == nullptr ? absent : graph->find(tensor.tensor);
  const Tensor* constant = value == absent ? nullptr : graph->constant(value);
  if (constant == nullptr || !spec.channel_axis)
    refuse(tensor, ErrorKind::usage, "blocks cannot be written without the shape of their tensor and its axes");
  const auto channels = static_cast<std::size_t>(constant->shape()[static_cast<std::size_t>(*spec.channel_axis)]);
  if (channels == 0 || tensor.encodings.size() % channels != 0)
    refuse(tensor, ErrorKind::internal, "their number does not fit the shape");
  return channels;
}

json entry_of_1_0_0(const TensorEncodings& tensor, const Graph* graph) {
  const QuantizerSpec& spec = tensor.spec;
  if (spec.format == NumberFormat::float16)
    return {{"name", tensor.tensor}, {"bw", 16}, {"dtype", "FLOAT"}, {"enc_type", "PER_TENSOR"}};
  json entry = {{"name", tensor.tensor},
                {"bw", spec.bitwidth},
                {"dtype", "INT"},
                {"is_sym", spec.symmetric},
                {"enc_type", enc_type(tensor)}};
  if (spec.block_size > 0) entry["block_size"] = spec.block_size;
  if (spec.decompressed_bitwidth > 0) {  // a scale a channel on the widened grid, and its multiples
    calib::LowPowerScales parts = calib::low_power_scales(tensor, channels_of(tensor, graph));
    entry["bw"] = spec.decompressed_bitwidth;
    entry["compressed_bw"] = spec.bitwidth;
    const double lowest = (spec.strict_symmetric ? 1 : 0) - std::ldexp(1.0, spec.decompressed_bitwidth - 1);
    entry["offset"] = std::vector<double>(parts.units.size(), lowest);
    entry["scale"] = std::move(parts.units);
    entry["per_block_int_scale"] = std::move(parts.multiples);
    return entry;
  }
  json& offsets = entry["offset"] = json::array();
  json& scales = entry["scale"] = json::array();
  for (const Encoding& encoding : tensor.encodings) {
    offsets.push_back(plain_zero(encoding.offset));
    scales.push_back(encoding.scale);
  }
  return entry;
}

/// Values in the order [channel, block] as nested lists in the order of the tensor's axes, one element along those that
/// the grids do not depend on.
json nested_blocks(const TensorEncodings& tensor, const Graph* graph, std::size_t blocks,
                   const std::vector<json>& values) {
  const QuantizerSpec& spec = tensor.spec;
  const Tensor* constant = graph == nullptr ? nullptr : graph->constant(graph->find(tensor.tensor));
  if (constant == nullptr) refuse(tensor, ErrorKind::usage, "version 2.0.0 needs the shape of a tensor with blocks");
  const std::size_t channels = values.size() / blocks;
  std::vector<std::size_t> dims(constant->rank(), 1);
  dims[static_cast<std::size_t>(*spec.block_axis)] = blocks;
  const bool blocks_first = spec.channel_axis && *spec.block_axis < *spec.channel_axis;
  if (spec.channel_axis) dims[static_cast<std::size_t>(*spec.channel_axis)] = channels;
  std::vector<json> in_order;
  for (std::size_t i = 0; i < values.size(); ++i)
    in_order.push_back(values[blocks_first ? i % channels * blocks + i / channels : i]);
  return json_fields::nest(in_order, dims);
}

json entry_of_2_0_0(const TensorEncodings& tensor, const ExportInfo& info) {
  const Graph* graph = info.graph;
  const QuantizerSpec& spec = tensor.spec;
  json entry = {{"name", tensor.tensor}};
  const std::string type = enc_type(tensor);
  std::size_t blocks = 0;  // of a channel
  if (spec.block_size > 0) {
    if (!spec.block_axis)
      refuse(tensor, ErrorKind::usage, "version 2.0.0 names the axis of the blocks, and it is not known");
    blocks = tensor.encodings.size() / channels_of(tensor, graph);
  }
  std::vector<json> scales;
  std::vector<json> zero_points;
  for (const Encoding& encoding : tensor.encodings) scales.push_back(encoding.scale);
  bool any_zero_point = false;
  if (is_float8(spec.format)) {
    entry["output_dtype"] = spec.format == NumberFormat::float8e4m3fn ? "float8e4m3fn" : "float8e5m2";
  } else {
    const std::optional<std::int64_t> shift = shift_of_signed_codes(tensor, info.activations);
    entry["output_dtype"] = fmt::format("{}int{}", shift ? "" : "u", spec.bitwidth);
    for (const Encoding& encoding : tensor.encodings) {
      const std::int64_t zero_point = -std::llround(encoding.offset) - shift.value_or(0);
      any_zero_point = any_zero_point || zero_point != 0;
      zero_points.push_back(zero_point);
    }
  }
  const auto put = [&](const char* key, const std::vector<json>& values) {
    if (type == "PER_TENSOR")
      entry[key] = values[0];
    else if (type == "PER_CHANNEL")
      entry[key] = values;
    else
      entry[key] = nested_blocks(tensor, graph, blocks, values);
  };
  if (type == "PER_CHANNEL") {
    if (!spec.channel_axis)
      refuse(tensor, ErrorKind::usage, "version 2.0.0 names the axis of the channels, and it is not known");
    entry["axis"] = *spec.channel_axis;
  } else if (blocks > 0) {
    entry["axis"] = *spec.block_axis;
    entry["block_size"] = spec.block_size;
  }
  if (spec.decompressed_bitwidth > 0) {
    if (spec.decompressed_bitwidth != 2 * spec.bitwidth)
      refuse(
          tensor, ErrorKind::unsupported,
          fmt::format("version 2.0.0 widens the codes of low-power blocks to twice their {} bits, not to {}; use 1.0.0",
                      spec.bitwidth, spec.decompressed_bitwidth));
    const calib::LowPowerScales parts = calib::low_power_scales(tensor, tensor.encodings.size() / blocks);
    const std::vector<json> multiples(parts.multiples.begin(), parts.multiples.end());
    const std::vector<json> units(parts.units.begin(), parts.units.end());
    entry["per_block_int_scale"] = nested_blocks(tensor, graph, blocks, multiples);
    entry["per_channel_float_scale"] = nested_blocks(tensor, graph, 1, units);
    return entry;
  }
  put("y_scale", scales);
  if (any_zero_point) put("y_zero_point", zero_points);
  return entry;
}

std::string_view quant_scheme(Scheme scheme) {
  if (scheme == Scheme::tf_enhanced) return "post_training_tf_enhanced";
  if (scheme == Scheme::percentile) return "post_training_percentile";
  return name_of(scheme);
}

json quantizer_args(const EncodingSet& encodings, const ExportInfo& info) {
  bool symmetric = false;
  bool per_channel = false;
  for (const TensorEncodings& tensor : encodings.tensors) {
    if (tensor.role != SiteRole::parameter) continue;
    symmetric = symmetric || tensor.spec.symmetric;
    per_channel = per_channel || enc_type(tensor) != "PER_TENSOR";
  }
  return {{"activation_bitwidth", info.activation_bitwidth},
          {"param_bitwidth", info.parameter_bitwidth},
          {"dtype", "int"},
          {"is_symmetric", symmetric},
          {"per_channel_quantization", per_channel},
          {"quant_scheme", quant_scheme(info.scheme)}};
}

}  // namespace

EncodingVersion parse_encoding_version(std::string_view text) {
  if (text == "0.6.1") return EncodingVersion::v0_6_1;
  if (text == "1.0.0") return EncodingVersion::v1_0_0;
  if (text == "2.0.0") return EncodingVersion::v2_0_0;
  throw Error(ErrorKind::usage, fmt::format("'{}' is not an encoding version; use 0.6.1, 1.0.0 or 2.0.0", text));
}

std::string_view name_of(EncodingVersion version) {
  switch (version) {
    case EncodingVersion::v0_6_1: return "0.6.1";
    case EncodingVersion::v1_0_0: return "1.0.0";
    case EncodingVersion::v2_0_0: return "2.0.0";
  }
  return "";
}

std::string encodings_to_json(const EncodingSet& encodings, EncodingVersion version, const ExportInfo& info) {
  json file = {{"version", name_of(version)}, {"producer", {{"package", "tare"}, {"version", library_version()}}}};
  for (const TensorEncodings& tensor : encodings.tensors) check(tensor, version);
  if (version == EncodingVersion::v2_0_0) {
    json& list = file["encodings"] = json::array();
    for (const TensorEncodings& tensor : encodings.tensors)
      if (tensor.spec.format != NumberFormat::float16) list.push_back(entry_of_2_0_0(tensor, info));
  } else {
    const bool old = version == EncodingVersion::v0_6_1;
    file["activation_encodings"] = old ? json::object() : json::array();
    file["param_encodings"] = old ? json::object() : json::array();
    for (const TensorEncodings& tensor : encodings.tensors) {
      json& section = file[tensor.role == SiteRole::parameter ? "param_encodings" : "activation_encodings"];
      if (old)
        section[tensor.tensor] = entry_of_0_6_1(tensor);
      else
        section.push_back(entry_of_1_0_0(tensor, info.graph));
    }
    file["quantizer_args"] = quantizer_args(encodings, info);
  }
  try {
    return file.dump(4, ' ', true) + "\n";
  } catch (const json::exception&) {
    throw Error(ErrorKind::unsupported,
                "encodings: the name of a tensor is not UTF-8, which JSON needs; rename it in the model");
  }
}

void save_encodings(const EncodingSet& encodings, EncodingVersion version, const std::filesystem::path& file,
                    const ExportInfo& info) {
  write_file_atomically(file, encodings_to_json(encodings, version, info));
}

}  // namespace tare
