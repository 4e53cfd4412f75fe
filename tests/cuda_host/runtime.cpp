// Stands in for the CUDA runtime. An operator that reads a device tensor on the host faults here, as it would on a GPU
// (device_range.hpp). A captured stream does nothing but note down what it is given; whatever CUDA does not take then
// fails as there, and makes the capture invalid. Odd: a graph that reads host memory which is not page-locked, or no
// longer, ends the program: on a GPU it would read whatever lies there.
#include "cuda_host/stand_in.hpp"

#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "cuda_host/device_range.hpp"
#include "cuda_host/page_locked.hpp"
#include "launch.hpp"

struct CUgraph_st {
  std::vector<std::function<void()>> nodes;
};
struct CUgraphExec_st {
  std::vector<std::function<void()>> nodes;
};
struct CUmemPoolHandle_st {
  int device;
};
struct CUstream_st {
  int device = tare::test::stand_in().device;
  std::unique_ptr<CUgraph_st> captured;  ///< null: not captured
  bool invalid = false;
};
struct CUevent_st {
  int device = tare::test::stand_in().device;
  bool captured = false;  ///< recorded last on a stream that was captured
  cudaStream_t stream = nullptr;
  std::uint64_t last_read = 0;  ///< of page-locked memory, when it was recorded
};

