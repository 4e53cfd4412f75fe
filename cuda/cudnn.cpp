// Convolutions by cuDNN, forward and transposed. The algorithm of a shape is chosen once for all devices of a run: the
// fastest of a timed search over those that may be chosen, and cuBLASLt where windows are single elements; a
// reproducible device takes the library's own ranking instead, which does not depend on a clock. One that then does not
// run gives way to the next of the ranking. float32 is faithful unless the options say otherwise, halves are summed in
// float32.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>

#include "choices.hpp"
#include "libraries.hpp"
#include "stopwatch.hpp"

namespace tare::cuda {
namespace {

constexpr int most_algorithms = 16;
constexpr std::int64_t most_elements = INT32_MAX;  ///< of a tensor that the library takes
constexpr std::int64_t alignment = 16;             ///< bytes that its kernels may expect of a tensor's place

void check(cudnnStatus_t status) { TARE_CUDNN_CHECK(status); }

using TensorDescriptor = Owned<cudnnTensorDescriptor_t, cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor>;
using FilterDescriptor = Owned<cudnnFilterDescriptor_t, cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor>;
using ConvolutionDescriptor =
    Owned<cudnnConvolutionDescriptor_t, cudnnCreateConvolutionDescriptor, cudnnDestroyConvolutionDescriptor>;

std::vector<int> integers(const Shape& shape) {
  std::vector<int> result;
  for (const std::int64_t dim : shape) {
    if (dim > most_elements) throw Error(ErrorKind::unsupported, fmt::format("cuDNN takes no dimension of {}", dim));
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

bool is_lack_of_memory(std::string_view status) { return status.find("ALLOC") != std::string_view::npos; }

std::string text_of(const Convolution& c) {
  return fmt::format("a convolution of {} with {} ({})", (c.transposed ? c.y : c.x).text(), c.w.text(),
                     name_of(c.type));
}

/// One convolution, and what the library is asked about it: its two directions have the same functions.
class Task {
 public:
  Task(cudnnHandle_t dnn, const Convolution& c, Math math, const void* from, const void* weights, void* to)
      : convolution(c),
        faithful(is_faithful(c.type, math)),
        dnn_(dnn),
        from_(from),
        weights_(weights),
        to_(to),
        x_(tensor_descriptor(c.type, c.x)),
        y_(tensor_descriptor(c.type, c.y)),
        w_(check),
        window_(check) {
    const std::vector<int> filter = integers(c.w);
    TARE_CUDNN_CHECK(cudnnSetFilterNdDescriptor(w_.get(), data_type(c.type), CUDNN_TENSOR_NCHW,
                                                static_cast<int>(filter.size()), filter.data()));
    const std::vector<int> pads = integers(c.pads);
    const std::vector<int> strides = integers(c.strides);
    const std::vector<int> dilations = integers(c.dilations);
    TARE_CUDNN_CHECK(cudnnSetConvolutionNdDescriptor(window_.get(), static_cast<int>(pads.size()), pads.data(),
                                                     strides.data(), dilations.data(), CUDNN_CROSS_CORRELATION,
                                                     CUDNN_DATA_FLOAT));
    TARE_CUDNN_CHECK(cudnnSetConvolutionGroupCount(window_.get(), static_cast<int>(c.groups)));
  }

  /// In the library's order, which no clock decides.
  std::vector<ChosenAlgorithm> ranking() const {
    set_math(asked());
    if (convolution.transposed)
      return usable<cudnnConvolutionBwdDataAlgoPerf_t>([&](int* count, auto* list) {
        return cudnnGetConvolutionBackwardDataAlgorithm_v7(dnn_, w_.get(), y_.get(), window_.get(), x_.get(),
                                                           most_algorithms, count, list);
      });
    return usable<cudnnConvolutionFwdAlgoPerf_t>([&](int* count, auto* list) {
      return cudnnGetConvolutionForwardAlgorithm_v7(dnn_, x_.get(), w_.get(), window_.get(), y_.get(), most_algorithms,
                                                    count, list);
    });
  }

  /// In the order of the time that they take with this workspace. Overwrites the result.
  std::vector<ChosenAlgorithm> timed(const Tensor& workspace) const {
    set_math(asked());
    if (convolution.transposed)
      return usable<cudnnConvolutionBwdDataAlgoPerf_t>([&](int* count, auto* list) {
        return cudnnFindConvolutionBackwardDataAlgorithmEx(dnn_, w_.get(), weights_, y_.get(), from_, window_.get(),
                                                           x_.get(), to_, most_algorithms, count, list,
                                                           bytes_of(workspace), workspace.bytes());
      });
    return usable<cudnnConvolutionFwdAlgoPerf_t>([&](int* count, auto* list) {
      return cudnnFindConvolutionForwardAlgorithmEx(dnn_, x_.get(), from_, w_.get(), weights_, window_.get(), y_.get(),
                                                    to_, most_algorithms, count, list, bytes_of(workspace),
                                                    workspace.bytes());
    });
  }

  void run(const ChosenAlgorithm& algorithm, const Tensor& workspace) const {
    set_math(algorithm.math);
    const float one = 1;
    const float zero = 0;
    if (convolution.transposed)
      TARE_CUDNN_CHECK(cudnnConvolutionBackwardData(dnn_, &one, w_.get(), weights_, y_.get(), from_, window_.get(),
                                                    static_cast<cudnnConvolutionBwdDataAlgo_t>(algorithm.number),
                                                    bytes_of(workspace), workspace.bytes(), &zero, x_.get(), to_));
    else
      TARE_CUDNN_CHECK(cudnnConvolutionForward(dnn_, &one, x_.get(), from_, w_.get(), weights_, window_.get(),
                                               static_cast<cudnnConvolutionFwdAlgo_t>(algorithm.number),
                                               bytes_of(workspace), workspace.bytes(), &zero, y_.get(), to_));
  }

  const Convolution& convolution;
  const bool faithful;

 private:
  static std::byte* bytes_of(const Tensor& workspace) { return const_cast<std::byte*>(workspace.data()); }
  int asked() const { return faithful ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH; }
  void set_math(int math) const {
    TARE_CUDNN_CHECK(cudnnSetConvolutionMathType(window_.get(), static_cast<cudnnMathType_t>(math)));
  }

  /// Memory that an algorithm needs under an arithmetic; none where the two do not go together.
  std::optional<std::size_t> workspace_of(int number, int math) const {
    set_math(math);
    std::size_t bytes = 0;
    const cudnnStatus_t status =
        convolution.transposed
            ? cudnnGetConvolutionBackwardDataWorkspaceSize(dnn_, w_.get(), y_.get(), window_.get(), x_.get(),
                                                           static_cast<cudnnConvolutionBwdDataAlgo_t>(number), &bytes)
            : cudnnGetConvolutionForwardWorkspaceSize(dnn_, x_.get(), w_.get(), window_.get(), y_.get(),
                                                      static_cast<cudnnConvolutionFwdAlgo_t>(number), &bytes);
    return status == CUDNN_STATUS_SUCCESS ? std::optional(bytes) : std::nullopt;
  }

  /// What may be used of a list, in its order; nothing where the library has no list. The default arithmetic of float32
  /// is TF32: faithful, what was found under it runs under FMA, with other needs and another time, and comes last.
  template <class Performance, class Ask>
  std::vector<ChosenAlgorithm> usable(Ask&& ask) const {
    Performance list[most_algorithms];
    int count = 0;
    const cudnnStatus_t status = ask(&count, list);
    if (is_lack_of_memory(cudnnGetErrorString(status))) check(status);
    if (status != CUDNN_STATUS_SUCCESS) return {};
    if (faithful)
      std::stable_partition(list, list + count, [](const Performance& p) { return p.mathType == CUDNN_FMA_MATH; });
    std::vector<ChosenAlgorithm> result;
    for (const Performance& p : std::span(list, static_cast<std::size_t>(count))) {
      const int number = static_cast<int>(p.algo);
      const bool rounds = p.mathType != CUDNN_FMA_MATH && p.mathType != CUDNN_DEFAULT_MATH;
      if (p.status != CUDNN_STATUS_SUCCESS || p.determinism != CUDNN_DETERMINISTIC ||
          !may_be_chosen(number, faithful, convolution.transposed) || (faithful && rounds))
        continue;
      const int math = static_cast<int>(faithful ? CUDNN_FMA_MATH : p.mathType);
      const std::optional<std::size_t> workspace = workspace_of(number, math);
      if (!workspace || *workspace > most_workspace) continue;
      const ChosenAlgorithm algorithm{number, math, *workspace};
      if (std::find(result.begin(), result.end(), algorithm) == result.end()) result.push_back(algorithm);
    }
    return result;
  }

  cudnnHandle_t dnn_;
  const void* from_;
  const void* weights_;
  void* to_;
  TensorDescriptor x_, y_;
  FilterDescriptor w_;
  ConvolutionDescriptor window_;
};

/// Memory for any one of the candidates. Those that need more than there is are taken off, unless that is all.
Tensor workspace_for_any(Device& device, std::vector<ChosenAlgorithm>& candidates) {
  for (;;) {
    std::size_t most = 0;
    for (const ChosenAlgorithm& candidate : candidates) most = std::max(most, candidate.workspace);
    try {
      return workspace_for(device, most);
    } catch (const Error&) {
      std::erase_if(candidates, [&](const ChosenAlgorithm& candidate) { return candidate.workspace == most; });
      if (candidates.empty()) throw;
    }
  }
}

/// A way to compute a convolution, with memory of its own.
using Run = std::function<void(const ChosenAlgorithm&)>;

/// Whether the product of matrices takes less time than the library's best. Both by the same clock, in turns.
bool is_faster_as_product(Device& device, const ChosenAlgorithm& best, const ChosenAlgorithm& product, const Run& run) {
  constexpr int repetitions = 5;
  constexpr int calls = 8;
  const Stopwatch stopwatch;
  float least_of_best = std::numeric_limits<float>::infinity();
  float least_of_product = least_of_best;
  for (int i = 0; i < repetitions; ++i) {
    least_of_best = std::min(least_of_best, stopwatch(device.stream(), calls, [&] { run(best); }));
    least_of_product = std::min(least_of_product, stopwatch(device.stream(), calls, [&] { run(product); }));
  }
  return least_of_product < least_of_best;
}

/// The fastest one, or, where that cannot be found out, the first of the ranking.
ConvolutionChoices::Found search(Device& device, const Task& task, const Run& run) {
  std::vector<ChosenAlgorithm> candidates = task.ranking();
  if (candidates.empty())
    throw NoAlgorithm(ErrorKind::unsupported,
                      fmt::format("cuDNN has no algorithm for {} that may be chosen", text_of(task.convolution)));
  if (device.reproducible()) return {candidates.front()};
  device.refuse_recording("the algorithm of a convolution is searched for");
  const std::size_t all = candidates.size();
  Tensor workspace = workspace_for_any(device, candidates);
  static_cast<void>(task.timed(workspace));  // what is loaded for the first run of a kernel takes its time
  std::vector<ChosenAlgorithm> timed = task.timed(workspace);
  std::erase_if(timed, [&](const ChosenAlgorithm& algorithm) { return algorithm.workspace > workspace.bytes(); });
  workspace = Tensor();
  static_cast<void>(cudaGetLastError());
  ConvolutionChoices::Found found{timed.empty() ? candidates.front() : timed.front(), candidates.size() == all};
  if (timed.empty() || !task.convolution.is_pointwise()) return found;
  const ChosenAlgorithm product{as_product, found.algorithm.math, 0};
  try {
    if (is_faster_as_product(device, found.algorithm, product, run)) found.algorithm = product;
  } catch (const NoAlgorithm&) {  // NOLINT(bugprone-empty-catch): then it is no product
  } catch (const Error&) {
    found.lasting = false;
  }
  return found;
}

/// Whether an algorithm runs; `failure` is the first of those that do not. Lack of memory is not the algorithm's: it is
/// thrown, so that no other one computes from now on because memory was short once.
bool runs(const Run& run, const ChosenAlgorithm& algorithm, std::optional<Error>& failure) {
  try {
    run(algorithm);
    return true;
  } catch (const LackOfMemory&) {
    throw;
  } catch (const Error& error) {
    if (!failure) failure = error;
    return false;
  }
}

/// Samples of a piece, of `bytes` or a multiple each: the same number in all, but the last may have fewer. Pieces begin
/// where a tensor may begin, unless not even the samples up to there are allowed.
std::int64_t samples_of(std::int64_t batch, std::int64_t most, std::int64_t bytes) {
  if (batch <= most) return batch;
  std::int64_t unit = alignment / std::gcd(alignment, bytes);
  if (unit > most) unit = 1;
  return piece_of((batch + unit - 1) / unit, most / unit) * unit;
}

}  // namespace

bool Products::takes(DataType type) const {
  return type != DataType::bfloat16 || libraries_->model.at(0) >= 8;  // since compute capability 8.0
}

bool Products::convolve(const Convolution& c, const void* from, const void* weights, void* to) {
  const std::int64_t batch = c.x[0];
  const std::int64_t sample_x = c.x.elements() / batch;
  const std::int64_t sample_y = c.y.elements() / batch;
  const std::int64_t most = most_elements / std::max(sample_x, sample_y);
  if (most == 0 || c.w.elements() > most_elements)
    throw Error(ErrorKind::unsupported,
                fmt::format("{} to {}: cuDNN takes no tensor of 2^31 elements or more, and one sample has as many",
                            text_of(c), (c.transposed ? c.x : c.y).text()));
  const auto size = static_cast<std::int64_t>(size_of(c.type));
  Convolution piece = c;
  const std::int64_t samples = samples_of(batch, most, std::gcd(sample_x * size, sample_y * size));
  try {
    for (std::int64_t first = 0; first < batch; first += samples) {
      piece.x[0] = piece.y[0] = std::min(samples, batch - first);
      libraries_->convolve(piece,
                           static_cast<const std::byte*>(from) + first * size * (c.transposed ? sample_y : sample_x),
                           weights, static_cast<std::byte*>(to) + first * size * (c.transposed ? sample_x : sample_y));
    }
  } catch (const NoAlgorithm&) {
    if (c.type == DataType::float32) throw;
    return false;
  }
  return true;
}

void Products::Libraries::convolve(const Convolution& c, const void* from, const void* weights, void* to) {
  if (dnn == nullptr) {
    TARE_CUDNN_CHECK(cudnnCreate(&dnn));
    TARE_CUDNN_CHECK(cudnnSetStream(dnn, device.stream().get()));
  }
  const Task task(dnn, c, device.math(), from, weights, to);
  ConvolutionChoices& choices = device.choices();
  const Run run = [&](const ChosenAlgorithm& algorithm) {
    if (algorithm.number == as_product) return multiply(c.as_product(), weights, from, to);
    task.run(algorithm, workspace_for(device, algorithm.workspace));
  };
  const ChosenAlgorithm chosen = choices.find(c, device.math(), model, [&] { return search(device, task, run); });
  std::optional<Error> failure;
  if (runs(run, chosen, failure)) return;
  device.refuse_recording(failure->what());
  for (const ChosenAlgorithm& other : task.ranking()) {
    if (other == chosen || !runs(run, other, failure)) continue;
    choices.replace(c, device.math(), model, other);
    return;
  }
  throw NoAlgorithm(failure->kind(), failure->what());
}

Tensor workspace_for(Device& device, std::size_t bytes) {
  try {
    return device.allocate(DataType::uint8, {static_cast<std::int64_t>(bytes)});
  } catch (const Error& error) {
    throw LackOfMemory(error.kind(), error.what());
  }
}

void fail_library(const char* status, const char* what, const char* file, int line) {
  static_cast<void>(cudaGetLastError());
  const std::string message = fmt::format("{}:{}: {} failed: {}", file, line, what, status);
  if (is_lack_of_memory(status))
    throw LackOfMemory(ErrorKind::internal, message + "; lower --batch-size or free device memory");
  throw Error(ErrorKind::internal, message);
}

// The names of choices.cpp are in the order of these numbers.
static_assert(CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM == 0 && CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM == 1 &&
              CUDNN_CONVOLUTION_FWD_ALGO_GEMM == 2 && CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD == 6 &&
              CUDNN_CONVOLUTION_FWD_ALGO_COUNT == as_product && CUDNN_CONVOLUTION_BWD_DATA_ALGO_1 == 1);
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
