// A stand-in of cuDNN: its convolutions are the CPU backend's. It is as particular as the library
// about sizes and workspaces; which algorithms it has, and which of them run, the tests say.
#include "cuda_host/library_stand_ins.hpp"
#include "float_element.hpp"
#include "launch.hpp"
#include "libraries.hpp"
#include "tare/backend.hpp"

struct cudnnContext {
  cudaStream_t stream = nullptr;
  std::unique_ptr<tare::Backend> host = tare::make_cpu_backend({.threads = 1});
};
struct cudnnTensorStruct {
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  std::vector<int> dims;
};
struct cudnnFilterStruct {
  std::vector<int> dims;
};
struct cudnnConvolutionStruct {
  std::vector<int> pads, strides, dilations;
  int groups = 1;
  int math = CUDNN_DEFAULT_MATH;
};

namespace tare::test {

CudnnStandIn& cudnn_stand_in() {
  static CudnnStandIn state;
  return state;
}

namespace {

struct Asked {
  cudnnTensorStruct x, y;
  cudnnFilterStruct w;
  cudnnConvolutionStruct convolution;
  bool transposed;

  Asked(const cudnnTensorStruct* of_x, const cudnnFilterStruct* of_w, const cudnnConvolutionStruct* of_convolution,
        const cudnnTensorStruct* of_y, bool is_transposed)
      : x(*of_x), y(*of_y), w(*of_w), convolution(*of_convolution), transposed(is_transposed) {}

