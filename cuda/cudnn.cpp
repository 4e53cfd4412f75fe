// Convolutions by cuDNN, forward and transposed. The algorithm of a shape is chosen once for all devices of a run: the
// fastest of a timed search over those that always give the same bits; a reproducible device takes the library's own
// ranking instead, which does not depend on a clock. float32 is faithful unless the options say otherwise, halves are
// summed in float32.
#include <fmt/format.h>

#include "choices.hpp"
#include "libraries.hpp"

namespace tare::cuda {
namespace {

constexpr int most_algorithms = 16;

void check(cudnnStatus_t status) { TARE_CUDNN_CHECK(status); }

using TensorDescriptor = Owned<cudnnTensorDescriptor_t, cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor>;
using FilterDescriptor = Owned<cudnnFilterDescriptor_t, cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor>;
using ConvolutionDescriptor =
    Owned<cudnnConvolutionDescriptor_t, cudnnCreateConvolutionDescriptor, cudnnDestroyConvolutionDescriptor>;

std::vector<int> integers(const Shape& shape) {
  std::vector<int> result;
  for (const std::int64_t dim : shape) {
    if (dim > INT32_MAX) throw Error(ErrorKind::data, fmt::format("cuDNN takes no dimension of {}", dim));
    result.push_back(static_cast<int>(dim));
  }
  return result;
}

cudnnDataType_t data_type(DataType type) {
  return type == DataType::float16    ? CUDNN_DATA_HALF
         : type == DataType::bfloat16 ? CUDNN_DATA_BFLOAT16
                                      : CUDNN_DATA_FLOAT;
}

TensorDescriptor tensor_descriptor(DataType type, const Shape& shape) {
  TensorDescriptor descriptor(check);
  const std::vector<int> dims = integers(shape);
  std::vector<int> strides(dims.size(), 1);
  for (std::size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  TARE_CUDNN_CHECK(cudnnSetTensorNdDescriptor(descriptor.get(), data_type(type), static_cast<int>(dims.size()),
                                              dims.data(), strides.data()));
  return descriptor;
}

/// Operands that must not be rounded; products of halves are exact, whatever multiplies them.
bool is_faithful(DataType type, Math math) { return type == DataType::float32 && math == Math::float32; }

struct Descriptors {
  TensorDescriptor x, y;
  FilterDescriptor w;
  ConvolutionDescriptor convolution;

  Descriptors(const Convolution& c, Math math)
      : x(tensor_descriptor(c.type, c.x)), y(tensor_descriptor(c.type, c.y)), w(check), convolution(check) {
    const std::vector<int> filter = integers(c.w);
    TARE_CUDNN_CHECK(cudnnSetFilterNdDescriptor(w.get(), data_type(c.type), CUDNN_TENSOR_NCHW,
                                                static_cast<int>(filter.size()), filter.data()));
    const std::vector<int> pads = integers(c.pads);
    const std::vector<int> strides = integers(c.strides);
    const std::vector<int> dilations = integers(c.dilations);
    TARE_CUDNN_CHECK(cudnnSetConvolutionNdDescriptor(convolution.get(), static_cast<int>(pads.size()), pads.data(),
                                                     strides.data(), dilations.data(), CUDNN_CROSS_CORRELATION,
                                                     CUDNN_DATA_FLOAT));
    TARE_CUDNN_CHECK(cudnnSetConvolutionGroupCount(convolution.get(), static_cast<int>(c.groups)));
    set_math(is_faithful(c.type, math) ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH);
  }
  void set_math(cudnnMathType_t math) const { TARE_CUDNN_CHECK(cudnnSetConvolutionMathType(convolution.get(), math)); }
};

/// The first of a ranking that runs, always gives the same bits and keeps to the memory and the arithmetic asked for.
template <class Performance>
bool pick(const Performance* ranking, int count, bool faithful, ChosenAlgorithm& chosen) {
  for (int i = 0; i < count; ++i) {
    const Performance& candidate = ranking[i];
    const bool rounds = candidate.mathType != CUDNN_FMA_MATH && candidate.mathType != CUDNN_DEFAULT_MATH;
    if (candidate.status != CUDNN_STATUS_SUCCESS || candidate.determinism != CUDNN_DETERMINISTIC ||
        candidate.memory > most_workspace || (faithful && rounds))
      continue;
    // The default arithmetic of float32 is TF32: what was found under FMA runs under FMA.
    chosen = {static_cast<int>(candidate.algo), static_cast<int>(faithful ? CUDNN_FMA_MATH : candidate.mathType),
              candidate.memory};
    return true;
  }
  return false;
}

/// Memory that the best of a ranking may ask for.
template <class Performance>
std::size_t most_memory(const Performance* ranking, int count) {
  std::size_t room = 0;
  for (int i = 0; i < count; ++i)
    if (ranking[i].status == CUDNN_STATUS_SUCCESS && ranking[i].memory <= most_workspace)
      room = std::max(room, ranking[i].memory);
  return room;
}

/// One direction: the library's ranking, and, where a clock may decide, its timed search.
template <class Performance, class Rank, class Time>
ChosenAlgorithm search(Device& device, const Convolution& c, Rank&& rank, Time&& time) {
  Performance ranking[most_algorithms];
  const bool faithful = is_faithful(c.type, device.math());
  ChosenAlgorithm chosen;
  int count = rank(ranking);
  if (!pick(ranking, count, faithful, chosen))
    throw Error(
        ErrorKind::unsupported,
        fmt::format("cuDNN has no deterministic algorithm for a convolution of {} with {}", c.x.text(), c.w.text()));
  if (device.reproducible()) return chosen;
  const std::size_t room = most_memory(ranking, count);
  const Tensor workspace = device.allocate(DataType::uint8, {static_cast<std::int64_t>(room)});
  count = time(ranking, const_cast<std::byte*>(workspace.data()), room);
  static_cast<void>(pick(ranking, count, faithful, chosen));
  return chosen;
}

}  // namespace

bool Products::takes(DataType type) const {
  return type != DataType::bfloat16 || libraries_->model.at(0) >= 8;  // since compute capability 8.0
}

void Products::convolve(const Convolution& c, const void* from, const void* weights, void* to) {
  Libraries& libraries = *libraries_;
  Device& device = libraries.device;
  if (libraries.dnn == nullptr) {
    TARE_CUDNN_CHECK(cudnnCreate(&libraries.dnn));
    TARE_CUDNN_CHECK(cudnnSetStream(libraries.dnn, device.stream().get()));
  }
  const cudnnHandle_t dnn = libraries.dnn;
  const Descriptors d(c, device.math());
  const auto search_forward = [&] {
    using Performance = cudnnConvolutionFwdAlgoPerf_t;
    return search<Performance>(
        device, c,
        [&](Performance* ranking) {
          int count = 0;
          TARE_CUDNN_CHECK(cudnnGetConvolutionForwardAlgorithm_v7(dnn, d.x.get(), d.w.get(), d.convolution.get(),
                                                                  d.y.get(), most_algorithms, &count, ranking));
          return count;
        },
        [&](Performance* ranking, void* workspace, std::size_t room) {
          int count = 0;
          TARE_CUDNN_CHECK(cudnnFindConvolutionForwardAlgorithmEx(dnn, d.x.get(), from, d.w.get(), weights,
                                                                  d.convolution.get(), d.y.get(), to, most_algorithms,
                                                                  &count, ranking, workspace, room));
          return count;
        });
  };
  const auto search_transposed = [&] {
    using Performance = cudnnConvolutionBwdDataAlgoPerf_t;
    return search<Performance>(
        device, c,
        [&](Performance* ranking) {
          int count = 0;
          TARE_CUDNN_CHECK(cudnnGetConvolutionBackwardDataAlgorithm_v7(dnn, d.w.get(), d.y.get(), d.convolution.get(),
                                                                       d.x.get(), most_algorithms, &count, ranking));
          return count;
        },
        [&](Performance* ranking, void* workspace, std::size_t room) {
          int count = 0;
          TARE_CUDNN_CHECK(cudnnFindConvolutionBackwardDataAlgorithmEx(
              dnn, d.w.get(), weights, d.y.get(), from, d.convolution.get(), d.x.get(), to, most_algorithms, &count,
              ranking, workspace, room));
          return count;
        });
  };
  const ChosenAlgorithm chosen = device.choices().find(
      c, device.math(), libraries.model, [&] { return c.transposed ? search_transposed() : search_forward(); });
  d.set_math(static_cast<cudnnMathType_t>(chosen.math));
  const Tensor workspace = device.allocate(DataType::uint8, {static_cast<std::int64_t>(chosen.workspace)});
  auto* scratch = const_cast<std::byte*>(workspace.data());
  const float one = 1;
  const float zero = 0;
  if (c.transposed)
    TARE_CUDNN_CHECK(cudnnConvolutionBackwardData(dnn, &one, d.w.get(), weights, d.y.get(), from, d.convolution.get(),
                                                  static_cast<cudnnConvolutionBwdDataAlgo_t>(chosen.number), scratch,
                                                  chosen.workspace, &zero, d.x.get(), to));
  else
    TARE_CUDNN_CHECK(cudnnConvolutionForward(dnn, &one, d.x.get(), from, d.w.get(), weights, d.convolution.get(),
                                             static_cast<cudnnConvolutionFwdAlgo_t>(chosen.number), scratch,
                                             chosen.workspace, &zero, d.y.get(), to));
}

void fail_library(const char* status, const char* what, const char* file, int line) {
  static_cast<void>(cudaGetLastError());
  const bool memory = std::string_view(status).find("ALLOC") != std::string_view::npos;
  throw Error(ErrorKind::internal, fmt::format("{}:{}: {} failed: {}{}", file, line, what, status,
                                               memory ? "; lower --batch-size or free device memory" : ""));
}

// The names of choices.cpp are in the order of these numbers.
static_assert(CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM == 0 && CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM == 1 &&
              CUDNN_CONVOLUTION_FWD_ALGO_GEMM == 2 && CUDNN_CONVOLUTION_FWD_ALGO_DIRECT == 3 &&
              CUDNN_CONVOLUTION_FWD_ALGO_FFT == 4 && CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING == 5 &&
              CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD == 6 && CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED == 7 &&
              CUDNN_CONVOLUTION_FWD_ALGO_COUNT == 8);
static_assert(CUDNN_CONVOLUTION_BWD_DATA_ALGO_0 == 0 && CUDNN_CONVOLUTION_BWD_DATA_ALGO_1 == 1 &&
              CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT == 2 && CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING == 3 &&
              CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD == 4 && CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED == 5 &&
              CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT == 6);
static_assert(CUDNN_DEFAULT_MATH == 0 && CUDNN_TENSOR_OP_MATH == 1 && CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION == 2 &&
              CUDNN_FMA_MATH == 3);

ConvolutionPlatform platform_of(int device) {
  const std::size_t version = cudnnGetVersion();
  cudaDeviceProp properties{};
  TARE_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  return {fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100),
          properties.name,
          {properties.major, properties.minor, properties.multiProcessorCount}};
}

bool are_alike(int device, int other) { return platform_of(device) == platform_of(other); }

void load_convolution_choices(ConvolutionChoices& choices, const std::filesystem::path& file, int device) {
  choices.load(file, platform_of(device));
}
void save_convolution_choices(ConvolutionChoices& choices, const std::filesystem::path& file, int device) {
  choices.save(file, platform_of(device));
}

Products::Libraries::Libraries(Device& d) : device(d), model(platform_of(d.index()).model) {
  const CurrentDevice current(device.index());
  TARE_CUBLAS_CHECK(cublasLtCreate(&blas));
}
Products::Libraries::~Libraries() {
  if (dnn != nullptr) static_cast<void>(cudnnDestroy(dnn));
  if (blas != nullptr) static_cast<void>(cublasLtDestroy(blas));
}
Products::Products(Device& device) : libraries_(std::make_unique<Libraries>(device)) {}
Products::~Products() = default;

}  // namespace tare::cuda
