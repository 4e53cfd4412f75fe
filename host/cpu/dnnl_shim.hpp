// oneDNN as this backend uses it: descriptors, ready-made programs and their execution. The one place that knows
// version 2.6 (operation descriptors) from 3.x (primitive descriptors alone); everything above sees the names below. A
// Program is immutable and may be shared; a Launch binds buffers to it and belongs to one thread at a time. Odd: the
// library reads its highest instruction set once per process, when the first program is made; see limit_isa.
#pragma once

#include <array>
#include <dnnl.hpp>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cpu/operators.hpp"
#include "cpu/post_ops.hpp"

namespace tare::cpu::dnn {

using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
using Tag = dnnl::memory::format_tag;

Dims dims_of(const Shape& shape);
/// Row-major float32. Rank 1 to 6.
Desc plain(const Shape& shape);
/// [N, spatial…, C] float32 for a logical [N, C, spatial…] of rank 3 to 5.
Desc channels_last(const Shape& shape);
/// Either of them, as the tensor lies.
Desc describe(const Tensor& tensor);
/// Any order of axes: `order` lists the axes from the slowest to the fastest.
Desc permuted(const Shape& shape, std::span<const int> order);
/// Left to the library.
Desc any(const Shape& shape);
/// No tensor.
Desc none();
/// Bytes that a tensor of this description takes.
std::size_t bytes_of(const Desc& desc);

/// Sets the library's thread count to the device's (1 when results must not depend on it) while it lives.
class ThreadScope {
 public:
  explicit ThreadScope(const Device& device);
  ~ThreadScope();
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int before_;
};

struct WindowSpec {
  Dims strides;
  Dims dilations;  ///< 1: dense
  Dims pads_begin;
  Dims pads_end;
};

/// One compiled operation.
struct Program {
  dnnl::primitive primitive;
  Desc source;
  Desc weights;
  Desc destination;
  std::size_t scratchpad_bytes = 0;
  std::vector<std::pair<int, Desc>> arguments;  ///< besides the scratchpad, in the order of Launch::set
  std::string implementation;                   ///< "jit:avx512_core", "ref:any"

  bool is_reference() const { return implementation.starts_with("ref"); }
};

/// All of these: empty when the library has no implementation. `bias` may be none(). Arguments: source, weights,
/// [bias], destination.
std::optional<Program> convolution(const Device& device, const WindowSpec& window, const Desc& source,
                                   const Desc& weights, const Desc& bias, const Desc& destination,
                                   std::span<const PostOp> post_ops);
std::optional<Program> deconvolution(const Device& device, const WindowSpec& window, const Desc& source,
                                     const Desc& weights, const Desc& bias, const Desc& destination);
/// With `accumulate` the product is added to what the destination holds.
std::optional<Program> matmul(const Device& device, const Desc& source, const Desc& weights, const Desc& bias,
                              const Desc& destination, std::span<const PostOp> post_ops, bool accumulate = false);
/// Arguments: source, destination.
Program reorder(const Device& device, const Desc& source, const Desc& destination);

/// A program with its buffers.
class Launch {
 public:
  explicit Launch(const Program& program);
  /// Argument `slot` of Program::arguments. The library does not write to sources.
  void set(std::size_t slot, const void* data);
  void run(Device& device);

 private:
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
  dnnl::memory scratchpad_;
  std::size_t scratchpad_bytes_;
  dnnl::stream stream_;
};

/// Copies `source` into another order, at once.
void copy(Device& device, const Desc& source, const void* from, const Desc& destination, void* to);

/// A constant in the orders that its programs asked for; each order is packed once.
class PackedConstant {
 public:
  explicit PackedConstant(Tensor tensor) : tensor_(std::move(tensor)) {}
  const Tensor& tensor() const { return tensor_; }
  /// `desc` describes the tensor as it lies.
  const void* in(Device& device, const Desc& desc, const Desc& wanted);

 private:
  Tensor tensor_;
  std::list<std::pair<Desc, Tensor>> packed_;
};

/// `tensor` (rank >= 3) in the wanted layout: itself, or a copy.
Tensor with_layout(Device& device, const Tensor& tensor, Layout layout);

/// The last few values by key: shapes repeat from batch to batch, but need not be the same for ever.
template <class Value>
class ShapeCache {
 public:
  using Key = std::vector<std::int64_t>;
  /// Eight shapes hold the buckets of a text or speech model; beyond that the oldest goes.
  static constexpr std::size_t capacity = 8;

  /// The key to fill before find(); kept between calls so that nothing is allocated.
  Key& key() {
    key_.clear();
    return key_;
  }
  void push(const Shape& shape) {
    key_.push_back(static_cast<std::int64_t>(shape.rank()));
    key_.insert(key_.end(), shape.begin(), shape.end());
  }
  /// Moves the entry to the front; null when there is none.
  Value* find() {
    for (auto it = entries_.begin(); it != entries_.end(); ++it)
      if (it->first == key_) {
        entries_.splice(entries_.begin(), entries_, it);
        return &entries_.front().second;
      }
    return nullptr;
  }
  Value& insert(Value value) {
    if (entries_.size() == capacity) entries_.pop_back();
    entries_.emplace_front(key_, std::move(value));
    return entries_.front().second;
  }

 private:
  Key key_;
  std::list<std::pair<Key, Value>> entries_;
};

}  // namespace tare::cpu::dnn
