// The file of convolution choices on a device: the process that loads it searches nothing and gives the same bits; and
// what may stand in it rounds little.
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>

#include "cuda/device.hpp"
#include "cuda_host/one_node.hpp"
#include "support/golden.hpp"
#include "support/model_builder.hpp"

namespace tare {
namespace {

std::unique_ptr<Backend> backend_with(std::shared_ptr<cuda::ConvolutionChoices> choices) {
  cuda::CudaOptions options;
  options.choices = std::move(choices);
  return cuda::make_cuda_backend(options);
}

using CudaChoices = test::CudaTest;

TEST_F(CudaChoices, LoadedOnesAreUsedWithoutASearch) {
  const test::TemporaryFolder folder;
  const std::filesystem::path file = folder / "convolutions.json";
  const std::vector<test::Case> cases{
      {"Conv", {test::floats({2, 16, 33, 35}, 1), test::floats({24, 16, 3, 3}, 2), test::floats({24}, 3)}},
      {"Conv", {test::floats({4, 64, 28, 28}, 1), test::floats({128, 64, 1, 1}, 2)}},  // perhaps as a product
      {"ConvTranspose", {test::floats({2, 16, 9, 11}, 4), test::floats({16, 8, 3, 3}, 5)}},
      {"Conv",
       {test::halves({2, 16, 33, 35}, 6, DataType::float16), test::halves({24, 16, 3, 3}, 7, DataType::float16)}}};
  std::vector<Tensor> searched;
  const auto first = cuda::make_convolution_choices();
  for (const test::Case& c : cases) searched.push_back(run(*backend_with(first), c).at(0));
  EXPECT_TRUE(cuda::has_unsaved(*first));
  cuda::save_convolution_choices(*first, file);
  EXPECT_FALSE(cuda::has_unsaved(*first));

  const auto second = cuda::make_convolution_choices();
  cuda::load_convolution_choices(*second, file);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Tensor again = run(*backend_with(second), cases[i]).at(0);
    EXPECT_EQ(std::memcmp(again.data(), searched[i].data(), again.bytes()), 0) << i;
  }
  EXPECT_FALSE(cuda::has_unsaved(*second)) << "something was searched again";
  EXPECT_TRUE(cuda::are_alike(0, 0));
}

TEST_F(CudaChoices, WhatMayBeChosenRoundsLittle) {
  const test::TemporaryFolder folder;
  const std::filesystem::path file = folder / "convolutions.json";
  const test::Case c{"Conv", {test::floats({4, 64, 30, 33}, 1), test::floats({96, 64, 3, 3}, 2)}};
  const Tensor exact = run(*make_cpu_backend({.wide_sums = true}), c).at(0);
  const auto searched = cuda::make_convolution_choices();
  run(*backend_with(searched), c);
  cuda::save_convolution_choices(*searched, file);
  std::ifstream saved(file);
  const std::string text{std::istreambuf_iterator<char>(saved), {}};
  const std::size_t begin = text.find("\"algorithm\"");
  const std::size_t end = text.find('}', begin);
  ASSERT_NE(begin, std::string::npos);
  for (const std::string algorithm : {"implicit_gemm", "implicit_precomp_gemm", "gemm", "winograd"}) {
    std::ofstream(file) << text.substr(0, begin) << R"("algorithm":")" << algorithm
                        << R"(","math_type":"fma","workspace":536870912)" << text.substr(end);
    const auto chosen = cuda::make_convolution_choices();
    cuda::load_convolution_choices(*chosen, file);
    const double error = test::nmse(run(*backend_with(chosen), c).at(0), exact);
    EXPECT_LE(error, 2e-12) << algorithm;
    std::cout << algorithm << ": error " << error
              << (cuda::has_unsaved(*chosen) ? ", of another one: it does not run" : "") << "\n";
  }
}

}  // namespace
}  // namespace tare
