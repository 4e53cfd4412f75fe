// Pooling against windows walked in double, in both layouts; recurrences against cells written down step by step.
#include "run_node.hpp"

namespace tare::test {
namespace {

using Ints = std::vector<std::int64_t>;

std::vector<double> pooled(const Tensor& x, bool maximum, std::int64_t kernel, std::int64_t stride, std::int64_t pad,
                           bool include, std::int64_t out) {
  const std::int64_t size = x.shape()[2];
  std::vector<double> result;
  for (std::int64_t plane = 0; plane < x.shape()[0] * x.shape()[1]; ++plane)
    for (std::int64_t oy = 0; oy < out; ++oy)
      for (std::int64_t ox = 0; ox < out; ++ox) {
        double best = -INFINITY, sum = 0;
        int inside = 0;
        int padded = 0;  // in the input or its padding: the last window of ceil_mode reaches beyond both
        for (std::int64_t y = oy * stride - pad; y < oy * stride - pad + kernel; ++y)
          for (std::int64_t c = ox * stride - pad; c < ox * stride - pad + kernel; ++c) {
            if (y < size + pad && c < size + pad) ++padded;
            if (y < 0 || c < 0 || y >= size || c >= size) continue;
            const double value = static_cast<double>(x.data<float>()[(plane * size + y) * size + c]);
            best = std::max(best, value);
            sum += value;
            ++inside;
          }
        result.push_back(maximum ? best : sum / static_cast<double>(include ? padded : inside));
      }
  return result;
}

TEST(Pooling, WindowsInBothLayouts) {
  for (const std::int64_t channels : {3, 8, 75})
    for (const bool maximum : {true, false})
      for (const bool include : {false, true})
        for (const bool ceil : {false, true}) {
          const Tensor x = random_tensor({2, channels, 12, 12}, 5);
          // 12 + 2 - 3 = 11 steps of 2: the last window of ceil_mode starts inside and ends outside.
          const std::int64_t out = ceil ? 7 : 6;
          const std::vector<double> expected = pooled(x, maximum, 3, 2, 1, include, out);
          for (const bool last : {false, true}) {
            NodeRunner node(maximum ? "MaxPool" : "AveragePool", 1);
            node.set("kernel_shape", Ints{3, 3}).set("strides", Ints{2, 2}).set("pads", Ints{1, 1, 1, 1});
            node.set("ceil_mode", std::int64_t{ceil}).set("count_include_pad", std::int64_t{include});
            expect_close(node.run({last ? channels_last(x) : x})[0], {2, channels, out, out}, expected, 1e-6);
          }
        }
}

TEST(Pooling, NanStaysWhereverItStandsInAWindow) {
  for (const std::int64_t channels : {3, 75})
    for (const std::string op : {"MaxPool", "GlobalMaxPool"})
      for (std::int64_t place = 0; place < 9; ++place) {
        Tensor x = random_tensor({1, channels, 3, 3}, 5);
        x.mutable_data<float>()[9 + place] = NAN;  // of the second channel
        for (const bool last : {false, true}) {
          NodeRunner node(op, 1);
          if (op == "MaxPool") node.set("kernel_shape", Ints{3, 3});
          const Tensor y = node.run({last ? channels_last(x) : x})[0];
          for (std::int64_t c = 0; c < channels; ++c)
            EXPECT_EQ(std::isnan(y.data<float>()[c]), c == 1) << op << ", place " << place << ", channel " << c;
        }
      }
  NodeRunner node("MaxPool", 1, 2);
  Tensor x = random_tensor({1, 1, 3, 3}, 5);
  x.mutable_data<float>()[4] = NAN;
  EXPECT_EQ(node.set("kernel_shape", Ints{3, 3}).run({x})[1].data<std::int64_t>()[0], 4);
}

TEST(Pooling, GlobalFormsInBothLayouts) {
  const Tensor x = random_tensor({2, 70, 9, 15}, 5);
  std::vector<double> mean, most;
  for (std::int64_t plane = 0; plane < 140; ++plane) {
    double sum = 0, best = -INFINITY;
    for (std::int64_t i = 0; i < 135; ++i) {
      sum += static_cast<double>(x.data<float>()[plane * 135 + i]);
      best = std::max(best, static_cast<double>(x.data<float>()[plane * 135 + i]));
    }
    mean.push_back(sum / 135);
    most.push_back(best);
  }
  for (const Tensor& input : {x, channels_last(x)}) {
    expect_close(NodeRunner("GlobalAveragePool", 1).run({input})[0], {2, 70, 1, 1}, mean, 1e-6);
    expect_close(NodeRunner("GlobalMaxPool", 1).run({input})[0], {2, 70, 1, 1}, most, 0);
  }
}

/// As PyTorch and ONNX's reference have it: a last window counts that begins inside, however little of it is there.
TEST(Pooling, CeilTakesAWindowThatHangsOver) {
  const Tensor x = Tensor::of<float>({1, 1, 2, 2}, std::array{1.0f, 2.0f, 3.0f, 4.0f});
  const auto run = [&](const char* type, std::int64_t size, std::int64_t stride) {
    return NodeRunner(type, 1)
        .set("kernel_shape", Ints{size, size})
        .set("strides", Ints{stride, stride})
        .set("ceil_mode", std::int64_t{1})
        .run({x})[0];
  };
  expect_close(run("MaxPool", 3, 2), {1, 1, 1, 1}, std::vector<double>{4}, 0);
  expect_close(run("AveragePool", 3, 2), {1, 1, 1, 1}, std::vector<double>{2.5}, 0);
  expect_close(run("AveragePool", 4, 3), {1, 1, 1, 1}, std::vector<double>{2.5}, 0);
  EXPECT_THROW(run("MaxPool", 4, 2), Error);
  EXPECT_THROW(run("MaxPool", 3, 1), Error);
}

TEST(Pooling, RefusesWhatDoesNotFit) {
  const auto run = [](const Shape& shape, Ints kernel) {
    return NodeRunner("MaxPool", 1).set("kernel_shape", std::move(kernel)).run({random_tensor(shape, 1)});
  };
  EXPECT_THROW(run({1, 1, 3, 3}, {4, 4}), Error);
  EXPECT_THROW(run({1, 1, 3, 3}, {2}), Error);
  EXPECT_THROW(run({1, 1, 3, 3}, {}), Error);
  EXPECT_THROW(run({1, 3}, {2}), Error);
  EXPECT_THROW(run({1, 1, 3}, {0}), Error);
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(Recurrent, LstmOfBothDirectionsWithLengths) {
  const std::int64_t steps = 5, batch = 3, input = 4, hidden = 6;
  const Tensor x = random_tensor({steps, batch, input}, 1);
  const Tensor w = random_tensor({2, 4 * hidden, input}, 2);
  const Tensor r = random_tensor({2, 4 * hidden, hidden}, 3);
  const Tensor b = random_tensor({2, 8 * hidden}, 4);
  const std::int32_t lengths[] = {5, 2, 3};
  std::vector<double> expected(static_cast<std::size_t>(steps * 2 * batch * hidden));
  for (std::int64_t d = 0; d < 2; ++d)
    for (std::int64_t n = 0; n < batch; ++n) {
      std::vector<double> h(hidden), c(hidden);
      for (std::int64_t s = 0; s < lengths[n]; ++s) {
        const std::int64_t t = d == 1 ? lengths[n] - 1 - s : s;
        std::vector<double> gate(4 * hidden);
        for (std::int64_t j = 0; j < 4 * hidden; ++j) {
          double sum = static_cast<double>(b.data<float>()[d * 8 * hidden + j]) +
                       static_cast<double>(b.data<float>()[d * 8 * hidden + 4 * hidden + j]);
          for (std::int64_t i = 0; i < input; ++i)
            sum += static_cast<double>(x.data<float>()[(t * batch + n) * input + i]) *
                   static_cast<double>(w.data<float>()[(d * 4 * hidden + j) * input + i]);
          for (std::int64_t i = 0; i < hidden; ++i)
            sum += h[static_cast<std::size_t>(i)] *
                   static_cast<double>(r.data<float>()[(d * 4 * hidden + j) * hidden + i]);
          gate[static_cast<std::size_t>(j)] = sum;
        }
        for (std::size_t j = 0; j < static_cast<std::size_t>(hidden); ++j) {
          c[j] = sigmoid(gate[2 * hidden + j]) * c[j] + sigmoid(gate[j]) * std::tanh(gate[3 * hidden + j]);
          h[j] = sigmoid(gate[hidden + j]) * std::tanh(c[j]);
          expected[static_cast<std::size_t>(((t * 2 + d) * batch + n) * hidden) + j] = h[j];
        }
      }
    }
  for (const bool constant : {true, false}) {
    NodeRunner node("LSTM", 5, 3);
    node.set("direction", std::string("bidirectional")).set("hidden_size", hidden).constants_from(constant ? 1 : 9);
    const std::vector<Tensor> y = node.run({x, w, r, b, Tensor::of<std::int32_t>({batch}, lengths)});
    expect_close(y[0], {steps, 2, batch, hidden}, expected, 1e-5);
    EXPECT_EQ(y[1].shape().text(), "[2,3,6]");
    EXPECT_EQ(y[2].shape().text(), "[2,3,6]");
    expect_same_bits(node.again({x, w, r, b, Tensor::of<std::int32_t>({batch}, lengths)})[0], y[0]);
  }
}

TEST(Fused, OperationsInOrder) {
  const Tensor x = random_tensor({2, 6, 9, 7}, 1);
  const Tensor w = random_tensor({20, 6, 3, 3}, 2);
  const Tensor b = random_tensor({20}, 3);
  const Tensor plain = NodeRunner("Conv", 3).run({x, w, b})[0];
  const auto check = [&](std::vector<std::string> words, const std::function<double(double)>& formula) {
    SCOPED_TRACE(words.front());
    std::vector<double> expected;
    for (const float v : plain.span<float>()) expected.push_back(formula(static_cast<double>(v)));
    NodeRunner node("Conv", 3, 1, "tare");
    node.set("post_ops", words);
    expect_close(node.run({x, w, b})[0], plain.shape(), expected, 1e-5);
  };
  const auto clip = [](double v, double low, double high) { return std::min(std::max(v, low), high); };
  check({"relu"}, [](double v) { return std::max(v, 0.0); });
  check({"clip:0:6"}, [&](double v) { return clip(v, 0, 6); });
  check({"hard_swish"}, [&](double v) { return v * clip(v / 6 + 0.5, 0, 1); });
  check({"hard_sigmoid:0.2:0.5"}, [&](double v) { return clip(0.2 * v + 0.5, 0, 1); });
  check({"sigmoid"}, [](double v) { return sigmoid(v); });
  check({"tanh"}, [](double v) { return std::tanh(v); });
  check({"leaky_relu:0.25"}, [](double v) { return v >= 0 ? v : v / 4; });
  check({"sigmoid", "clip:0.4:0.6"}, [&](double v) { return clip(sigmoid(v), 0.4, 0.6); });
  check({"hard_sigmoid:0.2:0.5", "tanh", "hard_swish"}, [&](double v) {
    const double t = std::tanh(clip(0.2 * v + 0.5, 0, 1));
    return t * clip(t / 6 + 0.5, 0, 1);
  });
  for (const char* word : {"warp", "clip:1", "relu:1", "clip:a:b", "leaky_relu:"}) {
    NodeRunner node("Conv", 3, 1, "tare");
    node.set("post_ops", std::vector<std::string>{word});
    EXPECT_THROW(node.run({x, w, b}), Error) << word;
  }
}

}  // namespace
}  // namespace tare::test
