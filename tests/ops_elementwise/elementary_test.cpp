// Every elementary function against the double-precision library over all exponents, signs and edges, and the loops of
// every instruction set against the scalar functions, bit for bit.
#include "tare/elementary.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "cpu/vector.hpp"

namespace tare {
namespace {

constexpr float inf = std::numeric_limits<float>::infinity();

/// Distance in units of the last place of the float nearest to `exact`.
double ulps(float actual, double exact) {
  const float nearest = static_cast<float>(exact);
  if (std::isnan(exact) || std::isnan(actual)) return std::isnan(exact) && std::isnan(actual) ? 0 : 1e9;
  if (std::isinf(nearest) || std::isinf(actual)) return nearest == actual ? 0 : 1e9;
  int exponent;
  std::frexp(nearest, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent - 24, -149));
  return std::abs(static_cast<double>(actual) - exact) / unit;
}

/// Every 977th float: all exponents of both signs, some 4.4 million of them.
template <class Visit>
void sweep(Visit&& visit) {
  for (std::uint64_t bits = 0; bits <= 0xffffffffu; bits += 977) visit(float_of(static_cast<std::uint32_t>(bits)));
  for (const float x :
       {0.0f, -0.0f, inf, -inf, std::numeric_limits<float>::quiet_NaN(), 1.0f, -1.0f, std::numeric_limits<float>::max(),
        std::numeric_limits<float>::lowest(), std::numeric_limits<float>::min(),
        std::numeric_limits<float>::denorm_min(), 88.722835f, 88.72284f, -103.97208f, -87.33655f, 0.6f, 0.93f})
    visit(x);
}

template <class Actual, class Exact>
void expect_within(double limit, Actual&& actual, Exact&& exact) {
  double worst = 0;
  float at = 0;
  sweep([&](float x) {
    const double error = ulps(actual(x), exact(static_cast<double>(x)));
    if (error > worst) {
      worst = error;
      at = x;
    }
  });
  EXPECT_LE(worst, limit) << "at " << at << ": " << actual(at) << " for " << exact(static_cast<double>(at));
}

TEST(Elementary, ExpIsWithinTwoUlp) {
  expect_within(
      2, [](float x) { return elementary::exp(x); }, [](double x) { return std::exp(x); });
}
TEST(Elementary, Expm1IsWithinTwoUlp) {
  expect_within(
      2, [](float x) { return elementary::expm1(x); }, [](double x) { return std::expm1(x); });
}
TEST(Elementary, LogIsWithinTwoUlp) {
  expect_within(
      2, [](float x) { return elementary::log(x); }, [](double x) { return std::log(x); });
}
TEST(Elementary, Log1pIsWithinTwoUlpForPositiveNumbers) {
  expect_within(
      2, [](float x) { return elementary::log1p(std::abs(x)); }, [](double x) { return std::log1p(std::abs(x)); });
}
TEST(Elementary, TanhIsWithinTwoUlp) {
  expect_within(
      2, [](float x) { return elementary::tanh(x); }, [](double x) { return std::tanh(x); });
}
TEST(Elementary, SigmoidIsWithinTwoUlp) {
  expect_within(
      2, [](float x) { return elementary::sigmoid(x); },
      [](double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); });
}
TEST(Elementary, ErfIsWithinTwoUlp) {
  expect_within(
      2, [](float x) { return elementary::erf(x); }, [](double x) { return std::erf(x); });
}
TEST(Elementary, SoftplusIsWithinThreeUlp) {
  expect_within(
      3, [](float x) { return elementary::softplus(x); },
      [](double x) { return (x < 0 ? 0 : x) + std::log1p(std::exp(-std::abs(x))); });
}

/// This file is compiled for every processor: multiply_add is the one without the instruction.
TEST(Elementary, MultiplyAddRoundsOnceWhereNoInstructionDoes) {
  std::mt19937 random(1);
  const auto bits = [&] { return static_cast<std::uint32_t>(random()); };
  const auto expect_fused = [](float a, float b, float c) {
    const float expected = std::fma(a, b, c);
    const float actual = multiply_add(a, b, c);
    ASSERT_TRUE(bits_of(actual) == bits_of(expected) || (std::isnan(actual) && std::isnan(expected)))
        << a << " * " << b << " + " << c << " is " << expected << ", not " << actual;
  };
  const std::vector<float> edges = {0.0f, -0.0f, inf, -inf, std::nanf(""), 1.0f, -1.0f, 0x1p-149f, 0x1.fffffep127f};
  for (const float a : edges)
    for (const float b : edges)
      for (const float c : edges) expect_fused(a, b, c);
  for (int i = 0; i < 1'000'000; ++i) {
    const float a = float_of(bits());
    const float b = float_of(bits());
    expect_fused(a, b, float_of(bits()));
    expect_fused(a, b, -(a * b));  // what rounding lost
    // Halfway between two floats but for a rest that float64 cannot hold beside it.
    const float odd = float_of((bits_of(b) & 0x807fffffu) | 0x3f800001u);
    expect_fused(1.0f + 0x1p-23f * static_cast<float>(bits() % 4096), 0x1p-24f, odd);
    expect_fused(odd, 0x1p-24f, odd);
    expect_fused(odd * 0x1p-60f, 0x1.000002p-60f, odd + 0x1p-24f);
    expect_fused(odd * 0x1p-75f, odd * 0x1p-74f, float_of(bits() & 0x800000ffu));  // a subnormal number
  }
}

TEST(Elementary, OddFunctionsKeepTheSignOfZero) {
  EXPECT_TRUE(std::signbit(elementary::tanh(-0.0f)));
  EXPECT_TRUE(std::signbit(elementary::erf(-0.0f)));
  EXPECT_TRUE(std::signbit(elementary::expm1(-0.0f)));
}

TEST(Elementary, LoopsOfEveryInstructionSetGiveTheSameBits) {
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits <= 0xffffffffu; bits += 65521)
    x.push_back(float_of(static_cast<std::uint32_t>(bits)));
  x.resize(x.size() / 16 * 16 + 13);  // a ragged tail
  const auto run = [&](Isa isa, auto member) {
    std::vector<float> y(x.size());
    (cpu::vector_kernels(isa).*member)(x.data(), y.data(), x.size(), 0.75f, 1.25f);
    return y;
  };
  using Kernels = cpu::VectorKernels;
  for (const auto member :
       {&Kernels::unary_exp, &Kernels::unary_log, &Kernels::unary_tanh, &Kernels::unary_sigmoid, &Kernels::unary_erf,
        &Kernels::unary_softplus, &Kernels::unary_gelu, &Kernels::unary_gelu_tanh, &Kernels::unary_elu,
        &Kernels::unary_selu, &Kernels::unary_celu, &Kernels::unary_swish, &Kernels::unary_mish, &Kernels::unary_round,
        &Kernels::unary_floor, &Kernels::unary_shrink, &Kernels::unary_hard_swish, &Kernels::unary_softsign}) {
    const std::vector<float> expected = run(Isa::baseline, member);
    for (const Isa isa : {cpu::supported_isa(Isa::avx2), cpu::supported_isa(Isa::avx512)}) {
      const std::vector<float> actual = run(isa, member);
      std::size_t differ = 0;
      for (std::size_t i = 0; i < x.size(); ++i)
        differ += bits_of(actual[i]) != bits_of(expected[i]) && !(std::isnan(actual[i]) && std::isnan(expected[i]));
      EXPECT_EQ(differ, 0u);
    }
  }
}

}  // namespace
}  // namespace tare
