// The GPU kernels on raw device pointers: quantize-dequantize, observe and search, for programs that have their own
// tensors and their own stream. No CUDA type appears here: a stream is the cudaStream_t as a pointer, last argument,
// nullptr for the default stream. Same bits as the CPU for the same input. Link with tare_cuda.
// Odd: work is only queued, on the current device; what a call must wait for says so. Failures of CUDA throw Error.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tare/backend.hpp"
#include "tare/calibration.hpp"
#include "tare/quantizer.hpp"
#include "tare/statistics.hpp"
#include "tare/tensor.hpp"

namespace tare::cuda {

using Stream = void*;

/// Devices that this process can use; 0 where there is no driver.
int device_count();

/// How products of float32 tensors are computed. float32 is faithful; the others round the operands.
enum class Math : std::uint8_t { float32, tf32, bf16 };

/// Where device memory comes from, in stream order: what is given back may still be read by work queued before.
/// take() returns nullptr when there is none. give() comes with the size that was taken, on whichever thread the last
/// view of a tensor goes. Both null: a pool of the backend's own, for what needs no backend one of the library's.
struct Allocator {
  void* (*take)(void* context, std::size_t bytes, Stream stream) = nullptr;
  void (*give)(void* context, void* pointer, std::size_t bytes, Stream stream) = nullptr;
  void* context = nullptr;
};

/// Which algorithm computes a convolution of a shape: found by a timed search once, by whichever device comes first.
/// All devices that share it compute alike. Safe to use from several threads.
class ConvolutionChoices;
std::shared_ptr<ConvolutionChoices> make_convolution_choices();
/// Adds what save_convolution_choices() wrote, all or nothing, so that other processes compute as that one did: what is
/// in the file is not searched, what is known already stays. Throws Error(io) when it cannot be read, Error(model)
/// naming the key where it does not hold together, Error(usage) when it was made with another cuDNN or on another kind
/// of device than number `device` is.
void load_convolution_choices(ConvolutionChoices& choices, const std::filesystem::path& file, int device = 0);
/// Writes the choices for devices of this kind, as JSON; the file appears whole or not at all.
void save_convolution_choices(ConvolutionChoices& choices, const std::filesystem::path& file, int device = 0);
/// Whether choices made on one device hold on the other one.
bool are_alike(int device, int other);
/// Whether something was searched since the choices were made or last saved.
bool has_unsaved(const ConvolutionChoices& choices);

struct CudaOptions {
  int device = 0;
  Math math = Math::float32;
  bool fallback_to_cpu = false;  ///< operators without a kernel run on the host; Backend::fallback names them
  CpuOptions host;               ///< for what the host computes: shapes, indices, masks of integers, constants
  Allocator allocator;
  std::shared_ptr<ConvolutionChoices> choices;  ///< null: the backend's own
  /// Runs of an executor with inputs of the same shapes: the second one is recorded as a CUDA graph, later ones replay
  /// it. A recording keeps its memory; the bits are the same.
  bool graphs = true;
};

/// What has become of CUDA graphs in a backend.
struct GraphUse {
  std::uint64_t recorded = 0;
  std::uint64_t launched = 0;  ///< right after its recording, and as a replay
  std::uint64_t refused = 0;   ///< kinds of runs that cannot be recorded: they go node by node
  std::string why_refused;     ///< the last one
};

/// One GPU and a stream of its own. Tensors of floats live on the device; integers, booleans and float64 on the host
/// unless a float operator made them. Throws Error(unsupported) where there is no device.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options = {});
/// Of a backend made here; throws Error(usage) for others.
GraphUse graph_use(const Backend& backend);

/// An input of a Session on this device that lies in device memory already, in plain layout: it is read where it is
/// (a replayed graph copies it within the device). It must stay until the run is over, which for Session::run and
/// simulate is when they return; for a pushed calibration, wait_for_backend() or Backend::synchronize() say so.
/// `owner`, if any, is held as long as the tensor. Throws Error(usage) for types that the host reads (all but float32,
/// float16 and bfloat16), for memory of the host, and for an address that is no multiple of 16.
Tensor device_tensor(DataType type, const Shape& shape, const void* elements, std::shared_ptr<const void> owner = {});
/// What the backend, one made here, is given from now on waits for what was queued on `stream`, such as an input's
/// elements. The host does not wait.
void wait_for_stream(Backend& backend, Stream stream);
/// What is queued on `stream` from now on waits for what the backend was given: an input may then be written over.
void wait_for_backend(Stream stream, Backend& backend);

/// The quantizer of one tensor made ready: geometry here, grids of channels and blocks on the device. It gives them
/// back on the constructor's stream: runs on other streams are done before it goes, or that stream waits for them;
/// graphs that hold a run go before it.
class Quantizer {
 public:
  /// `encodings` fit `shape` as in Backend::quantize_dequantize. Queues an upload of the grids, when there are several:
  /// the stream must not be captured then, and the allocator's memory is aligned to 16 bytes.
  /// Throws Error(data) naming the tensor when axes, blocks or the number of encodings do not fit.
  Quantizer(const Shape& shape, Layout layout, const TensorEncodings& encodings, Rounding rounding,
            Stream stream = nullptr, const Allocator& allocator = {});
  ~Quantizer();
  Quantizer(Quantizer&&) noexcept;
  Quantizer& operator=(Quantizer&&) noexcept;

