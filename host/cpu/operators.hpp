// How an ONNX operator is added to the CPU backend: write `void softmax(Call& call)`, list it in its file's
// register_… function, done. Operators that keep state between batches (packed weights, library primitives) derive from
// Kernel and give a factory instead.
// Odd: half types. An operator marked Half::widen never sees float16/bfloat16: its inputs are widened to float32 and
// its float32 outputs that correspond to half inputs are rounded back (to nearest even) around the call.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tare/backend.hpp"

namespace tare::cpu {

struct VectorKernels;

/// One loop of a strided copy; strides count elements.
struct CopyLoop {
  std::int64_t count;
  std::int64_t from;  ///< source stride
  std::int64_t to;    ///< destination stride; every destination is written once
};
struct ResizeTaps;

/// What every operator of one backend shares: threads, instruction set, memory. Outlives the kernels.
/// Another device can take over the operators that only move or resize: it gives the memory and the loops below, and
/// the operators plan for it as they do for the host.
class Device {
 public:
  explicit Device(const CpuOptions& options);
  virtual ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// Pooled memory: freed blocks are kept by size for the next batch; no page faults in the steady state.
  virtual Tensor allocate(DataType type, const Shape& shape, Layout layout = Layout::plain);
  /// Empties the pool of freed blocks.
  void trim();

  // Loops over memory that is not the host's. False: the caller's own loops do it.
  virtual bool copies(std::span<const CopyLoop>, std::size_t /*element_size*/, const void* /*from*/,
                      void* /*to*/) const {
    return false;
  }
  /// One element, which lies on the host, to every destination.
  virtual bool fills(std::span<const CopyLoop>, std::size_t /*element_size*/, const void* /*value*/,
                     void* /*to*/) const {
    return false;
  }
  /// out[i, j, …] = in[indices[0][i], indices[1][j], …]; an empty list is every index in order.
  virtual bool looks_up(const Tensor& /*in*/, Tensor& /*out*/,
                        std::span<const std::vector<std::int64_t>> /*indices*/) const {
    return false;
  }
  /// A resize of one axis, float32: [outer, in, inner] to [outer, out, inner].
  virtual bool blends(std::int64_t /*outer*/, std::int64_t /*in_size*/, std::int64_t /*out_size*/,
                      std::int64_t /*inner*/, const ResizeTaps&, const float* /*in*/, float* /*out*/) const {
    return false;
  }

  int threads() const { return threads_; }
  bool reproducible() const { return reproducible_; }
  bool wide_sums() const { return wide_sums_; }
  Isa isa() const { return isa_; }
  /// Loops compiled for this instruction set.
  const VectorKernels& vector() const { return *vector_; }

  /// Calls body(begin, end) over [0, count) on this device's threads, in chunks of at least `grain`; on the calling
  /// thread when one chunk is enough. The partition never influences what a body writes.
  template <class Body>
  void parallel(std::int64_t count, std::int64_t grain, Body&& body) const {
    const std::int64_t chunks = chunk_count(count, grain);
    if (chunks <= 1) {
      if (count > 0) body(std::int64_t{0}, count);
      return;
    }
    run_chunks(chunks, [&](std::int64_t chunk) { body(count * chunk / chunks, count * (chunk + 1) / chunks); });
  }

 private:
  std::int64_t chunk_count(std::int64_t count, std::int64_t grain) const;
  void run_chunks(std::int64_t chunks, const std::function<void(std::int64_t)>& body) const;

  int threads_;
  bool reproducible_;
  bool wide_sums_;
  Isa isa_;
  const VectorKernels* vector_;
  struct Pool;
  std::shared_ptr<Pool> pool_;
};

/// One invocation of an operator.
struct Call {
  const Node& node;
  Device& device;
  std::span<Tensor> inputs;
  std::span<Tensor> outputs;

