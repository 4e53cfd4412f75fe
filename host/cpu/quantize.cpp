// Quantize-dequantize of whole tensors: one read and one write, on all threads, in place where nobody else looks.
// Which grid an element takes says quantize_plan.hpp. Half types pass through a chunk of floats on the stack, and so do
// copies too large for caches.
#include "cpu/quantize.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "cpu/quantize_plan.hpp"
#include "cpu/vector.hpp"

namespace tare::cpu {
namespace {

constexpr std::int64_t grain = 16384;
constexpr std::int64_t half_chunk = 4096;
constexpr std::size_t past_caches = std::size_t{64} << 20;  // bytes from which on a copy is not kept in caches

/// As QuantizePlan::run, on whole tensors, with stores that do not read the line they go to. Pieces of four pages take
/// turns, so that the processor fetches all four ahead; beyond a page it must be asked to. Returns the end of what was
/// done.
std::int64_t run_past_caches(const QuantizePlan& plan, const VectorKernels& vector, const float* in, float* out,
                             std::int64_t begin, std::int64_t end, QuantizePlan::Window& window) {
  constexpr std::int64_t line = 64 / sizeof(float);
  constexpr std::int64_t page = 4096 / sizeof(float);
  constexpr std::int64_t pages = 4;
  constexpr std::int64_t piece = 256;
  alignas(64) std::array<float, piece> quantized;
  for (; begin + pages * page <= end; begin += pages * page)
    for (std::int64_t within = 0; within < page; within += piece)
      for (std::int64_t at = begin + within; at < begin + pages * page; at += page) {
        const std::int64_t next = within + piece < page ? at + piece : at + pages * page - within;
        if (next + piece <= end)
          for (std::int64_t i = 0; i < piece; i += line) __builtin_prefetch(in + next + i);
        plan.run(in + at, quantized.data(), at, at + piece, window);
        vector.copy_past_caches(quantized.data(), out + at, static_cast<std::size_t>(piece));
      }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // such stores keep no order by themselves
  return begin;
}

}  // namespace

Tensor quantize_dequantize(Device& device, Tensor tensor, const TensorEncodings& encodings, Rounding rounding) {
  if (!is_quantizable(tensor.type()))
    throw Error(ErrorKind::data,
                fmt::format("quantizer of '{}': a tensor of type {} cannot be quantized; float32, float16 "
                            "and bfloat16 can",
                            encodings.tensor, name_of(tensor.type())));
  const VectorKernels& vector = device.vector();
  if (tensor.elements() == 0) return tensor;
  const QuantizePlan plan(vector, tensor, encodings, rounding);
  Tensor result = tensor.unique() ? tensor : device.allocate(tensor.type(), tensor.shape(), tensor.layout());
  if (tensor.type() == DataType::float32) {
    const float* in = tensor.data<float>();
    float* out = result.mutable_data<float>();
    const bool past = out != in && tensor.bytes() >= past_caches;
    device.parallel(tensor.elements(), grain, [&](std::int64_t begin, std::int64_t end) {
      QuantizePlan::Window window;
      if (past) begin = run_past_caches(plan, vector, in, out, begin, end, window);
      plan.run(in + begin, out + begin, begin, end, window);
    });
    return result;
  }
  const bool half = tensor.type() == DataType::float16;
  const auto widen = half ? vector.widen_float16 : vector.widen_bfloat16;
  const auto narrow = half ? vector.narrow_float16 : vector.narrow_bfloat16;
  const std::uint16_t* in = tensor.data<std::uint16_t>();
  std::uint16_t* out = result.mutable_data<std::uint16_t>();
  device.parallel(tensor.elements(), grain, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) std::array<float, half_chunk> wide;
    QuantizePlan::Window window;
    for (; begin < end; begin += half_chunk) {
      const std::int64_t stop = std::min(end, begin + half_chunk);
      widen(in + begin, wide.data(), static_cast<std::size_t>(stop - begin));
      plan.run(wide.data(), wide.data(), begin, stop, window);
      narrow(wide.data(), out + begin, static_cast<std::size_t>(stop - begin));
    }
  });
  return result;
}

}  // namespace tare::cpu
