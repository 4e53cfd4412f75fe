// What plans make of random graphs: the numbers of its operators one by one, whatever is joined, on every backend, and
// statistics of every tensor that are those of its numbers.
#include <gtest/gtest.h>

#include <algorithm>

#include "chains/random_graph.hpp"
#include "plan/fuse.hpp"
#include "plan/quantized_graph.hpp"
#include "run/quantize_hook.hpp"
#include "tare/calibration.hpp"

namespace tare::test {
namespace {

constexpr unsigned graphs = 1000;  ///< on the CPU; a fifth of them elsewhere

/// Sums come in another order, and a joined node rounds less often.
float tolerance(std::span<const float> expected) {
  float largest = 0;
  for (const float x : expected) largest = std::max(largest, std::fabs(x));
  return 1e-3f * largest + 1e-4f;
}

void expect_near(const Tensor& actual, const Tensor& expected, const std::string& where) {
  ASSERT_EQ(actual.shape(), expected.shape()) << where;
  const float allowed = tolerance(expected.span<float>());
  for (std::int64_t i = 0; i < expected.elements(); ++i)
    ASSERT_NEAR(actual.data<float>()[i], expected.data<float>()[i], allowed) << where << ", element " << i;
}

std::string text_of(const Graph& graph) {
  std::string text;
  for (const Node& node : graph.nodes) {
    text += fmt::format("{}(", node.op_type);
    for (const ValueId input : node.inputs) text += input == absent ? "-, " : graph.value(input).name + ", ";
    text += fmt::format(") -> {}\n", graph.value(node.outputs[0]).name);
  }
  return text;
}

void expect_statistics(const TensorStatistics& found, const Tensor& expected, const std::string& where) {
  const std::span<const float> numbers = expected.span<float>();
  const auto [low, high] = std::minmax_element(numbers.begin(), numbers.end());
  const float allowed = tolerance(numbers);
  EXPECT_NEAR(found.min, *low, allowed) << where;
  EXPECT_NEAR(found.max, *high, allowed) << where;
  EXPECT_EQ(found.count, numbers.size()) << where;
  std::uint64_t counted = found.zero_count;
  for (const auto& [bin, count] : found.bins) counted += count;
  EXPECT_EQ(counted, numbers.size()) << where;
}

class RandomGraphs : public testing::TestWithParam<NamedBackend> {
 protected:
  void SetUp() override {
    if (!GetParam().missing.empty()) GTEST_SKIP() << GetParam().missing;
    backend_ = GetParam().make();
  }

  template <class Check>
  void for_each_graph(Check&& check) {
    const auto cpu = make_cpu_backend();
    for (unsigned seed = 0; seed < (backend_->name() == "cpu" ? graphs : graphs / 5) && !HasFailure(); ++seed) {
      RandomGraph random(seed, *cpu);
      random.grow(4 + random.below(18));
      SCOPED_TRACE(fmt::format("seed {}\n{}", seed, text_of(random.graph())));
      check(random);
    }
  }

