// Which files a path given as data stands for: asked by what reads them, and by what must not write over them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace tare {

enum class DataKind : std::uint8_t { none, npz, npy, list, onnx_tests, images };

struct DataPaths {
  DataKind kind = DataKind::none;
  std::vector<std::filesystem::path> paths;  ///< in the order in which they are read; of tests the folders
};

/// What a file is by its ending, or what a folder holds. Throws filesystem_error for a folder that cannot be listed.
DataPaths find_data(const std::filesystem::path& path);

/// A line of a list of raw files that is no comment.
struct ListLine {
  std::size_t number = 0;
  std::vector<std::string> words;
};
/// Throws Error(io) for a list that cannot be read.
std::vector<ListLine> read_list(const std::filesystem::path& list);

/// `name:=file`, or just the file.
struct ListWord {
  std::optional<std::size_t> input;
  std::string file;
};
/// An input's name may hold ':' and '=' itself, so the longest name that fits the start of the word is meant.
ListWord split_list_word(const std::string& word, std::span<const std::string> inputs);

/// The tensor of an input in a folder of ONNX's test data.
std::filesystem::path onnx_test_file(const std::filesystem::path& folder, std::size_t input);

/// Every file that is opened to read the data. Throws as the functions above.
std::vector<std::filesystem::path> data_files(const std::filesystem::path& path, std::span<const std::string> inputs);

}  // namespace tare
