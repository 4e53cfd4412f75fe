// Values of a JSON file with the place where they stand: what is not as it should be is refused by name.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tare/error.hpp"

namespace tare::json_fields {

using nlohmann::json;

/// A place in the file: what messages begin with.
struct Place {
  const std::string& source;
  std::string path;

  [[noreturn]] void fail(std::string_view why, ErrorKind kind = ErrorKind::model) const;
  Place at(std::string_view key) const;
  Place at(std::size_t index) const;
};

/// The part of a value that fits into a message.
std::string shown(const json& value);

// All of these fail at their place: a missing key, a wrong type, a number out of range.
const json& member(const json& object, const char* key, const Place& place);
double number(const json& value, const Place& place);
std::int64_t integer(const json& value, std::int64_t lowest, std::int64_t highest, const Place& place);
std::string text(const json& value, const Place& place);
/// "True" and "False" as texts, too.
bool boolean(const json& value, const Place& place);
/// Of a tensor.
std::string name(const json& value, const Place& place);
int bitwidth(const json& value, const Place& place);
const json& list(const json& value, const Place& place);

/// The numbers of a scalar or of nested lists in row-major order, and the dimensions.
struct Nested {
  std::vector<const json*> values;
  std::vector<std::size_t> dims;
};
Nested flatten(const json& value, const Place& place);
/// The opposite; `values` has one entry an element.
json nest(const std::vector<json>& values, const std::vector<std::size_t>& dims);

}  // namespace tare::json_fields
