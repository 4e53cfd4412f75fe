// Convolutions by cuDNN, forward and transposed. The algorithm of a shape is chosen once: the fastest of a timed search
// over those that always give the same bits; a reproducible device takes the library's own ranking instead, which does
// not depend on a clock. float32 is faithful unless the options say otherwise.
#include <fmt/format.h>

#include "libraries.hpp"

namespace tare::cuda {
namespace {

constexpr std::size_t most_workspace = std::size_t{1} << 30;
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

TensorDescriptor tensor_descriptor(const Shape& shape) {
  TensorDescriptor descriptor(check);
  const std::vector<int> dims = integers(shape);
  std::vector<int> strides(dims.size(), 1);
  for (std::size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  TARE_CUDNN_CHECK(cudnnSetTensorNdDescriptor(descriptor.get(), CUDNN_DATA_FLOAT, static_cast<int>(dims.size()),
                                              dims.data(), strides.data()));
  return descriptor;
}

struct Descriptors {
  TensorDescriptor x, y;
  FilterDescriptor w;
  ConvolutionDescriptor convolution;

  Descriptors(const Convolution& c, Math math)
      : x(tensor_descriptor(c.x)), y(tensor_descriptor(c.y)), w(check), convolution(check) {
    const std::vector<int> filter = integers(c.w);
    TARE_CUDNN_CHECK(cudnnSetFilterNdDescriptor(w.get(), CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW,
                                                static_cast<int>(filter.size()), filter.data()));
    const std::vector<int> pads = integers(c.pads);
    const std::vector<int> strides = integers(c.strides);
    const std::vector<int> dilations = integers(c.dilations);
    TARE_CUDNN_CHECK(cudnnSetConvolutionNdDescriptor(convolution.get(), static_cast<int>(pads.size()), pads.data(),
                                                     strides.data(), dilations.data(), CUDNN_CROSS_CORRELATION,
                                                     CUDNN_DATA_FLOAT));
    TARE_CUDNN_CHECK(cudnnSetConvolutionGroupCount(convolution.get(), static_cast<int>(c.groups)));
    set_math(math == Math::float32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH);
  }
  void set_math(cudnnMathType_t math) const { TARE_CUDNN_CHECK(cudnnSetConvolutionMathType(convolution.get(), math)); }
};

/// The first of a ranking that runs, always gives the same bits and keeps to the memory and the arithmetic asked for.
template <class Performance>
bool pick(const Performance* ranking, int count, Math math, ChosenAlgorithm& chosen) {
  for (int i = 0; i < count; ++i) {
    const Performance& candidate = ranking[i];
    const bool faithful = candidate.mathType == CUDNN_FMA_MATH || candidate.mathType == CUDNN_DEFAULT_MATH;
    if (candidate.status != CUDNN_STATUS_SUCCESS || candidate.determinism != CUDNN_DETERMINISTIC ||
        candidate.memory > most_workspace || (math == Math::float32 && !faithful))
      continue;
    // The default arithmetic of float32 is TF32: what was found under FMA runs under FMA.
    chosen = {static_cast<int>(candidate.algo), math == Math::float32 ? CUDNN_FMA_MATH : candidate.mathType,
              candidate.memory};
    return true;
  }
  return false;
}

std::vector<std::int64_t> key_of(const Convolution& c) {
  std::vector<std::int64_t> key{c.groups, c.transposed};
  for (const Shape* shape : {&c.x, &c.w, &c.y, &c.pads, &c.strides, &c.dilations})
    key.insert(key.end(), shape->begin(), shape->end());
  return key;
}

}  // namespace

void Products::convolve(const Convolution& c, const float* from, const float* weights, float* to) {
  Libraries& libraries = *libraries_;
  Device& device = libraries.device;
  if (libraries.dnn == nullptr) {
    TARE_CUDNN_CHECK(cudnnCreate(&libraries.dnn));
    TARE_CUDNN_CHECK(cudnnSetStream(libraries.dnn, device.stream().get()));
  }
  const Descriptors d(c, device.math());
  const std::vector<std::int64_t> key = key_of(c);
  auto known = libraries.convolution_algorithms.find(key);
  if (known == libraries.convolution_algorithms.end()) {
    ChosenAlgorithm chosen;
    int count = 0;
    bool found = false;
    cudnnConvolutionFwdAlgoPerf_t forward[most_algorithms];
    cudnnConvolutionBwdDataAlgoPerf_t backward[most_algorithms];
    if (c.transposed) {
      TARE_CUDNN_CHECK(cudnnGetConvolutionBackwardDataAlgorithm_v7(
          libraries.dnn, d.w.get(), d.y.get(), d.convolution.get(), d.x.get(), most_algorithms, &count, backward));
      found = pick(backward, count, device.math(), chosen);
    } else {
      TARE_CUDNN_CHECK(cudnnGetConvolutionForwardAlgorithm_v7(libraries.dnn, d.x.get(), d.w.get(), d.convolution.get(),
                                                              d.y.get(), most_algorithms, &count, forward));
      found = pick(forward, count, device.math(), chosen);
      if (found && !device.reproducible()) {
        std::size_t room = 0;
        for (int i = 0; i < count; ++i)
          if (forward[i].status == CUDNN_STATUS_SUCCESS && forward[i].memory <= most_workspace)
            room = std::max(room, forward[i].memory);
        const Tensor workspace = device.allocate(DataType::uint8, {static_cast<std::int64_t>(room)});
        TARE_CUDNN_CHECK(cudnnFindConvolutionForwardAlgorithmEx(
            libraries.dnn, d.x.get(), from, d.w.get(), weights, d.convolution.get(), d.y.get(), to, most_algorithms,
            &count, forward, const_cast<std::byte*>(workspace.data()), room));
        static_cast<void>(pick(forward, count, device.math(), chosen));
      }
    }
    if (!found)
      throw Error(
          ErrorKind::unsupported,
          fmt::format("cuDNN has no deterministic algorithm for a convolution of {} with {}", c.x.text(), c.w.text()));
    known = libraries.convolution_algorithms.emplace(key, chosen).first;
  }
  const ChosenAlgorithm& chosen = known->second;
  d.set_math(chosen.math);
  const Tensor workspace = device.allocate(DataType::uint8, {static_cast<std::int64_t>(chosen.workspace)});
  auto* scratch = const_cast<std::byte*>(workspace.data());
  const float one = 1;
  const float zero = 0;
  if (c.transposed)
    TARE_CUDNN_CHECK(cudnnConvolutionBackwardData(
        libraries.dnn, &one, d.w.get(), weights, d.y.get(), from, d.convolution.get(),
        static_cast<cudnnConvolutionBwdDataAlgo_t>(chosen.number), scratch, chosen.workspace, &zero, d.x.get(), to));
  else
    TARE_CUDNN_CHECK(cudnnConvolutionForward(libraries.dnn, &one, d.x.get(), from, d.w.get(), weights,
                                             d.convolution.get(), static_cast<cudnnConvolutionFwdAlgo_t>(chosen.number),
                                             scratch, chosen.workspace, &zero, d.y.get(), to));
}

void fail_library(const char* status, const char* what, const char* file, int line) {
  static_cast<void>(cudaGetLastError());
  throw Error(ErrorKind::internal, fmt::format("{}:{}: {} failed: {}", file, line, what, status));
}

Products::Libraries::Libraries(Device& d) : device(d) { TARE_CUBLAS_CHECK(cublasLtCreate(&blas)); }
Products::Libraries::~Libraries() {
  if (dnn != nullptr) static_cast<void>(cudnnDestroy(dnn));
  if (blas != nullptr) static_cast<void>(cublasLtDestroy(blas));
}
Products::Products(Device& device) : libraries_(std::make_unique<Libraries>(device)) {}
Products::~Products() = default;

}  // namespace tare::cuda
