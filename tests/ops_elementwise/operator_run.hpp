// Runs one operator of the CPU backend on given tensors.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tare/backend.hpp"
#include "tare/numerics.hpp"

namespace tare::test {

using Attributes = std::map<std::string, Attribute, std::less<>>;

struct OperatorRun {
  std::string op_type;
  Attributes attributes{};
  std::int64_t opset = 21;
  std::size_t outputs = 1;
  CpuOptions options{.threads = 2};

  /// The outputs as the kernel made them. Inputs may be absent tensors.
  std::vector<Tensor> all(std::vector<Tensor> inputs) const {
    Graph graph;
    Node node;
    node.name = "node";
    node.op_type = op_type;
    node.opset = opset;
    node.attributes = attributes;
    for (const Tensor& input : inputs)
      node.inputs.push_back(input.present() ? graph.add_value({.name = "in", .type = input.type(), .shape = {}})
                                            : absent);
    for (std::size_t i = 0; i < outputs; ++i)
      node.outputs.push_back(graph.add_value({.name = "out", .type = {}, .shape = {}}));
    graph.nodes.push_back(node);
    const std::unique_ptr<Backend> backend = make_cpu_backend(options);
    if (const std::string reason = backend->unsupported(graph, graph.nodes[0]); !reason.empty())
      throw Error(ErrorKind::unsupported, reason);
    const std::vector<const Tensor*> constants(inputs.size(), nullptr);
    const std::unique_ptr<Kernel> kernel = backend->compile(graph, graph.nodes[0], constants);
    std::vector<Tensor> results(outputs);
    kernel->run(inputs, results);
    return results;
  }
  Tensor operator()(std::vector<Tensor> inputs) const { return all(std::move(inputs)).at(0); }
};

template <class T>
Tensor tensor(const Shape& shape, const std::vector<T>& values) {
  if constexpr (std::is_same_v<T, bool>) {
    Tensor result = Tensor::host(DataType::boolean, shape);
    std::copy(values.begin(), values.end(), result.mutable_data<bool>());
    return result;
  } else {
    return Tensor::of<T>(shape, std::span<const T>(values));
  }
}

template <class T>
std::vector<T> values(const Tensor& tensor) {
  return std::vector<T>(tensor.data<T>(), tensor.data<T>() + tensor.elements());
}

/// Reproducible numbers in [low, high).
template <class T = float>
std::vector<T> numbers(std::int64_t count, double low, double high, std::uint64_t seed = 1) {
  std::vector<T> result(static_cast<std::size_t>(count));
  for (T& value : result) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    value = static_cast<T>(low + (high - low) * static_cast<double>(seed >> 11) * 0x1p-53);
  }
  return result;
}

/// The same elements in channels_last order.
inline Tensor to_channels_last(const Tensor& plain) {
  Tensor result = Tensor::host(plain.type(), plain.shape(), Layout::channels_last);
  const std::int64_t batch = plain.shape()[0];
  const std::int64_t channels = plain.shape()[1];
  const std::int64_t spatial = plain.shape().elements(2, plain.rank());
  const std::size_t size = size_of(plain.type());
  for (std::int64_t n = 0; n < batch; ++n)
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t s = 0; s < spatial; ++s)
        std::copy_n(plain.data() + static_cast<std::size_t>((n * channels + c) * spatial + s) * size, size,
                    result.mutable_data() + static_cast<std::size_t>((n * spatial + s) * channels + c) * size);
  return result;
}

inline Tensor to_plain(const Tensor& any) { return make_cpu_backend({.threads = 1})->to_plain(any); }

}  // namespace tare::test
