// Graphs that become chains, and how their results are compared.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "run/executor.hpp"
#include "support/backends.hpp"
#include "tare/backend.hpp"
#include "tare/numerics.hpp"

namespace tare::test {

struct Builder {
  Graph graph;

  ValueId value(const std::string& name) { return graph.add_value({name, DataType::float32, std::nullopt}); }
  ValueId input(const std::string& name) {
    graph.inputs.push_back(value(name));
    return graph.inputs.back();
  }
  ValueId constant(const Shape& shape, const std::vector<float>& numbers) {
    const ValueId id = value(fmt::format("constant{}", graph.values.size()));
    graph.constants.emplace(id, Tensor::of<float>(shape, std::span<const float>(numbers)));
    return id;
  }
  ValueId constant(const Tensor& tensor) {
    const ValueId id = value(fmt::format("constant{}", graph.values.size()));
    graph.constants.emplace(id, tensor);
    return id;
  }
  ValueId number(float x) { return constant({}, {x}); }
  ValueId node(const std::string& type, std::vector<ValueId> inputs, const std::string& domain = "") {
    Node made;
    made.name = fmt::format("{}{}", type, graph.nodes.size());
    made.domain = domain;
    made.op_type = type;
    made.opset = domain.empty() ? 15 : 0;
    made.inputs = std::move(inputs);
    made.outputs = {value(fmt::format("v{}", graph.values.size()))};
    graph.nodes.push_back(std::move(made));
    return graph.nodes.back().outputs[0];
  }
  ValueId quantizer(ValueId x) {
    const ValueId y = node("QuantizeDequantize", {x}, "tare");
    const double grid[] = {0.03, -90, 255, -2.7, 4.95};
    graph.nodes.back().attributes.emplace("grid", Tensor::of<double>({5}, grid));
    graph.nodes.back().attributes.emplace("rounding", static_cast<std::int64_t>(Rounding::half_even));
    return y;
  }
  ValueId batch_norm(ValueId x, std::size_t channels) {
    std::vector<float> scale, bias, mean, variance;
    for (std::size_t c = 0; c < channels; ++c) {
      const float i = static_cast<float>(c);
      scale.push_back(0.5f + 0.125f * i);
      bias.push_back(0.25f - 0.5f * i);
      mean.push_back(0.0625f * i);
      variance.push_back(1.0f + 0.3f * i);
    }
    const Shape shape{static_cast<std::int64_t>(channels)};
    return node("BatchNormalization",
                {x, constant(shape, scale), constant(shape, bias), constant(shape, mean), constant(shape, variance)});
  }
  void output(ValueId id) { graph.outputs.push_back(id); }
};

inline Tensor random_tensor(const Shape& shape, Layout layout, unsigned seed) {
  Tensor tensor = Tensor::host(DataType::float32, shape, layout);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  for (float& x : tensor.mutable_span<float>()) x = normal(random);
  if (tensor.elements() > 3) {
    tensor.mutable_data<float>()[1] = std::numeric_limits<float>::quiet_NaN();
    tensor.mutable_data<float>()[2] = -std::numeric_limits<float>::infinity();
  }
  return tensor;
}

/// Finite ones.
inline Tensor random_numbers(const Shape& shape, unsigned seed, float center = 0.5f, float spread = 2.0f) {
  Tensor tensor = Tensor::host(DataType::float32, shape);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(center, spread);
  for (float& x : tensor.mutable_span<float>()) x = normal(random);
  return tensor;
}

/// Odd: of two NaN, a sum is either; on the CPU chains and operators share their loops, elsewhere the compiler may
/// choose.
inline void expect_same_bits(const Backend& backend, std::span<const Tensor> actual, std::span<const Tensor> expected,
                             const std::string& where) {
  const bool any_nan = backend.name() != "cpu";
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t o = 0; o < actual.size(); ++o) {
    ASSERT_EQ(actual[o].shape(), expected[o].shape()) << where;
    for (std::int64_t i = 0; i < actual[o].elements(); ++i) {
      if (any_nan && std::isnan(actual[o].data<float>()[i]) && std::isnan(expected[o].data<float>()[i])) continue;
      ASSERT_EQ(bits_of(actual[o].data<float>()[i]), bits_of(expected[o].data<float>()[i]))
          << where << ", output " << o << ", element " << i << ": " << actual[o].data<float>()[i] << " for "
          << expected[o].data<float>()[i];
    }
  }
}

/// A spelled-out hard swish behind a normalization and quantizers, with an addition of another tensor: two outputs.
inline Graph hard_swish(std::size_t channels) {
  Builder b;
  const ValueId x = b.input("x");
  const ValueId other = b.input("other");
  const ValueId normal = b.quantizer(b.batch_norm(b.quantizer(x), channels));
  const ValueId gate = b.node("Clip", {b.node("Add", {normal, b.number(3)}), b.number(0), b.number(6)});
  const ValueId swish = b.quantizer(b.node("Div", {b.node("Mul", {normal, gate}), b.number(6)}));
  b.output(b.node("Relu", {b.node("Sub", {b.number(1), b.node("Add", {other, swish})})}));
  b.output(swish);
  return b.graph;
}

/// Statistics of all values of a graph, taken by the chains themselves or from whole tensors.
class StatisticsHook final : public ValueHook {
 public:
  StatisticsHook(Backend& backend, ObserverKind kind, std::size_t values, bool in_chains)
      : observer_(backend.make_observer(kind, values)), in_chains_(in_chains) {}
  Tap tap(std::size_t site) override { return in_chains_ ? Tap{observer_.get(), site} : Tap{}; }
  Tensor on_value(std::size_t site, Tensor value) override {
    observer_->observe(site, value);
    ++whole_;
    return value;
  }
  std::vector<TensorStatistics> statistics() const { return observer_->collect(); }
  std::size_t whole() const { return whole_; }

 private:
  std::unique_ptr<Observer> observer_;
  bool in_chains_;
  std::size_t whole_ = 0;
};

class Chain : public testing::TestWithParam<NamedBackend> {
 protected:
  void SetUp() override {
    if (!GetParam().missing.empty()) GTEST_SKIP() << GetParam().missing;
  }
};

}  // namespace tare::test
