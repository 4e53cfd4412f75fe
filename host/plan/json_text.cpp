#include "plan/json_text.hpp"

#include <fmt/format.h>

#include <unordered_set>
#include <vector>

namespace tare {
namespace {

using nlohmann::json;

/// Objects and lists that are open, outermost first.
struct Level {
  bool is_object = false;
  std::string key;          ///< of an object, the last one
  std::size_t entries = 0;  ///< of a list, those that have begun
  std::unordered_set<std::string> keys;
};

std::string path_of(const std::vector<Level>& levels) {
  std::string path;
  for (const Level& level : levels)
    path += level.is_object ? fmt::format("{}{}", path.empty() ? "" : ".", level.key)
                            : fmt::format("[{}]", level.entries - 1);
  return path;
}

}  // namespace

json parse_json(std::string_view text, const std::function<void(const std::string& path)>& repeated) {
  std::vector<Level> levels;
  const json::parser_callback_t watch = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_end || event == json::parse_event_t::array_end) {
      levels.pop_back();
    } else if (event == json::parse_event_t::key) {
      Level& object = levels.back();
      object.key = value.get<std::string>();
      if (!object.keys.insert(object.key).second) repeated(path_of(levels));
    } else {
      if (!levels.empty()) ++levels.back().entries;
      if (event != json::parse_event_t::value)
        levels.push_back({event == json::parse_event_t::object_start, {}, 0, {}});
    }
    return true;
  };
  return json::parse(text.begin(), text.end(), watch);
}

}  // namespace tare
