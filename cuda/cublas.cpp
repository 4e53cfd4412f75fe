// Matrix products by cuBLASLt. Row-major matrices are the library's column-major ones transposed, so b comes first.
// float32 is faithful unless the options say otherwise, halves are summed in float32; reductions whose order may vary
// are ruled out, and so are those that lose terms.
#include <fmt/format.h>

#include "libraries.hpp"

namespace tare::cuda {
namespace {

constexpr std::size_t most_workspace_bytes = std::size_t{32} << 20;
constexpr std::int64_t most_batch = 65535;  ///< that the library takes in a call

cudaDataType_t data_type(DataType type) {
  return type == DataType::float16 ? CUDA_R_16F : type == DataType::bfloat16 ? CUDA_R_16BF : CUDA_R_32F;
}

/// Products of halves are exact in float32.
cublasComputeType_t compute_type(DataType type, Math math) {
  if (type != DataType::float32) return CUBLAS_COMPUTE_32F;
  switch (math) {
    case Math::tf32: return CUBLAS_COMPUTE_32F_FAST_TF32;
    case Math::bf16: return CUBLAS_COMPUTE_32F_FAST_16BF;
    case Math::float32: break;
  }
  return CUBLAS_COMPUTE_32F;
}

class Layout {
 public:
  Layout(DataType type, std::int64_t rows, std::int64_t columns, std::int64_t batch, std::int64_t stride) {
    TARE_CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&layout_, data_type(type), static_cast<std::uint64_t>(rows),
                                                 static_cast<std::uint64_t>(columns), rows));
    const auto count = static_cast<std::int32_t>(batch);
    TARE_CUBLAS_CHECK(
        cublasLtMatrixLayoutSetAttribute(layout_, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
    TARE_CUBLAS_CHECK(
        cublasLtMatrixLayoutSetAttribute(layout_, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
  }
  ~Layout() { static_cast<void>(cublasLtMatrixLayoutDestroy(layout_)); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  cublasLtMatrixLayout_t get() const { return layout_; }

 private:
  cublasLtMatrixLayout_t layout_ = nullptr;
};

class Operation {
 public:
  /// Beside the product, `bias` is added; it may be null.
  Operation(const Product& product, Math math, const void* bias) {
    TARE_CUBLAS_CHECK(cublasLtMatmulDescCreate(&operation_, compute_type(product.type, math), CUDA_R_32F));
    const cublasOperation_t first = product.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t second = product.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    TARE_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first));
    TARE_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second));
    if (bias == nullptr) return;
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    TARE_CUBLAS_CHECK(
        cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    set_bias(bias);
  }
  /// Of the calls that follow.
  void set_bias(const void* bias) const {
    TARE_CUBLAS_CHECK(
        cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
  }
  ~Operation() { static_cast<void>(cublasLtMatmulDescDestroy(operation_)); }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  cublasLtMatmulDesc_t get() const { return operation_; }

 private:
  cublasLtMatmulDesc_t operation_ = nullptr;
};

/// Ways to add up the parts of a sum that is split: in float32 and in one order. The tensor cores' split kernels have
/// been seen to lose terms (cuBLASLt 13.1 on H100: the last inner % 64, of halves with a float32 result).
std::uint32_t reduction_schemes(const Product& product, Math math) {
  const bool faithful = product.type == DataType::float32 && math == Math::float32;
  return faithful || product.inner % 64 == 0 ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE : CUBLASLT_REDUCTION_SCHEME_NONE;
}

/// The library's first choice among those whose sums have one order.
cublasLtMatmulHeuristicResult_t choose(cublasLtHandle_t handle, const Operation& operation, const Layout& a,
                                       const Layout& b, const Layout& c, const Product& product, Math math,
                                       std::uint32_t alignment) {
  Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceCreate, cublasLtMatmulPreferenceDestroy> preference(
      [](cublasStatus_t status) { TARE_CUBLAS_CHECK(status); });
  const std::size_t workspace = most_workspace_bytes;
  TARE_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference.get(), CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                         &workspace, sizeof workspace));
  const std::uint32_t schemes = reduction_schemes(product, math);
  TARE_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference.get(), CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                         &schemes, sizeof schemes));
  for (const auto which : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                           CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    TARE_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference.get(), which, &alignment, sizeof alignment));
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, operation.get(), a.get(), b.get(), c.get(),
                                                               c.get(), preference.get(), 1, &result, &found);
  if (status != CUBLAS_STATUS_SUCCESS && status != CUBLAS_STATUS_NOT_SUPPORTED)
    fail_library(cublasLtGetStatusName(status), "cublasLtMatmulAlgoGetHeuristic", __FILE__, __LINE__);
  if (status != CUBLAS_STATUS_SUCCESS || found == 0)
    throw NoAlgorithm(ErrorKind::unsupported,
                      fmt::format("cuBLASLt has no product of {} x {} by {} x {}, batch {} ({})", product.rows,
                                  product.inner, product.inner, product.columns, product.batch, name_of(product.type)));
  return result;
}

