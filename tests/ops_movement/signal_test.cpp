// Fourier transforms against the sum they stand for; windows and counts against their definitions.
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <numbers>

#include "ops_movement/node.hpp"

namespace tare::test {
namespace {

using Complex = std::complex<double>;

Tensor noise(std::mt19937& random, const Shape& shape) {
  std::normal_distribution<double> normal;
  Tensor result = Tensor::host(DataType::float64, shape);
  for (double& value : result.mutable_span<double>()) value = normal(random);
  return result;
}

std::vector<Complex> transform(const std::vector<Complex>& in, bool inverse) {
  std::vector<Complex> out(in.size());
  const auto n = static_cast<double>(in.size());
  for (std::size_t k = 0; k < in.size(); ++k) {
    for (std::size_t j = 0; j < in.size(); ++j)
      out[k] +=
          in[j] * std::polar(1.0, (inverse ? 2 : -2) * std::numbers::pi * static_cast<double>(k * j % in.size()) / n);
    if (inverse) out[k] /= n;
  }
  return out;
}

TEST(Dft, EveryLengthEveryDirection) {
  std::mt19937 random(20240801);
  for (std::int64_t length = 1; length <= 40; ++length)
    for (const std::int64_t parts : {1, 2})
      for (const std::int64_t inverse : {0, 1}) {
        const Tensor in = noise(random, {2, length, 3, parts});
        // Shorter and longer than the signal, and the signal's own length.
        const std::int64_t wanted = length % 3 == 0 ? length : length % 3 == 1 ? length + 2 : length - 1;
        const Tensor out = run({"DFT", {{"inverse", inverse}}, 20}, {in, scalar(wanted), scalar<std::int64_t>(1)})[0];
        ASSERT_EQ(out.shape(), (Shape{2, wanted, 3, 2}));
        for (std::int64_t b = 0; b < 2; ++b)
          for (std::int64_t c = 0; c < 3; ++c) {
            std::vector<Complex> lane(static_cast<std::size_t>(wanted));
            for (std::int64_t i = 0; i < std::min(length, wanted); ++i) {
              const double* value = in.data<double>() + position(in.shape(), {b, i, c, 0});
              lane[static_cast<std::size_t>(i)] = {value[0], parts == 2 ? value[1] : 0.0};
            }
            const std::vector<Complex> expected = transform(lane, inverse != 0);
            for (std::int64_t i = 0; i < wanted; ++i) {
              const double* value = out.data<double>() + position(out.shape(), {b, i, c, 0});
              EXPECT_NEAR(std::abs(Complex(value[0], value[1]) - expected[static_cast<std::size_t>(i)]), 0, 1e-11)
                  << wanted;
            }
          }
      }
}

TEST(Dft, OneSidedAndOldForm) {
  std::mt19937 random(20240802);
  const Tensor in = noise(random, {1, 9, 1});
  const Tensor whole = run({"DFT", {{"axis", std::int64_t{1}}}, 17}, {in})[0];
  const Tensor half = run({"DFT", {{"onesided", std::int64_t{1}}}, 20}, {in})[0];
  ASSERT_EQ(half.shape(), (Shape{1, 5, 2}));
  for (std::int64_t i = 0; i < 10; ++i) EXPECT_EQ(half.data<double>()[i], whole.data<double>()[i]);
  EXPECT_THROW(run({"DFT", {}, 20}, {counting({1, 4, 3})}), Error);
  EXPECT_THROW(run({"DFT", {}, 20}, {counting({1, 4, 1}), scalar<std::int64_t>(0)}), Error);
  EXPECT_THROW(run({"DFT", {}, 20}, {counting({1, 4, 1}), Tensor(), scalar<std::int64_t>(2)}), Error);
  EXPECT_THROW(run({"DFT", {}, 20}, {scalar(1.0f)}), Error);
}

/// The spectrum of real numbers is that of its one half and the conjugate of it.
TEST(Dft, OneSidedInverse) {
  std::mt19937 random(20240804);
  const NodeCase inverse{"DFT", {{"inverse", std::int64_t{1}}, {"onesided", std::int64_t{1}}}, 20};
  for (std::int64_t length = 2; length <= 20; ++length) {
    const Tensor in = noise(random, {2, length, 3, 1});
    const Tensor half =
        run({"DFT", {{"onesided", std::int64_t{1}}}, 20}, {in, scalar(length), scalar<std::int64_t>(1)})[0];
    const Tensor back = run(inverse, {half, scalar(length), scalar<std::int64_t>(1)})[0];
    ASSERT_EQ(back.shape(), in.shape());
    for (std::int64_t i = 0; i < in.elements(); ++i)
      ASSERT_NEAR(back.data<double>()[i], in.data<double>()[i], 1e-12) << length;
    // Without a length, that of the even signal.
    ASSERT_EQ(run(inverse, {half, Tensor(), scalar<std::int64_t>(1)})[0].shape()[1], length / 2 * 2);
  }
  // Shorter and longer transforms cut the half and pad it with zeros.
  const Tensor half = noise(random, {1, 5, 2});
  for (const std::int64_t wanted : {3, 4, 11, 12}) {
    const Tensor out = run(inverse, {half, scalar(wanted), scalar<std::int64_t>(1)})[0];
    std::vector<Complex> whole(static_cast<std::size_t>(wanted));
    for (std::int64_t k = 0; k <= wanted / 2; ++k) {
      const double* value = half.data<double>() + 2 * k;
      const auto at = static_cast<std::size_t>(k);
      if (k < 5) whole[at] = {value[0], value[1]};
      if (k == 0 || 2 * k == wanted) whole[at] = whole[at].real();
      if (k > 0) whole[static_cast<std::size_t>(wanted - k)] = std::conj(whole[at]);
    }
    const std::vector<Complex> expected = transform(whole, true);
    for (std::int64_t i = 0; i < wanted; ++i)
      EXPECT_NEAR(out.data<double>()[i], expected[static_cast<std::size_t>(i)].real(), 1e-12) << wanted;
  }
  EXPECT_THROW(run(inverse, {noise(random, {1, 5, 1})}), Error);
  EXPECT_THROW(run(inverse, {noise(random, {1, 1, 2})}), Error);  // of a single element no length follows
}

TEST(Stft, FramesAreTransformsOfWindowedPieces) {
  std::mt19937 random(20240803);
  const Tensor signal = noise(random, {2, 23, 1});
  const Tensor window = noise(random, {6});
  for (const std::int64_t onesided : {0, 1}) {
    const Tensor out = run({"STFT", {{"onesided", onesided}}, 17}, {signal, scalar<std::int64_t>(4), window})[0];
    ASSERT_EQ(out.shape(), (Shape{2, 5, onesided != 0 ? 4 : 6, 2}));
    for (std::int64_t b = 0; b < 2; ++b)
      for (std::int64_t f = 0; f < 5; ++f) {
        std::vector<Complex> piece(6);
        for (std::int64_t i = 0; i < 6; ++i)
          piece[static_cast<std::size_t>(i)] = signal.data<double>()[b * 23 + f * 4 + i] * window.data<double>()[i];
        const std::vector<Complex> expected = transform(piece, false);
        for (std::int64_t k = 0; k < out.shape()[2]; ++k) {
          const double* value = out.data<double>() + position(out.shape(), {b, f, k, 0});
          EXPECT_NEAR(std::abs(Complex(value[0], value[1]) - expected[static_cast<std::size_t>(k)]), 0, 1e-12);
        }
      }
  }
  EXPECT_THROW(run({"STFT", {}, 17}, {signal, scalar<std::int64_t>(0), window}), Error);
  EXPECT_THROW(run({"STFT", {}, 17}, {signal, scalar<std::int64_t>(1)}), Error);
  EXPECT_THROW(run({"STFT", {}, 17}, {signal, scalar<std::int64_t>(1), Tensor(), scalar<std::int64_t>(24)}), Error);
}

TEST(Windows, EndsAndMiddles) {
  const auto symmetric = [](const char* name, std::int64_t size) {
    return values<float>(run({name, {{"periodic", std::int64_t{0}}}, 17}, {scalar(size)})[0]);
  };
  EXPECT_NEAR(symmetric("HannWindow", 5)[0], 0.0f, 1e-7f);
  EXPECT_NEAR(symmetric("HannWindow", 5)[2], 1.0f, 1e-7f);
  EXPECT_NEAR(symmetric("HammingWindow", 5)[4], 4.0f / 46.0f, 1e-7f);
  EXPECT_NEAR(symmetric("BlackmanWindow", 5)[1], 0.34f, 1e-6f);
  EXPECT_EQ(symmetric("HannWindow", 0).size(), 0u);
  EXPECT_EQ(symmetric("HannWindow", 1).size(), 1u);
  const auto periodic = values<float>(run({"HannWindow", {}, 17}, {scalar<std::int64_t>(4)})[0]);
  EXPECT_NEAR(periodic[1], 0.5f, 1e-7f);
  EXPECT_THROW(symmetric("HannWindow", -1), Error);
}

TEST(MelWeightMatrix, TrianglesWithinTheSpectrum) {
  const std::vector<Tensor> arguments{scalar<std::int64_t>(8), scalar<std::int64_t>(64), scalar<std::int64_t>(8192),
                                      scalar(0.0f)};
  std::vector<Tensor> inputs = arguments;
  inputs.push_back(scalar(4096.0f));
  const Tensor out = run({"MelWeightMatrix", {}, 17}, inputs)[0];
  ASSERT_EQ(out.shape(), (Shape{33, 8}));
  for (std::int64_t band = 0; band < 8; ++band) {
    float peak = 0;
    for (std::int64_t bin = 0; bin < 33; ++bin) peak = std::max(peak, out.data<float>()[bin * 8 + band]);
    EXPECT_EQ(peak, 1.0f);
  }
  inputs.back() = scalar(1e9f);
  EXPECT_THROW(run({"MelWeightMatrix", {}, 17}, inputs), Error);
}

TEST(TfIdf, CountsWithSkipsAndWeights) {
  using Integers = std::vector<std::int64_t>;
  NodeCase node{"TfIdfVectorizer",
                {{"mode", std::string("TF")},
                 {"min_gram_length", std::int64_t{1}},
                 {"max_gram_length", std::int64_t{2}},
                 {"max_skip_count", std::int64_t{1}},
                 {"ngram_counts", Integers{0, 2}},
                 {"ngram_indexes", Integers{2, 1, 0, 3}},
                 {"pool_int64s", Integers{2, 3, 5, 4, 2, 3}}},
                9};
  const Tensor text = tensor<std::int64_t>({2, 4}, {2, 3, 2, 3, 5, 9, 4, 2});
  EXPECT_EQ(values<float>(run(node, {text})[0]), (std::vector<float>{0, 2, 2, 2, 1, 0, 1, 0}));
  node.attributes["weights"] = std::vector<float>{0.5f, 2, 3, 4};
  node.attributes["mode"] = std::string("TFIDF");
  EXPECT_EQ(values<float>(run(node, {text})[0]), (std::vector<float>{0, 4, 1, 8, 3, 0, 0.5f, 0}));
  node.attributes["mode"] = std::string("IDF");
  EXPECT_EQ(values<float>(run(node, {text})[0]), (std::vector<float>{0, 2, 0.5f, 4, 3, 0, 0.5f, 0}));
  node.attributes["ngram_counts"] = Integers{0, 1};
  EXPECT_THROW(run(node, {text}), Error);
}

}  // namespace
}  // namespace tare::test
