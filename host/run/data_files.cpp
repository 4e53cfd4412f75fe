// Odd: a folder is of one kind. The first of test data, archives and images that is there is read, the others are not.
#include "run/data_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "run/bytes.hpp"

namespace tare {
namespace {

using Paths = std::vector<std::filesystem::path>;

/// By the ending, whatever its case.
DataKind kind_of_file(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (extension == ".npz") return DataKind::npz;
  if (extension == ".npy") return DataKind::npy;
  if (extension == ".txt") return DataKind::list;
  const bool image = extension == ".jpg" || extension == ".jpeg" || extension == ".png" || extension == ".bmp";
  return image ? DataKind::images : DataKind::none;
}

DataPaths in_order(DataKind kind, Paths paths) {
  std::sort(paths.begin(), paths.end());
  return {kind, std::move(paths)};
}

DataPaths find_in_folder(const std::filesystem::path& folder) {
  Paths archives, images, tests;
  bool is_test = false;
  const std::filesystem::recursive_directory_iterator end;
  for (std::filesystem::recursive_directory_iterator entry(folder); entry != end; ++entry) {
    const std::filesystem::path& path = entry->path();
    const bool here = entry.depth() == 0;
    if (here && entry->is_directory() && path.filename().string().starts_with("test_data_set_")) tests.push_back(path);
    if (!entry->is_regular_file()) continue;
    const DataKind kind = kind_of_file(path);
    if (here && kind == DataKind::npz) archives.push_back(path);
    if (here && path == onnx_test_file(folder, 0)) is_test = true;
    if (kind == DataKind::images) images.push_back(path);
  }
  if (is_test) return {DataKind::onnx_tests, {folder}};
  if (!tests.empty()) return in_order(DataKind::onnx_tests, std::move(tests));
  if (!archives.empty()) return in_order(DataKind::npz, std::move(archives));
  if (!images.empty()) return in_order(DataKind::images, std::move(images));
  return {};
}

}  // namespace

DataPaths find_data(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) return find_in_folder(path);
  return {kind_of_file(path), {path}};
}

std::vector<ListLine> read_list(const std::filesystem::path& list) {
  std::vector<ListLine> result;
  std::istringstream lines(read_plain_text(list, "a list has a line a sample: 'input:=file.raw'"));
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const std::size_t start = line.find_first_not_of(" \t\r");
    if (start == std::string::npos || line[start] == '#' || line[start] == '%') continue;
    ListLine& added = result.emplace_back(ListLine{number, {}});
    std::istringstream words(line);
    for (std::string word; words >> word;) added.words.push_back(word);
  }
  return result;
}

ListWord split_list_word(const std::string& word, std::span<const std::string> inputs) {
  ListWord result{std::nullopt, word};
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (word.starts_with(inputs[i] + ":=") && (!result.input || inputs[i].size() > inputs[*result.input].size()))
      result = {i, word.substr(inputs[i].size() + 2)};
  return result;
}

std::filesystem::path onnx_test_file(const std::filesystem::path& folder, std::size_t input) {
  return folder / fmt::format("input_{}.pb", input);
}

std::vector<std::filesystem::path> data_files(const std::filesystem::path& path, std::span<const std::string> inputs) {
  const DataPaths found = find_data(path);
  Paths files;
  if (found.kind != DataKind::onnx_tests) files = found.paths;
  if (found.kind == DataKind::onnx_tests)
    for (const std::filesystem::path& folder : found.paths)
      for (std::size_t i = 0; i < inputs.size(); ++i) files.push_back(onnx_test_file(folder, i));
  if (found.kind == DataKind::list)
    for (const ListLine& line : read_list(path))
      for (const std::string& word : line.words)
        files.push_back(path.parent_path() / split_list_word(word, inputs).file);
  return files;
}

}  // namespace tare