/// The largest power of two up to 256 that divides the addresses of all matrices, which are so many bytes apart.
std::uint32_t alignment_of(const void* pointer, std::int64_t stride_bytes) {
  const auto bits = reinterpret_cast<std::uintptr_t>(pointer) | static_cast<std::uintptr_t>(stride_bytes) | 256u;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

}  // namespace

/// What the library is told of a product of a shape, and its choice.
struct ProductPlan {
  ProductPlan(cublasLtHandle_t handle, const Product& p, Math math, const void* bias, std::uint32_t alignment)
      : operation(p, math, bias),
        first(p.type, p.transpose_b ? p.inner : p.columns, p.transpose_b ? p.columns : p.inner, p.batch, p.stride_b),
        second(p.type, p.transpose_a ? p.rows : p.inner, p.transpose_a ? p.inner : p.rows, p.batch, p.stride_a),
        result(p.result, p.columns, p.rows, p.batch, p.stride_c),
        chosen(choose(handle, operation, first, second, result, p, math, alignment)) {}

  Operation operation;
  Layout first, second, result;
  cublasLtMatmulHeuristicResult_t chosen;
};

bool Products::multiply(const Product& product, const void* a, const void* b, void* c, const void* bias) {
  Product piece = product;
  piece.batch = piece_of(product.batch, most_batch);
  const auto operand_size = static_cast<std::int64_t>(size_of(product.type));
  const auto result_size = static_cast<std::int64_t>(size_of(product.result));
  try {
    for (std::int64_t first = 0; first < product.batch; first += piece.batch) {
      piece.batch = std::min(piece.batch, product.batch - first);
      libraries_->multiply(piece, static_cast<const std::byte*>(a) + first * product.stride_a * operand_size,
                           static_cast<const std::byte*>(b) + first * product.stride_b * operand_size,
                           static_cast<std::byte*>(c) + first * product.stride_c * result_size, bias);
    }
  } catch (const NoAlgorithm&) {
    if (product.type == DataType::float32 && bias == nullptr) throw;
    return false;
  }
  return true;
}

void Products::Libraries::multiply(const Product& p, const void* a, const void* b, void* c, const void* bias) {
  const auto operand_size = static_cast<std::int64_t>(size_of(p.type));
  const std::uint32_t alignment =
      std::min({alignment_of(a, p.stride_a * operand_size), alignment_of(b, p.stride_b * operand_size),
                alignment_of(c, p.stride_c * static_cast<std::int64_t>(size_of(p.result))), alignment_of(bias, 0)});
  const std::vector<std::int64_t> key{static_cast<std::int64_t>(p.type),
                                      static_cast<std::int64_t>(p.result),
                                      p.rows,
                                      p.columns,
                                      p.inner,
                                      p.transpose_a,
                                      p.transpose_b,
                                      p.batch,
                                      p.stride_a,
                                      p.stride_b,
                                      p.stride_c,
                                      bias != nullptr,
                                      alignment};
  auto known = product_plans.find(key);
  if (known == product_plans.end())
    known = product_plans.emplace(key, std::make_shared<ProductPlan>(blas, p, device.math(), bias, alignment)).first;
  const ProductPlan& plan = *known->second;
  if (bias != nullptr) plan.operation.set_bias(bias);
  const std::size_t bytes = plan.chosen.workspaceSize;
  Tensor workspace;
  if (bytes > 0) workspace = workspace_for(device, bytes);
  const float beta = 0;
  TARE_CUBLAS_CHECK(cublasLtMatmul(blas, plan.operation.get(), &p.alpha, b, plan.first.get(), a, plan.second.get(),
                                   &beta, c, plan.result.get(), c, plan.result.get(), &plan.chosen.algo,
                                   bytes > 0 ? workspace.mutable_data() : nullptr, bytes, device.stream().get()));
}

}  // namespace tare::cuda
