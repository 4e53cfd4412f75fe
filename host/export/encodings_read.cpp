// Encodings in: AIMET's three versions, tare's own files among them. Every message names the file and the place in it;
// nothing is trusted: counts, ranges and types are checked before a number reaches a quantizer.
// Odd: AIMET writes "True" and "False" as texts in 0.6.1 and as booleans in 1.0.0; both are taken in either.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_set>

#include "calib/low_power_blocks.hpp"
#include "export/json_fields.hpp"
#include "plan/json_text.hpp"
#include "run/bytes.hpp"
#include "tare/error.hpp"
#include "tare/export.hpp"

namespace tare {
namespace {

using nlohmann::json;
using namespace json_fields;

constexpr std::uintmax_t largest_file = std::uintmax_t{4} << 30;

/// A grid from its scale and offset; checks both.
Encoding grid(const json& scale, const json& offset, const QuantizerSpec& spec, const Place& scale_at,
              const Place& offset_at) {
  Encoding encoding;
  encoding.scale = number(scale, scale_at);
  const auto stored = static_cast<float>(encoding.scale);
  if (!(stored > 0) || !std::isfinite(stored))
    scale_at.fail(fmt::format("scale {} is not a positive float32", shown(scale)));
  encoding.offset = number(offset, offset_at);
  if (encoding.offset != std::floor(encoding.offset))
    offset_at.fail(fmt::format("offset {} is fractional: zero point shifts are not supported", shown(offset)),
                   ErrorKind::unsupported);
  const double codes = std::ldexp(1.0, spec.bitwidth);
  if (encoding.offset > 0 || encoding.offset < -codes)
    offset_at.fail(fmt::format("offset {} is outside of [-{}, 0], the range of a grid of {} bits", shown(offset), codes,
                               spec.bitwidth));
  return encoding;
}

/// Symmetry says more once the offsets are known: AIMET's strict grids start one code later.
void finish(TensorEncodings& tensor) {
  QuantizerSpec& spec = tensor.spec;
  if (spec.format == NumberFormat::integer && spec.symmetric && !tensor.encodings.empty()) {
    const double middle = std::ldexp(1.0, spec.bitwidth - 1);
    spec.strict_symmetric = tensor.encodings[0].offset == 1 - middle;
    spec.unsigned_symmetric = tensor.encodings[0].offset == 0;
  }
  for (Encoding& encoding : tensor.encodings) {
    if (spec.format != NumberFormat::integer || encoding.min != encoding.max) continue;
    encoding.min = encoding.scale * encoding.offset;
    encoding.max = encoding.scale * (encoding.offset + static_cast<double>(spec.steps()));
  }
}

TensorEncodings read_0_6_1(const std::string& tensor, const json& list, SiteRole role, const Place& place) {
  TensorEncodings result{tensor, role, {}, {}};
  QuantizerSpec& spec = result.spec;
  if (!list.is_array() || list.empty()) place.fail("a list with one encoding a channel is needed here");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const json& entry = list[i];
    const Place here = place.at(i);
    const std::string dtype = text(member(entry, "dtype", here), here.at("dtype"));
    const int bits = bitwidth(member(entry, "bitwidth", here), here.at("bitwidth"));
    if (dtype == "float") {
      if (bits != 16 || list.size() != 1)
        here.fail(fmt::format("a float encoding of {} bits and {} channels is not supported", bits, list.size()),
                  ErrorKind::unsupported);
      spec.format = NumberFormat::float16;
      spec.bitwidth = 16;
      return result;
    }
    if (dtype != "int") here.at("dtype").fail(fmt::format("'{}' is neither 'int' nor 'float'", dtype));
    const bool symmetric = boolean(member(entry, "is_symmetric", here), here.at("is_symmetric"));
    if (i > 0 && (bits != spec.bitwidth || symmetric != spec.symmetric))
      here.fail("bitwidth and symmetry must be those of the first channel");
    spec.bitwidth = bits;
    spec.symmetric = symmetric;
    Encoding encoding =
        grid(member(entry, "scale", here), member(entry, "offset", here), spec, here.at("scale"), here.at("offset"));
    encoding.min = number(member(entry, "min", here), here.at("min"));
    encoding.max = number(member(entry, "max", here), here.at("max"));
    if (encoding.min > encoding.max) here.fail(fmt::format("min {} is above max {}", encoding.min, encoding.max));
    result.encodings.push_back(encoding);
  }
  finish(result);
  return result;
}

/// The scale of a block is a whole multiple of its channel's.
void add_low_power_block(TensorEncodings& result, std::int64_t multiple, const json& unit, bool strict,
                         const Place& unit_at) {
  const json scale = number(unit, unit_at) * static_cast<double>(multiple);
  const json offset = (strict ? 1 : 0) - std::ldexp(1.0, result.spec.bitwidth - 1);
  result.encodings.push_back(grid(scale, offset, result.spec, unit_at, unit_at));
}

/// The bits of the codes, and those that they are widened to.
void set_low_power_bits(QuantizerSpec& spec, int bits, int decompressed, const Place& place) {
  if (bits >= decompressed || decompressed > bits + 16)
    place.fail(fmt::format("codes of {} bits cannot be widened to {}", bits, decompressed));
  spec.bitwidth = bits;
  spec.decompressed_bitwidth = decompressed;
}

/// One scale a channel on the widened grid; blocks are whole multiples, channel by channel.
void read_low_power_1_0_0(const json& entry, TensorEncodings& result, const Place& here) {
  QuantizerSpec& spec = result.spec;
  if (!spec.symmetric) here.at("is_sym").fail("LPBQ grids are symmetric");
  const int bits = bitwidth(member(entry, "compressed_bw", here), here.at("compressed_bw"));
  set_low_power_bits(spec, bits, spec.bitwidth, here.at("compressed_bw"));
  const json& scales = list(member(entry, "scale", here), here.at("scale"));
  const json& offsets = list(member(entry, "offset", here), here.at("offset"));
  const json& multiples = list(member(entry, "per_block_int_scale", here), here.at("per_block_int_scale"));
  if (offsets.size() != scales.size())
    here.at("offset").fail(fmt::format("{} scales need a list of as many offsets", scales.size()));
  if (multiples.size() % scales.size() != 0)
    here.at("per_block_int_scale")
        .fail(fmt::format("{} blocks do not share {} channels evenly", multiples.size(), scales.size()));
  const double middle = std::ldexp(1.0, spec.decompressed_bitwidth - 1);
  for (std::size_t i = 0; i < multiples.size(); ++i) {
    const std::size_t channel = i / (multiples.size() / scales.size());
    const bool strict = offsets[0] == 1 - middle;
    if (offsets[channel] != (strict ? 1 - middle : -middle))
      here.at("offset").at(channel).fail(
          fmt::format("offset {} is wrong: those of low-power blocks are all {} or, strict, all {}",
                      shown(offsets[channel]), -middle, 1 - middle));
    const std::int64_t multiple =
        integer(multiples[i], 1, std::int64_t{1} << (spec.decompressed_bitwidth - spec.bitwidth),
                here.at("per_block_int_scale").at(i));
    add_low_power_block(result, multiple, scales[channel], strict, here.at("scale").at(channel));
  }
}

TensorEncodings read_1_0_0(const json& entry, SiteRole role, const Place& place) {
  TensorEncodings result{name(member(entry, "name", place), place.at("name")), role, {}, {}};
  const Place here{place.source, fmt::format("{} '{}'", place.path, result.tensor)};
  QuantizerSpec& spec = result.spec;
  const std::string dtype = text(member(entry, "dtype", here), here.at("dtype"));
  spec.bitwidth = bitwidth(member(entry, "bw", here), here.at("bw"));
  if (dtype == "FLOAT") {
    if (spec.bitwidth != 16)
      here.fail(fmt::format("a float encoding of {} bits is not supported", spec.bitwidth), ErrorKind::unsupported);
    spec.format = NumberFormat::float16;
    return result;
  }
  if (dtype != "INT") here.at("dtype").fail(fmt::format("'{}' is neither 'INT' nor 'FLOAT'", dtype));
  const std::string type = text(member(entry, "enc_type", here), here.at("enc_type"));
  if (type == "PER_BLOCK" || type == "LPBQ") {
    spec.block_size = static_cast<int>(integer(member(entry, "block_size", here), 1, 1 << 30, here.at("block_size")));
  } else if (type != "PER_TENSOR" && type != "PER_CHANNEL") {
    here.at("enc_type").fail(fmt::format("'{}' is not supported", type), ErrorKind::unsupported);
  }
  spec.symmetric = boolean(member(entry, "is_sym", here), here.at("is_sym"));
  if (type == "LPBQ") {
    read_low_power_1_0_0(entry, result, here);
    finish(result);
    return result;
  }
  const json& scales = list(member(entry, "scale", here), here.at("scale"));
  const json& offsets = member(entry, "offset", here);
  if (!offsets.is_array() || offsets.size() != scales.size())
    here.at("offset").fail(fmt::format("{} scales need a list of as many offsets", scales.size()));
  if (type == "PER_TENSOR" && scales.size() != 1)
    here.at("scale").fail(fmt::format("PER_TENSOR takes 1 scale, not {}", scales.size()));
  if (entry.contains("zero_point_shift"))
    for (const json& shift : entry["zero_point_shift"])
      if (shift != 0) here.at("zero_point_shift").fail("zero point shifts are not supported", ErrorKind::unsupported);
  for (std::size_t i = 0; i < scales.size(); ++i)
    result.encodings.push_back(grid(scales[i], offsets[i], spec, here.at("scale").at(i), here.at("offset").at(i)));
  finish(result);
  return result;
}

/// Where the scale of every block stands in the file, in the order [channel, block]; sets the axes. Scales have the
/// rank of their tensor, and one element along all other axes. Where they have one along all but that of the blocks,
/// only the model can say which of several is that of the channels: it stays open.
std::vector<std::size_t> block_order(const std::vector<std::size_t>& dims, int axis, QuantizerSpec& spec,
                                     const Place& place) {
  const auto block_axis = static_cast<std::size_t>(axis);
  if (dims.size() < 2 || block_axis >= dims.size())
    place.fail("blocks need scales in nested lists, as deep as the tensor has axes");
  std::size_t channel_axis = block_axis == 0 ? 1 : 0;
  std::size_t wide = 0;
  for (std::size_t d = 0; d < dims.size(); ++d) {
    if (d == block_axis || dims[d] == 1) continue;
    channel_axis = d;
    if (++wide > 1)
      place.fail("scales that differ along more than one axis beside that of the blocks are not supported",
                 ErrorKind::unsupported);
  }
  spec.block_axis = axis;
  if (wide > 0 || dims.size() == 2) spec.channel_axis = static_cast<int>(channel_axis);
  const std::size_t blocks = dims[block_axis];
  const std::size_t channels = dims[channel_axis];
  std::vector<std::size_t> order;
  for (std::size_t c = 0; c < channels; ++c)
    for (std::size_t b = 0; b < blocks; ++b)
      order.push_back(channel_axis < block_axis ? c * blocks + b : b * channels + c);
  return order;
}

/// Two tensors of nested lists: whole multiples a block, and a scale a channel, which has one element along the axis of
/// the blocks. The widened grid has twice the bits.
void read_low_power_2_0_0(const json& entry, int axis, TensorEncodings& result, const Place& here) {
  QuantizerSpec& spec = result.spec;
  set_low_power_bits(spec, spec.bitwidth, 2 * spec.bitwidth, here.at("output_dtype"));
  const Place units_at = here.at("per_channel_float_scale");
  const Place multiples_at = here.at("per_block_int_scale");
  const Nested multiples = flatten(member(entry, "per_block_int_scale", here), multiples_at);
  const Nested units = flatten(member(entry, "per_channel_float_scale", here), units_at);
  const std::vector<std::size_t> order = block_order(multiples.dims, axis, spec, multiples_at);
  std::vector<std::size_t> expected = multiples.dims;
  expected[static_cast<std::size_t>(axis)] = 1;
  if (units.dims != expected)
    units_at.fail("a scale a channel is needed here, in the shape of the blocks with one along their axis");
  for (std::size_t k = 0; k < order.size(); ++k) {
    const std::int64_t multiple =
        integer(*multiples.values[order[k]], 1, std::int64_t{1} << spec.bitwidth, multiples_at);
    add_low_power_block(result, multiple, *units.values[k / (order.size() / units.values.size())], false, units_at);
  }
}

TensorEncodings read_2_0_0(const json& entry, const Place& place) {
  TensorEncodings result{name(member(entry, "name", place), place.at("name")), SiteRole::activation, {}, {}};
  const Place here{place.source, fmt::format("{} '{}'", place.path, result.tensor)};
  QuantizerSpec& spec = result.spec;
  const Place dtype_at = here.at("output_dtype");
  const std::string dtype = text(member(entry, "output_dtype", here), dtype_at);
  const bool is_unsigned = dtype.starts_with("uint");
  const bool is_signed = dtype.starts_with("int");
  if (dtype == "float8e4m3fn" || dtype == "float8e5m2") {
    spec.format = dtype == "float8e5m2" ? NumberFormat::float8e5m2 : NumberFormat::float8e4m3fn;
  } else if (is_unsigned || is_signed) {
    const std::string digits = dtype.substr(is_unsigned ? 4 : 3);
    const bool valid =
        !digits.empty() && digits.size() <= 2 && digits.find_first_not_of("0123456789") == std::string::npos;
    if (!valid || std::stoi(digits) < 2 || std::stoi(digits) > 32)
      dtype_at.fail(fmt::format("'{}' is not a type of 2 to 32 bits", dtype));
    spec.bitwidth = std::stoi(digits);
  } else {
    dtype_at.fail(fmt::format("'{}' is not supported", dtype), ErrorKind::unsupported);
  }
  std::optional<int> axis;
  if (entry.contains("axis") && !entry["axis"].is_null())
    axis = static_cast<int>(integer(entry["axis"], 0, static_cast<std::int64_t>(Shape::max_rank) - 1, here.at("axis")));
  const bool blocks = entry.contains("block_size") && !entry["block_size"].is_null() && entry["block_size"] != 0;
  if (blocks) spec.block_size = static_cast<int>(integer(entry["block_size"], 1, 1 << 30, here.at("block_size")));
  if (entry.contains("per_block_int_scale")) {
    if (!is_signed || !blocks || !axis) here.fail("low-power blocks need a signed type, an 'axis' and a 'block_size'");
    spec.symmetric = true;
    result.role = SiteRole::parameter;
    read_low_power_2_0_0(entry, *axis, result, here);
    finish(result);
    return result;
  }

  const Nested scales = flatten(member(entry, "y_scale", here), here.at("y_scale"));
  Nested zero_points;
  if (entry.contains("y_zero_point") && !entry["y_zero_point"].is_null()) {
    zero_points = flatten(entry["y_zero_point"], here.at("y_zero_point"));
    if (zero_points.dims != scales.dims)
      here.at("y_zero_point").fail("zero points must come in the shape of the scales");
  }
  if (!scales.dims.empty() && !axis) here.fail("a list of scales needs an 'axis'");
  std::vector<std::size_t> order(scales.values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (blocks) {
    order = block_order(scales.dims, *axis, spec, here.at("y_scale"));
  } else if (scales.dims.size() > 1) {
    here.at("y_scale").fail("a matrix of scales needs a 'block_size'");
  } else if (scales.dims.size() == 1) {
    spec.channel_axis = axis;
  }

  const bool integers = spec.format == NumberFormat::integer;
  const double shift = is_signed ? std::ldexp(1.0, spec.bitwidth - 1) : 0;
  bool any_zero_point = false;
  for (const std::size_t i : order) {
    const Place zero_at = here.at("y_zero_point");
    const double zero_point = zero_points.values.empty() ? 0 : number(*zero_points.values[i], zero_at);
    any_zero_point = any_zero_point || zero_point != 0;
    const json offset = integers ? 0.0 - zero_point - shift : 0.0;
    result.encodings.push_back(grid(*scales.values[i], offset, spec, here.at("y_scale"), zero_at));
  }
  spec.symmetric = is_signed && !any_zero_point;
  if (axis || spec.symmetric) result.role = SiteRole::parameter;
  finish(result);
  return result;
}

void read_section(const json& section, const Place& place, bool old, SiteRole role, EncodingSet& set) {
  if (old ? !section.is_object() : !section.is_array())
    place.fail(old ? "an object with one list a tensor is needed here" : "a list of encodings is needed here");
  if (old) {
    for (const auto& [tensor, list] : section.items())
      set.tensors.push_back(
          read_0_6_1(name(tensor, place), list, role, {place.source, fmt::format("{} '{}'", place.path, tensor)}));
    return;
  }
  for (std::size_t i = 0; i < section.size(); ++i) set.tensors.push_back(read_1_0_0(section[i], role, place.at(i)));
}

/// Either section may be missing: there are none, then.
void read_sections(const json& file, const Place& top, bool old, EncodingSet& set) {
  bool any = false;
  for (const auto& [key, role] :
       {std::pair{"activation_encodings", SiteRole::activation}, std::pair{"param_encodings", SiteRole::parameter}}) {
    if (!file.contains(key)) continue;
    any = true;
    read_section(file[key], top.at(key), old, role, set);
  }
  if (!any) top.fail("keys 'activation_encodings' and 'param_encodings' are both missing");
}

/// What AIMET's AdaRound and SeqMSE leave: the section `param_encodings` alone, as 0.6.1 or 1.0.0 writes it.
bool is_bare_section(const json& file) {
  if (file.empty()) return false;
  return file.is_array() ||
         (file.is_object() && !file.contains("version") &&
          std::all_of(file.begin(), file.end(), [](const json& value) { return value.is_array(); }) &&
          !file.contains("param_encodings") && !file.contains("encodings"));
}

EncodingsFile read(const json& file, const std::string& source) {
  const Place top{source, ""};
  EncodingsFile result;
  EncodingSet& set = result.set;
  if (is_bare_section(file)) {
    result.version = file.is_object() ? EncodingVersion::v0_6_1 : EncodingVersion::v1_0_0;
    read_section(file, top.at("parameters"), file.is_object(), SiteRole::parameter, set);
  } else {
    const std::string version = text(member(file, "version", top), top.at("version"));
    if (version != "0.6.1" && version != "1.0.0" && version != "2.0.0")
      top.at("version").fail(fmt::format("'{}' is not a version that tare reads (0.6.1, 1.0.0, 2.0.0)", version),
                             ErrorKind::unsupported);
    result.version = parse_encoding_version(version);
    if (result.version != EncodingVersion::v2_0_0) {
      read_sections(file, top, result.version == EncodingVersion::v0_6_1, set);
    } else {
      const json& list = member(file, "encodings", top);
      if (!list.is_array()) top.at("encodings").fail("a list of encodings is needed here");
      for (std::size_t i = 0; i < list.size(); ++i)
        set.tensors.push_back(read_2_0_0(list[i], top.at("encodings").at(i)));
    }
  }
  std::unordered_set<std::string_view> seen;
  for (const TensorEncodings& tensor : set.tensors)
    if (!seen.insert(tensor.tensor).second)
      throw Error(ErrorKind::model,
                  fmt::format("{}: tensor '{}' stands in the file twice; keep one entry", source, tensor.tensor));
  set.sort();
  return result;
}

EncodingsFile parse(std::string_view text, const std::string& source) {
  try {
    const auto repeated = [&](const std::string& path) {
      Place{source, path}.fail("the key stands there twice; keep one");
    };
    return read(parse_json(text, repeated), source);
  } catch (const json::parse_error& error) {
    const bool model = text.size() > 1 && text[0] == '\x08' && text[1] < '\x20';  // ONNX: ir_version comes first
    throw Error(ErrorKind::model,
                model ? fmt::format("{}: is an ONNX model, not an encodings file; a model that holds its quantizers "
                                    "takes the place of the model, without encodings",
                                    source)
                      : fmt::format("{}: not an encodings file: no valid JSON at byte {}", source, error.byte));
  } catch (const json::exception& error) {
    throw Error(ErrorKind::model, fmt::format("{}: not an encodings file: {}", source, error.what()));
  }
}

}  // namespace

EncodingSet encodings_from_json(std::string_view json_text, const std::string& source) {
  return parse(json_text, source).set;
}

EncodingSet load_encodings(const std::filesystem::path& file) { return load_encodings_file(file).set; }

EncodingsFile load_encodings_file(const std::filesystem::path& file) {
  return parse(read_text(file, largest_file), file.string());
}

}  // namespace tare
