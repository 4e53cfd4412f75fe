// Random graphs of operators that plans join: grown node by node, each run by itself on the CPU as soon as it is there,
// so that every graph is valid, its shapes and values are known, and nothing in it grows beyond measure. A graph
// follows from its seed alone.
#pragma once

#include <cmath>
#include <map>
#include <random>
#include <utility>

#include "chains/graphs.hpp"
#include "run/executor.hpp"
#include "tare/error.hpp"

namespace tare::test {

class RandomGraph {
 public:
  RandomGraph(unsigned seed, Backend& cpu) : random_(seed), cpu_(cpu) {
    static constexpr std::int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 16, 17};
    const Shape shapes[] = {{one_of({1, 2, 3}), pick(sizes), pick(sizes), pick(sizes)},
                            {one_of({1, 2, 3}), one_of({4, 8, 16}), pick(sizes), pick(sizes)},
                            {one_of({1, 2}), pick(sizes), one_of({8, 12, 16})},
                            {one_of({1, 5}), one_of({8, 31, 64})}};
    const Shape& shape = shapes[below(4)];
    const std::size_t inputs = 1 + below(2);
    for (std::size_t i = 0; i < inputs; ++i) {
      const ValueId input = builder_.input(fmt::format("x{}", i));
      Value& value = builder_.graph.value(input);
      value.shape = shape;
      (*value.shape)[0] = -1;
      keep(input, random_numbers(shape, static_cast<unsigned>(random_()), 0.2f, 1.0f));
    }
  }

  /// Until there are so many nodes; then what nobody reads is an output, and now and then what somebody does.
  void grow(std::size_t nodes) {
    for (int attempt = 0; builder_.graph.nodes.size() < nodes && attempt < 400; ++attempt) add_some();
    std::vector<bool> read(builder_.graph.values.size());
    for (const Node& node : builder_.graph.nodes)
      for (const ValueId input : node.inputs)
        if (input != absent) read[static_cast<std::size_t>(input)] = true;
    for (const Node& node : builder_.graph.nodes)
      for (const ValueId output : node.outputs)
        if (!read[static_cast<std::size_t>(output)] || below(12) == 0) builder_.output(output);
  }

  const Graph& graph() const { return builder_.graph; }
  std::vector<Tensor> inputs() const {
    std::vector<Tensor> result;
    for (const ValueId input : builder_.graph.inputs) result.push_back(values_.at(input));
    return result;
  }
  /// What the operators one by one gave.
  const std::map<ValueId, Tensor>& values() const { return values_; }
  std::size_t below(std::size_t limit) { return random_() % limit; }

 private:
  /// What cannot be run, or grows too large, is taken back.
  struct Refused {};
  using Attributes = std::vector<std::pair<std::string, Attribute>>;

  template <class T, std::size_t n>
  T pick(const T (&list)[n]) {
    return list[below(n)];
  }
  std::int64_t one_of(std::initializer_list<std::int64_t> list) { return list.begin()[below(list.size())]; }
  float real(float low, float high) { return std::uniform_real_distribution<float>(low, high)(random_); }
  const Shape& shape(ValueId value) const { return values_.at(value).shape(); }

  void keep(ValueId id, Tensor tensor) {
    known_.push_back(id);
    values_[id] = std::move(tensor);
  }

  /// One of those made lately, as models do; now and then an old one.
  ValueId value() {
    const std::size_t recent = std::min<std::size_t>(known_.size(), 1 + below(3));
    return below(4) == 0 ? known_[below(known_.size())] : known_[known_.size() - 1 - below(recent)];
  }
  ValueId value_of_rank(std::size_t rank) {
    for (int attempt = 0; attempt < 12; ++attempt)
      if (const ValueId v = value(); shape(v).rank() == rank) return v;
    throw Refused();
  }
  ValueId numbers(const Shape& of, float center = 0, float spread = 1) {
    return builder_.constant(random_numbers(of, static_cast<unsigned>(random_()), center, spread));
  }
  ValueId integers(const std::vector<std::int64_t>& list) {
    return builder_.constant(
        Tensor::of<std::int64_t>({static_cast<std::int64_t>(list.size())}, std::span<const std::int64_t>(list)));
  }

  /// Adds the node, runs it and keeps what it makes.
  std::vector<ValueId> nodes(const std::string& type, const std::vector<ValueId>& inputs, Attributes attributes = {},
                             std::size_t outputs = 1) {
    Graph& graph = builder_.graph;
    builder_.node(type, inputs);
    Node& node = graph.nodes.back();
    while (node.outputs.size() < outputs)
      node.outputs.push_back(builder_.value(fmt::format("v{}", graph.values.size())));
    for (auto& [key, attribute] : attributes) node.attributes.emplace(key, std::move(attribute));
    Graph alone;
    alone.values = graph.values;
    alone.constants = graph.constants;
    alone.nodes = {node};
    alone.outputs = node.outputs;
    std::vector<Tensor> fed;
    for (const ValueId input : inputs)
      if (input != absent && graph.constant(input) == nullptr &&
          std::find(alone.inputs.begin(), alone.inputs.end(), input) == alone.inputs.end()) {
        alone.inputs.push_back(input);
        fed.push_back(values_.at(input));
      }
    if (fed.empty()) throw Refused();
    const std::vector<ValueId> made = node.outputs;
    const std::vector<Tensor> results = Executor(std::move(alone), cpu_).run(fed);
    for (std::size_t o = 0; o < made.size(); ++o) {
      if (results[o].elements() == 0 || results[o].elements() > 20'000) throw Refused();
      for (const float x : results[o].span<float>())
        if (!(std::fabs(x) < 200.0f)) throw Refused();
      if (below(2) == 0) graph.value(made[o]).shape = results[o].shape();
      keep(made[o], results[o]);
    }
    return made;
  }
  ValueId node(const std::string& type, const std::vector<ValueId>& inputs, Attributes attributes = {}) {
    return nodes(type, inputs, std::move(attributes))[0];
  }

  void add_some();
  void activation(ValueId x);
  void arithmetic();
  void convolution();
  void pool();
  void product();
  void normalization();
  void attention();
  void movement();
  void reduction();

  std::mt19937 random_;
  Backend& cpu_;
  Builder builder_;
  std::vector<ValueId> known_;  ///< in the order of their making
  std::map<ValueId, Tensor> values_;
};

}  // namespace tare::test
