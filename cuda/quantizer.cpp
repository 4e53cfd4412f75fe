// A quantizer made ready for the device: what host/cpu/quantize.cpp finds out for every call, found out once.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "quantize.hpp"
#include "tare/cuda.hpp"

namespace tare::cuda {
namespace {

Operation operation_of(NumberFormat format, Rounding rounding, std::span<const Grid> grids) {
  switch (format) {
    case NumberFormat::float16: return Operation::float16;
    case NumberFormat::float8e4m3fn: return Operation::float8e4m3fn;
    case NumberFormat::float8e5m2: return Operation::float8e5m2;
    case NumberFormat::integer: break;
  }
  return cuda::operation_of(rounding, grids);
}

PackedGrid pack(const Grid& grid, Operation operation) {
  if (operation == Operation::half_up) return {grid.scale, grid.zero_point, grid.minimum, grid.maximum};
  return {grid.scale, grid.zero_point, grid.reciprocal, grid.high};
}

}  // namespace

Operation operation_of(Rounding rounding, std::span<const Grid> grids) {
  if (rounding == Rounding::half_up) return Operation::half_up;
  const bool by_product =
      std::all_of(grids.begin(), grids.end(), [](const Grid& grid) { return grid.reciprocal != 0; });
  return by_product ? Operation::half_even_by_product : Operation::half_even;
}

QuantizerPlan plan_quantizer(const Shape& shape, Layout layout, const TensorEncodings& encodings, Rounding rounding) {
  QuantizerPlan plan;
  static_cast<cpu::GridRuns&>(plan.map) = cpu::grid_runs(shape, layout, encodings);
  if (plan.map.elements == 0) return plan;
  const std::vector<Grid> grids = cpu::grids_of(plan.map, encodings);
  plan.map.uniform = grids.front();
  plan.map.operation = operation_of(encodings.spec.format, rounding, grids);
  plan.grids.reserve(grids.size());
  for (const Grid& grid : grids) plan.grids.push_back(pack(grid, plan.map.operation));
  return plan;
}

void quantize_checked(const std::string& tensor, const void* input, void* output, DataType type, const GridMap& map,
                      StreamView stream) {
  if (!is_quantizable(type))
    throw Error(ErrorKind::data,
                fmt::format("quantizer of '{}': a tensor of type {} cannot be quantized; float32, float16 "
                            "and bfloat16 can",
                            tensor, name_of(type)));
  for (const void* pointer : {input, static_cast<const void*>(output)})
    if (reinterpret_cast<std::uintptr_t>(pointer) % size_of(type) != 0)
      throw Error(ErrorKind::usage,
                  fmt::format("quantizer of '{}': data are not aligned to an element of {}", tensor, name_of(type)));
  quantize_dequantize(input, output, type, map, stream);
}

struct Quantizer::Implementation {
  explicit Implementation(StreamView on) : stream(on) {}
  ~Implementation() {
    if (uploaded != nullptr) static_cast<void>(cudaEventDestroy(uploaded));
  }
  Implementation(const Implementation&) = delete;
  Implementation& operator=(const Implementation&) = delete;

  /// What is queued on `other` from now on finds the grids. A stream that is captured does not know the event: its
  /// graph waits for it with every launch.
  void hold_back(StreamView other) const {
    if (uploaded == nullptr || other.get() == stream.get()) return;
    cudaStreamCaptureStatus status{};
    TARE_CUDA_CHECK(cudaStreamIsCapturing(other.get(), &status));
    const unsigned flags = status == cudaStreamCaptureStatusNone ? cudaEventWaitDefault : cudaEventWaitExternal;
    TARE_CUDA_CHECK(cudaStreamWaitEvent(other.get(), uploaded, flags));
  }

  std::string tensor;
  QuantizerPlan plan;
  StreamView stream;  ///< of the constructor
  DeviceBuffer<PackedGrid> grids;
  cudaEvent_t uploaded = nullptr;  ///< null: nothing was
};

Quantizer::Quantizer(const Shape& shape, Layout layout, const TensorEncodings& encodings, Rounding rounding,
                     Stream stream, const Allocator& allocator)
    : implementation_(std::make_unique<Implementation>(StreamView(stream))) {
  Implementation& own = *implementation_;
  own.tensor = encodings.tensor;
  own.plan = plan_quantizer(shape, layout, encodings, rounding);
  if (own.plan.grids.size() <= 1) return;
  own.grids = DeviceBuffer<PackedGrid>(own.plan.grids.size(), own.stream, allocator);
  own.grids.upload(own.plan.grids, own.stream);
  own.plan.map.grids = own.grids.data();
  TARE_CUDA_CHECK(cudaEventCreateWithFlags(&own.uploaded, cudaEventDisableTiming));
  TARE_CUDA_CHECK(cudaEventRecord(own.uploaded, own.stream.get()));
}
Quantizer::~Quantizer() = default;
Quantizer::Quantizer(Quantizer&&) noexcept = default;
Quantizer& Quantizer::operator=(Quantizer&&) noexcept = default;

void Quantizer::run(const void* input, void* output, DataType type, Stream stream) const {
  implementation_->hold_back(StreamView(stream));
  quantize_checked(implementation_->tensor, input, output, type, implementation_->plan.map, StreamView(stream));
}

}  // namespace tare::cuda
