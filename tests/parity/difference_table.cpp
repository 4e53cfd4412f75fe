#include "parity/difference_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <stdexcept>

namespace tare::parity {

DifferenceTable::DifferenceTable(std::filesystem::path file, std::size_t fields) : file_(std::move(file)) {
  std::ifstream stream(file_);
  if (!stream) throw std::runtime_error("cannot read " + file_.string());
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with('#')) continue;
    const auto tabs = static_cast<std::size_t>(std::count(line.begin(), line.end(), '\t'));
    const std::size_t last = line.rfind('\t') + 1;
    if (tabs + 1 != fields || !entries_.try_emplace(line.substr(0, last), Entry{line.substr(last)}).second)
      throw std::runtime_error(
          fmt::format("{}: '{}' is a line without {} fields, or is there twice", file_.string(), line, fields));
  }
}

std::optional<std::string> DifferenceTable::find(std::initializer_list<std::string_view> fields) {
  std::string key;
  for (const std::string_view field : fields) key.append(field) += '\t';
  const auto entry = entries_.find(key);
  if (entry == entries_.end()) return std::nullopt;
  entry->second.used = true;
  return entry->second.reason;
}

std::vector<std::string> DifferenceTable::unused(std::string_view model) const {
  std::vector<std::string> lines;
  for (const auto& [key, entry] : entries_)
    if (!entry.used && std::string_view(key).substr(0, key.find('\t')) == model) {
      std::string line = fmt::format("{}: {}{}", file_.filename().string(), key, entry.reason);
      std::replace(line.begin(), line.end(), '\t', ' ');
      lines.push_back(std::move(line));
    }
  return lines;
}

}  // namespace tare::parity