  std::unique_ptr<Backend> backend_;
};

TEST_P(RandomGraphs, JoinedTheyGiveTheSame) {
  for_each_graph([&](const RandomGraph& random) {
    const Graph& graph = random.graph();
    Executor executor(make_runnable(graph, std::vector<bool>(graph.values.size()), *backend_), *backend_);
    for (int run = 0; run < 2; ++run) {  // the second one finds its memory
      const std::vector<Tensor> outputs = executor.run(random.inputs());
      for (std::size_t o = 0; o < outputs.size(); ++o)
        expect_near(outputs[o], random.values().at(graph.outputs[o]), graph.value(graph.outputs[o]).name);
    }
  });
}

TEST_P(RandomGraphs, WhatIsLookedAtIsObservedAsItIs) {
  for_each_graph([&](RandomGraph& random) {
    const Graph& graph = random.graph();
    const std::size_t one_in = 1 + random.below(3);
    std::vector<bool> visible(graph.values.size());
    std::vector<std::int32_t> site_of_value(graph.values.size(), -1);
    std::vector<ValueId> sites;
    const auto look_at = [&](ValueId value) {
      if (random.below(one_in) != 0) return;
      visible[static_cast<std::size_t>(value)] = true;
      site_of_value[static_cast<std::size_t>(value)] = static_cast<std::int32_t>(sites.size());
      sites.push_back(value);
    };
    for (const ValueId input : graph.inputs) look_at(input);
    for (const Node& node : graph.nodes)
      for (const ValueId output : node.outputs) look_at(output);
    if (sites.empty()) return;
    Executor executor(make_runnable(graph, visible, *backend_, Visible::observed), *backend_, site_of_value);
    StatisticsHook statistics(*backend_, ObserverKind::histogram, sites.size(), true);
    const std::vector<Tensor> outputs = executor.run(random.inputs(), &statistics);
    for (std::size_t o = 0; o < outputs.size(); ++o)
      expect_near(outputs[o], random.values().at(graph.outputs[o]), graph.value(graph.outputs[o]).name);
    const std::vector<TensorStatistics> found = statistics.statistics();
    for (std::size_t s = 0; s < sites.size(); ++s)
      expect_statistics(found[s], random.values().at(sites[s]), graph.value(sites[s]).name);
  });
}

/// Encodings of half of the values and constants, of 8 bits.
EncodingSet some_encodings(RandomGraph& random) {
  const Graph& graph = random.graph();
  EncodingSet set;
  const auto add = [&](ValueId value, const Tensor& tensor, SiteRole role) {
    if (random.below(2) == 0 || tensor.type() != DataType::float32 || tensor.elements() == 0) return;
    TensorEncodings& added = set.tensors.emplace_back();
    added.tensor = graph.value(value).name;
    added.role = role;
    added.spec.symmetric = role == SiteRole::parameter;
    SearchOptions options;
    options.scheme = Scheme::min_max;
    added.encodings = {find_encoding(observe_values(tensor.span<float>()), added.spec, options)};
  };
  for (const auto& [value, tensor] : random.values()) add(value, tensor, SiteRole::activation);
  for (std::size_t v = 0; v < graph.values.size(); ++v)  // in an order that does not depend on the library
    if (const Tensor* tensor = graph.constant(static_cast<ValueId>(v)); tensor != nullptr)
      add(static_cast<ValueId>(v), *tensor, SiteRole::parameter);
  return set;
}

/// A number that lies between two codes may take either, and what follows from it moves: few do, and not far.
void expect_close(const Tensor& actual, const Tensor& expected, const std::string& where) {
  ASSERT_EQ(actual.shape(), expected.shape()) << where;
  double largest = 0, sum = 0, difference = 0;
  for (std::int64_t i = 0; i < expected.elements(); ++i) {
    const double x = expected.data<float>()[i];
    largest = std::max(largest, std::fabs(x));
    sum += x;
    difference += std::fabs(actual.data<float>()[i] - x);
  }
  if (!std::isfinite(sum)) return;  // a divisor was quantized to zero
  EXPECT_LE(difference / static_cast<double>(expected.elements()), 0.005 * largest + 1e-4) << where;
}

TEST_P(RandomGraphs, SimulatedTheyGiveWhatTheirQuantizersDo) {
  const auto cpu = make_cpu_backend();
  for_each_graph([&](RandomGraph& random) {
    const Graph& graph = random.graph();
    const EncodingSet encodings = some_encodings(random);
    const auto run = [&](const QuantizedGraph& quantized, Backend& backend) {
      QuantizeHook hook(backend, quantized.sites, Rounding::half_even);
      return Executor(quantized.graph, backend, quantized.site_of_value).run(random.inputs(), &hook);
    };
    const std::vector<Tensor> expected = run(quantize_constants(graph, encodings, *cpu, Rounding::half_even), *cpu);
    const std::vector<Tensor> actual = run(make_simulated(graph, encodings, *backend_, Rounding::half_even), *backend_);
    for (std::size_t o = 0; o < expected.size(); ++o)
      expect_close(actual[o], expected[o], graph.value(graph.outputs[o]).name);
  });
}

INSTANTIATE_TEST_SUITE_P(Backends, RandomGraphs, testing::ValuesIn(backends()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace tare::test
