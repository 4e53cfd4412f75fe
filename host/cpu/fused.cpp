// Nodes of the internal domain "tare": Conv, MatMul and Gemm as ONNX defines them, with operations on the result that
// are applied before it is stored; MatMul may have a third input, a vector that is added to every row. Only the plan
// makes such nodes; no file holds them. Attribute "post_ops", a list of strings, in the order of application; numbers
// follow behind colons, in any form std::from_chars reads:
//   relu            max(x, 0)                             leaky_relu:ALPHA          x >= 0 ? x : ALPHA x   (ALPHA > 0)
//   clip:LOW:HIGH   min(max(x, LOW), HIGH), inf allowed   hard_sigmoid:ALPHA:BETA   min(max(ALPHA x + BETA, 0), 1)
//   sigmoid, tanh   as ONNX                               hard_swish                x hard_sigmoid(x) with 1/6 and 1/2
// Arithmetic words give the bits of the separate operators (hard_swish up to rounding); those with exp agree within
// 4 ulp.
#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "cpu/post_ops.hpp"

namespace tare::cpu {
namespace {

struct Word {
  std::string_view name;
  PostOp::Kind kind;
  int numbers;  ///< that follow
  float alpha = 0;
  float beta = 0;
};

constexpr Word words[] = {
    {"relu", PostOp::Kind::relu, 0},
    {"leaky_relu", PostOp::Kind::leaky_relu, 1},
    {"clip", PostOp::Kind::clip, 2},
    {"hard_sigmoid", PostOp::Kind::hard_sigmoid, 2},
    {"hard_swish", PostOp::Kind::hard_swish, 0, 1.0f / 6.0f, 0.5f},
    {"sigmoid", PostOp::Kind::sigmoid, 0},
    {"tanh", PostOp::Kind::tanh, 0},
};

PostOp parse(const Node& node, std::string_view text) {
  const auto refuse = [&](std::string_view why) -> Error {
    return Error(ErrorKind::model, fmt::format("{}: post_ops entry '{}' {}", node.label(), text, why));
  };
  const std::string_view name = text.substr(0, text.find(':'));
  for (const Word& word : words) {
    if (word.name != name) continue;
    float numbers[2] = {word.alpha, word.beta};
    int count = 0;
    std::string_view rest = text.substr(name.size());
    while (!rest.empty()) {
      rest.remove_prefix(1);
      if (count == word.numbers) throw refuse("has too many numbers");
      const auto [end, status] = std::from_chars(rest.data(), rest.data() + rest.size(), numbers[count]);
      if (status != std::errc() || (end != rest.data() + rest.size() && *end != ':'))
        throw refuse("is not made of numbers");
      rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
      ++count;
    }
    if (count < word.numbers) throw refuse("lacks a number");
    return {word.kind, numbers[0], numbers[1]};
  }
  throw refuse("is not known here");
}

/// Applies it to `n` values. A loop a kind, so that loops become vectors.
template <class T>
void apply(const PostOp& op, T* values, std::int64_t n) {
  using Kind = PostOp::Kind;
  const T alpha = static_cast<T>(op.alpha);
  const T beta = static_cast<T>(op.beta);
  const auto clip = [](T value, T low, T high) { return std::min(std::max(value, low), high); };
  const auto each = [&](auto&& f) {
    for (std::int64_t i = 0; i < n; ++i) values[i] = f(values[i]);
  };
  switch (op.kind) {
    case Kind::relu: return each([](T x) { return std::max(x, T(0)); });
    case Kind::leaky_relu: return each([=](T x) { return x >= 0 ? x : alpha * x; });
    case Kind::clip: return each([=](T x) { return clip(x, alpha, beta); });
    case Kind::hard_sigmoid: return each([=](T x) { return clip(alpha * x + beta, 0, 1); });
    case Kind::hard_swish: return each([=](T x) { return x * clip(alpha * x + beta, 0, 1); });
    case Kind::sigmoid: return each([](T x) { return 1 / (1 + std::exp(-x)); });
    case Kind::tanh: return each([](T x) { return std::tanh(x); });
  }
}

}  // namespace

std::vector<PostOp> parse_post_ops(const Node& node) {
  std::vector<PostOp> post_ops;
  if (node.domain != "tare") return post_ops;
  for (const std::string& text : node.texts("post_ops")) post_ops.push_back(parse(node, text));
  return post_ops;
}

void apply_post_ops(const Call& call, std::span<const PostOp> post_ops, Tensor& tensor) {
  const auto run = [&]<class T>() {
    T* values = tensor.mutable_data<T>();
    for (const PostOp& op : post_ops)
      call.device.parallel(tensor.elements(), 4096,
                           [&](std::int64_t begin, std::int64_t end) { apply(op, values + begin, end - begin); });
  };
  if (tensor.type() == DataType::float32)
    run.operator()<float>();
  else if (tensor.type() == DataType::float64)
    run.operator()<double>();
  else if (!post_ops.empty())
    call.fail(fmt::format("no fused operations on {} tensors", name_of(tensor.type())));
}

void register_fused(OperatorTable& table) {
  table.add("tare::Conv", Operator{.factory = make_convolution, .channels_last = true});
  table.add("tare::MatMul", Operator{.factory = make_matmul});
  table.add("tare::Gemm", Operator{.factory = make_gemm});
}

}  // namespace tare::cpu