namespace tare::cuda {
namespace {

using test::DeviceRange;
using test::HostLaunch;
using test::PageLocked;
using test::stand_in;

cudaError_t last_error = cudaSuccess;

cudaError_t failed(cudaError_t status) {
  last_error = status;
  return status;
}

bool is_captured(cudaStream_t stream) { return stream != nullptr && stream->captured != nullptr; }

void note(char what) {
  if (stand_in().logs) stand_in().log += what;
}

/// What belongs to a device is let go while that is the current one.
void let_go(int device) {
  if (device != stand_in().device) ++stand_in().strays;
}

/// A call that a captured stream does not take.
cudaError_t invalidate(cudaStream_t stream, cudaError_t status) {
  if (!stream->invalid) ++stand_in().invalid;
  stream->invalid = true;
  return failed(status);
}

/// For calls of whole streams and of memory.
cudaError_t unless_captured(cudaStream_t stream) {
  return is_captured(stream) ? invalidate(stream, cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

cudaError_t give_to(cudaStream_t stream, std::function<void()> work) {
  if (is_captured(stream)) {
    if (stream->invalid) return failed(cudaErrorStreamCaptureInvalidated);
    stream->captured->nodes.push_back(std::move(work));
    return cudaSuccess;
  }
  const HostLaunch launch;
  work();
  return cudaSuccess;
}

}  // namespace

cudaError_t take(void** pointer, std::size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
  if (const cudaError_t status = unless_captured(stream); status != cudaSuccess) return status;
  ++stand_in().takes[pool];
  *pointer = nullptr;
  if (stand_in().takes_to_fail > 0)
    --stand_in().takes_to_fail;
  else
    *pointer = DeviceRange::instance().take(bytes);
  if (*pointer != nullptr) return cudaSuccess;
  note('x');
  return failed(cudaErrorMemoryAllocation);
}

void launch_on_host(StreamView stream, std::function<void()> work) {
  TARE_CUDA_CHECK(give_to(stream.get(), std::move(work)));
}

}  // namespace tare::cuda

namespace tare::test {

StandIn& stand_in() {
  static StandIn state;
  return state;
}

}  // namespace tare::test

using namespace tare::cuda;  // NOLINT: what follows is all that there is
using tare::test::stand_in;

extern "C" {

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  *attributes = {};
  const bool there = DeviceRange::instance().holds(pointer);
  attributes->type = there ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
  attributes->device = there ? stand_in().device : cudaInvalidDeviceId;  // that of all that tests take at a time
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = stand_in().devices;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = stand_in().device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  stand_in().device = device;
  ++stand_in().device_changes;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? 227 << 10
           : attribute == cudaDevAttrMultiProcessorCount        ? 5
           : attribute == cudaDevAttrL2CacheSize                ? stand_in().cache_bytes
                                                                : 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::strncpy(properties->name, "stand-in", sizeof properties->name - 1);
  properties->major = 9;
  properties->multiProcessorCount = 5;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = *total = size_t{16} << 30;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
const char* cudaGetErrorName(cudaError_t) { return "error"; }
const char* cudaGetErrorString(cudaError_t) { return "error"; }
cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* properties) {
  *pool = std::make_unique<CUmemPoolHandle_st>(CUmemPoolHandle_st{properties->location.id}).release();
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) {
  note('t');
  return cudaSuccess;
}
cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
  const std::unique_ptr<CUmemPoolHandle_st> owned(pool);
  let_go(pool->device);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = std::make_unique<CUstream_st>().release();
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::unique_ptr<CUstream_st> owned(stream);
  let_go(stream->device);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  note('s');
  const cudaError_t status = unless_captured(stream);
  if (status == cudaSuccess) PageLocked::instance().arrived(stream, PageLocked::instance().last());
  return status;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = !is_captured(stream) ? cudaStreamCaptureStatusNone
            : stream->invalid    ? cudaStreamCaptureStatusInvalidated
                                 : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  if (flags == cudaEventWaitExternal)
    return is_captured(stream) && !event->captured ? cudaSuccess : failed(cudaErrorInvalidValue);
  if (is_captured(stream) != event->captured)
    return is_captured(stream) ? invalidate(stream, cudaErrorStreamCaptureIsolation)
                               : failed(cudaErrorStreamCaptureUnjoined);
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (is_captured(stream)) return failed(cudaErrorIllegalState);
  stream->captured = std::make_unique<CUgraph_st>();
  stream->invalid = false;
  ++stand_in().captures;
  stand_in().idle = false;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (!is_captured(stream)) return failed(cudaErrorIllegalState);
  std::unique_ptr<CUgraph_st> captured = std::move(stream->captured);
  stand_in().idle = true;
  if (stream->invalid) return failed(cudaErrorStreamCaptureInvalidated);
  *graph = captured.release();
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const std::unique_ptr<CUgraph_st> owned(graph);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* instance, cudaGraph_t graph, unsigned long long) {
  if (stand_in().fails_to_instantiate) return failed(cudaErrorInvalidValue);
  *instance = std::make_unique<CUgraphExec_st>(CUgraphExec_st{graph->nodes}).release();
  ++stand_in().graphs;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t instance) {
  const std::unique_ptr<CUgraphExec_st> owned(instance);
  note('g');
  --stand_in().graphs;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t instance, cudaStream_t stream) {
  if (stand_in().fails_to_launch) return failed(cudaErrorInvalidValue);
  ++stand_in().launches;
  const HostLaunch launch;  // for all its nodes
  for (const std::function<void()>& node : instance->nodes)
    if (const cudaError_t status = give_to(stream, node); status != cudaSuccess) return status;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = std::make_unique<CUevent_st>().release();
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  std::vector<float>& times = stand_in().elapsed_ms;
  *milliseconds = times.empty() ? 1.0f : times.front();
  if (!times.empty()) times.erase(times.begin());
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const std::unique_ptr<CUevent_st> owned(event);
  let_go(event->device);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->captured = is_captured(stream);
  event->stream = stream;
  event->last_read = PageLocked::instance().last();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->captured) return failed(cudaErrorCapturedEvent);
  PageLocked::instance().arrived(event->stream, event->last_read);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  *pointer = std::malloc(bytes);
  if (*pointer == nullptr) return failed(cudaErrorMemoryAllocation);
  PageLocked::instance().add(*pointer, bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* pointer) {
  PageLocked::instance().remove(pointer);
  std::free(pointer);
  return cudaSuccess;
}
cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t stream) {
  return take(pointer, bytes, nullptr, stream);
}
cudaError_t cudaMallocFromPoolAsync(void** pointer, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
  return take(pointer, bytes, pool, stream);
}
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  if (const cudaError_t status = unless_captured(stream); status != cudaSuccess) return status;
  if (stream != nullptr) let_go(stream->device);
  DeviceRange::instance().give(pointer);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const bool reads_host_later = kind == cudaMemcpyHostToDevice && is_captured(stream);
  if (kind == cudaMemcpyHostToDevice && !reads_host_later) {
    stand_in().uploaded += bytes;
    PageLocked::instance().read(stream, from, bytes);
  }
  return give_to(stream, [=] {
    if (reads_host_later && !PageLocked::instance().holds(from, bytes)) {
      std::fputs("a graph reads host memory that may have gone\n", stderr);
      std::abort();
    }
    if (bytes > 0) std::memcpy(to, from, bytes);
  });
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind, cudaStream_t stream) {
  return give_to(stream, [=] {
    for (size_t row = 0; row < height; ++row)
      std::memcpy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
  });
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return give_to(stream, [=] { std::memset(to, value, bytes); });
}
}
