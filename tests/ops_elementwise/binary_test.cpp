// Broadcast operators against an element-by-element reference that indexes as numpy does.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "ops_elementwise/operator_run.hpp"

namespace tare::test {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

Shape broadcast(const Shape& a, const Shape& b) {
  Shape result(std::max(a.rank(), b.rank()), 1);
  for (std::size_t i = 0; i < result.rank(); ++i)
    for (const Shape& s : {a, b})
      if (i + s.rank() >= result.rank() && s[i + s.rank() - result.rank()] != 1)
        result[i] = s[i + s.rank() - result.rank()];
  return result;
}

/// The element of a plain tensor of shape `shape` that the element `flat` of `result` sees.
std::int64_t source(std::int64_t flat, const Shape& result, const Shape& shape) {
  std::int64_t at = 0;
  std::int64_t stride = 1;
  for (std::size_t i = result.rank(); i-- > 0;) {
    const std::int64_t index = flat % result[i];
    flat /= result[i];
    if (i + shape.rank() < result.rank()) continue;
    const std::int64_t extent = shape[i + shape.rank() - result.rank()];
    if (extent != 1) at += index * stride;
    stride *= extent;
  }
  return at;
}

template <class T, class R>
std::vector<R> reference(const Tensor& a, const Tensor& b, const std::function<R(T, T)>& f) {
  const Shape shape = broadcast(a.shape(), b.shape());
  std::vector<R> result;
  for (std::int64_t i = 0; i < shape.elements(); ++i)
    result.push_back(f(a.data<T>()[source(i, shape, a.shape())], b.data<T>()[source(i, shape, b.shape())]));
  return result;
}

const std::vector<std::pair<Shape, Shape>>& shapes() {
  static const std::vector<std::pair<Shape, Shape>> all = {
      {{}, {}},
      {{3}, {}},
      {{}, {2, 3}},
      {{0, 3}, {3}},
      {{5, 7}, {5, 7}},
      {{5, 7}, {7}},
      {{5, 7}, {5, 1}},
      {{5, 1}, {1, 7}},
      {{2, 3, 5, 7}, {3, 1, 1}},
      {{1, 3, 1, 1}, {2, 3, 5, 7}},
      {{2, 3, 5, 7}, {2, 3, 5, 7}},
      {{2, 3, 5, 7}, {2, 3, 1, 1}},
      {{2, 3, 5, 7}, {2, 1, 5, 7}},
      {{2, 3, 1, 7}, {1, 3, 5, 1}},
      {{4, 1, 3, 1, 2, 1}, {4, 2, 1, 5, 1, 3}},
      {{3, 70, 90, 5}, {70, 1, 1}},
      {{200, 301}, {301}},
  };
  return all;
}

TEST(Broadcast, FloatsMatchNumpyInEveryShapeAndLayout) {
  const std::vector<std::pair<std::string, std::function<float(float, float)>>> operators = {
      {"Add", [](float x, float y) { return x + y; }},
      {"Sub", [](float x, float y) { return x - y; }},
      {"Mul", [](float x, float y) { return x * y; }},
      {"Div", [](float x, float y) { return x / y; }},
      {"Max", [](float x, float y) { return std::max(x, y); }},
      {"Min", [](float x, float y) { return std::min(x, y); }},
  };
  for (const auto& [first, second] : shapes())
    for (const auto& [op_type, f] : operators) {
      const Tensor a = tensor<float>(first, numbers(first.elements(), -4, 4, 7));
      const Tensor b = tensor<float>(second, numbers(second.elements(), 0.5, 4, 9));
      const OperatorRun run{op_type};
      const Tensor result = run({a, b});
      ASSERT_EQ(result.shape(), broadcast(first, second));
      const std::vector<float> expected = reference<float, float>(a, b, f);
      EXPECT_EQ(values<float>(result), expected) << op_type << first.text() << second.text();
      const bool a_converts = first.rank() >= 3;
      const bool b_converts = second.rank() >= 3;
      if (a_converts) {
        EXPECT_EQ(values<float>(to_plain(run({to_channels_last(a), b}))), expected) << op_type << first.text();
      }
      if (b_converts) {
        EXPECT_EQ(values<float>(to_plain(run({a, to_channels_last(b)}))), expected) << op_type << second.text();
      }
      if (a_converts && b_converts) {
        const Tensor both = run({to_channels_last(a), to_channels_last(b)});
        EXPECT_EQ(both.layout(), Layout::channels_last);
        EXPECT_EQ(values<float>(to_plain(both)), expected);
      }
    }
}

/// Many mantissas at several exponents, and every kind of value, by divisors that are easy and hard to round for.
TEST(Divide, ByANumberRoundsAsTheDivisionDoes) {
  std::vector<float> dividends;
  for (std::uint32_t mantissa = 0; mantissa < 0x800000u; mantissa += 61)
    dividends.push_back(float_of((110u + mantissa % 29) << 23 | mantissa));
  for (std::uint32_t exponent = 0; exponent < 256; ++exponent)
    for (const std::uint32_t mantissa : {0u, 1u, 0x400000u, 0x7fffffu})
      for (std::uint32_t sign = 0; sign < 2; ++sign) {
        dividends.push_back(float_of(sign << 31 | exponent << 23 | mantissa));
        dividends.push_back(sign != 0 ? -0.0f : 3.0f);  // zeros in blocks that are not divided, too
      }
  const Tensor a = tensor<float>({static_cast<std::int64_t>(dividends.size())}, dividends);
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
    for (const float divisor : {6.0f, -6.0f, 3.0f, 10.0f, 255.0f, 0.1f, 49.0f, 8.0f, 1.9999999f, 1.0000001f, 1.9999998f,
                                1e-3f, 1e5f, 3e-20f, 1e30f, 1e-40f, 0.0f, INFINITY, nan}) {
      const Tensor quotients =
          OperatorRun{.op_type = "Div", .options = {.threads = 2, .isa = isa}}({a, tensor<float>({}, {divisor})});
      for (std::size_t i = 0; i < dividends.size(); ++i) {
        const float expected = dividends[i] / divisor;
        const float found = quotients.data<float>()[i];
        ASSERT_TRUE(bits_of(found) == bits_of(expected) || (std::isnan(found) && std::isnan(expected)))
            << dividends[i] << " / " << divisor << ": " << found << ", not " << expected;
      }
    }
}

template <class T>
class Integers : public testing::Test {};
using IntegerTypes = testing::Types<std::int8_t, std::uint8_t, std::int16_t, std::uint16_t, std::int32_t, std::uint32_t,
                                    std::int64_t, std::uint64_t>;
TYPED_TEST_SUITE(Integers, IntegerTypes);

TYPED_TEST(Integers, WrapAndDivideAsExpected) {
  using T = TypeParam;
  const T low = std::numeric_limits<T>::lowest();
  const T high = std::numeric_limits<T>::max();
  const Tensor a = tensor<T>({6}, {low, high, T(7), T(100), T(0), T(3)});
  const Tensor b = tensor<T>({6}, {T(-1), high, T(3), T(100), high, T(5)});
  const auto check = [&](const std::string& op_type, const std::function<T(T, T)>& f) {
    EXPECT_EQ(values<T>(OperatorRun{op_type}({a, b})), (reference<T, T>(a, b, f))) << op_type;
  };
  const auto wide = [](T x) { return static_cast<std::uint64_t>(x); };
  check("Add", [&](T x, T y) { return static_cast<T>(wide(x) + wide(y)); });
  check("Sub", [&](T x, T y) { return static_cast<T>(wide(x) - wide(y)); });
  check("Mul", [&](T x, T y) { return static_cast<T>(wide(x) * wide(y)); });
  check("Div", [&](T x, T y) {
    return y == static_cast<T>(-1) && std::is_signed_v<T> ? static_cast<T>(0 - wide(x)) : static_cast<T>(x / y);
  });
  check("Max", [](T x, T y) { return std::max(x, y); });
  check("BitwiseAnd", [](T x, T y) { return static_cast<T>(x & y); });
  check("BitwiseOr", [](T x, T y) { return static_cast<T>(x | y); });
  check("BitwiseXor", [](T x, T y) { return static_cast<T>(x ^ y); });
  EXPECT_THROW(OperatorRun{"Div"}({a, tensor<T>({}, {T(0)})}), Error);
  EXPECT_THROW(OperatorRun{"Mod"}({a, tensor<T>({}, {T(0)})}), Error);
  if constexpr (std::is_unsigned_v<T>) {
    const Tensor shifts = tensor<T>({6}, {T(1), T(1), T(2), T(sizeof(T) * 8), T(0), T(200)});
    const Tensor left = OperatorRun{"BitShift", {{"direction", std::string("LEFT")}}}({a, shifts});
    EXPECT_EQ(left.template data<T>()[2], T(28));
    EXPECT_EQ(left.template data<T>()[3], T(0));
    const Tensor right = OperatorRun{"BitShift", {{"direction", std::string("RIGHT")}}}({a, shifts});
    EXPECT_EQ(right.template data<T>()[1], static_cast<T>(high >> 1));
    EXPECT_EQ(right.template data<T>()[5], T(0));
  }
}

TEST(Mod, TakesTheSignOfTheDivisorOrOfTheDividend) {
  const Tensor a = tensor<std::int32_t>({6}, {-4, 7, 5, 4, -7, 8});
  const Tensor b = tensor<std::int32_t>({6}, {2, -3, 8, -2, 3, 5});
  EXPECT_EQ(values<std::int32_t>(OperatorRun{"Mod"}({a, b})), (std::vector<std::int32_t>{0, -2, 5, 0, 2, 3}));
  const Attributes truncated = {{"fmod", std::int64_t{1}}};
  EXPECT_EQ(values<std::int32_t>(OperatorRun{"Mod", truncated}({a, b})),
            (std::vector<std::int32_t>{0, 1, 5, 0, -1, 3}));
  const Tensor x = tensor<float>({2}, {-4.5f, 7.25f});
  const Tensor y = tensor<float>({2}, {2, -3});
  EXPECT_EQ(values<float>(OperatorRun{"Mod", truncated}({x, y})), (std::vector<float>{-0.5f, 1.25f}));
  EXPECT_THROW(OperatorRun{"Mod"}({x, y}), Error);
}

TEST(Pow, MixesTypes) {
  const Tensor x = tensor<float>({4}, {1, 2, 3, 4});
  EXPECT_EQ(values<float>(OperatorRun{"Pow"}({x, tensor<std::int64_t>({}, {3})})), (std::vector<float>{1, 8, 27, 64}));
  EXPECT_EQ(values<float>(OperatorRun{"Pow"}({x, tensor<float>({}, {2})})), (std::vector<float>{1, 4, 9, 16}));
  EXPECT_EQ(values<float>(OperatorRun{"Pow"}({x, tensor<float>({}, {0.5f})}))[3], 2.0f);
  EXPECT_EQ(values<float>(OperatorRun{"Pow"}({x, tensor<float>({4}, {2, 2, 2, 2})})),
            (std::vector<float>{1, 4, 9, 16}));
  const Tensor n = tensor<std::int64_t>({4}, {-1, 2, 3, 0});
  EXPECT_EQ(values<std::int64_t>(OperatorRun{"Pow"}({n, tensor<float>({}, {2})})),
            (std::vector<std::int64_t>{1, 4, 9, 0}));
  EXPECT_EQ(values<std::int64_t>(OperatorRun{"Pow"}({n, tensor<std::int32_t>({}, {-3})})),
            (std::vector<std::int64_t>{-1, 0, 0, 0}));
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor edges = tensor<float>({3}, {-inf, -0.0f, nan});
  const Tensor roots = OperatorRun{"Pow"}({edges, tensor<float>({}, {0.5f})});
  EXPECT_EQ(roots.data<float>()[0], inf);
  EXPECT_FALSE(std::signbit(roots.data<float>()[1]));
}

TEST(Variadic, FoldsAnyNumberOfOperandsAndPropagatesNan) {
  const Tensor a = tensor<float>({3}, {1, nan, 3});
  const Tensor b = tensor<float>({2, 1}, {2, 0});
  const Tensor c = tensor<float>({}, {2.5f});
  const std::vector<float> maximum = values<float>(OperatorRun{"Max"}({a, b, c}));
  EXPECT_EQ(maximum[0], 2.5f);
  EXPECT_TRUE(std::isnan(maximum[1]));
  EXPECT_TRUE(std::isnan(values<float>(OperatorRun{"Min"}({b, a}))[4]));
  EXPECT_EQ(maximum[5], 3);
  EXPECT_EQ(values<float>(OperatorRun{"Sum"}({a, b, c}))[5], 5.5f);
  EXPECT_EQ(values<float>(OperatorRun{"Mean"}({a, b, c}))[0], 5.5f / 3);
  EXPECT_EQ(values<float>(OperatorRun{"Mean"}({c})), (std::vector<float>{2.5f}));
  EXPECT_EQ(values<float>(a)[0], 1);  // operands held elsewhere stay
}

TEST(Comparison, GivesBooleans) {
  const Tensor a = tensor<float>({3}, {1, 2, nan});
  const Tensor b = tensor<float>({3}, {2, 2, nan});
  EXPECT_EQ(values<bool>(OperatorRun{"Equal"}({a, b})), (std::vector<bool>{false, true, false}));
  EXPECT_EQ(values<bool>(OperatorRun{"Less"}({a, b})), (std::vector<bool>{true, false, false}));
  EXPECT_EQ(values<bool>(OperatorRun{"LessOrEqual"}({a, b})), (std::vector<bool>{true, true, false}));
  EXPECT_EQ(values<bool>(OperatorRun{"Greater"}({b, a})), (std::vector<bool>{true, false, false}));
  EXPECT_EQ(values<bool>(OperatorRun{"GreaterOrEqual"}({b, a})), (std::vector<bool>{true, true, false}));
  const Tensor p = tensor<bool>({2}, {true, false});
  const Tensor q = tensor<bool>({2, 1}, {true, false});
  EXPECT_EQ(values<bool>(OperatorRun{"And"}({p, q})), (std::vector<bool>{true, false, false, false}));
  EXPECT_EQ(values<bool>(OperatorRun{"Or"}({p, q})), (std::vector<bool>{true, true, true, false}));
  EXPECT_EQ(values<bool>(OperatorRun{"Xor"}({p, q})), (std::vector<bool>{false, true, true, false}));
  EXPECT_EQ(values<bool>(OperatorRun{"Equal"}({p, q})), (std::vector<bool>{true, false, false, true}));
}

TEST(Where, ChoosesInAnyLayout) {
  const Tensor condition = tensor<bool>({3, 1, 1}, {true, false, true});
  const Tensor a = tensor<float>({2, 3, 4, 5}, numbers(120, 0, 1));
  const Tensor b = tensor<float>({}, {-1});
  const std::vector<float> y = values<float>(OperatorRun{"Where"}({condition, a, b}));
  for (std::size_t i = 0; i < 120; ++i) EXPECT_EQ(y[i], i / 20 % 3 == 1 ? -1 : a.data<float>()[i]);
  const Tensor last = OperatorRun{"Where"}({condition, to_channels_last(a), b});
  EXPECT_EQ(last.layout(), Layout::channels_last);
  EXPECT_EQ(values<float>(to_plain(last)), y);
}

TEST(PRelu, BroadcastsTheSlopeOnly) {
  const Tensor x = tensor<float>({1, 2, 2}, {-1, 2, -3, 4});
  const Tensor slope = tensor<float>({2, 1}, {0.5f, 0.25f});
  EXPECT_EQ(values<float>(OperatorRun{"PRelu"}({x, slope})), (std::vector<float>{-0.5f, 2, -0.75f, 4}));
  EXPECT_THROW(OperatorRun{"PRelu"}({slope, x}), Error);
}

TEST(Binary, WritesOverAnOperandThatNobodyHolds) {
  for (const bool second : {false, true}) {
    std::vector<Tensor> inputs = {tensor<float>({3}, {1, 2, 3}), tensor<float>({1}, {10})};
    const void* storage = inputs[0].data();
    if (second) std::swap(inputs[0], inputs[1]);
    const Tensor result = OperatorRun{"Sub"}(std::move(inputs));
    EXPECT_EQ(values<float>(result), second ? (std::vector<float>{9, 8, 7}) : (std::vector<float>{-9, -8, -7}));
    EXPECT_EQ(result.data(), storage);
  }
}

TEST(Binary, RefusesWhatDoesNotFit) {
  const Tensor a = tensor<float>({2, 3}, numbers(6, 0, 1));
  EXPECT_THROW(OperatorRun{"Add"}({a, tensor<float>({2}, {1, 2})}), Error);
  EXPECT_THROW(OperatorRun{"Add"}({a, tensor<double>({}, {1})}), Error);
  EXPECT_THROW(OperatorRun{"Add"}({a}), Error);
  EXPECT_THROW(OperatorRun{"Add"}({a, Tensor()}), Error);
  EXPECT_THROW(OperatorRun{"And"}({a, a}), Error);
  EXPECT_THROW(OperatorRun{"BitwiseAnd"}({a, a}), Error);
  EXPECT_THROW(OperatorRun{"Max"}({}), Error);
  EXPECT_THROW((OperatorRun{"Where"}({a, a, a})), Error);
}

}  // namespace
}  // namespace tare::test