  /// All elements of the shape, float32, float16 or bfloat16, in the memory order of the layout. `output` may be
  /// `input`. 16-byte alignment of both makes it fast, that of an element is enough. On another stream than the
  /// constructor's it waits there for the grids; it can be captured into a graph.
  void run(const void* input, void* output, DataType type, Stream stream = nullptr) const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// Elements of one tensor in device memory, to be counted at `site`. Memory order does not matter.
struct ObservedTensor {
  const void* data = nullptr;
  std::uint64_t elements = 0;
  DataType type = DataType::float32;  ///< float32, float16 or bfloat16
  std::uint32_t site = 0;
};

/// Statistics of many sites in device memory: 54 KiB a site.
class Statistics {
 public:
  /// Cleared on `stream`: what other streams do with it comes behind that.
  explicit Statistics(std::size_t sites, Stream stream = nullptr, const Allocator& allocator = {});
  ~Statistics();
  Statistics(Statistics&&) noexcept;
  Statistics& operator=(Statistics&&) noexcept;

  /// Adds all elements of the tensors, each read once; up to 64 tensors a launch. Neither allocates nor waits, and can
  /// be captured into a graph. One stream at a time. Throws Error(data) for other types, Error(usage) for a missing
  /// site.
  void observe(std::span<const ObservedTensor> tensors, Stream stream = nullptr);
  /// NaN and +inf so far, all sites together. Waits for the stream.
  std::uint64_t unusable_count(Stream stream = nullptr) const;
  /// The same in two parts: the first one queues, the second one waits for what had been queued then.
  void request_unusable_count(Stream stream = nullptr);
  std::uint64_t requested_unusable_count() const;
  /// One entry a site, as an observer of the CPU collects it. Waits for the stream.
  std::vector<TensorStatistics> collect(Stream stream = nullptr) const;

 private:
  friend class CudaObserver;
  struct SiteMemory memory_of(std::size_t site) const;
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

using tare::SearchRequest;

/// find_encoding() for every request: `sqnr` and `mse` of integer grids are searched on the device, all histograms in
/// one launch; every other scheme is a formula and stays on the host, as all do where a device has too little shared
/// memory. Waits for the stream. Throws as find_encoding().
std::vector<Encoding> find_encodings(std::span<const SearchRequest> requests, const SearchOptions& options = {},
                                     Stream stream = nullptr, const Allocator& allocator = {});

}  // namespace tare::cuda
