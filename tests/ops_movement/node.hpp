// One node on the CPU backend: what the tests of operators here are made of.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "tare/backend.hpp"
#include "tare/graph.hpp"

namespace tare::test {

struct NodeCase {
  std::string op_type;
  std::map<std::string, Attribute, std::less<>> attributes;
  std::int64_t opset = 18;
  std::size_t outputs = 1;
};

/// Runs the node on absent and present tensors; outputs come in whatever layout the operator chose.
std::vector<Tensor> run(const NodeCase& node, std::vector<Tensor> inputs, int threads = 2);
/// The first output in plain layout.
Tensor run_plain(const NodeCase& node, std::vector<Tensor> inputs, int threads = 2);

/// The same values in channels_last order.
Tensor channels_last(const Tensor& plain);
Tensor plain(const Tensor& tensor);

template <class T>
Tensor tensor(const Shape& shape, const std::vector<T>& values) {
  Tensor result = Tensor::host(type_of<T>(), shape);
  std::copy(values.begin(), values.end(), result.mutable_data<T>());
  return result;
}
inline Tensor integers(const std::vector<std::int64_t>& values) {
  return tensor<std::int64_t>({static_cast<std::int64_t>(values.size())}, values);
}
template <class T>
Tensor scalar(T value) {
  return tensor<T>({}, std::vector<T>{value});
}
/// 0, 1, 2, …: every element is told apart.
template <class T = float>
Tensor counting(const Shape& shape) {
  Tensor result = Tensor::host(type_of<T>(), shape);
  for (std::int64_t i = 0; i < result.elements(); ++i) result.mutable_data<T>()[i] = static_cast<T>(i);
  return result;
}
template <class T>
std::vector<T> values(const Tensor& tensor) {
  const auto span = tensor.span<T>();
  return {span.begin(), span.end()};
}
template <class T>
std::string text_of(const std::vector<T>& values) {
  std::string text;
  for (const T& value : values) text += std::to_string(value) + " ";
  return text;
}

/// Calls body(index) for every index of the shape in row-major order.
template <class Body>
void for_each_index(const Shape& shape, Body&& body) {
  Shape index(shape.rank(), 0);
  for (std::int64_t n = shape.elements(); n > 0; --n) {
    body(index);
    for (std::size_t d = shape.rank(); d-- > 0;) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
}
/// Row-major position of an index.
inline std::int64_t position(const Shape& shape, const Shape& index) {
  std::int64_t at = 0;
  for (std::size_t d = 0; d < shape.rank(); ++d) at = at * shape[d] + index[d];
  return at;
}

Shape random_shape(std::mt19937& random, std::size_t rank, std::int64_t highest);

}  // namespace tare::test
