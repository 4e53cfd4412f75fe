#include "chains/random_graph.hpp"

#include <numeric>

namespace tare::test {
namespace {

std::vector<std::int64_t> list_of(const Shape& shape) { return {shape.begin(), shape.end()}; }

}  // namespace

void RandomGraph::add_some() {
  using Step = void (RandomGraph::*)();
  static constexpr Step steps[] = {&RandomGraph::arithmetic,    &RandomGraph::arithmetic, &RandomGraph::convolution,
                                   &RandomGraph::convolution,   &RandomGraph::product,    &RandomGraph::product,
                                   &RandomGraph::normalization, &RandomGraph::attention,  &RandomGraph::movement,
                                   &RandomGraph::movement,      &RandomGraph::pool,       &RandomGraph::reduction};
  const std::size_t nodes_before = builder_.graph.nodes.size();
  const std::size_t known_before = known_.size();
  try {
    const std::size_t choice = below(std::size(steps) + 6);
    choice < std::size(steps) ? (this->*steps[choice])() : activation(value());
    return;
  } catch (const Refused&) {  // NOLINT(bugprone-empty-catch): taken back below
  } catch (const Error&) {    // NOLINT(bugprone-empty-catch): the operator does not take these shapes
  }
  builder_.graph.nodes.resize(nodes_before);
  known_.resize(known_before);
}

void RandomGraph::activation(ValueId x) {
  switch (below(16)) {
    case 0:
    case 1: node("Relu", {x}); break;
    case 2: node("LeakyRelu", {x}, {{"alpha", real(-0.2f, 0.3f)}}); break;
    case 3: node("Clip", {x, builder_.number(real(-2, 0)), builder_.number(real(0, 3))}); break;
    case 4: node("Clip", {x, absent, builder_.number(real(0, 6))}); break;
    case 5: node("HardSigmoid", {x}, {{"alpha", real(0.1f, 0.4f)}, {"beta", real(0.2f, 0.7f)}}); break;
    case 6: node("HardSwish", {x}); break;
    case 7: node("Sigmoid", {x}); break;
    case 8: node("Tanh", {x}); break;
    case 9: node("Abs", {x}); break;
    case 10: node("Neg", {x}); break;
    case 11: node("Mul", {x, node("Sigmoid", {x})}); break;
    case 12: {  // the hard swish, spelled out
      const ValueId gate = node("Clip", {node("Add", {x, builder_.number(3)}), builder_.number(0), builder_.number(6)});
      node("Div", {node("Mul", {x, gate}), builder_.number(6)});
      break;
    }
    case 13: {  // GELU
      const ValueId half = node("Erf", {node("Div", {x, builder_.number(std::sqrt(2.0f))})});
      node("Mul", {node("Mul", {x, node("Add", {half, builder_.number(1)})}), builder_.number(0.5f)});
      break;
    }
    case 14:
      node("PRelu", {x, below(2) == 0 ? numbers({1}) : numbers(Shape{shape(x)[shape(x).rank() > 1 ? 1 : 0], 1, 1})});
      break;
    default: node("Softplus", {x}); break;
  }
}

void RandomGraph::arithmetic() {
  static constexpr const char* names[] = {"Add", "Add", "Sub", "Mul", "Mul", "Div", "Max", "Min"};
  const std::string type = pick(names);
  const ValueId x = value();
  const Shape of = shape(x);
  const float center = type == "Div" ? 3.0f : 0.0f;
  const float spread = type == "Div" ? 0.3f : 1.0f;
  ValueId other = absent;
  switch (below(6)) {
    case 0: other = builder_.number(center + real(-1, 1)); break;
    case 1: other = numbers(Shape{of[of.rank() - 1]}, center, spread); break;
    case 2: {  // a channel
      Shape channels(std::max<std::size_t>(of.rank(), 2) - 1, 1);
      channels[0] = of[of.rank() > 1 ? 1 : 0];
      other = numbers(channels, center, spread);
      break;
    }
    case 3: {  // a gate of its own
      if (of.rank() != 4) throw Refused();
      const ValueId mean = node("GlobalAveragePool", {x});
      other = node("Sigmoid", {node("Conv", {mean, numbers({of[1], of[1], 1, 1}, 0, 0.5f)})});
      break;
    }
    default: other = value(); break;
  }
  const bool is_second = type == "Div" || below(3) != 0;
  if (type == "Div" && builder_.graph.constant(other) == nullptr)
    other = node("Add", {node("Abs", {other}), builder_.number(1)});
  node(type, is_second ? std::vector{x, other} : std::vector{other, x});
}

void RandomGraph::convolution() {
  const ValueId x = value_of_rank(below(5) == 0 ? 3 : 4);
  const Shape of = shape(x);
  const std::size_t spatial = of.rank() - 2;
  const bool transposed = below(6) == 0;
  const std::int64_t kernel = one_of({1, 1, 2, 3, 3, 5});
  std::int64_t groups = one_of({1, 1, 2, of[1]});
  if (of[1] % groups != 0) groups = 1;
  const std::int64_t results = groups * one_of({1, 2, 4, 8});
  Shape weights = transposed ? Shape{of[1], results / groups} : Shape{results, of[1] / groups};
  for (std::size_t d = 0; d < spatial; ++d) weights.push_back(kernel);
  const float spread = 1.0f / std::sqrt(static_cast<float>(of[1] / groups * kernel));
  std::vector<ValueId> inputs = {x, numbers(weights, 0, spread)};
  if (below(2) == 0) inputs.push_back(numbers(Shape{results}));
  Attributes attributes = {{"group", groups},
                           {"strides", std::vector<std::int64_t>(spatial, one_of({1, 1, 2}))},
                           {"pads", std::vector<std::int64_t>(2 * spatial, kernel / 2)}};
  if (!transposed && below(4) == 0) attributes.emplace_back("dilations", std::vector<std::int64_t>(spatial, 2));
  ValueId y = node(transposed ? "ConvTranspose" : "Conv", inputs, attributes);
  if (below(3) == 0) {
    const Shape channels{results};
    y = node("BatchNormalization", {y, numbers(channels, 1, 0.3f), numbers(channels), numbers(channels),
                                    builder_.constant(random_numbers(channels, 3, 2.0f, 0.1f))});
  }
  if (below(2) == 0) activation(y);
}

void RandomGraph::pool() {
  const ValueId x = value_of_rank(4);
  const std::int64_t kernel = one_of({2, 3});
  Attributes attributes = {{"kernel_shape", std::vector<std::int64_t>{kernel, one_of({1, 2, 3})}},
                           {"strides", std::vector<std::int64_t>{one_of({1, 2}), one_of({1, 2})}},
                           {"ceil_mode", one_of({0, 1})}};
  if (below(2) == 0) attributes.emplace_back("pads", std::vector<std::int64_t>{1, 0, 1, 0});
  if (below(2) == 0) {
    node("MaxPool", {x}, std::move(attributes));
    return;
  }
  attributes.emplace_back("count_include_pad", one_of({0, 1}));
  node("AveragePool", {x}, std::move(attributes));
}

void RandomGraph::product() {
  const ValueId x = value();
  const Shape of = shape(x);
  const std::int64_t inner = of[of.rank() - 1];
  const std::int64_t columns = one_of({1, 4, 8, 16, inner});
  const float spread = 1.0f / std::sqrt(static_cast<float>(inner));
  ValueId y = absent;
  if (of.rank() == 2 && below(2) == 0) {
    const bool transposed = below(2) == 0;
    std::vector<ValueId> inputs = {x, numbers(transposed ? Shape{columns, inner} : Shape{inner, columns}, 0, spread)};
    if (below(3) != 0) inputs.push_back(numbers(below(3) == 0 ? Shape{} : Shape{columns}));
    y = node("Gemm", inputs, {{"transB", std::int64_t{transposed ? 1 : 0}}, {"alpha", real(0.5f, 1.5f)}});
  } else if (of.rank() >= 2 && below(4) == 0) {
    std::vector<std::int64_t> order(of.rank());
    std::iota(order.begin(), order.end(), 0);
    std::swap(order[of.rank() - 1], order[of.rank() - 2]);
    y = node("MatMul", {x, node("Transpose", {value_of_rank(of.rank())}, {{"perm", order}})});
  } else {
    y = node("MatMul", {x, numbers({inner, columns}, 0, spread)});
    if (below(2) == 0) {
      const ValueId bias = numbers(Shape{columns});
      y = node("Add", below(2) == 0 ? std::vector{y, bias} : std::vector{bias, y});
    }
  }
  if (below(2) == 0) activation(y);
}

void RandomGraph::normalization() {
  const ValueId x = value();
  const Shape of = shape(x);
  const std::int64_t last = of[of.rank() - 1];
  if (of.rank() < 2 || last < 3) throw Refused();
  const Attributes axes = {{"axes", std::vector<std::int64_t>{-1}}};
  const bool centered = below(3) != 0;
  const ValueId deviation = centered ? node("Sub", {x, node("ReduceMean", {x}, axes)}) : x;
  const ValueId square =
      below(2) == 0 ? node("Mul", {deviation, deviation}) : node("Pow", {deviation, builder_.number(2)});
  const ValueId root =
      node("Sqrt", {node("Add", {node("ReduceMean", {square}, axes), builder_.number(below(2) == 0 ? 1e-2f : 0.1f)})});
  ValueId y = below(2) == 0 ? node("Div", {deviation, root}) : node("Mul", {deviation, node("Reciprocal", {root})});
  if (below(4) != 0) y = node("Mul", {y, numbers(Shape{last}, 1, 0.3f)});
  if (centered && below(4) != 0) node("Add", {y, numbers(Shape{last})});
}

/// [batch, length, width] to heads and back, or two products with whatever fits.
void RandomGraph::attention() {
  const ValueId x = value_of_rank(3);
  const Shape of = shape(x);
  const std::int64_t heads = one_of({1, 2, 4});
  if (of[2] % heads != 0) throw Refused();
  const std::int64_t width = of[2] / heads;
  const float spread = 1.0f / std::sqrt(static_cast<float>(of[2]));
  const auto head = [&](std::vector<std::int64_t> order) {
    const ValueId projected = node("MatMul", {x, numbers({of[2], of[2]}, 0, spread)});
    const ValueId split = node("Reshape", {projected, integers({0, -1, heads, width})});
    return node("Transpose", {split}, {{"perm", std::move(order)}});
  };
  ValueId query = head({0, 2, 1, 3});
  const bool scales_query = below(3) == 0;
  const ValueId factor = builder_.number(1.0f / std::sqrt(static_cast<float>(width)));
  if (scales_query) query = node("Mul", {query, factor});
  const ValueId key = below(2) == 0
                          ? head({0, 2, 3, 1})
                          : node("Transpose", {head({0, 2, 1, 3})}, {{"perm", std::vector<std::int64_t>{0, 1, 3, 2}}});
  ValueId scores = node("MatMul", {query, key});
  if (!scales_query && below(4) != 0) scores = node("Mul", {scores, factor});
  if (below(2) == 0) {
    const Shape masks[] = {{1, 1, of[1], of[1]}, {1, heads, of[1], of[1]}, {of[0], 1, 1, of[1]}, Shape{of[1]}};
    scores = node("Add", {scores, numbers(masks[below(4)], 0, 3)});
  }
  const ValueId weights = node("Softmax", {scores}, {{"axis", std::int64_t{-1}}});
  const ValueId mixed = node("MatMul", {weights, head({0, 2, 1, 3})});
  const ValueId back = node("Transpose", {mixed}, {{"perm", std::vector<std::int64_t>{0, 2, 1, 3}}});
  const ValueId joined = node("Reshape", {back, integers({0, 0, of[2]})});
  if (below(2) == 0) node("Add", {x, node("MatMul", {joined, numbers({of[2], of[2]}, 0, spread)})});
}

void RandomGraph::movement() {
  const ValueId x = value();
  const Shape of = shape(x);
  const std::size_t rank = of.rank();
  const auto axis = static_cast<std::int64_t>(below(rank));
  switch (below(10)) {
    case 8: node("Cast", {x}, {{"to", static_cast<std::int64_t>(DataType::float32)}}); break;
    case 0: {
      std::vector<std::int64_t> order(rank);
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), random_);
      node("Transpose", {x}, {{"perm", order}});
      break;
    }
    case 1: node("Concat", {x, value()}, {{"axis", axis}}); break;
    case 2: {
      const std::int64_t size = of[static_cast<std::size_t>(axis)];
      if (size < 2) throw Refused();
      const std::int64_t first = 1 + static_cast<std::int64_t>(below(static_cast<std::size_t>(size - 1)));
      nodes("Split", {x, integers({first, size - first})}, {{"axis", axis}}, 2);
      break;
    }
    case 3: node("Slice", {x, integers({one_of({0, 1})}), integers({one_of({3, 100, -1})}), integers({axis})}); break;
    case 4: {
      std::vector<std::int64_t> pads(2 * rank, 0);
      pads[static_cast<std::size_t>(axis)] = 1;
      pads[rank + static_cast<std::size_t>(axis)] = one_of({0, 1, 2});
      node("Pad", {x, integers(pads), builder_.number(one_of({0, 0, 1}) == 0 ? 0.0f : 0.5f)});
      break;
    }
    case 5: node("Flatten", {x}, {{"axis", std::int64_t{1}}}); break;
    case 6: {  // the two last dimensions are one, and another one
      if (rank < 3) throw Refused();
      std::vector<std::int64_t> merged = list_of(of);
      merged[rank - 2] *= merged[rank - 1];
      merged.pop_back();
      const ValueId y = node("Reshape", {x, integers(merged)});
      if (below(2) == 0) node("Reshape", {y, integers(list_of(of))});
      break;
    }
    case 7: node("Squeeze", {node("Unsqueeze", {x, integers({axis})}), integers({axis})}); break;
    default: {
      if (rank != 4) throw Refused();
      const ValueId scales = builder_.constant({4}, {1, 1, 2, static_cast<float>(one_of({1, 2}))});
      node("Resize", {x, absent, scales}, {{"mode", std::string(below(2) == 0 ? "nearest" : "linear")}});
      break;
    }
  }
}

void RandomGraph::reduction() {
  const ValueId x = value();
  const std::size_t rank = shape(x).rank();
  if (below(3) == 0) {
    node("Softmax", {x}, {{"axis", static_cast<std::int64_t>(below(rank))}});
    return;
  }
  static constexpr const char* names[] = {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2"};
  node(pick(names), {x},
       {{"axes", std::vector<std::int64_t>{static_cast<std::int64_t>(below(rank))}}, {"keepdims", std::int64_t{1}}});
}

}  // namespace tare::test
