// A backend is one device and one stream behind few functions. Everything above it (plan, executor, calibration) is
// the same for every device; everything below it depends on these public headers alone.
// Odd: kernels see their inputs by mutable span so that they may take over the storage of an input that nobody else
// holds; the executor has already let go of values that are used for the last time.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tare/graph.hpp"
#include "tare/quantizer.hpp"
#include "tare/statistics.hpp"
#include "tare/tensor.hpp"

namespace tare {

struct SearchOptions;  // calibration.hpp
struct SearchRequest;

class Observer;

/// Where a value is observed, by the kernel that makes or reads it.
struct Tap {
  Observer* observer = nullptr;  ///< null: it is not
  std::size_t site = 0;
  bool only = false;  ///< of an output: nobody reads it, so it need not be made as a tensor
};

/// One node made ready to run. Not thread-safe: one run at a time.
class Kernel {
 public:
  virtual ~Kernel() = default;
  /// inputs[i] belongs to node.inputs[i] (absent for omitted ones); the kernel fills outputs[i] for every
  /// node.outputs[i] that is not `absent`. Throws Error(data) when shapes do not fit, naming the node.
  virtual void run(std::span<Tensor> inputs, std::span<Tensor> outputs) = 0;
  /// True when run() takes rank >= 3 inputs in channels_last layout; otherwise the executor hands over plain ones.
  virtual bool accepts_channels_last() const { return false; }
  /// True when the kernel observes what it reads and makes while it is in cache.
  virtual bool takes_taps() const { return false; }
  /// run() that also observes the inputs and outputs whose tap has an observer, every one whole and once; one tap an
  /// input and an output, or none at all. Outputs that are `only` observed may stay absent.
  virtual void run_tapped(std::span<Tensor> inputs, std::span<Tensor> outputs, std::span<const Tap> /*of_inputs*/,
                          std::span<const Tap> /*of_outputs*/) {
    run(inputs, outputs);
  }
};

/// How kernels on the host hand a tensor to an observer in pieces. A pass observes one tensor; passes of different
/// numbers may go on beside each other. `slot`: a number below the threads of the backend that no other thread uses; a
/// tensor of fewer than 1,024 elements comes in slot 0 alone.
class PieceObserver {
 public:
  virtual ~PieceObserver() = default;
  virtual void begin(std::size_t pass, std::size_t site, std::int64_t elements) = 0;
  virtual void count(std::size_t pass, std::size_t slot, const float* in, std::size_t n) = 0;
  /// Whether a piece finds tables that have to come back into the cache: larger pieces are better then.
  virtual bool has_tables() const { return true; }
  /// After the last piece of a slot, on its thread.
  virtual void close(std::size_t pass, std::size_t slot) = 0;
};

/// Statistics of many sites, kept on the device until collected.
class Observer {
 public:
  virtual ~Observer() = default;
  /// Adds all elements of a float32, float16 or bfloat16 tensor (any layout) to `site`.
  virtual void observe(std::size_t site, const Tensor& tensor) = 0;
  /// Null where it only takes whole tensors.
  virtual PieceObserver* pieces() { return nullptr; }
  /// NaN and +inf seen so far, all sites together: -inf masks something. Waits for the device.
  virtual std::uint64_t unusable_count() const = 0;
  /// Called after every batch. The same number, where runs_behind(): as it was after the batch before, so that the
  /// device is not waited for. Before the second batch it means nothing then.
  virtual std::uint64_t end_batch() { return unusable_count(); }
  virtual bool runs_behind() const { return false; }
  /// Whether all that observe() and flush() do is work of the device that can be done again (Repeater).
  virtual bool repeats() const { return false; }
  /// Hands tensors that wait to be observed to the device.
  virtual void flush() {}
  /// Adds what an observer of a lane (Backend::make_lane) saw, of the same kind and sites.
  virtual void add(const Observer& /*of_lane*/) { throw Error(ErrorKind::internal, "this observer has no lanes"); }
  /// One entry a site, in order.
  virtual std::vector<TensorStatistics> collect() const = 0;
};

/// The runs of one executor, of which a later one may be what the device did in an earlier one, done again without the
/// host's work for every node. One run at a time.
class Repeater {
 public:
  virtual ~Repeater() = default;
  /// A whole run on inputs as upload() gives them, to the outputs, wherever they are. It does the same again whenever
  /// shapes and the values of the inputs that stay on the host are the same.
  using Run = std::function<std::vector<Tensor>(std::vector<Tensor> inputs)>;
  /// What `run` does with these inputs. It may be called more than once where it throws, which is thrown here, too.
  /// Runs with another `mark` are other runs. The outputs are good until the next call.
  virtual std::vector<Tensor> run(std::span<const Tensor> inputs, const void* mark, const Run& run) = 0;
};

/// What quantize_dequantize passes back (docs/numerics.md, Gradients).
struct QuantizeGradient {
  Tensor input;                ///< of the input: type, shape and layout are its
  std::vector<double> scale;   ///< of Encoding::scale, in the order of the encodings
  std::vector<double> offset;  ///< of Encoding::offset
};

/// Kernels, observers and repeaters work with the backend that made them: they go before it does. Tensors may stay.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;  ///< "cpu", "cuda:0"

