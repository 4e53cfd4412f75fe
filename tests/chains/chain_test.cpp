// Chains: element-wise nodes in one pass over their tensors, to the bit as one by one, on every backend.
#include <gtest/gtest.h>

#include <cstring>

#include "chains/graphs.hpp"
#include "plan/chains.hpp"
#include "plan/quantized_graph.hpp"
#include "run/executor.hpp"
#include "support/halves.hpp"

namespace tare::test {
namespace {

Graph joined(const Graph& graph, const Backend& backend, std::vector<ValueId> visible = {}) {
  std::vector<bool> is_visible(graph.values.size());
  for (const ValueId value : visible) is_visible[static_cast<std::size_t>(value)] = true;
  return join_chains(graph, is_visible, backend);
}

/// Runs a graph that was joined into one node in a layout, and the graph as it is in the plain one.
void compare(Backend& backend, const Graph& graph, const std::vector<Shape>& shapes, Layout layout) {
  const Graph chain = joined(graph, backend);
  ASSERT_EQ(chain.nodes.size(), 1u);
  std::vector<Tensor> inputs;
  std::vector<Tensor> plain;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const bool moved = layout == Layout::channels_last && shapes[i].rank() >= 3;
    inputs.push_back(random_tensor(shapes[i], moved ? layout : Layout::plain, static_cast<unsigned>(i)));
    const Tensor same = backend.to_plain(inputs.back());
    const Tensor here = backend.download(same);
    plain.push_back(Tensor::of<float>(here.shape(), here.span<float>()));
    // A copy of its own, so that the kernel may write over it.
    Tensor there = backend.upload(inputs.back());
    if (there.data() == inputs.back().data()) {
      there = backend.allocate(there.type(), there.shape(), there.layout());
      std::memcpy(there.mutable_data(), inputs.back().data(), there.bytes());
    }
    inputs.back() = there;
  }
  const std::vector<Tensor> expected = Executor(graph, backend).run(plain);
  const auto kernel = backend.compile(chain, chain.nodes[0], std::vector<const Tensor*>(shapes.size()));
  std::vector<Tensor> in_order;
  for (const ValueId input : chain.nodes[0].inputs)
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (graph.inputs[i] == input) in_order.push_back(inputs[i]);
  inputs.clear();  // so that the kernel may write over them
  std::vector<Tensor> outputs(chain.nodes[0].outputs.size());
  if (!kernel->accepts_channels_last())
    for (Tensor& input : in_order) input = backend.to_plain(input);
  kernel->run(in_order, outputs);
  // The graph's outputs in the order that the chain has them.
  std::vector<Tensor> actual;
  for (const ValueId output : graph.outputs)
    for (std::size_t o = 0; o < outputs.size(); ++o)
      if (chain.nodes[0].outputs[o] == output) actual.push_back(backend.download(outputs[o]));
  expect_same_bits(backend, actual, expected, shapes[0].text());
}

TEST_P(Chain, OneByOneAndTogetherAreTheSameBits) {
  const auto backend = GetParam().make();
  for (const std::size_t channels : {1u, 3u, 16u, 65u, 2500u})
    for (const Layout layout : {Layout::plain, Layout::channels_last})
      for (const Shape& rest : {Shape{}, Shape{1, 1}, Shape{7}, Shape{13, 11}, Shape{1, 640}}) {
        if (channels * static_cast<std::size_t>(rest.elements()) > 200'000) continue;
        Shape shape{3, static_cast<std::int64_t>(channels)};
        for (const std::int64_t dim : rest) shape.push_back(dim);
        compare(*backend, hard_swish(channels), {shape, shape}, layout);
      }
  compare(*backend, hard_swish(4), {{0, 4, 5, 5}, {0, 4, 5, 5}}, Layout::plain);
}

TEST_P(Chain, TakesEveryFunctionThatItJoins) {
  const auto backend = GetParam().make();
  for (const char* type : {"Relu", "LeakyRelu", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh", "Erf", "Exp", "Sqrt",
                           "Neg", "Abs", "Softplus"}) {
    Builder b;
    b.output(b.node("Mul", {b.node(type, {b.input("x")}), b.number(0.7f)}));
    SCOPED_TRACE(type);
    compare(*backend, b.graph, {{5, 1001}}, Layout::plain);
  }
}

TEST_P(Chain, OneElementAChannelOrInAll) {
  const auto backend = GetParam().make();
  for (const bool second : {true, false})
    for (const Layout layout : {Layout::plain, Layout::channels_last})
      for (const Shape& of_gate : {Shape{2, 5, 1, 1}, Shape{1, 1, 1, 1}, Shape{1}}) {
        Builder b;
        const ValueId x = b.input("x");
        const ValueId gate = b.input("gate");
        const ValueId product = second ? b.node("Div", {x, gate}) : b.node("Div", {gate, x});
        b.output(b.quantizer(product));
        compare(*backend, b.graph, {{2, 5, 31, 37}, of_gate}, layout);
      }
}

TEST_P(Chain, WhatBroadcastsInOtherWays) {
  const auto backend = GetParam().make();
  const auto add_and_quantize = [&](const Shape& shape, const Shape& other) {
    Builder b;
    b.output(b.quantizer(b.node("Add", {b.input("x"), b.input("other")})));
    SCOPED_TRACE(other.text());
    compare(*backend, b.graph, {shape, other}, Layout::plain);
  };
  for (const Shape& other :
       {Shape{1, 5, 1, 1}, Shape{7}, Shape{2, 5, 6, 1}, Shape{3, 1, 1, 1, 1}, Shape{1, 1, 1, 1, 1}})
    add_and_quantize({2, 5, 6, 7}, other);
  for (const Shape& other : {Shape{16}, Shape{2, 1, 1, 16}, Shape{3, 1, 16}, Shape{2, 3, 8, 1}, Shape{8, 16},
                             Shape{1, 3, 1, 16}, Shape{2, 1, 8, 1}, Shape{8, 1}})
    add_and_quantize({2, 3, 8, 16}, other);
  add_and_quantize({2, 3, 2, 3, 2, 4}, {2, 1, 2, 1, 2, 1});  // as many loops as dimensions
  add_and_quantize({0, 4}, {4});
  add_and_quantize({0, 4}, {0, 1});
  Builder b;  // a number of higher rank than the tensor
  b.output(b.node("Relu", {b.node("Add", {b.input("x"), b.constant({1, 1, 1}, {2})})}));
  compare(*backend, b.graph, {{9}}, Layout::plain);
}

TEST_P(Chain, ConstantsThatBroadcast) {
  const auto backend = GetParam().make();
  std::vector<float> numbers;
  for (int i = 0; i < 12; ++i) numbers.push_back(0.5f * static_cast<float>(i) - 2);
  for (const Shape& shape : {Shape{5, 12}, Shape{2, 7, 12}, Shape{12}, Shape{3, 1}, Shape{1}}) {
    Builder b;
    const ValueId bias = b.constant({12}, numbers);
    const ValueId sum = b.node("Add", {b.input("x"), bias});
    b.output(b.node("Relu", {b.node("Mul", {bias, b.node("Tanh", {sum})})}));
    const Graph graph = joined(b.graph, *backend);
    if (backend->chains_broadcast()) {
      EXPECT_EQ(graph.nodes.size(), 1u);
    }
    const Tensor in = random_tensor(shape, Layout::plain, 6);
    expect_same_bits(*backend, Executor(graph, *backend).run(std::span(&in, 1)),
                     Executor(b.graph, *backend).run(std::span(&in, 1)), shape.text());
  }
}

/// Scales of a BatchNormalization are that node's own, whoever else reads them.
TEST_P(Chain, ConstantsThatSeveralOperatorsRead) {
  const auto backend = GetParam().make();
  Builder b;
  const ValueId scale = b.constant({4}, {1, 2, 3, 4});
  const ValueId rest = b.constant({4}, {0.5f, 0.25f, 2, 1});
  const ValueId normal = b.node("BatchNormalization", {b.input("x"), scale, rest, rest, rest});
  b.output(b.node("Relu", {b.node("Add", {normal, scale})}));
  const Tensor in = random_tensor({3, 4, 5, 4}, Layout::plain, 6);
  expect_same_bits(*backend, Executor(joined(b.graph, *backend), *backend).run(std::span(&in, 1)),
                   Executor(b.graph, *backend).run(std::span(&in, 1)), "");
}

TEST_P(Chain, EndsAtVisibleValuesWhichAHookMayReplace) {
  const auto backend = GetParam().make();
  Builder b;
  const ValueId x = b.input("x");
  const ValueId shifted = b.node("Add", {x, b.number(3)});
  const ValueId seen = b.node("Relu", {shifted});
  b.output(b.node("Neg", {b.node("Mul", {seen, b.number(2)})}));
  const Graph graph = joined(b.graph, *backend, {seen});
  ASSERT_EQ(graph.nodes.size(), 2u);
  class Replace final : public ValueHook {
   public:
    explicit Replace(Backend& backend) : backend_(backend) {}
    Tensor on_value(std::size_t, Tensor value) override {
      Tensor other = Tensor::host(value.type(), value.shape());
      for (float& y : other.mutable_span<float>()) y = 5;
      return backend_.upload(other);
    }

   private:
    Backend& backend_;
  } hook(*backend);
  std::vector<std::int32_t> site_of_value(graph.values.size(), -1);
  site_of_value[static_cast<std::size_t>(seen)] = 0;
  const Tensor in = random_tensor({4, 4}, Layout::plain, 1);
  const Tensor out = Executor(graph, *backend, site_of_value).run(std::span(&in, 1), &hook)[0];
  for (const float y : out.span<float>()) EXPECT_EQ(y, -10);
}

/// A reader of a chain's inside that cannot be part of it, and an operand that is made after its first node.
TEST_P(Chain, OthersSeeWhatTheyNeed) {
  const auto backend = GetParam().make();
  Builder b;
  const ValueId x = b.input("x");
  const ValueId first = b.node("Relu", {x});
  const ValueId second = b.node("Neg", {first});
  const ValueId elsewhere = b.node("CumSum", {first, b.number(0)});
  const ValueId axis = b.graph.nodes.back().inputs[1];
  b.graph.value(axis).type = DataType::int64;
  b.graph.constants.at(axis) = Tensor::of<std::int64_t>({}, std::vector<std::int64_t>{0});
  const ValueId third = b.node("Add", {second, elsewhere});
  b.output(b.node("Abs", {third}));
  const Graph graph = joined(b.graph, *backend);
  EXPECT_EQ(graph.nodes.size(), 3u);  // Relu and Neg, CumSum, Add and Abs
  const Tensor in = random_tensor({6, 50}, Layout::plain, 2);
  expect_same_bits(*backend, Executor(graph, *backend).run(std::span(&in, 1)),
                   Executor(b.graph, *backend).run(std::span(&in, 1)), "");
}

TEST_P(Chain, InputsThatOthersHoldStayAsTheyAre) {
  const auto backend = GetParam().make();
  Builder b;
  const ValueId x = b.input("x");
  b.output(b.node("Neg", {b.node("Relu", {x})}));
  const Graph graph = joined(b.graph, *backend);
  const Tensor in = random_tensor({3, 5000}, Layout::plain, 3);
  std::vector<float> before(in.span<float>().begin(), in.span<float>().end());
  Executor(graph, *backend).run(std::span(&in, 1));
  EXPECT_EQ(std::memcmp(before.data(), in.data(), in.bytes()), 0);
}

TEST_P(Chain, QuantizersInNodesGiveTheBitsOfTheBackend) {
  const auto backend = GetParam().make();
  for (const Rounding rounding : {Rounding::half_even, Rounding::half_up}) {
    Builder b;
    const ValueId x = b.input("x");
    const ValueId y = b.node("Tanh", {x});
    const ValueId z = b.node("Relu", {y});
    b.output(z);
    EncodingSet set;
    const auto add = [&](ValueId value, QuantizerSpec spec, std::vector<Encoding> encodings) {
      set.tensors.push_back({b.graph.value(value).name, SiteRole::activation, spec, std::move(encodings)});
    };
    add(x, {}, {{-3, 4.65, 0.03, -100}});
    add(y, {.bitwidth = 4, .channel_axis = 1}, {{-1, 0.5, 0.1, -10}, {-0.75, 0.75, 0.1, -8}});
    add(z, {.bitwidth = 16}, {{0, 1, 1.0 / 65535, 0}});
    QuantizedGraph quantized = quantize_constants(b.graph, set, *backend, rounding);
    QuantizedGraph in_nodes = quantized;
    in_nodes.quantize_in_nodes(rounding, *backend);
    EXPECT_EQ(in_nodes.graph.nodes.size(), 4u);  // the one by channel stays a hook's
    class Quantize final : public ValueHook {
     public:
      Quantize(Backend& backend, const QuantizedGraph& graph, Rounding rounding)
          : backend_(backend), graph_(graph), rounding_(rounding) {}
      Tensor on_value(std::size_t site, Tensor value) override {
        return backend_.quantize_dequantize(std::move(value), graph_.sites[site], rounding_);
      }

     private:
      Backend& backend_;
      const QuantizedGraph& graph_;
      Rounding rounding_;
    };
    const Tensor in = random_tensor({3, 2, 700}, Layout::plain, 4);
    const auto run = [&](const QuantizedGraph& q) {
      Quantize hook(*backend, q, rounding);
      return Executor(join_chains(q.graph, q.visible(), *backend), *backend, q.site_of_value)
          .run(std::span(&in, 1), &hook);
    };
    expect_same_bits(*backend, run(in_nodes), run(quantized), rounding == Rounding::half_up ? "half up" : "half even");
  }
}

/// The graph with all its values, and its constants, of another float type.
Graph with_type(Graph graph, DataType type) {
  for (Value& value : graph.values) value.type = type;
  for (auto& [value, constant] : graph.constants) constant = narrowed(constant, type);
  return graph;
}

TEST_P(Chain, HalvesAreRoundedAfterEveryStep) {
  const auto backend = GetParam().make();
  for (const DataType type : {DataType::float16, DataType::bfloat16}) {
    if (!backend->joins(type)) GTEST_SKIP() << "its halves are widened around every operator";
    Builder b;
    const ValueId x = b.input("x");
    const ValueId normal = b.quantizer(b.batch_norm(x, 5));
    const ValueId gate = b.node("Sigmoid", {b.node("Add", {normal, b.number(0.3f)})});
    const ValueId other = b.node("Mul", {b.node("Tanh", {normal}), gate});
    b.output(b.quantizer(b.node("Div", {other, b.number(6)})));
    b.output(b.node("Sub", {b.input("y"), other}));
    const Graph graph = with_type(b.graph, type);
    const Graph chain = joined(graph, *backend);
    ASSERT_EQ(chain.nodes.size(), 1u);
    for (const Shape& rest : {Shape{6, 8}, Shape{7, 9}}) {
      const Shape shape{3, 5, rest[0], rest[1]};
      const std::vector<Tensor> inputs = {narrowed(random_tensor(shape, Layout::plain, 5), type),
                                          narrowed(random_tensor(shape, Layout::plain, 6), type)};
      const std::vector<Tensor> expected = Executor(graph, *backend).run(inputs);
      const std::vector<Tensor> actual = Executor(chain, *backend).run(inputs);
      for (std::size_t o = 0; o < expected.size(); ++o) {
        ASSERT_EQ(actual[o].type(), type);
        EXPECT_EQ(std::memcmp(actual[o].data(), expected[o].data(), expected[o].bytes()), 0) << o;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Chain, testing::ValuesIn(backends()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tare::test
