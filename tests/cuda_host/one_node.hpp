// A graph of one node, run on a backend, and tensors to run it with.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "run/executor.hpp"
#include "support/halves.hpp"
#include "tare/backend.hpp"

namespace tare::test {

struct Case {
  std::string op_type;
  std::vector<Tensor> inputs;
  std::map<std::string, Attribute> attributes = {};
  std::size_t outputs = 1;
  std::string domain = {};
  bool same_bits = true;  ///< no sums in another order, no functions of the libraries
  int opset = 22;
};

inline Tensor floats(const Shape& shape, unsigned seed, float spread = 1.0f) {
  Tensor tensor = Tensor::host(DataType::float32, shape);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  for (float& x : tensor.mutable_span<float>()) x = normal(random);
  return tensor;
}

inline Tensor integers(const Shape& shape, const std::vector<std::int64_t>& values) {
  return Tensor::of<std::int64_t>(shape, values);
}

inline Tensor random_integers(const Shape& shape, std::int64_t below, unsigned seed) {
  Tensor tensor = Tensor::host(DataType::int64, shape);
  std::mt19937 random(seed);
  for (std::int64_t& x : tensor.mutable_span<std::int64_t>()) x = static_cast<std::int64_t>(random()) % below;
  return tensor;
}

inline std::vector<Tensor> run(Backend& backend, const Case& c) {
  Graph graph;
  Node node;
  node.name = "node";
  node.op_type = c.op_type;
  node.domain = c.domain;
  node.opset = c.domain.empty() ? c.opset : 3;
  node.attributes = {c.attributes.begin(), c.attributes.end()};
  for (const Tensor& input : c.inputs) {
    if (!input.present()) {
      node.inputs.push_back(absent);
      continue;
    }
    node.inputs.push_back(graph.add_value({fmt::format("x{}", node.inputs.size()), input.type(), std::nullopt}));
    graph.inputs.push_back(node.inputs.back());
  }
  for (std::size_t o = 0; o < c.outputs; ++o)
    node.outputs.push_back(graph.add_value({fmt::format("y{}", o), DataType::undefined, std::nullopt}));
  graph.outputs = node.outputs;
  graph.nodes.push_back(node);
  std::vector<Tensor> given;
  for (const Tensor& input : c.inputs)
    if (input.present()) given.push_back(input);
  return Executor(graph, backend).run(given);
}

/// `wide` rounded to a half type.
inline Tensor halves(const Shape& shape, unsigned seed, DataType type) { return narrowed(floats(shape, seed), type); }

/// What the device gives is what the host gives: the same bits, or as near as sums in another order come.
inline void compare(Backend& host, Backend& device, const Case& c) {
  const std::vector<Tensor> want = run(host, c);
  const std::vector<Tensor> have = run(device, c);
  ASSERT_EQ(have.size(), want.size());
  for (std::size_t o = 0; o < want.size(); ++o) {
    const std::string where =
        fmt::format("{} of {}, output {}", c.op_type, c.inputs.empty() ? "nothing" : c.inputs[0].shape().text(), o);
    ASSERT_EQ(have[o].type(), want[o].type()) << where;
    ASSERT_EQ(have[o].shape().text(), want[o].shape().text()) << where;
    if (c.same_bits || want[o].type() != DataType::float32) {
      EXPECT_EQ(std::memcmp(have[o].data(), want[o].data(), want[o].bytes()), 0) << where;
      continue;
    }
    for (std::int64_t i = 0; i < want[o].elements(); ++i) {
      const float w = want[o].data<float>()[i];
      ASSERT_NEAR(have[o].data<float>()[i], w, 1e-5f * (1.0f + std::abs(w))) << where << ", element " << i;
    }
  }
}

}  // namespace tare::test
