// A table of differences that are known and understood, one a line: what it is about, then the reason. What is not
// listed fails. A line that is not needed is named, but does not fail: another version of oneDNN sums in another order.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tare::parity {

class DifferenceTable {
 public:
  /// Lines of tab-separated fields, '#' before comments. Throws std::runtime_error naming the file, and the line that
  /// cannot be read or is there twice.
  DifferenceTable(std::filesystem::path file, std::size_t fields);

  /// The last field of the line that starts with these; it counts as needed from now on.
  std::optional<std::string> find(std::initializer_list<std::string_view> fields);
  /// Lines of a model that nothing asked for: "explained.tsv: …".
  std::vector<std::string> unused(std::string_view model) const;

 private:
  struct Entry {
    std::string reason;
    bool used = false;
  };
  std::filesystem::path file_;
  std::map<std::string, Entry> entries_;  ///< by all fields but the last, with a tab after each
};

}  // namespace tare::parity
