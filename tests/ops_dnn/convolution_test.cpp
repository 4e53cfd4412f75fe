// Conv and ConvTranspose against a definition written down in double: three spatial dimensions, lower ranks padded with
// ones.
#include <cmath>
#include <limits>

#include "cpu/vector.hpp"
#include "run_node.hpp"

namespace tare::test {
namespace {

using Ints = std::vector<std::int64_t>;

struct Case {
  const char* name;
  Shape input;
  Shape weights;
  std::int64_t group = 1;
  Ints strides, dilations, pads, output_padding;
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

struct Volume {
  std::int64_t d[3] = {1, 1, 1};
  std::int64_t size() const { return d[0] * d[1] * d[2]; }
};

Volume volume(const std::int64_t* begin, const std::int64_t* end, std::int64_t fill = 1) {
  Volume v{{fill, fill, fill}};
  std::copy(begin, end, v.d + (3 - (end - begin)));
  return v;
}
Volume attribute(const Ints& values, std::int64_t fill) {
  return volume(values.data(), values.data() + values.size(), fill);
}

struct Expected {
  Shape shape;
  std::vector<double> values;
};

Expected reference(const Case& c, const Tensor& x, const Tensor& w, const Tensor& b, bool transposed) {
  const std::size_t spatial = c.input.rank() - 2;
  const Volume in = volume(c.input.begin() + 2, c.input.end());
  const Volume kernel = volume(c.weights.begin() + 2, c.weights.end());
  const Volume stride = attribute(c.strides, 1);
  const Volume dilation = attribute(c.dilations, 1);
  const Ints pads = c.pads.empty() ? Ints(2 * spatial, 0) : c.pads;
  const Volume front = volume(pads.data(), pads.data() + spatial, 0);
  const Volume back = volume(pads.data() + spatial, pads.data() + 2 * spatial, 0);
  const Volume more = attribute(c.output_padding, 0);
  Volume out;
  for (int i = 0; i < 3; ++i) {
    const std::int64_t reach = (kernel.d[i] - 1) * dilation.d[i] + 1;
    out.d[i] = transposed ? (in.d[i] - 1) * stride.d[i] + reach + more.d[i] - front.d[i] - back.d[i]
                          : (in.d[i] + front.d[i] + back.d[i] - reach) / stride.d[i] + 1;
  }
  const std::int64_t batch = c.input[0];
  const std::int64_t ci = c.input[1];
  const std::int64_t co = transposed ? c.weights[1] * c.group : c.weights[0];
  Expected e;
  e.shape = Shape{batch, co};
  for (std::size_t i = 0; i < spatial; ++i) e.shape.push_back(out.d[3 - spatial + i]);
  e.values.resize(static_cast<std::size_t>(batch * co * out.size()));
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(e.values.size()); ++i)
    e.values[static_cast<std::size_t>(i)] =
        b.present() ? static_cast<double>(b.data<float>()[i / out.size() % co]) : 0.0;
  // Every pair of an input and an output element connected by a tap, for Conv: in = out * stride - front + tap *
  // dilation.
  const Volume& walked = transposed ? in : out;
  const Volume& reached = transposed ? out : in;
  for (std::int64_t n = 0; n < batch; ++n)
    for (std::int64_t o = 0; o < co; ++o)
      for (std::int64_t i = 0; i < ci / c.group; ++i)
        for (std::int64_t p = 0; p < walked.size(); ++p)
          for (std::int64_t k = 0; k < kernel.size(); ++k) {
            const std::int64_t at[3] = {p / (walked.d[1] * walked.d[2]), p / walked.d[2] % walked.d[1],
                                        p % walked.d[2]};
            const std::int64_t tap[3] = {k / (kernel.d[1] * kernel.d[2]), k / kernel.d[2] % kernel.d[1],
                                         k % kernel.d[2]};
            std::int64_t q = 0;
            bool inside = true;
            for (int s = 0; s < 3; ++s) {
              const std::int64_t r = at[s] * stride.d[s] - front.d[s] + tap[s] * dilation.d[s];
              inside = inside && r >= 0 && r < reached.d[s];
              q = q * reached.d[s] + r;
            }
            if (!inside) continue;
            const std::int64_t g = o / (co / c.group);
            const std::int64_t channel = g * (ci / c.group) + i;
            const std::int64_t x_index = (n * ci + channel) * in.size() + (transposed ? p : q);
            const std::int64_t y_index = (n * co + o) * out.size() + (transposed ? q : p);
            const std::int64_t w_index = transposed
                                             ? (channel * (co / c.group) + o % (co / c.group)) * kernel.size() + k
                                             : (o * (ci / c.group) + i) * kernel.size() + k;
            e.values[static_cast<std::size_t>(y_index)] +=
                static_cast<double>(x.data<float>()[x_index]) * static_cast<double>(w.data<float>()[w_index]);
          }
  return e;
}

void check(const Case& c, bool transposed) {
  const std::int64_t out_channels = transposed ? c.weights[1] * c.group : c.weights[0];
  const Tensor x = random_tensor(c.input, 1);
  const Tensor w = random_tensor(c.weights, 2);
  const Tensor bias = random_tensor({out_channels}, 3);
  for (const bool with_bias : {false, true}) {
    const Tensor b = with_bias ? bias : Tensor();
    const Expected expected = reference(c, x, w, b, transposed);
    for (const bool constant : {true, false})
      for (const bool last : {false, true})
        for (const bool reproducible : {false, true}) {
          SCOPED_TRACE(testing::Message() << c.name << " bias " << with_bias << " constant " << constant
                                          << " channels_last " << last << " reproducible " << reproducible);
          NodeRunner node(transposed ? "ConvTranspose" : "Conv", 3);
          node.set("group", c.group)
              .constants_from(constant ? 1 : 9)
              .options({.threads = 2, .reproducible = reproducible});
          if (!c.strides.empty()) node.set("strides", c.strides);
          if (!c.dilations.empty()) node.set("dilations", c.dilations);
          if (!c.pads.empty()) node.set("pads", c.pads);
          if (!c.output_padding.empty()) node.set("output_padding", c.output_padding);
          const Tensor input = last ? channels_last(x) : x;
          const Tensor first = node.run({input, w, b})[0];
          expect_close(first, expected.shape, expected.values, 1e-5);
          expect_same_bits(node.again({input, w, b})[0], first);
          if (constant && !reproducible)
            expect_rounded(node.options({.threads = 2, .wide_sums = true}).run({input, w, b})[0], expected.values);
        }
  }
}

class Convolution : public testing::TestWithParam<Case> {};
TEST_P(Convolution, MatchesTheDefinition) { check(GetParam(), false); }
INSTANTIATE_TEST_SUITE_P(
    Shapes, Convolution,
    testing::Values(Case{"first_layer", {2, 3, 23, 19}, {16, 3, 3, 3}, 1, {2, 2}, {}, {1, 1, 1, 1}, {}},
                    Case{"one_by_one", {1, 17, 9, 7}, {33, 17, 1, 1}, 1, {}, {}, {}, {}},
                    Case{"depthwise", {2, 19, 11, 13}, {19, 1, 3, 3}, 19, {1, 2}, {}, {1, 1, 1, 1}, {}},
                    Case{"depthwise_multiplier", {1, 5, 9, 9}, {10, 1, 5, 5}, 5, {}, {}, {2, 2, 2, 2}, {}},
                    Case{"grouped", {2, 12, 10, 9}, {20, 3, 3, 3}, 4, {}, {}, {1, 0, 1, 0}, {}},
                    Case{"grouped_wide", {1, 64, 7, 7}, {64, 32, 3, 3}, 2, {}, {}, {1, 1, 1, 1}, {}},
                    Case{"dilated", {1, 8, 17, 15}, {16, 8, 3, 3}, 1, {}, {2, 3}, {2, 3, 2, 3}, {}},
                    Case{"asymmetric", {1, 4, 8, 9}, {6, 4, 4, 2}, 1, {3, 2}, {}, {0, 1, 2, 3}, {}},
                    Case{"padding_beyond_kernel", {1, 2, 3, 3}, {3, 2, 2, 2}, 1, {}, {}, {3, 3, 3, 3}, {}},
                    Case{"one_dimension", {2, 6, 31}, {10, 6, 5}, 1, {2}, {2}, {3, 1}, {}},
                    Case{"one_dimension_depthwise", {1, 16, 40}, {16, 1, 7}, 16, {}, {}, {3, 3}, {}},
                    Case{
                        "three_dimensions", {1, 5, 6, 7, 8}, {7, 5, 3, 2, 3}, 1, {1, 2, 1}, {}, {1, 0, 1, 1, 1, 1}, {}},
                    Case{"single_pixel", {3, 48, 1, 1}, {12, 48, 1, 1}, 1, {}, {}, {}, {}}));

// Few output channels over many taps, which are computed without the library.
INSTANTIATE_TEST_SUITE_P(
    Narrow, Convolution,
    testing::Values(Case{"one_channel", {2, 33, 9, 150}, {1, 33, 3, 3}, 1, {}, {}, {1, 1, 1, 1}, {}},
                    Case{"long_kernel", {1, 8, 7, 41}, {8, 8, 3, 19}, 1, {}, {}, {1, 9, 1, 9}, {}},
                    Case{"kernel_longer_than_input", {1, 5, 4, 6}, {3, 5, 3, 15}, 1, {}, {}, {1, 7, 1, 7}, {}},
                    Case{"seven_channels", {3, 12, 11, 10}, {7, 12, 3, 2}, 1, {2, 3}, {}, {1, 0, 0, 1}, {}},
                    Case{"rows_apart", {1, 9, 12, 11}, {2, 9, 4, 2}, 1, {1, 2}, {3, 1}, {4, 1, 4, 0}, {}},
                    Case{"padding_beyond_kernel", {1, 16, 3, 3}, {5, 16, 2, 2}, 1, {}, {}, {3, 4, 3, 4}, {}},
                    Case{"filter", {2, 1, 1, 601}, {1, 1, 1, 256}, 1, {1, 2}, {}, {}, {}},
                    Case{"one_dimension", {2, 20, 31}, {6, 20, 5}, 1, {3}, {}, {2, 4}, {}},
                    Case{"products", {2, 70, 5, 3}, {4, 70, 1, 1}, 1, {2, 1}, {1, 5}, {}, {}}));

class Transposed : public testing::TestWithParam<Case> {};
TEST_P(Transposed, MatchesTheDefinition) { check(GetParam(), true); }
INSTANTIATE_TEST_SUITE_P(
    Shapes, Transposed,
    testing::Values(Case{"doubling", {2, 24, 10, 9}, {24, 24, 2, 2}, 1, {2, 2}, {}, {}, {}},
                    Case{"overlapping", {1, 5, 6, 7}, {5, 9, 3, 3}, 1, {2, 1}, {}, {1, 1, 0, 1}, {}},
                    Case{"output_padding", {1, 8, 5, 5}, {8, 4, 3, 3}, 1, {2, 2}, {}, {1, 1, 1, 1}, {1, 1}},
                    Case{"grouped", {1, 6, 5, 4}, {6, 2, 3, 3}, 3, {}, {}, {}, {}},
                    Case{"dilated", {1, 3, 5, 5}, {3, 2, 2, 2}, 1, {}, {2, 2}, {}, {}},
                    Case{"one_dimension", {2, 3, 11}, {3, 4, 4}, 1, {3}, {}, {1, 2}, {}},
                    Case{"three_dimensions", {1, 2, 3, 4, 5}, {2, 3, 2, 3, 2}, 1, {1, 2, 2}, {}, {}, {}}));

TEST(Convolution, OfFewChannelsHasTheSameBitsForAnyThreadCountAndBatch) {
  const Tensor x = random_tensor({3, 11, 13, 90}, 1);
  const Tensor w = random_tensor({7, 11, 3, 5}, 2);
  const auto run = [&](int threads, const Tensor& input) {
    return NodeRunner("Conv", 2).set("pads", Ints{1, 2, 1, 2}).options({.threads = threads}).run({input, w})[0];
  };
  const Tensor one = run(1, x);
  for (const int threads : {2, 3, 7}) expect_same_bits(run(threads, x), one);
  Tensor image = Tensor::host(DataType::float32, {1, 11, 13, 90});
  std::copy_n(x.data<float>() + image.elements(), image.elements(), image.mutable_data<float>());
  const Tensor alone = run(2, image);
  EXPECT_TRUE(std::equal(alone.data(), alone.data() + alone.bytes(), one.data() + alone.bytes()));
}

TEST(Convolution, OfFewChannelsHasTheSameBitsOnEveryInstructionSetThatFuses) {
  const Tensor x = random_tensor({1, 4000}, 1);
  const Tensor w = random_tensor({7, 3, 45}, 2);
  const Tensor bias = random_tensor({7}, 3);
  for (const std::size_t step : {5u, 8u}) {
    const cpu::NarrowTaps taps{3, 45, 700, 45, 135, step, 7};
    const auto run = [&](Isa isa) {
      std::vector<float> out(7 * 81);
      cpu::vector_kernels(cpu::supported_isa(isa))
          .narrow_convolution(taps, x.data<float>(), w.data<float>(), bias.data<float>(), out.data(), 81);
      return out;
    };
    const std::vector<float> best = run(Isa::automatic);
    if (cpu::supported_isa(Isa::avx2) == Isa::avx2) {
      EXPECT_EQ(run(Isa::avx2), best);
    }
    const std::vector<float> unfused = run(Isa::baseline);
    for (std::size_t i = 0; i < best.size(); ++i) EXPECT_NEAR(unfused[i], best[i], 1e-4);
  }
}

TEST(Convolution, PaddingOfFewChannelsIsNotMultiplied) {
  const Tensor x = random_tensor({1, 16, 4, 4}, 1);
  Tensor w = random_tensor({1, 16, 3, 3}, 2);
  std::fill_n(w.mutable_data<float>(), 3, std::numeric_limits<float>::infinity());  // of the first row of taps
  const Tensor y = NodeRunner("Conv", 2).set("pads", Ints{1, 1, 1, 1}).run({x, w})[0];
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(std::isfinite(y.data<float>()[i])) << i;
  for (int i = 4; i < 16; ++i) EXPECT_FALSE(std::isfinite(y.data<float>()[i])) << i;
}

TEST(Convolution, Float64AndFourSpatialDimensions) {
  const Tensor x = random_tensor({1, 2, 3, 4, 3, 2}, 1);
  const Tensor w = random_tensor({3, 2, 2, 2, 2, 1}, 2);
  const Tensor narrow = NodeRunner("Conv", 2).run({x, w})[0];
  const Tensor wide = NodeRunner("Conv", 2).run({as_double(x), as_double(w)})[0];
  expect_close(narrow, wide.shape(), wide.span<double>(), 1e-6);
}

TEST(Convolution, AutomaticPaddingKeepsTheSize) {
  const Tensor x = random_tensor({1, 2, 7, 8}, 1);
  const Tensor w = random_tensor({3, 2, 4, 3}, 2);
  const auto padded = [&](Ints pads) { return NodeRunner("Conv", 2).set("pads", pads).run({x, w})[0]; };
  const auto automatic = [&](std::string how) { return NodeRunner("Conv", 2).set("auto_pad", how).run({x, w})[0]; };
  expect_same_bits(automatic("SAME_UPPER"), padded({1, 1, 2, 1}));
  expect_same_bits(automatic("SAME_LOWER"), padded({2, 1, 1, 1}));
  expect_same_bits(automatic("VALID"), padded({0, 0, 0, 0}));
}

TEST(Convolution, KeepsProgramsForManyShapes) {
  const Tensor w = random_tensor({4, 3, 3, 3}, 2);
  NodeRunner node("Conv", 2);
  node.compile(std::vector<Tensor>{Tensor(), w});
  for (int round = 0; round < 2; ++round)
    for (std::int64_t size = 5; size < 18; ++size) {
      const Case c{"sizes", {1, 3, size, 2 * size}, {4, 3, 3, 3}, 1, {}, {}, {}, {}};
      const Tensor x = random_tensor(c.input, 7);
      const Expected expected = reference(c, x, w, {}, false);
      expect_close(node.again({x, w})[0], expected.shape, expected.values, 1e-5);
    }
}

TEST(Convolution, EmptyBatchAndEmptyChannels) {
  const Tensor none = NodeRunner("Conv", 2).run({random_tensor({0, 3, 8, 8}, 1), random_tensor({4, 3, 3, 3}, 2)})[0];
  EXPECT_EQ(none.shape().text(), "[0,4,6,6]");
  const Tensor bias = random_tensor({2}, 3);
  const Tensor only_bias =
      NodeRunner("Conv", 3).run({random_tensor({1, 0, 2, 1}, 1), random_tensor({2, 0, 1, 1}, 2), bias})[0];
  const float* b = bias.data<float>();
  const double expected[] = {b[0], b[0], b[1], b[1]};
  expect_close(only_bias, {1, 2, 2, 1}, expected, 0);
}

TEST(Convolution, RefusesWhatDoesNotFit) {
  const auto run = [](const Shape& x, const Shape& w, const std::string& key = "group",
                      Attribute value = std::int64_t{1}) {
    return NodeRunner("Conv", 2).set(key, std::move(value)).run({random_tensor(x, 1), random_tensor(w, 2)});
  };
  EXPECT_THROW(run({1, 3, 8, 8}, {4, 2, 3, 3}), Error);
  EXPECT_THROW(run({1, 3, 8, 8}, {4, 3, 9, 3}), Error);
  EXPECT_THROW(run({1, 3, 8, 8}, {4, 3, 3}), Error);
  EXPECT_THROW(run({8, 8}, {4, 3}), Error);
  EXPECT_THROW(run({1, 3, 8, 8}, {4, 3, 3, 3}, "group", std::int64_t{0}), Error);
  EXPECT_THROW(run({1, 3, 8, 8}, {4, 3, 3, 3}, "group", std::int64_t{2}), Error);
  EXPECT_THROW(run({1, 3, 8, 8}, {4, 3, 3, 3}, "strides", Ints{0, 1}), Error);
  EXPECT_THROW(run({1, 3, 8, 8}, {4, 3, 3, 3}, "strides", Ints{1}), Error);
  EXPECT_THROW(run({1, 3, 8, 8}, {4, 3, 3, 3}, "pads", Ints{-1, 0, 0, 0}), Error);
  EXPECT_THROW(run({1, 3, 8, 8}, {4, 3, 3, 3}, "auto_pad", std::string("SOME")), Error);
  EXPECT_THROW(run({1, 3, 8, 8}, {4, 3, 3, 3}, "kernel_shape", Ints{3, 4}), Error);
}

TEST(Convolution, ReproducibleBitsForAnyThreadCountAndBatch) {
  const Tensor x = random_tensor({5, 24, 15, 14}, 1);
  const Tensor w = random_tensor({40, 24, 3, 3}, 2);
  const auto run = [&](int threads, const Tensor& input) {
    return NodeRunner("Conv", 2).options({.threads = threads, .reproducible = true}).run({input, w})[0];
  };
  const Tensor one = run(1, x);
  for (const int threads : {2, 3, 7}) expect_same_bits(run(threads, x), one);
  Tensor image = Tensor::host(DataType::float32, {1, 24, 15, 14});
  std::copy_n(x.data<float>() + 3 * image.elements(), image.elements(), image.mutable_data<float>());
  const Tensor alone = run(2, image);
  EXPECT_TRUE(std::equal(alone.data(), alone.data() + alone.bytes(), one.data() + 3 * alone.bytes()));
}

}  // namespace
}  // namespace tare::test
