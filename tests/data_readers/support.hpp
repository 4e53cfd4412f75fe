// What the tests of the data readers share: a folder that goes away, small graphs, arrays and files with chosen bytes.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "tare/dataset.hpp"

namespace tare::test {

class DataReaders : public ::testing::Test {
 protected:
  DataReaders() {
    std::string name = (std::filesystem::temp_directory_path() / "tare-data-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~DataReaders() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path file(const std::string& name) const { return folder_ / name; }

  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::filesystem::create_directories(file(name).parent_path());
    std::ofstream(file(name), std::ios::binary) << bytes;
    return file(name);
  }

  std::filesystem::path folder_;
};

inline std::string bytes_of_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct InputOf {
  std::string name;
  DataType type;
  std::optional<Shape> shape;
};
inline Graph graph_with(const std::vector<InputOf>& inputs) {
  Graph graph;
  for (const InputOf& input : inputs) graph.inputs.push_back(graph.add_value({input.name, input.type, input.shape}));
  return graph;
}

/// 0, 1, 2, … of the given shape, from `start`.
template <class T>
Tensor counting(const Shape& shape, T start = T{}) {
  std::vector<T> values(static_cast<std::size_t>(shape.elements()));
  std::iota(values.begin(), values.end(), start);
  return Tensor::of<T>(shape, values);
}

template <class T>
std::vector<T> values_of(const Tensor& tensor) {
  return {tensor.span<T>().begin(), tensor.span<T>().end()};
}

/// The message of the Error that `action` throws; fails the test when it throws none, or of another kind.
template <class Action>
std::string error_of(ErrorKind kind, Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(kind)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

}  // namespace tare::test
