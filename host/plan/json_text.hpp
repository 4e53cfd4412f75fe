// JSON as its readers want it: of a key that an object has twice, the parser alone would silently keep the last value.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace tare {

/// `repeated` is told the path of a key that stands twice ("op_type.Conv.params", "encodings[3].name"), and throws.
/// Throws nlohmann::json::exception for text that is no JSON.
nlohmann::json parse_json(std::string_view text, const std::function<void(const std::string& path)>& repeated);

}  // namespace tare