  virtual Tensor allocate(DataType type, const Shape& shape, Layout layout = Layout::plain) = 0;
  virtual Tensor upload(const Tensor& host) = 0;  ///< may return the same storage where device memory is host memory
  virtual Tensor download(const Tensor& tensor) = 0;  ///< host tensor in plain layout
  virtual Tensor to_plain(const Tensor& tensor) = 0;  ///< same device, plain layout
  /// False for what only the device may read.
  virtual bool is_on_host(const Tensor& /*tensor*/) const { return true; }

  /// Empty when the node can run here; otherwise why not ("no kernel for opset 18", "string tensors").
  virtual std::string unsupported(const Graph& graph, const Node& node) const = 0;
  /// Empty when the node runs on this device; otherwise the device that it was asked to fall back to.
  virtual std::string fallback(const Graph&, const Node&) const { return {}; }
  /// `constants[i]` is the value of node.inputs[i] when it is known before the run, else null. A kernel may pack it.
  virtual std::unique_ptr<Kernel> compile(const Graph& graph, const Node& node,
                                          std::span<const Tensor* const> constants) = 0;

  /// Whether element-wise nodes on values of this type may be joined into chains (plan/chains.hpp).
  virtual bool joins(DataType type) const { return type == DataType::float32; }
  /// Whether chains observe what they read and make (Kernel::takes_taps).
  virtual bool chains_take_taps() const { return false; }
  /// Whether chains take operands that broadcast in any way, constants among them; else numbers and channels alone.
  virtual bool chains_broadcast() const { return false; }
  /// Whether a chain may go through one softmax or normalization of the last dimension.
  virtual bool chains_take_rows() const { return false; }

  /// Quantize-dequantize: in place when `tensor` is the sole view of its storage, else into new storage; returns the
  /// result. Shape, type and layout are kept. `encodings.encodings` holds one entry per tensor, channel or block (see
  /// quantizer.hpp).
  virtual Tensor quantize_dequantize(Tensor tensor, const TensorEncodings& encodings, Rounding rounding) = 0;
  /// Of quantize_dequantize of `input` on integer grids, from the gradient of its result, which has the input's type,
  /// shape and layout. Sums are float64, in an order that threads do not change; other devices add up in another one.
  /// Throws Error(data) where the two do not fit, Error(unsupported) for float formats.
  virtual QuantizeGradient quantize_gradient(const Tensor& input, const Tensor& gradient,
                                             const TensorEncodings& encodings, Rounding rounding) = 0;
  virtual std::unique_ptr<Observer> make_observer(ObserverKind kind, std::size_t sites) = 0;
  /// find_encoding() for every request: the same encodings on every device. By default on `threads` of the host's.
  virtual std::vector<Encoding> find_encodings(std::span<const SearchRequest> requests, const SearchOptions& options,
                                               int threads);

  /// Null: every run is done node by node.
  virtual std::unique_ptr<Repeater> make_repeater() { return nullptr; }

  /// A backend on one of this one's host threads, for runs of small models beside each other. Null: it does not pay.
  virtual std::unique_ptr<Backend> make_lane() const { return nullptr; }

  virtual void synchronize() = 0;
  /// Gives memory that is kept for the next batch back to the system.
  virtual void trim() {}
};

enum class Isa : std::uint8_t { automatic, baseline, avx2, avx512 };

struct CpuOptions {
  int threads = 0;            ///< 0: all cores this process may use
  Isa isa = Isa::automatic;   ///< highest instruction set to use
  bool reproducible = false;  ///< the same bits for any thread count: library kernels run with a fixed partitioning
  bool wide_sums = false;     ///< Conv, ConvTranspose, MatMul and Gemm sum in float64, in plain loops: for comparisons
};

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options = {});

}  // namespace tare
