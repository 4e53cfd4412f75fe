// Encodings in: AIMET's three versions, tare's own files among them. Every message names the file and the place in it;
// nothing is trusted: counts, ranges and types are checked before a number reaches a quantizer.
// Odd: AIMET writes "True" and "False" as texts in 0.6.1 and as booleans in 1.0.0; both are taken in either.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "tare/error.hpp"
#include "tare/export.hpp"

namespace tare {
namespace {

using nlohmann::json;

constexpr std::uintmax_t largest_file = std::uintmax_t{4} << 30;
constexpr std::size_t largest_name = 1 << 16;

/// A place in the file: what messages begin with.
struct Place {
  const std::string& source;
  std::string path;

  [[noreturn]] void fail(std::string_view why, ErrorKind kind = ErrorKind::model) const {
    throw Error(kind, fmt::format("{}: {}: {}", source, path.empty() ? "top level" : path, why));
  }
  Place at(std::string_view key) const {
    return {source, path.empty() ? std::string(key) : fmt::format("{}.{}", path, key)};
  }
  Place at(std::size_t index) const { return {source, fmt::format("{}[{}]", path, index)}; }
};

/// The part of a value that fits into a message.
std::string shown(const json& value) {
  if (value.is_array()) return "a list";
  if (value.is_object()) return "an object";
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() > 40 ? text.substr(0, 40) + "…" : text;
}

const json& member(const json& object, const char* key, const Place& place) {
  if (!object.is_object()) place.fail(fmt::format("an object is needed here, not {}", shown(object)));
  const auto it = object.find(key);
  if (it == object.end()) place.fail(fmt::format("key '{}' is missing", key));
  return *it;
}

double number(const json& value, const Place& place) {
  if (!value.is_number()) place.fail(fmt::format("a number is needed here, not {}", shown(value)));
  const auto result = value.get<double>();
  if (!std::isfinite(result)) place.fail("the number is not finite");
  return result;
}

std::int64_t integer(const json& value, std::int64_t lowest, std::int64_t highest, const Place& place) {
  const double wide = number(value, place);
  if (wide != std::floor(wide) || wide < static_cast<double>(lowest) || wide > static_cast<double>(highest))
    place.fail(fmt::format("{} is not an integer from {} to {}", shown(value), lowest, highest));
  return static_cast<std::int64_t>(wide);
}

std::string text(const json& value, const Place& place) {
  if (!value.is_string()) place.fail(fmt::format("a string is needed here, not {}", shown(value)));
  return value.get<std::string>();
}

bool boolean(const json& value, const Place& place) {
  if (value.is_boolean()) return value.get<bool>();
  if (value == "True") return true;
  if (value == "False") return false;
  place.fail(fmt::format("a boolean is needed here, not {}", shown(value)));
}

std::string name(const json& value, const Place& place) {
  std::string result = text(value, place);
  if (result.empty() || result.size() > largest_name)
    place.fail("the name of a tensor is empty or longer than 65536 bytes");
  return result;
}

int bitwidth(const json& value, const Place& place) { return static_cast<int>(integer(value, 2, 32, place)); }

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
  if (type == "PER_BLOCK") {
    spec.block_size = static_cast<int>(integer(member(entry, "block_size", here), 1, 1 << 30, here.at("block_size")));
  } else if (type != "PER_TENSOR" && type != "PER_CHANNEL") {
    here.at("enc_type").fail(fmt::format("'{}' is not supported", type), ErrorKind::unsupported);
  }
  spec.symmetric = boolean(member(entry, "is_sym", here), here.at("is_sym"));
  const json& scales = member(entry, "scale", here);
  const json& offsets = member(entry, "offset", here);
  if (!scales.is_array() || scales.empty()) here.at("scale").fail("a list of numbers is needed here");
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

/// The numbers of a scalar, a list or a matrix in row-major order, and the dimensions.
struct Nested {
  std::vector<const json*> values;
  std::vector<std::size_t> dims;
};

Nested flatten(const json& value, const Place& place) {
  Nested result;
  if (!value.is_array()) {
    result.values.push_back(&value);
    return result;
  }
  if (value.empty()) place.fail("the list is empty");
  result.dims.push_back(value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (!value[i].is_array()) {
      if (result.dims.size() > 1) place.at(i).fail("all rows must have the same length");
      result.values.push_back(&value[i]);
      continue;
    }
    if (i == 0) result.dims.push_back(value[i].size());
    if (result.dims.size() < 2 || value[i].size() != result.dims[1] || value[i].empty())
      place.at(i).fail("all rows must have the same length");
    for (const json& element : value[i]) {
      if (element.is_array())
        place.at(i).fail("blocks of tensors of more than two dimensions are not supported", ErrorKind::unsupported);
      result.values.push_back(&element);
    }
  }
  return result;
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
  if (entry.contains("per_block_int_scale"))
    here.fail("low-power blockwise encodings are not supported", ErrorKind::unsupported);

  const Nested scales = flatten(member(entry, "y_scale", here), here.at("y_scale"));
  Nested zero_points;
  if (entry.contains("y_zero_point") && !entry["y_zero_point"].is_null()) {
    zero_points = flatten(entry["y_zero_point"], here.at("y_zero_point"));
    if (zero_points.dims != scales.dims)
      here.at("y_zero_point").fail("zero points must come in the shape of the scales");
  }
  std::optional<int> axis;
  if (entry.contains("axis") && !entry["axis"].is_null())
    axis = static_cast<int>(integer(entry["axis"], 0, static_cast<std::int64_t>(Shape::max_rank) - 1, here.at("axis")));
  const bool blocks = entry.contains("block_size") && !entry["block_size"].is_null() && entry["block_size"] != 0;
  if (!scales.dims.empty() && !axis) here.fail("a list of scales needs an 'axis'");
  if (blocks) {
    spec.block_size = static_cast<int>(integer(entry["block_size"], 1, 1 << 30, here.at("block_size")));
    if (scales.dims.size() != 2 || *axis > 1) here.at("y_scale").fail("blocks need a matrix of scales");
    spec.block_axis = axis;
    spec.channel_axis = 1 - *axis;
  } else if (scales.dims.size() > 1) {
    here.at("y_scale").fail("a matrix of scales needs a 'block_size'");
  } else if (scales.dims.size() == 1) {
    spec.channel_axis = axis;
  }

  const bool integers = spec.format == NumberFormat::integer;
  const double shift = is_signed ? std::ldexp(1.0, spec.bitwidth - 1) : 0;
  bool any_zero_point = false;
  const bool by_column = blocks && *axis == 0;  // [block, channel] in the file, [channel, block] here
  const std::size_t rows = by_column ? scales.dims[1] : 1;
  for (std::size_t k = 0; k < scales.values.size(); ++k) {
    const std::size_t i = by_column ? k % scales.dims[0] * rows + k / scales.dims[0] : k;
    const Place zero_at = here.at("y_zero_point");
    const double zero_point = zero_points.values.empty() ? 0 : number(*zero_points.values[i], zero_at);
    any_zero_point = any_zero_point || zero_point != 0;
    const json offset = integers ? 0.0 - zero_point - shift : 0.0;
    result.encodings.push_back(grid(*scales.values[i], offset, spec, here.at("y_scale"), zero_at));
  }
  spec.symmetric = is_signed && !any_zero_point;
  if (axis || is_signed) result.role = SiteRole::parameter;
  finish(result);
  return result;
}

void read_section(const json& file, const char* key, bool old, SiteRole role, const Place& top, EncodingSet& set) {
  const json& section = member(file, key, top);
  const Place place = top.at(key);
  if (old ? !section.is_object() : !section.is_array())
    place.fail(old ? "an object with one list a tensor is needed here" : "a list of encodings is needed here");
  std::unordered_set<std::string> seen;
  if (old) {
    for (const auto& [tensor, list] : section.items())
      set.tensors.push_back(
          read_0_6_1(name(tensor, place), list, role, {place.source, fmt::format("{} '{}'", place.path, tensor)}));
    return;
  }
  for (std::size_t i = 0; i < section.size(); ++i) {
    set.tensors.push_back(read_1_0_0(section[i], role, place.at(i)));
    if (!seen.insert(set.tensors.back().tensor).second)
      place.at(i).fail(fmt::format("tensor '{}' stands here twice", set.tensors.back().tensor));
  }
}

EncodingSet read(const json& file, const std::string& source) {
  const Place top{source, ""};
  const std::string version = text(member(file, "version", top), top.at("version"));
  EncodingSet set;
  if (version == "2.0.0") {
    const json& list = member(file, "encodings", top);
    if (!list.is_array()) top.at("encodings").fail("a list of encodings is needed here");
    std::unordered_set<std::string> seen;
    for (std::size_t i = 0; i < list.size(); ++i) {
      set.tensors.push_back(read_2_0_0(list[i], top.at("encodings").at(i)));
      if (!seen.insert(set.tensors.back().tensor).second)
        top.at("encodings").at(i).fail(fmt::format("tensor '{}' stands here twice", set.tensors.back().tensor));
    }
  } else if (version == "0.6.1" || version == "1.0.0") {
    read_section(file, "activation_encodings", version == "0.6.1", SiteRole::activation, top, set);
    read_section(file, "param_encodings", version == "0.6.1", SiteRole::parameter, top, set);
  } else {
    top.at("version").fail(fmt::format("'{}' is not a version that tare reads (0.6.1, 1.0.0, 2.0.0)", version),
                           ErrorKind::unsupported);
  }
  // The order of a run: activations, then parameters, each by name.
  std::stable_sort(set.tensors.begin(), set.tensors.end(), [](const TensorEncodings& a, const TensorEncodings& b) {
    return a.role != b.role ? a.role < b.role : a.tensor < b.tensor;
  });
  return set;
}

}  // namespace

EncodingSet encodings_from_json(std::string_view json_text, const std::string& source) {
  try {
    return read(json::parse(json_text.begin(), json_text.end()), source);
  } catch (const json::parse_error& error) {
    throw Error(ErrorKind::model,
                fmt::format("{}: not an encodings file: no valid JSON at byte {}", source, error.byte));
  } catch (const json::exception& error) {
    throw Error(ErrorKind::model, fmt::format("{}: not an encodings file: {}", source, error.what()));
  }
}

EncodingSet load_encodings(const std::filesystem::path& file) {
  std::error_code failed;
  if (std::filesystem::is_directory(file, failed))
    throw Error(ErrorKind::io, fmt::format("cannot read '{}': it is a folder; give an encodings file", file.string()));
  std::ifstream stream(file, std::ios::binary);
  if (!stream)
    throw Error(ErrorKind::io, fmt::format("cannot read '{}': check the path and its permissions", file.string()));
  const std::uintmax_t size = std::filesystem::file_size(file, failed);
  if (!failed && size > largest_file)
    throw Error(ErrorKind::model, fmt::format("{}: {} bytes are too many for an encodings file", file.string(), size));
  const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  if (stream.bad())
    throw Error(ErrorKind::io, fmt::format("cannot read '{}': the device reports an error", file.string()));
  return encodings_from_json(bytes, file.string());
}

}  // namespace tare
