// Class labels for evaluation: .npy of integers, or text with one label a line, or a column of a .csv file.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "run/npy.hpp"
#include "tare/dataset.hpp"

namespace tare {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '"'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> cells_of(std::string_view line) {
  std::vector<std::string_view> cells;
  for (std::size_t start = 0;;) {
    const std::size_t comma = line.find(',', start);
    cells.push_back(trimmed(line.substr(start, comma == std::string_view::npos ? comma : comma - start)));
    if (comma == std::string_view::npos) return cells;
    start = comma + 1;
  }
}

bool parse(std::string_view text, std::int64_t& label) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), label);
  return status == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::vector<std::int64_t> labels_of_text(const std::filesystem::path& path, bool table) {
  std::istringstream lines(read_text(path));
  std::vector<std::int64_t> labels;
  std::size_t number = 0, column = 0;
  bool named = false, first = true;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (trimmed(line).empty() || trimmed(line).front() == '#') continue;
    const std::vector<std::string_view> cells = table ? cells_of(line) : std::vector<std::string_view>{trimmed(line)};
    const std::size_t at = named ? column : cells.size() - 1;
    std::int64_t label = 0;
    const bool is_number = at < cells.size() && parse(cells[at], label);
    if (first && table) {
      const auto it = std::find(cells.begin(), cells.end(), "label");
      named = it != cells.end();
      column = static_cast<std::size_t>(it - cells.begin());
      first = false;
      if (named || !is_number) continue;
    }
    if (!is_number)
      throw Error(ErrorKind::data, fmt::format("file '{}', line {}: '{}' is no integer label", path.string(), number,
                                               at < cells.size() ? cells[at] : trimmed(line)));
    labels.push_back(label);
  }
  return labels;
}

template <class T>
void widen(const Tensor& tensor, std::vector<std::int64_t>& labels) {
  for (const T value : tensor.span<T>()) labels.push_back(static_cast<std::int64_t>(value));
}

}  // namespace

std::vector<std::int64_t> read_labels(const std::filesystem::path& path) {
  std::vector<std::int64_t> labels;
  if (path.extension() == ".npy") {
    const Tensor tensor = read_npy(path);
    const bool column = tensor.rank() == 1 || (tensor.rank() == 2 && tensor.shape()[1] == 1);
    switch (column ? tensor.type() : DataType::undefined) {
      case DataType::int64: widen<std::int64_t>(tensor, labels); break;
      case DataType::int32: widen<std::int32_t>(tensor, labels); break;
      case DataType::int16: widen<std::int16_t>(tensor, labels); break;
      case DataType::int8: widen<std::int8_t>(tensor, labels); break;
      case DataType::uint64: widen<std::uint64_t>(tensor, labels); break;
      case DataType::uint32: widen<std::uint32_t>(tensor, labels); break;
      case DataType::uint16: widen<std::uint16_t>(tensor, labels); break;
      case DataType::uint8: widen<std::uint8_t>(tensor, labels); break;
      default:
        throw Error(ErrorKind::data, fmt::format("file '{}': labels are one integer a sample, found {} {}",
                                                 path.string(), name_of(tensor.type()), tensor.shape().text()));
    }
  } else {
    labels = labels_of_text(path, path.extension() == ".csv");
  }
  if (labels.empty()) throw Error(ErrorKind::data, fmt::format("file '{}': holds no labels", path.string()));
  return labels;
}

}  // namespace tare