  bool has(std::size_t i) const { return i < inputs.size() && inputs[i].present(); }
  bool wants(std::size_t i) const { return i < node.outputs.size() && node.outputs[i] != absent; }
  /// A required input; fails when the node omits it.
  const Tensor& input(std::size_t i) const {
    if (!has(i)) fail("input " + std::to_string(i) + " is missing");
    return inputs[i];
  }
  /// Makes outputs[i] and returns it.
  Tensor& output(std::size_t i, DataType type, const Shape& shape, Layout layout = Layout::plain) {
    outputs[i] = device.allocate(type, shape, layout);
    return outputs[i];
  }
  /// outputs[o] takes over the storage of inputs[i] when nobody else holds it and type and shape agree; else new
  /// storage. inputs[i] stays readable (same memory).
  Tensor& output_reusing(std::size_t o, std::size_t i, DataType type, const Shape& shape,
                         Layout layout = Layout::plain);
  /// Throws Error(data) "<node>: <message>".
  [[noreturn]] void fail(const std::string& message) const;
};

using Function = void (*)(Call&);
struct Compile {
  const Graph& graph;
  const Node& node;
  Device& device;
  std::span<const Tensor* const> constants;  ///< null where not known before the run
};
using Factory = std::unique_ptr<Kernel> (*)(const Compile&);
/// The kernel of a node, with what halves and objects need around it. Throws Error(unsupported).
std::unique_ptr<Kernel> make_kernel(const Compile& compile);

enum class Half { widen, native };
/// A float32 tensor as one of halves.
Tensor narrow(Device& device, const Tensor& wide, DataType type);

struct Operator {
  Function function = nullptr;  ///< stateless
  Factory factory = nullptr;    ///< or stateful
  Half half = Half::widen;
  bool channels_last = false;  ///< takes (and may return) channels_last tensors
  int first_opset = 1;         ///< lowest opset version this implementation is right for
  bool objects = false;        ///< takes strings, sequences and missing optional values; others never see them
};

/// Key: "Softmax" for ai.onnx, "com.microsoft::FusedConv" for other domains.
class OperatorTable {
 public:
  void add(std::string_view name, const Operator& op) { operators_.insert_or_assign(std::string(name), op); }
  void add(std::string_view name, Function function, Half half = Half::widen) {
    add(name, Operator{.function = function, .half = half});
  }
  const Operator* find(const Node& node) const;

 private:
  std::map<std::string, Operator, std::less<>> operators_;
};

// One function a file of operators; all are called by operators.cpp.
void register_attention(OperatorTable&);
void register_rotary_embedding(OperatorTable&);
void register_convolution(OperatorTable&);
void register_matmul(OperatorTable&);
void register_pooling(OperatorTable&);
void register_recurrent(OperatorTable&);
void register_fused(OperatorTable&);
void register_chain(OperatorTable&);
void register_unary(OperatorTable&);
void register_binary(OperatorTable&);
void register_cast(OperatorTable&);
void register_quantized(OperatorTable&);
void register_movement(OperatorTable&);
void register_indexing(OperatorTable&);
void register_shape(OperatorTable&);
void register_sorting(OperatorTable&);
void register_reduction(OperatorTable&);
void register_normalization(OperatorTable&);
void register_softmax(OperatorTable&);
void register_loss(OperatorTable&);
void register_linear_algebra(OperatorTable&);
void register_resize(OperatorTable&);
void register_vision(OperatorTable&);
void register_signal(OperatorTable&);
void register_sequence(OperatorTable&);
void register_text(OperatorTable&);

/// Every operator of this backend.
const OperatorTable& operator_table();

/// Calls `function.template operator()<T>()` with the C++ type of an arithmetic element type; fails for others.
template <class Function>
decltype(auto) dispatch(DataType type, const Call& call, Function&& function) {
  switch (type) {
    case DataType::float32: return function.template operator()<float>();
    case DataType::float64: return function.template operator()<double>();
    case DataType::boolean: return function.template operator()<bool>();
    case DataType::int8: return function.template operator()<std::int8_t>();
    case DataType::uint8: return function.template operator()<std::uint8_t>();
    case DataType::int16: return function.template operator()<std::int16_t>();
    case DataType::uint16: return function.template operator()<std::uint16_t>();
    case DataType::int32: return function.template operator()<std::int32_t>();
    case DataType::uint32: return function.template operator()<std::uint32_t>();
    case DataType::int64: return function.template operator()<std::int64_t>();
    case DataType::uint64: return function.template operator()<std::uint64_t>();
    default: call.fail("element type " + std::string(name_of(type)) + " is not supported here");
  }
}

/// As dispatch, by element size only: for operators that move elements without looking at them.
template <class Function>
decltype(auto) dispatch_size(DataType type, const Call& call, Function&& function) {
  switch (size_of(type)) {
    case 1: return function.template operator()<std::uint8_t>();
    case 2: return function.template operator()<std::uint16_t>();
    case 4: return function.template operator()<std::uint32_t>();
    case 8: return function.template operator()<std::uint64_t>();
    default: call.fail("element type " + std::string(name_of(type)) + " is not supported here");
  }
}

/// A possibly negative axis made positive; fails when out of [-rank, rank) (or [-rank, rank] when `inclusive`).
std::size_t axis_of(const Call& call, std::int64_t axis, std::size_t rank, bool inclusive = false);

/// numpy broadcasting of shapes; fails naming the node.
Shape broadcast(const Call& call, const Shape& a, const Shape& b);

/// Physical dims of a tensor: shape() when plain, [N, spatial…, C] when channels_last.
Shape physical_shape(const Tensor& tensor);

}  // namespace tare::cpu
