// Small graphs that run twice, recorded as CUDA graphs and node by node, and have to give the same bits.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cuda_host/one_node.hpp"
#include "cuda_host/stand_in.hpp"
#include "run/executor.hpp"
#include "tare/cuda.hpp"

namespace tare::test {

inline std::unique_ptr<Backend> backend_with(bool graphs) {
  cuda::CudaOptions options;
  options.graphs = graphs;
  return cuda::make_cuda_backend(options);
}

inline void expect_same(const std::vector<Tensor>& have, const std::vector<Tensor>& want, const std::string& where) {
  ASSERT_EQ(have.size(), want.size()) << where;
  for (std::size_t o = 0; o < want.size(); ++o) {
    ASSERT_EQ(have[o].type(), want[o].type()) << where;
    ASSERT_EQ(have[o].shape().text(), want[o].shape().text()) << where;
    EXPECT_EQ(std::memcmp(have[o].data(), want[o].data(), want[o].bytes()), 0) << where << ", output " << o;
  }
}

/// Leaves no graph behind, and reads nothing that has gone.
class CudaGraphs : public testing::Test {
 protected:
  void SetUp() override {
    stand_in() = {.captures = 0, .launches = 0, .graphs = stand_in().graphs, .invalid = 0};
    stand_in().poisons = true;
  }
  void TearDown() override {
    EXPECT_TRUE(stand_in().idle);
    EXPECT_EQ(stand_in().graphs, 0u);
    stand_in().poisons = false;
    stand_in().fails_to_instantiate = stand_in().fails_to_launch = false;
  }
};

/// A graph of single nodes on its inputs x, y, …
class Chart {
 public:
  ValueId input(DataType type) {
    graph_.inputs.push_back(graph_.add_value({fmt::format("x{}", graph_.inputs.size()), type, std::nullopt}));
    return graph_.inputs.back();
  }
  ValueId constant(const Tensor& tensor) {
    const ValueId id = graph_.add_value({fmt::format("c{}", graph_.values.size()), tensor.type(), tensor.shape()});
    graph_.constants.emplace(id, tensor);
    return id;
  }
  ValueId node(const std::string& type, std::vector<ValueId> inputs,
               std::map<std::string, Attribute, std::less<>> attributes = {}) {
    Node node;
    node.name = fmt::format("{}{}", type, graph_.nodes.size());
    node.op_type = type;
    node.opset = 17;
    node.inputs = std::move(inputs);
    node.attributes = {attributes.begin(), attributes.end()};
    node.outputs = {graph_.add_value({fmt::format("v{}", graph_.values.size()), DataType::undefined, std::nullopt})};
    graph_.nodes.push_back(std::move(node));
    return graph_.nodes.back().outputs[0];
  }
  Graph finish(std::vector<ValueId> outputs) {
    graph_.outputs = std::move(outputs);
    return graph_;
  }

 private:
  Graph graph_;
};

struct Pair {
  explicit Pair(Graph g) : graph(std::move(g)), on(graph, *with), off(graph, *without) {}
  void check(std::span<const Tensor> inputs, const std::string& where) {
    expect_same(on.run(inputs), off.run(inputs), where);
  }
  cuda::GraphUse use() const { return cuda::graph_use(*with); }

  Graph graph;
  std::unique_ptr<Backend> with = backend_with(true);
  std::unique_ptr<Backend> without = backend_with(false);
  Executor on;
  Executor off;
};

}  // namespace tare::test
