// What `tare inspect` shows of each kind of file, as text and as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace tare::cli {

struct InspectFlags {
  std::string file;
  std::string config = "default";
  bool all = false;
};

struct Inspection {
  std::string text;
  nlohmann::ordered_json json;
};

Inspection inspect_model(const InspectFlags& flags);
Inspection inspect_encodings(const InspectFlags& flags);
Inspection inspect_statistics(const InspectFlags& flags);

/// Rows with aligned columns: the first to the left, the others to the right, the last to the left again.
std::string table(const std::vector<std::vector<std::string>>& rows);

}  // namespace tare::cli
