#include "export/json_fields.hpp"

#include <fmt/format.h>

#include <cmath>
#include <span>

#include "tare/tensor.hpp"

namespace tare::json_fields {
namespace {

constexpr std::size_t largest_name = 1 << 16;

void flatten(const json& value, std::size_t depth, Nested& result, const Place& place) {
  const bool first = result.values.empty() && result.dims.size() == depth;
  if (!value.is_array()) {
    if (result.dims.size() != depth) place.fail("all rows must have the same length");
    result.values.push_back(&value);
    return;
  }
  if (value.empty()) place.fail("the list is empty");
  if (first) {
    if (depth == Shape::max_rank) place.fail(fmt::format("lists lie more than {} deep", Shape::max_rank));
    result.dims.push_back(value.size());
  }
  if (result.dims.size() <= depth || value.size() != result.dims[depth])
    place.fail("all rows must have the same length");
  for (std::size_t i = 0; i < value.size(); ++i) flatten(value[i], depth + 1, result, place.at(i));
}

json nest(std::span<const json> values, std::span<const std::size_t> dims) {
  if (dims.empty()) return values[0];
  json rows = json::array();
  const std::size_t size = values.size() / dims[0];
  for (std::size_t i = 0; i < dims[0]; ++i) rows.push_back(nest(values.subspan(i * size, size), dims.subspan(1)));
  return rows;
}

}  // namespace

void Place::fail(std::string_view why, ErrorKind kind) const {
  throw Error(kind, fmt::format("{}: {}: {}", source, path.empty() ? "top level" : path, why));
}
Place Place::at(std::string_view key) const {
  return {source, path.empty() ? std::string(key) : fmt::format("{}.{}", path, key)};
}
Place Place::at(std::size_t index) const { return {source, fmt::format("{}[{}]", path, index)}; }

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

const json& list(const json& value, const Place& place) {
  if (!value.is_array() || value.empty()) place.fail("a list of numbers is needed here");
  return value;
}

Nested flatten(const json& value, const Place& place) {
  Nested result;
  flatten(value, 0, result, place);
  return result;
}

json nest(const std::vector<json>& values, const std::vector<std::size_t>& dims) {
  return nest(std::span(values), std::span(dims));
}

}  // namespace tare::json_fields
