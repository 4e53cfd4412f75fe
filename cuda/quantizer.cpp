// A quantizer made ready for the device: what host/cpu/quantize.cpp finds out for every call, found out once.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "cpu/quantize_plan.hpp"
#include "quantize.hpp"
#include "tare/cuda.hpp"

namespace tare::cuda {
namespace {

[[noreturn]] void fail_data(const TensorEncodings& encodings, const std::string& message) {
  throw Error(ErrorKind::data, fmt::format("quantizer of '{}': {}", encodings.tensor, message));
}

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

/// Geometry, without grids.
struct Geometry {
  GridMap map;
  std::int64_t channels = 1;
  std::int64_t blocks = 1;
};

Geometry lay_out(const Shape& shape, Layout layout, const TensorEncodings& encodings) {
  const cpu::GridAxes axes = cpu::grid_axes(encodings, shape);
  Geometry geometry;
  geometry.channels = axes.channels;
  geometry.blocks = axes.blocks;

  std::vector<std::int64_t> order;
  for (std::size_t i = 0; i < shape.rank(); ++i) order.push_back(static_cast<std::int64_t>(i));
  if (layout == Layout::channels_last && shape.rank() >= 3)
    std::rotate(order.begin() + 1, order.begin() + 2, order.end());

  GridMap& map = geometry.map;
  std::int64_t inside = 1;  // elements of the dimensions further in
  std::size_t found = 0;
  for (auto axis = order.rbegin(); axis != order.rend(); ++axis) {
    const std::int64_t size = shape[static_cast<std::size_t>(*axis)];
    if (size > 1 && (*axis == axes.channel || *axis == axes.block)) {
      GridDimension dimension{1, size, 1, 1};
      if (*axis == axes.block) {
        dimension.block = encodings.spec.block_size;
        dimension.stride = geometry.channels;
      }
      if (found == 0) {
        map.run = inside;
        if (size % dimension.block == 0) {  // whole blocks are runs
          map.run *= dimension.block;
          dimension.size /= dimension.block;
          dimension.block = 1;
        }
      } else {
        dimension.runs_inside = inside / map.run;
      }
      map.dimensions[found++] = dimension;
    }
    inside *= size;
  }
  map.elements = inside;
  return geometry;
}

/// Grids stored [block][channel], so that channels that lie side by side in memory do so here.
std::vector<Grid> make_grids(const Geometry& geometry, const TensorEncodings& encodings) {
  const QuantizerSpec& spec = encodings.spec;
  const std::int64_t wanted = geometry.channels * geometry.blocks;
  if (spec.format != NumberFormat::integer && encodings.encodings.empty())  // a float format needs no range
    return {make_grid(1.0, 0.0, 0.0, 0.0, 0.0)};
  if (spec.format != NumberFormat::float16 && static_cast<std::int64_t>(encodings.encodings.size()) != wanted)
    fail_data(encodings, fmt::format("{} encodings for {} channels of {} blocks", encodings.encodings.size(),
                                     geometry.channels, geometry.blocks));
  std::vector<Grid> grids;
  grids.reserve(static_cast<std::size_t>(wanted));
  for (std::int64_t block = 0; block < geometry.blocks; ++block)
    for (std::int64_t channel = 0; channel < geometry.channels; ++channel) {
      const Encoding& e = encodings.encodings[static_cast<std::size_t>(channel * geometry.blocks + block)];
      grids.push_back(make_grid(e.scale, e.offset, static_cast<double>(spec.steps()), e.min, e.max));
    }
  return grids;
}

}  // namespace

Operation operation_of(Rounding rounding, std::span<const Grid> grids) {
  if (rounding == Rounding::half_up) return Operation::half_up;
  const bool by_product =
      std::all_of(grids.begin(), grids.end(), [](const Grid& grid) { return grid.reciprocal != 0; });
  return by_product ? Operation::half_even_by_product : Operation::half_even;
}

QuantizerPlan plan_quantizer(const Shape& shape, Layout layout, const TensorEncodings& encodings, Rounding rounding) {
  const Geometry geometry = lay_out(shape, layout, encodings);
  QuantizerPlan plan;
  plan.map = geometry.map;
  if (plan.map.elements == 0) return plan;
  const std::vector<Grid> grids = make_grids(geometry, encodings);
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
