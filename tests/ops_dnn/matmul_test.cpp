// MatMul and Gemm against sums in double.
#include "run_node.hpp"

namespace tare::test {
namespace {

struct Case {
  Shape a, b, expected;
};
std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.a.text() << c.b.text(); }

/// Element `index` of the broadcast batch of an operand, as a pointer offset in matrices.
std::int64_t matrix_of(const Shape& operand, const Shape& batch, std::int64_t index) {
  const std::size_t own = operand.rank() - 2;
  std::int64_t offset = 0;
  std::int64_t stride = 1;
  for (std::size_t i = 0; i < batch.rank(); ++i) {
    const std::size_t axis = batch.rank() - 1 - i;
    const std::int64_t at = index % batch[axis];
    index /= batch[axis];
    if (i >= own) continue;
    const std::int64_t dim = operand[own - 1 - i];
    offset += (dim == 1 ? 0 : at) * stride;
    stride *= dim;
  }
  return offset;
}

std::vector<double> reference(const Tensor& a, const Tensor& b, const Shape& expected) {
  Shape left = a.shape();
  Shape right = b.shape();
  Shape batch = expected;
  if (left.rank() == 1)
    left.insert(0, 1);
  else
    batch.resize(batch.rank() - 1);
  if (right.rank() == 1)
    right.push_back(1);
  else
    batch.resize(batch.rank() - 1);
  const std::int64_t m = left[left.rank() - 2], k = left.back(), n = right.back();
  std::vector<double> result;
  for (std::int64_t i = 0; i < batch.elements(); ++i) {
    const float* l = a.data<float>() + matrix_of(left, batch, i) * m * k;
    const float* r = b.data<float>() + matrix_of(right, batch, i) * k * n;
    for (std::int64_t row = 0; row < m; ++row)
      for (std::int64_t column = 0; column < n; ++column) {
        double sum = 0;
        for (std::int64_t j = 0; j < k; ++j)
          sum += static_cast<double>(l[row * k + j]) * static_cast<double>(r[j * n + column]);
        result.push_back(sum);
      }
  }
  return result;
}

class MatMul : public testing::TestWithParam<Case> {};
TEST_P(MatMul, MatchesTheDefinition) {
  const Case& c = GetParam();
  const Tensor a = random_tensor(c.a, 1);
  const Tensor b = random_tensor(c.b, 2);
  const std::vector<double> expected = reference(a, b, c.expected);
  for (const bool constant : {true, false})
    for (const bool reproducible : {true, false}) {
      NodeRunner node("MatMul", 2);
      node.constants_from(constant ? 1 : 9).options({.threads = 2, .reproducible = reproducible});
      const Tensor y = node.run({a, b})[0];
      expect_close(y, c.expected, expected, 1e-5);
      expect_same_bits(node.again({a, b})[0], y);
    }
  expect_rounded(NodeRunner("MatMul", 2).options({.threads = 2, .wide_sums = true}).run({a, b})[0], expected);
  const Tensor wide = NodeRunner("MatMul", 2).run({as_double(a), as_double(b)})[0];
  ASSERT_EQ(wide.shape().text(), c.expected.text());
  for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(wide.data<double>()[i], expected[i], 1e-12);
}
INSTANTIATE_TEST_SUITE_P(
    Shapes, MatMul,
    testing::Values(Case{{5, 7}, {7, 9}, {5, 9}}, Case{{7}, {7, 9}, {9}}, Case{{5, 7}, {7}, {5}}, Case{{7}, {7}, {}},
                    Case{{2, 3, 5, 7}, {7, 9}, {2, 3, 5, 9}}, Case{{2, 3, 5, 7}, {2, 3, 7, 9}, {2, 3, 5, 9}},
                    Case{{3, 5, 7}, {2, 1, 7, 4}, {2, 3, 5, 4}}, Case{{2, 1, 5, 7}, {1, 3, 7, 4}, {2, 3, 5, 4}},
                    Case{{5, 7}, {3, 7, 4}, {3, 5, 4}}, Case{{7}, {3, 7, 4}, {3, 4}}, Case{{2, 5, 7}, {7}, {2, 5}},
                    Case{{1, 64, 384}, {384, 384}, {1, 64, 384}}, Case{{130, 33}, {33, 257}, {130, 257}},
                    Case{{1, 300}, {300, 1}, {1, 1}}, Case{{0, 4}, {4, 3}, {0, 3}}, Case{{2, 0}, {0, 3}, {2, 3}}));

TEST(MatMul, Integers) {
  const std::int32_t a[] = {1, -2, 3, 4};
  const std::int32_t b[] = {5, 6, 7, -8};
  const Tensor y =
      NodeRunner("MatMul", 2).run({Tensor::of<std::int32_t>({2, 2}, a), Tensor::of<std::int32_t>({2, 2}, b)})[0];
  EXPECT_EQ(std::vector<std::int32_t>(y.data<std::int32_t>(), y.data<std::int32_t>() + 4),
            (std::vector<std::int32_t>{-9, 22, 43, -14}));
}

TEST(MatMul, RefusesWhatDoesNotFit) {
  const auto run = [](const Shape& a, const Shape& b) {
    return NodeRunner("MatMul", 2).run({random_tensor(a, 1), random_tensor(b, 2)});
  };
  EXPECT_THROW(run({2, 3}, {4, 5}), Error);
  EXPECT_THROW(run({2, 2, 3}, {3, 3, 5}), Error);
  EXPECT_THROW(run({}, {3, 5}), Error);
}

TEST(Gemm, EveryCombinationOfItsAttributes) {
  const std::int64_t m = 6, k = 11, n = 19;
  for (const bool trans_a : {false, true})
    for (const bool trans_b : {false, true})
      for (const float alpha : {1.0f, 0.25f})
        for (const float beta : {1.0f, -0.5f, 0.0f})
          for (const Shape& shape : {Shape{n}, Shape{1, n}, Shape{m, 1}, Shape{m, n}, Shape{1}, Shape{}, Shape{1, 1}})
            for (const bool constant : {false, true}) {
              SCOPED_TRACE(testing::Message()
                           << trans_a << trans_b << " " << alpha << " " << beta << " " << shape.text());
              const Tensor a = random_tensor(trans_a ? Shape{k, m} : Shape{m, k}, 1);
              const Tensor b = random_tensor(trans_b ? Shape{n, k} : Shape{k, n}, 2);
              const Tensor c = random_tensor(shape, 3);
              std::vector<double> expected;
              for (std::int64_t i = 0; i < m; ++i)
                for (std::int64_t j = 0; j < n; ++j) {
                  double sum = 0;
                  for (std::int64_t p = 0; p < k; ++p)
                    sum += static_cast<double>(a.data<float>()[trans_a ? p * m + i : i * k + p]) *
                           static_cast<double>(b.data<float>()[trans_b ? j * k + p : p * n + j]);
                  const std::int64_t row = shape.rank() == 2 && shape[0] > 1 ? i : 0;
                  const std::int64_t column = shape.rank() > 0 && shape.back() > 1 ? j : 0;
                  const std::int64_t width = shape.rank() > 0 ? shape.back() : 1;
                  expected.push_back(static_cast<double>(alpha) * sum +
                                     static_cast<double>(beta) *
                                         static_cast<double>(c.data<float>()[row * width + column]));
                }
              NodeRunner node("Gemm", 3);
              node.set("transA", std::int64_t{trans_a})
                  .set("transB", std::int64_t{trans_b})
                  .set("alpha", alpha)
                  .set("beta", beta);
              node.constants_from(constant ? 1 : 9);
              expect_close(node.run({a, b, c})[0], {m, n}, expected, 1e-5);
            }
}

TEST(Gemm, RefusesWhatDoesNotFit) {
  const auto run = [](const Shape& a, const Shape& b, const Shape& c) {
    return NodeRunner("Gemm", 3).run({random_tensor(a, 1), random_tensor(b, 2), random_tensor(c, 3)});
  };
  EXPECT_THROW(run({2, 3}, {4, 5}, {5}), Error);
  EXPECT_THROW(run({2, 3}, {3, 5}, {4}), Error);
  EXPECT_THROW(run({2, 3}, {3, 5}, {3, 2, 5}), Error);
  EXPECT_THROW(run({1, 2, 3}, {3, 5}, {5}), Error);
  EXPECT_THROW(run({1, 5}, {5, 5}, {2, 5}), Error);
}

}  // namespace
}  // namespace tare::test
