// Class labels for evaluation: .npy of integers, or text with one label a line, or a column of a .csv file.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "model/integer_values.hpp"
#include "run/npy.hpp"
#include "tare/dataset.hpp"

namespace tare {
namespace {

constexpr std::string_view blanks = " \t\r";

std::string_view trimmed(std::string_view text, std::string_view what = blanks) {
  const std::size_t first = std::min(text.find_first_not_of(what), text.size());
  return text.substr(first, text.find_last_not_of(what) + 1 - first);
}

/// A text row by row, without rows that are empty or comments. A table has the cells of RFC 4180: those in quotes hold
/// commas and line ends as they are, and two quotes for one. Blanks around a cell do not count. No table: a cell a
/// line.
class Rows {
 public:
  Rows(const std::filesystem::path& path, bool table)
      : path_(path),
        text_(read_plain_text(path, "labels are an .npy file of integers, text with one a line, or a .csv file")),
        table_(table) {
    if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;  // a byte order mark, as spreadsheets write it
  }

  /// False at the end.
  bool next(std::vector<std::string>& cells) {
    while (at_ < text_.size()) {
      row_ = line_;
      const std::size_t end = std::min(text_.find('\n', at_), text_.size());
      const std::string_view line = trimmed(std::string_view(text_).substr(at_, end - at_));
      const bool skipped = line.empty() || line.front() == '#';
      if (skipped || !table_) {
        cells = {std::string(trimmed(line, " \t\""))};
        at_ = end;
      } else {
        cells = {cell()};
        while (at_ < text_.size() && text_[at_] == ',') {
          ++at_;
          cells.push_back(cell());
        }
      }
      at_ = std::min(at_ + 1, text_.size());  // the line's end
      ++line_;
      if (!skipped) return true;
    }
    return false;
  }
  /// About the row that was read last.
  [[noreturn]] void fail(const std::string& what) const { fail(row_, what); }

 private:
  [[noreturn]] void fail(std::size_t line, const std::string& what) const {
    throw Error(ErrorKind::data, fmt::format("file '{}', line {}: {}", path_.string(), line, what));
  }
  std::string_view until(std::string_view marks) {
    const std::size_t start = at_;
    at_ = std::min(text_.find_first_of(marks, at_), text_.size());
    return std::string_view(text_).substr(start, at_ - start);
  }

  std::string cell() {
    at_ = std::min(text_.find_first_not_of(blanks, at_), text_.size());
    if (at_ == text_.size() || text_[at_] != '"') return std::string(trimmed(until(",\n")));
    std::string inside;
    const std::size_t opened = line_;
    while (true) {
      ++at_;  // the quote
      const std::string_view part = until("\"");
      if (at_ == text_.size()) fail(opened, "a quote is opened and never closed");
      inside += part;
      line_ += static_cast<std::size_t>(std::count(part.begin(), part.end(), '\n'));
      if (text_.compare(++at_, 1, "\"") != 0) break;
      inside += '"';
    }
    if (const std::string_view rest = until(",\n"); !trimmed(rest).empty())
      fail(line_, fmt::format("'{}' follows a closing quote; within quotes, write a quote as two", trimmed(rest)));
    return std::string(trimmed(inside));
  }

  const std::filesystem::path& path_;
  std::string text_;
  bool table_;
  std::size_t at_ = 0, line_ = 1, row_ = 1;
};

bool parse(std::string_view text, std::int64_t& label) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), label);
  return status == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::vector<std::int64_t> labels_of_text(const std::filesystem::path& path, bool table) {
  Rows rows(path, table);
  std::vector<std::int64_t> labels;
  std::vector<std::string> cells;
  std::size_t column = 0;
  bool named = false, first = true;
  while (rows.next(cells)) {
    const std::size_t at = named ? column : cells.size() - 1;
    if (at >= cells.size()) rows.fail(fmt::format("there is no cell {}, where the label should be", at + 1));
    std::int64_t label = 0;
    const bool is_number = parse(cells[at], label);
    if (first && table) {
      const auto it = std::find(cells.begin(), cells.end(), "label");
      named = it != cells.end();
      column = static_cast<std::size_t>(it - cells.begin());
      first = false;
      if (named || !is_number) continue;
    }
    if (!is_number) rows.fail(fmt::format("'{}' is no integer label", cells[at].substr(0, cells[at].find('\n'))));
    labels.push_back(label);
  }
  return labels;
}

}  // namespace

std::vector<std::int64_t> read_labels(const std::filesystem::path& path) {
  std::vector<std::int64_t> labels;
  if (path.extension() == ".npy") {
    const Tensor tensor = read_npy(path);
    const bool column = tensor.rank() == 1 || (tensor.rank() == 2 && tensor.shape()[1] == 1);
    auto integers = column && tensor.type() != DataType::boolean ? integer_values(tensor) : std::nullopt;
    if (!integers)
      throw Error(ErrorKind::data, fmt::format("file '{}': labels are one integer a sample, found {} {}", path.string(),
                                               name_of(tensor.type()), tensor.shape().text()));
    labels = std::move(*integers);
  } else {
    labels = labels_of_text(path, path.extension() == ".csv");
  }
  if (labels.empty()) throw Error(ErrorKind::data, fmt::format("file '{}': holds no labels", path.string()));
  return labels;
}

}  // namespace tare
