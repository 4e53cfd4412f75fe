// Matrix products on a device: no term of a sum is lost, whatever its length.
#include "cuda/device.hpp"
#include "cuda_host/one_node.hpp"
#include "model/real_element.hpp"

namespace tare {
namespace {

using cuda::Math;
using CudaProducts = test::CudaTest;

TEST_F(CudaProducts, OfOnesAreTheNumberOfTerms) {
  const auto check = [](DataType type, Math math, std::int64_t rows, std::int64_t inner) {
    const auto ones = [&](const Shape& shape) {
      Tensor tensor = Tensor::host(DataType::float32, shape);
      for (float& x : tensor.mutable_span<float>()) x = 1.0f;
      return type == DataType::float32 ? tensor : test::narrowed(tensor, type);
    };
    cuda::CudaOptions options;
    options.math = math;
    const auto backend = cuda::make_cuda_backend(options);
    const std::string where = fmt::format("{}, {} x {}", name_of(type), rows, inner);
    Tensor zeros = Tensor::host(type, {8});
    std::memset(zeros.mutable_data(), 0, zeros.bytes());
    // Sums are stored as they are, and as float32, which a bias follows.
    for (const test::Case& c : {test::Case{"MatMul", {ones({rows, inner}), ones({inner, 8})}},
                                test::Case{"Gemm", {ones({rows, inner}), ones({inner, 8}), zeros}}}) {
      const Tensor sums = run(*backend, c).at(0);
      for (std::int64_t i = 0; i < sums.elements(); ++i)
        ASSERT_EQ(real_element(sums, i), static_cast<float>(inner)) << c.op_type << ", " << where << ", element " << i;
    }
  };
  for (const std::int64_t rows : {1, 3, 64}) {
    for (const std::int64_t inner : {11528, 11560, 11536, 2047, 1999})  // float16 has them all
      check(DataType::float16, Math::float32, rows, inner);
    for (const std::int64_t inner : {7200, 248, 255}) check(DataType::bfloat16, Math::float32, rows, inner);
    for (const Math math : {Math::float32, Math::tf32, Math::bf16})
      for (const std::int64_t inner : {11528, 11529}) check(DataType::float32, math, rows, inner);
  }
}

}  // namespace
}  // namespace tare