  int reach(std::size_t d) const { return (w.dims[d + 2] - 1) * convolution.dilations[d] + 1; }
  bool fits() const {
    if (x.dims[0] != y.dims[0] || x.dims[1] != w.dims[1] * convolution.groups || y.dims[1] != w.dims[0]) return false;
    for (std::size_t d = 0; d < convolution.pads.size(); ++d) {
      const int room = x.dims[d + 2] + 2 * convolution.pads[d] - reach(d);
      if (room < 0 || y.dims[d + 2] != room / convolution.strides[d] + 1) return false;
    }
    return true;
  }
};

std::vector<CudnnStandIn::Algorithm> ranking(const Asked& asked) {
  const CudnnStandIn& self = cudnn_stand_in();
  if (self.has_none_for_halves && asked.x.type != CUDNN_DATA_FLOAT) return {};
  if (!self.ranking.empty()) return self.ranking;
  const int math = asked.convolution.math;
  if (asked.transposed) return {{5, math}, {0, math, 0, false}, {1, math}};
  return {{7, math}, {1, math, 1000}, {0, math}};
}

template <class Performance>
cudnnStatus_t put(const std::vector<CudnnStandIn::Algorithm>& list, int most, int* count, Performance* results) {
  *count = 0;
  for (const CudnnStandIn::Algorithm& algorithm : list) {
    if (*count == most) break;
    Performance& p = results[(*count)++];
    p = {};
    p.algo = static_cast<decltype(p.algo)>(algorithm.number);
    p.status = CUDNN_STATUS_SUCCESS;
    p.memory = algorithm.memory;
    p.determinism = algorithm.deterministic ? CUDNN_DETERMINISTIC : CUDNN_NON_DETERMINISTIC;
    p.mathType = static_cast<cudnnMathType_t>(algorithm.math);
  }
  return CUDNN_STATUS_SUCCESS;
}

template <class Performance>
cudnnStatus_t rank(const Asked& asked, int most, int* count, Performance* results) {
  return asked.fits() ? put(ranking(asked), most, count, results) : CUDNN_STATUS_BAD_PARAM;
}

template <class Performance>
cudnnStatus_t search(const Asked& asked, int most, int* count, Performance* results) {
  CudnnStandIn& self = cudnn_stand_in();
  const std::size_t which = self.timed++;
  if (!asked.fits() || self.search_fails) return CUDNN_STATUS_EXECUTION_FAILED;
  if (self.search_lacks_memory) return CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
  return put(which < self.searches.size() ? self.searches[which] : ranking(asked), most, count, results);
}

cudnnStatus_t workspace(const Asked& asked, int number, std::size_t* bytes) {
  const CudnnStandIn& self = cudnn_stand_in();
  const std::pair<int, int> key{number, asked.convolution.math};
  if (!asked.fits() || self.apart.contains(key)) return CUDNN_STATUS_NOT_SUPPORTED;
  const auto needs = self.needs.find(key);
  *bytes = needs == self.needs.end() ? 0 : needs->second;
  return CUDNN_STATUS_SUCCESS;
}

Tensor wide(const std::vector<int>& dims, const void* from, DataType type) {
  const Shape shape(dims.begin(), dims.end());
  std::vector<float> values(static_cast<std::size_t>(shape.elements()));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = cuda::load_float(from, static_cast<std::int64_t>(i), type);
  return Tensor::of<float>(shape, values);
}

void compute(Backend& host, const Asked& asked, const void* from, const void* weights, void* to) {
  const auto list = [](const std::vector<int>& values) {
    return std::vector<std::int64_t>(values.begin(), values.end());
  };
  const cudnnConvolutionStruct& c = asked.convolution;
  Graph graph;
  Node node;
  node.name = "convolution";
  node.op_type = asked.transposed ? "ConvTranspose" : "Conv";
  node.opset = 11;
  node.attributes["group"] = static_cast<std::int64_t>(c.groups);
  node.attributes["strides"] = list(c.strides);
  node.attributes["dilations"] = list(c.dilations);
  std::vector<std::int64_t> pads = list(c.pads);
  pads.insert(pads.end(), c.pads.begin(), c.pads.end());
  node.attributes["pads"] = pads;
  if (asked.transposed) {
    std::vector<std::int64_t> more;
    for (std::size_t d = 0; d < c.pads.size(); ++d)
      more.push_back(asked.x.dims[d + 2] + 2 * c.pads[d] - asked.reach(d) - (asked.y.dims[d + 2] - 1) * c.strides[d]);
    node.attributes["output_padding"] = more;
  }
  node.inputs = {graph.add_value({"x", DataType::float32, {}}), graph.add_value({"w", DataType::float32, {}})};
  node.outputs = {graph.add_value({"y", DataType::float32, {}})};
  const DataType type = asked.x.type == CUDNN_DATA_HALF       ? DataType::float16
                        : asked.x.type == CUDNN_DATA_BFLOAT16 ? DataType::bfloat16
                                                              : DataType::float32;
  std::vector<Tensor> inputs{wide(asked.transposed ? asked.y.dims : asked.x.dims, from, type),
                             wide(asked.w.dims, weights, type)};
  std::vector<Tensor> outputs(1);
  const std::vector<const Tensor*> unknown(2, nullptr);
  host.compile(graph, node, unknown)->run(inputs, outputs);
  const Tensor result = host.to_plain(outputs[0]);
  for (std::int64_t i = 0; i < result.elements(); ++i) cuda::store_float(to, i, result.data<float>()[i], type);
}

cudnnStatus_t run(cudnnHandle_t handle, const Asked& asked, int number, std::size_t given, const void* from,
                  const void* weights, void* to) {
  CudnnStandIn& self = cudnn_stand_in();
  std::size_t bytes = 0;
  if (workspace(asked, number, &bytes) != CUDNN_STATUS_SUCCESS || given < bytes) return CUDNN_STATUS_BAD_PARAM;
  if (self.broken.contains(number)) return CUDNN_STATUS_EXECUTION_FAILED;
  if (self.starving.contains(number)) return CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
  self.runs.push_back({number, asked.convolution.math, asked.x.dims, asked.y.dims, from, to});
  if (self.computes)
    cuda::launch_on_host(cuda::StreamView(handle->stream),
                         [=, &host = *handle->host] { compute(host, asked, from, weights, to); });
  return CUDNN_STATUS_SUCCESS;
}

template <class Object>
cudnnStatus_t make(Object** object) {
  *object = std::make_unique<Object>().release();
  return CUDNN_STATUS_SUCCESS;
}
template <class Object>
cudnnStatus_t destroy(Object* object) {
  const std::unique_ptr<Object> owned(object);
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace
}  // namespace tare::test

using namespace tare::test;  // NOLINT: what follows is all that there is

extern "C" {

size_t cudnnGetVersion() { return 91900; }
const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    case CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED:
      return "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED";
    default: return "another status";
  }
}
cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) { return make(handle); }
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return destroy(handle); }
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* descriptor) { return make(descriptor); }
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t descriptor) { return destroy(descriptor); }
cudnnStatus_t cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t descriptor, cudnnDataType_t type, int rank,
                                         const int* dims, const int* strides) {
  std::int64_t elements = 1;
  for (int d = rank; d-- > 0;) {
    if (strides[d] != elements) return CUDNN_STATUS_BAD_PARAM;
    elements *= dims[d];
  }
  if (elements > INT32_MAX) return CUDNN_STATUS_NOT_SUPPORTED;
  descriptor->type = type;
  descriptor->dims.assign(dims, dims + rank);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* descriptor) { return make(descriptor); }
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t descriptor) { return destroy(descriptor); }
cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t descriptor, cudnnDataType_t, cudnnTensorFormat_t,
                                         int rank, const int* dims) {
  descriptor->dims.assign(dims, dims + rank);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* descriptor) { return make(descriptor); }
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t descriptor) { return destroy(descriptor); }
cudnnStatus_t cudnnSetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t descriptor, int rank, const int* pads,
                                              const int* strides, const int* dilations, cudnnConvolutionMode_t,
                                              cudnnDataType_t) {
  descriptor->pads.assign(pads, pads + rank);
  descriptor->strides.assign(strides, strides + rank);
  descriptor->dilations.assign(dilations, dilations + rank);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t descriptor, int groups) {
  descriptor->groups = groups;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t descriptor, cudnnMathType_t math) {
  descriptor->math = math;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t, const cudnnTensorDescriptor_t x,
                                                     const cudnnFilterDescriptor_t w,
                                                     const cudnnConvolutionDescriptor_t c,
                                                     const cudnnTensorDescriptor_t y, const int most, int* count,
                                                     cudnnConvolutionFwdAlgoPerf_t* results) {
  return rank({x, w, c, y, false}, most, count, results);
}
cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t, const cudnnFilterDescriptor_t w,
                                                          const cudnnTensorDescriptor_t y,
                                                          const cudnnConvolutionDescriptor_t c,
                                                          const cudnnTensorDescriptor_t x, const int most, int* count,
                                                          cudnnConvolutionBwdDataAlgoPerf_t* results) {
  return rank({x, w, c, y, true}, most, count, results);
}
cudnnStatus_t cudnnFindConvolutionForwardAlgorithmEx(cudnnHandle_t, const cudnnTensorDescriptor_t x, const void*,
                                                     const cudnnFilterDescriptor_t w, const void*,
                                                     const cudnnConvolutionDescriptor_t c,
                                                     const cudnnTensorDescriptor_t y, void*, const int most, int* count,
                                                     cudnnConvolutionFwdAlgoPerf_t* results, void*, size_t) {
  return search({x, w, c, y, false}, most, count, results);
}
cudnnStatus_t cudnnFindConvolutionBackwardDataAlgorithmEx(cudnnHandle_t, const cudnnFilterDescriptor_t w, const void*,
                                                          const cudnnTensorDescriptor_t y, const void*,
                                                          const cudnnConvolutionDescriptor_t c,
                                                          const cudnnTensorDescriptor_t x, void*, const int most,
                                                          int* count, cudnnConvolutionBwdDataAlgoPerf_t* results, void*,
                                                          size_t) {
  return search({x, w, c, y, true}, most, count, results);
}
cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t, const cudnnTensorDescriptor_t x,
                                                      const cudnnFilterDescriptor_t w,
                                                      const cudnnConvolutionDescriptor_t c,
                                                      const cudnnTensorDescriptor_t y,
                                                      cudnnConvolutionFwdAlgo_t algorithm, size_t* bytes) {
  return workspace({x, w, c, y, false}, algorithm, bytes);
}
cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t, const cudnnFilterDescriptor_t w,
                                                           const cudnnTensorDescriptor_t y,
                                                           const cudnnConvolutionDescriptor_t c,
                                                           const cudnnTensorDescriptor_t x,
                                                           cudnnConvolutionBwdDataAlgo_t algorithm, size_t* bytes) {
  return workspace({x, w, c, y, true}, algorithm, bytes);
}
cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void*, const cudnnTensorDescriptor_t x,
                                      const void* from, const cudnnFilterDescriptor_t w, const void* weights,
                                      const cudnnConvolutionDescriptor_t c, cudnnConvolutionFwdAlgo_t algorithm, void*,
                                      size_t bytes, const void*, const cudnnTensorDescriptor_t y, void* to) {
  return run(handle, {x, w, c, y, false}, algorithm, bytes, from, weights, to);
}
cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void*, const cudnnFilterDescriptor_t w,
                                           const void* weights, const cudnnTensorDescriptor_t y, const void* from,
                                           const cudnnConvolutionDescriptor_t c,
                                           cudnnConvolutionBwdDataAlgo_t algorithm, void*, size_t bytes, const void*,
                                           const cudnnTensorDescriptor_t x, void* to) {
  return run(handle, {x, w, c, y, true}, algorithm, bytes, from, weights, to);
}
}
