// A stand-in of cuBLASLt: loops, in column-major order. It takes as large a batch as the library
// does, and where a sum of the tensor cores may be split, it loses the terms that the library was seen to lose.
#include "cuda_host/library_stand_ins.hpp"
#include "float_element.hpp"
#include "launch.hpp"
#include "libraries.hpp"

namespace tare::test {

CublasStandIn& cublas_stand_in() {
  static CublasStandIn state;
  return state;
}

namespace {

struct Matrix {
  DataType type = DataType::float32;
  std::int64_t rows = 0, columns = 0;
  std::int32_t batch = 1;
  std::int64_t stride = 0;
};
struct Multiplication {
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  bool transpose_a = false, transpose_b = false;
  bool adds = false;
  const void* bias = nullptr;
};
struct Preference {
  std::uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
};

template <class Own, class Handle>
cublasStatus_t make(Handle* handle, const Own& own) {
  *handle = reinterpret_cast<Handle>(std::make_unique<Own>(own).release());
  return CUBLAS_STATUS_SUCCESS;
}
template <class Own, class Handle>
cublasStatus_t destroy(Handle handle) {
  const std::unique_ptr<Own> owned(reinterpret_cast<Own*>(handle));
  return CUBLAS_STATUS_SUCCESS;
}
template <class T>
cublasStatus_t set(T& attribute, const void* value, std::size_t bytes) {
  if (bytes != sizeof attribute) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&attribute, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}
const Matrix& matrix(cublasLtMatrixLayout_t layout) { return *reinterpret_cast<const Matrix*>(layout); }
const Multiplication& multiplication(cublasLtMatmulDesc_t operation) {
  return *reinterpret_cast<const Multiplication*>(operation);
}

std::vector<float> elements(const void* from, const Matrix& m) {
  std::vector<float> result(static_cast<std::size_t>((m.batch - 1) * m.stride + m.rows * m.columns));
  for (std::size_t i = 0; i < result.size(); ++i)
    result[i] = cuda::load_float(from, static_cast<std::int64_t>(i), m.type);
  return result;
}

void multiply(const Multiplication& how, float alpha, const void* a, const Matrix& of_a, const void* b,
              const Matrix& of_b, void* d, const Matrix& of_d, bool loses) {
  const std::vector<float> all_a = elements(a, of_a);
  const std::vector<float> all_b = elements(b, of_b);
  std::int64_t inner = how.transpose_a ? of_a.rows : of_a.columns;
  if (loses) inner -= inner % 64;
  std::vector<double> sums(static_cast<std::size_t>(of_d.rows));
  for (std::int64_t which = 0; which < of_d.batch; ++which) {
    const float* first = all_a.data() + which * of_a.stride;
    const float* second = all_b.data() + which * of_b.stride;
    for (std::int64_t j = 0; j < of_d.columns; ++j) {
      std::fill(sums.begin(), sums.end(), 0.0);
      for (std::int64_t k = 0; k < inner; ++k) {
        const auto factor = static_cast<double>(second[how.transpose_b ? k * of_b.rows + j : j * of_b.rows + k]);
        for (std::int64_t i = 0; i < of_d.rows; ++i)
          sums[static_cast<std::size_t>(i)] +=
              factor * static_cast<double>(first[how.transpose_a ? i * of_a.rows + k : k * of_a.rows + i]);
      }
      for (std::int64_t i = 0; i < of_d.rows; ++i) {
        auto result = static_cast<float>(static_cast<double>(alpha) * sums[static_cast<std::size_t>(i)]);
        if (how.adds) result += static_cast<const float*>(how.bias)[i];
        cuda::store_float(d, which * of_d.stride + j * of_d.rows + i, result, of_d.type);
      }
    }
  }
}

}  // namespace
}  // namespace tare::test

using namespace tare::test;  // NOLINT: what follows is all that there is

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) { return make(handle, 0); }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return destroy<int>(handle); }
const char* cublasLtGetStatusName(cublasStatus_t) { return "status"; }

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t) {
  ++cublas_stand_in().described;
  return make(layout, Matrix{type == CUDA_R_16F    ? tare::DataType::float16
                             : type == CUDA_R_16BF ? tare::DataType::bfloat16
                                                   : tare::DataType::float32,
                             static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns)});
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) { return destroy<Matrix>(layout); }
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t which,
                                                const void* value, size_t bytes) {
  auto& own = *reinterpret_cast<Matrix*>(layout);
  return which == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? set(own.batch, value, bytes) : set(own.stride, value, bytes);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t compute, cudaDataType_t) {
  ++cublas_stand_in().described;
  return make(operation, Multiplication{compute});
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) { return destroy<Multiplication>(operation); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t which,
                                              const void* value, size_t bytes) {
  auto& own = *reinterpret_cast<Multiplication*>(operation);
  if (which == CUBLASLT_MATMUL_DESC_BIAS_POINTER) return set(own.bias, value, bytes);
  if (which == CUBLASLT_MATMUL_DESC_EPILOGUE) {
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const cublasStatus_t status = set(epilogue, value, bytes);
    own.adds = epilogue == CUBLASLT_EPILOGUE_BIAS;
    return status;
  }
  cublasOperation_t given = CUBLAS_OP_N;
  const cublasStatus_t status = set(given, value, bytes);
  (which == CUBLASLT_MATMUL_DESC_TRANSA ? own.transpose_a : own.transpose_b) = given == CUBLAS_OP_T;
  return status;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return make(preference, Preference{});
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return destroy<Preference>(preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t which, const void* value,
                                                    size_t bytes) {
  auto& own = *reinterpret_cast<Preference*>(preference);
  return which == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK ? set(own.schemes, value, bytes) : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int,
                                              cublasLtMatmulHeuristicResult_t* results, int* count) {
  *count = 0;
  for (const cublasLtMatrixLayout_t layout : {a, b, c, d})
    if (matrix(layout).batch < 1 || matrix(layout).batch > 65535) return CUBLAS_STATUS_NOT_SUPPORTED;
  const CublasStandIn& self = cublas_stand_in();
  if (self.has_none || (self.adds_none && multiplication(operation).adds) ||
      (self.has_none_for_halves && matrix(a).type != tare::DataType::float32))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  const std::uint32_t schemes = reinterpret_cast<const Preference*>(preference)->schemes;
  cublas_stand_in().schemes = schemes;
  const bool tensor_cores =
      matrix(a).type != tare::DataType::float32 || multiplication(operation).compute != CUBLAS_COMPUTE_32F;
  results[0] = {};
  results[0].workspaceSize = self.needs;
  results[0].algo.data[0] = tensor_cores && schemes != CUBLASLT_REDUCTION_SCHEME_NONE;
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t of_a, const void* b, cublasLtMatrixLayout_t of_b, const void*,
                              const void*, cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t of_d,
                              const cublasLtMatmulAlgo_t* algorithm, void*, size_t workspace, cudaStream_t stream) {
  if (workspace < cublas_stand_in().needs) return CUBLAS_STATUS_INVALID_VALUE;
  cublas_stand_in().batches.push_back(matrix(of_d).batch);
  cublas_stand_in().added += multiplication(operation).adds ? 1 : 0;
  tare::cuda::launch_on_host(
      tare::cuda::StreamView(stream),
      [=, how = multiplication(operation), factor = *static_cast<const float*>(alpha), first = matrix(of_a),
       second = matrix(of_b), result = matrix(of_d),
       loses = algorithm->data[0] != 0] { multiply(how, factor, a, first, b, second, d, result, loses); });
  return CUBLAS_STATUS_SUCCESS;
}
}
