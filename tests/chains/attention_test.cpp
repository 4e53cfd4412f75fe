// Attention on every backend: the operator against float64 sums, and what the plan makes of one that is spelled out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "chains/graphs.hpp"
#include "plan/fuse.hpp"
#include "run/executor.hpp"
#include "support/halves.hpp"

namespace tare::test {
namespace {

using Numbers = std::vector<std::int64_t>;

Tensor doubles_of(const Tensor& floats) {
  if (floats.type() != DataType::float32) return floats;
  Tensor wide = Tensor::host(DataType::float64, floats.shape());
  std::copy_n(floats.data<float>(), floats.elements(), wide.mutable_data<double>());
  return wide;
}

/// NaN where NaN is wanted, else within `tolerance` of the largest number.
void expect_near(const Tensor& have, const Tensor& want, double tolerance, const std::string& where) {
  ASSERT_EQ(have.shape(), want.shape()) << where;
  const auto at = [&](std::int64_t i) {
    return want.type() == DataType::float64 ? want.data<double>()[i] : static_cast<double>(want.data<float>()[i]);
  };
  double largest = 0;
  for (std::int64_t i = 0; i < want.elements(); ++i)
    if (std::isfinite(at(i))) largest = std::max(largest, std::abs(at(i)));
  for (std::int64_t i = 0; i < want.elements(); ++i) {
    const auto x = static_cast<double>(have.data<float>()[i]);
    if (!std::isfinite(at(i)) || !std::isfinite(x))
      ASSERT_TRUE(std::isnan(at(i)) ? std::isnan(x) : x == at(i)) << where << " " << i << ": " << x << ", " << at(i);
    else
      ASSERT_NEAR(x, at(i), tolerance * largest) << where << " " << i;
  }
}

class AttentionTest : public Chain {
 protected:
  void SetUp() override {
    Chain::SetUp();
    if (GetParam().missing.empty()) backend_ = GetParam().make();
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Backend> host_ = make_cpu_backend({.threads = 2});
};

struct Operator {
  std::vector<Tensor> inputs;
  std::map<std::string, Attribute> attributes = {};
  std::size_t outputs = 1;
};

std::vector<Tensor> run(Backend& backend, const Operator& op, const std::vector<Tensor>& inputs) {
  Graph graph;
  Node node;
  node.name = "attention";
  node.op_type = "Attention";
  node.opset = 24;
  for (const Tensor& input : inputs) {
    node.inputs.push_back(input.present() ? graph.add_value({"", input.type(), {}}) : absent);
    if (input.present()) graph.inputs.push_back(node.inputs.back());
  }
  for (std::size_t i = 0; i < op.outputs; ++i) node.outputs.push_back(graph.add_value({"", DataType::undefined, {}}));
  node.attributes.insert(op.attributes.begin(), op.attributes.end());
  graph.outputs = node.outputs;
  graph.nodes.push_back(node);
  std::vector<Tensor> fed;
  for (const Tensor& input : inputs)
    if (input.present()) fed.push_back(input);
  return Executor(graph, backend).run(fed);
}

Tensor numbers(const Shape& shape, unsigned seed) { return random_numbers(shape, seed, 0.1f, 1.0f); }

Tensor booleans(const Shape& shape, unsigned seed) {
  Tensor mask = Tensor::host(DataType::boolean, shape);
  std::mt19937 random(seed);
  for (bool& x : mask.mutable_span<bool>()) x = random() % 4 != 0;
  return mask;
}

/// One query sees no key.
Tensor mask_with_a_hidden_row(std::int64_t queries, std::int64_t keys) {
  Tensor mask = numbers({queries, keys}, 9);
  for (std::int64_t k = 0; k < keys; ++k)
    mask.mutable_data<float>()[keys * (queries / 2) + k] = -std::numeric_limits<float>::infinity();
  return mask;
}

std::vector<Operator> operators() {
  const auto wide = [](std::int64_t heads, std::int64_t key_heads) {
    return std::map<std::string, Attribute>{{"q_num_heads", heads}, {"kv_num_heads", key_heads}};
  };
  std::vector<Operator> result;
  // Features around the tiles' sizes, queries and keys around and far from multiples of them.
  for (const std::int64_t features : {1, 8, 33, 64, 100, 128, 130})
    result.push_back(
        {{numbers({2, 3, 70, features}, 1), numbers({2, 3, 37, features}, 2), numbers({2, 3, 37, features}, 3)}});
  result.push_back({{numbers({1, 2, 1, 16}, 1), numbers({1, 2, 200, 16}, 2), numbers({1, 2, 200, 48}, 3)}});
  result.push_back({{numbers({1, 1, 65, 32}, 1), numbers({1, 1, 1, 32}, 2), numbers({1, 1, 1, 96}, 3)}});
  result.push_back({{numbers({1, 2, 66, 24}, 1), numbers({1, 2, 33, 24}, 2), numbers({1, 2, 33, 24}, 3),
                     mask_with_a_hidden_row(66, 33)},
                    {{"scale", 0.5f}}});
  result.push_back({{numbers({2, 4, 40, 16}, 1), numbers({2, 2, 50, 16}, 2), numbers({2, 2, 50, 16}, 3),
                     booleans({2, 1, 40, 50}, 4)}});
  auto causal = wide(6, 2);
  causal["is_causal"] = std::int64_t{1};
  result.push_back({{numbers({2, 67, 6 * 20}, 1), numbers({2, 67, 2 * 20}, 2), numbers({2, 67, 2 * 12}, 3)}, causal});
  causal["softcap"] = 2.0f;
  result.push_back({{numbers({2, 9, 6 * 20}, 1), numbers({2, 9, 2 * 20}, 2), numbers({2, 9, 2 * 12}, 3),
                     booleans({9, 40}, 5), numbers({2, 2, 31, 20}, 6), numbers({2, 2, 31, 12}, 7)},
                    causal,
                    3});
  for (const std::int64_t mode : {0, 1, 2, 3}) {
    auto shown = causal;
    shown["qk_matmul_output_mode"] = mode;
    result.push_back({{numbers({2, 9, 6 * 20}, 1), numbers({2, 9, 2 * 20}, 2), numbers({2, 9, 2 * 12}, 3), Tensor(),
                       numbers({2, 2, 31, 20}, 6), numbers({2, 2, 31, 12}, 7)},
                      shown,
                      4});
  }
  // A mask of few keys, and a cache that is not full.
  result.push_back({{numbers({2, 2, 5, 16}, 1), numbers({2, 2, 70, 16}, 2), numbers({2, 2, 70, 16}, 3),
                     numbers({5, 60}, 4), Tensor(), Tensor(), Tensor::of<std::int64_t>({2}, Numbers{3, 55})}});
  return result;
}

TEST_P(AttentionTest, TheOperatorIsAsInDoublePrecision) {
  for (const Operator& op : operators()) {
    std::vector<Tensor> wide;
    for (const Tensor& input : op.inputs) wide.push_back(doubles_of(input));
    const std::vector<Tensor> have = run(*backend_, op, op.inputs);
    const std::vector<Tensor> want = run(*host_, op, wide);
    for (std::size_t i = 0; i < want.size(); ++i)
      expect_near(have.at(i), want[i], 2e-6,
                  fmt::format("{} {} output {}", op.inputs[0].shape().text(), op.inputs[1].shape().text(), i));
  }
}

TEST_P(AttentionTest, HalvesAreRoundedAtTheEnd) {
  for (const DataType type : {DataType::float16, DataType::bfloat16}) {
    const double step = type == DataType::float16 ? 0x1p-10 : 0x1p-7;
    Operator op{{numbers({2, 2, 37, 40}, 1), numbers({2, 2, 50, 40}, 2), numbers({2, 2, 50, 40}, 3)}};
    std::vector<Tensor> rounded;
    for (Tensor& input : op.inputs) {
      input = narrowed(input, type);
      rounded.push_back(widened(input));
    }
    expect_near(widened(run(*backend_, op, op.inputs).at(0)), run(*host_, op, rounded).at(0), step, "halves");
  }
}

TEST_P(AttentionTest, RefusesWhatDoesNotFit) {
  const Tensor queries = numbers({1, 2, 3, 4}, 1);
  const auto message = [&](const std::vector<Tensor>& inputs, std::map<std::string, Attribute> attributes = {}) {
    try {
      run(*backend_, {{}, std::move(attributes)}, inputs);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  using testing::HasSubstr;
  EXPECT_THAT(message({queries, numbers({1, 2, 3, 5}, 2), queries}), HasSubstr("keys of [1,2,3,5]"));
  EXPECT_THAT(message({queries, numbers({1, 3, 3, 4}, 2), numbers({1, 3, 3, 4}, 3)}), HasSubstr("2 heads of queries"));
  EXPECT_THAT(message({queries, queries, queries, numbers({4, 3}, 4)}), HasSubstr("queries of 3 and 4"));
  EXPECT_THAT(message({queries, queries, queries, numbers({3, 4}, 4)}), HasSubstr("4 keys for 3"));
  EXPECT_THAT(message({queries, queries, queries, Tensor(), queries}), HasSubstr("come together"));
  const Tensor flat = numbers({1, 3, 8}, 1);
  EXPECT_THAT(message({flat, flat, flat}), HasSubstr("q_num_heads"));
  EXPECT_THAT(message({flat, flat, flat}, {{"q_num_heads", std::int64_t{3}}, {"kv_num_heads", std::int64_t{3}}}),
              HasSubstr("is not 3 heads"));
}

/// How a model spells attention out.
struct Spelling {
  std::int64_t batch = 2, heads = 3, queries = 40, keys = 37, features = 16, key_heads = 3;
  bool positions_first = true;  ///< operands of [batch, position, head, feature], and the result, too
  bool scales_scores = true;    ///< behind the product, not before it
  Shape mask = {};
  bool mask_first = false;
  bool guarded = false;  ///< zeros where no key counts
};

struct Model {
  Builder b;
  ValueId scores = absent, weights = absent, keys = absent;
  std::vector<Tensor> inputs;

  explicit Model(const Spelling& s) {
    const ValueId query = operand("query", s, s.heads, s.queries, 1);
    const ValueId key = operand("key", s, s.key_heads, s.keys, 2);
    const ValueId value = operand("value", s, s.key_heads, s.keys, 3);
    const auto scaled = [&](ValueId x) { return s.scales_scores ? x : b.node("Mul", {x, b.number(0.5f)}); };
    keys = scaled(turned(key, s.positions_first ? Numbers{0, 2, 3, 1} : Numbers{0, 1, 3, 2}));
    scores = b.node("MatMul", {scaled(in_heads(query, s)), keys});
    if (s.scales_scores) scores = b.node("Div", {scores, b.number(4)});
    if (!s.mask.empty()) {
      const ValueId mask = b.input("mask");
      b.graph.value(mask).shape = s.mask;
      scores = s.mask_first ? b.node("Add", {mask, scores}) : b.node("Add", {scores, mask});
      inputs.push_back(numbers(s.mask, 4));
      if (s.guarded)  // of one query no key counts
        std::fill_n(inputs.back().mutable_data<float>(), s.keys, -std::numeric_limits<float>::infinity());
    }
    weights = b.node("Softmax", {scores});
    if (s.guarded) weights = b.node("Where", {b.node("IsNaN", {weights}), b.number(0), weights});
    const ValueId product = b.node("MatMul", {weights, in_heads(value, s)});
    b.output(b.node("Relu", {s.positions_first ? turned(product, {0, 2, 1, 3}) : product}));
  }

 private:
  ValueId operand(const char* name, const Spelling& s, std::int64_t heads, std::int64_t positions, unsigned seed) {
    const Shape shape =
        s.positions_first ? Shape{s.batch, positions, heads, s.features} : Shape{s.batch, heads, positions, s.features};
    const ValueId id = b.input(name);
    b.graph.value(id).shape = shape;
    inputs.push_back(numbers(shape, seed));
    return id;
  }
  ValueId turned(ValueId x, const Numbers& order) {
    const ValueId y = b.node("Transpose", {x});
    b.graph.nodes.back().attributes["perm"] = order;
    return y;
  }
  ValueId in_heads(ValueId x, const Spelling& s) { return s.positions_first ? turned(x, {0, 2, 1, 3}) : x; }
};

std::vector<std::string> operators_of(const Graph& graph) {
  std::vector<std::string> types;
  for (const Node& node : graph.nodes) types.push_back(node.op_type);
  return types;
}

TEST_P(AttentionTest, SpelledOutItIsOneNode) {
  std::vector<Spelling> spellings = {{},
                                     {.positions_first = false},
                                     {.scales_scores = false},
                                     {.positions_first = false, .scales_scores = false},
                                     {.mask = {2, 1, 1, 37}},
                                     {.mask = {40, 37}, .mask_first = true},
                                     {.mask = {1, 3, 40, 1}},
                                     {.batch = 1, .mask = {2, 3, 1, 37}},
                                     {.key_heads = 1},
                                     {.heads = 1, .key_heads = 4, .positions_first = false},
                                     {.queries = 1, .mask = {5, 37}},
                                     {.queries = 130, .keys = 129, .features = 64},
                                     {.queries = 3, .keys = 5, .features = 140},
                                     {.mask = {40, 37}, .guarded = true},
                                     {.queries = 3, .keys = 5, .features = 140, .mask = {3, 5}, .guarded = true}};
  for (const Spelling& spelling : spellings) {
    const Model model(spelling);
    const Graph planned =
        make_runnable(model.b.graph, std::vector<bool>(model.b.graph.values.size()), *backend_, Visible::replaced);
    EXPECT_THAT(operators_of(planned), testing::ElementsAre("Attention", "Relu"));
    expect_near(Executor(planned, *backend_).run(model.inputs).at(0),
                Executor(model.b.graph, *host_).run(model.inputs).at(0), 3e-6, spelling.mask.text());
  }
}

/// What looks like attention and is not quite what it looks like.
TEST_P(AttentionTest, IsRightInOddCorners) {
  const auto expect_same = [&](const char* what, Builder& b, const std::vector<Tensor>& inputs) {
    for (std::size_t i = 0; i < inputs.size(); ++i) b.graph.value(b.graph.inputs[i]).shape = inputs[i].shape();
    const Graph planned =
        make_runnable(b.graph, std::vector<bool>(b.graph.values.size()), *backend_, Visible::replaced);
    expect_near(Executor(planned, *backend_).run(inputs).at(0), Executor(b.graph, *host_).run(inputs).at(0), 3e-6,
                what);
  };
  const auto turned = [](Builder& b, ValueId x, const Numbers& order) {
    const ValueId y = b.node("Transpose", {x});
    b.graph.nodes.back().attributes["perm"] = order;
    return y;
  };
  {
    Builder b;
    const ValueId both = turned(b, b.input("x"), {0, 1, 3, 2});
    b.output(b.node("MatMul", {b.node("Softmax", {b.node("MatMul", {both, both})}), b.input("v")}));
    expect_same("queries that are the keys", b, {numbers({1, 2, 5, 5}, 1), numbers({1, 2, 5, 4}, 2)});
  }
  {
    Builder b;
    const ValueId keys = turned(b, b.input("k"), {0, 1, 3, 2});
    const ValueId scores = b.node("Mul", {b.node("MatMul", {b.input("q"), keys}), b.number(0.5f)});
    b.output(b.node("MatMul", {b.node("Softmax", {b.node("Add", {scores, scores})}), b.input("v")}));
    expect_same("scores that are the mask", b,
                {numbers({1, 2, 5, 4}, 1), numbers({1, 2, 3, 4}, 2), numbers({1, 2, 5, 4}, 3)});
  }
  {
    Builder b;
    const ValueId lifted = b.node("Mul", {b.input("k"), b.constant({1, 1, 1, 1}, {0.5f})});
    const ValueId scores = b.node("MatMul", {b.input("q"), turned(b, lifted, {0, 1, 3, 2})});
    b.output(b.node("MatMul", {b.node("Softmax", {scores}), b.input("v")}));
    expect_same("keys that a factor gives a dimension", b,
                {numbers({3, 5, 4}, 1), numbers({1, 3, 2, 4}, 2), numbers({1, 3, 5, 4}, 3)});
  }
  {
    Builder b;
    const ValueId scores = b.node("MatMul", {b.input("q"), turned(b, b.input("k"), {0, 1, 3, 2})});
    b.output(b.node("MatMul", {b.node("Softmax", {b.node("Add", {scores, b.input("mask")})}), b.input("v")}));
    expect_same("a key for all values", b,
                {numbers({1, 2, 3, 4}, 1), numbers({1, 2, 1, 4}, 2), numbers({3, 5}, 3), numbers({1, 2, 5, 4}, 4)});
  }
}

TEST_P(AttentionTest, StaysSpelledOutWhereSomebodyLooksInside) {
  for (const int which : {0, 1, 2, 3, 4}) {
    Model model(Spelling{});
    std::vector<bool> visible(model.b.graph.values.size());
    if (which == 0) visible[static_cast<std::size_t>(model.scores)] = true;
    if (which == 1) visible[static_cast<std::size_t>(model.weights)] = true;
    if (which == 2) visible[static_cast<std::size_t>(model.keys)] = true;
    if (which == 3) model.b.output(model.weights);
    if (which == 4) model.b.output(model.b.node("Neg", {model.scores}));
    visible.resize(model.b.graph.values.size());
    const Graph planned = make_runnable(model.b.graph, visible, *backend_, Visible::replaced);
    EXPECT_THAT(operators_of(planned), testing::Not(testing::Contains("Attention"))) << which;
    EXPECT_THAT(operators_of(planned), testing::Contains("MatMul").Times(2)) << which;
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, AttentionTest, testing::ValuesIn(backends()),
                         [](const auto& backend) { return backend.param.name; });

}  // namespace
}  // namespace tare::test
