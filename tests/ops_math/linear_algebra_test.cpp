#include <gtest/gtest.h>

#include "run.hpp"

namespace tare::test {
namespace {

Tensor einsum(const std::string& equation, std::vector<Tensor> inputs) {
  return run_one({"Einsum", 12, {{"equation", equation}}}, std::move(inputs));
}

/// Sums over every assignment of the letters; no ellipsis.
std::vector<double> reference(const std::vector<std::string>& terms, const std::string& output,
                              const std::vector<Tensor>& inputs) {
  std::map<char, std::int64_t> sizes;
  for (std::size_t t = 0; t < terms.size(); ++t)
    for (std::size_t d = 0; d < terms[t].size(); ++d) sizes[terms[t][d]] = inputs[t].shape()[d];
  Shape all, out;
  std::string letters;
  for (const auto& [letter, size] : sizes) {
    letters += letter;
    all.push_back(size);
  }
  for (const char c : output) out.push_back(sizes[c]);
  std::vector<double> result(static_cast<std::size_t>(out.elements()));
  std::vector<std::vector<double>> values;
  for (const Tensor& input : inputs) values.push_back(values_of(input));
  for_each_index(all, [&](const Shape& index) {
    const auto at = [&](const std::string& term, const Shape& shape) {
      Shape local;
      for (const char c : term) local.push_back(index[letters.find(c)]);
      return static_cast<std::size_t>(offset_of(shape, local));
    };
    double product = 1;
    for (std::size_t t = 0; t < terms.size(); ++t) product *= values[t][at(terms[t], inputs[t].shape())];
    result[at(output, out)] += product;
  });
  return result;
}

TEST(Einsum, EveryKindOfContraction) {
  const Tensor a = random_floats({3, 5, 7}, 1), b = random_floats({3, 7, 19}, 2), c = random_floats({19, 5}, 3),
               m = random_floats({5, 5}, 4);
  const Tensor q = random_floats({2, 6, 3, 8}, 5), k = random_floats({2, 9, 3, 8}, 6);
  const auto check = [](const std::vector<std::string>& terms, const std::string& output,
                        const std::vector<Tensor>& inputs) {
    std::string equation = terms[0];
    for (std::size_t i = 1; i < terms.size(); ++i) equation += ", " + terms[i];
    const Tensor actual = einsum(equation + " -> " + output, inputs);
    expect_near(actual, actual.shape(), reference(terms, output, inputs), 1e-4, 1e-4);
  };
  check({"bij", "bjk"}, "bik", {a, b});
  check({"bij", "bjk"}, "kbi", {a, b});
  check({"bij", "bjk"}, "ik", {a, b});
  check({"bij", "bjk", "ki"}, "b", {a, b, c});
  check({"bij", "bjk", "ki"}, "", {a, b, c});
  check({"ij", "kl"}, "ljki", {m, c});
  check({"ii"}, "i", {m});
  check({"ii"}, "", {m});
  check({"ij"}, "ji", {m});
  check({"ii", "ki"}, "k", {m, c});
  check({"bqhd", "bkhd"}, "bhqk", {q, k});
}

TEST(Einsum, EllipsisAndImplicitOutput) {
  const Tensor a = random_floats({3, 5, 7}, 1), b = random_floats({3, 7, 4}, 2);
  expect_same_bits(einsum("...ij,...jk->...ik", {a, b}), einsum("bij,bjk->bik", {a, b}));
  expect_same_bits(einsum("...ij,...jk", {a, b}), einsum("bij,bjk->bik", {a, b}));
  expect_same_bits(einsum("ba", {random_floats({2, 3})}), einsum("ba->ab", {random_floats({2, 3})}));
  const Tensor one = random_floats({7, 4}, 2);
  EXPECT_EQ(einsum("...ij,...jk", {a, one}).shape().text(), Shape({3, 5, 4}).text());
  expect_near(einsum(",->", {floats({}, {2}), floats({}, {3})}), {}, {6});
  EXPECT_EQ(einsum("ij,jk->ik", {Tensor::host(DataType::float32, {0, 3}), random_floats({3, 2})}).elements(), 0);
  expect_near(einsum("ij,jk->ik", {Tensor::host(DataType::float32, {1, 0}), Tensor::host(DataType::float32, {0, 2})}),
              {1, 2}, {0, 0});
}

TEST(Einsum, SameBitsForAnyThreadsAndInstructionSet) {
  const Tensor a = random_floats({3, 37, 65}, 1), b = random_floats({3, 65, 43}, 2);
  const Operation one{
      "Einsum", 12, {{"equation", std::string("bij,bjk->bik")}}, 1, {.threads = 1, .isa = Isa::baseline}};
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    Operation other = one;
    other.options = {.threads = 3, .isa = isa};
    expect_same_bits(run_one(one, {a, b}), run_one(other, {a, b}));
  }
}

TEST(Einsum, RefusesEquationsThatDoNotFit) {
  const Tensor a = random_floats({2, 3}), b = random_floats({4, 5});
  for (const std::string equation :
       {"ij,jk->ik", "ijk,jk->ik", "ij->ij", "ij,kl->ii", "ij,kl->iz", "i.j,kl", "ij,kl,mn", "i1,kl"})
    EXPECT_THROW(einsum(equation, {a, b}), Error) << equation;
}

TEST(Det, OfMatricesAndBatches) {
  expect_near(run_one({"Det", 11}, {floats({2, 2, 2}, {1, 2, 3, 4, 0, 2, 3, 0})}), {2}, {-2, -6});
  expect_near(run_one({"Det", 11}, {floats({3, 3}, {2, 0, 1, 1, 3, 2, 0, 1, 4})}), {}, {21});
  expect_near(run_one({"Det", 11}, {Tensor::host(DataType::float32, {0, 0})}), {}, {1});
  EXPECT_THROW(run_one({"Det", 11}, {random_floats({2, 3})}), Error);
  EXPECT_THROW(run_one({"Det", 11}, {random_floats({2})}), Error);
}

}  // namespace
}  // namespace tare::test
