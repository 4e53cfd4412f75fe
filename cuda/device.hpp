// One GPU and one stream, as the operators see it: memory in stream order, copies between host and device, and the
// loops that operators of host/cpu leave to another device (movement, resize). Tensors in device memory are told from
// others by the deleter of their storage.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <unordered_map>
#include <vector>

#include "cpu/operators.hpp"
#include "cpu/resize_axis.hpp"
#include "products.hpp"
#include "recorded_memory.hpp"
#include "result_memory.hpp"
#include "runtime.hpp"
#include "staging.hpp"
#include "tare/cuda.hpp"

namespace tare::cuda {

using cpu::Call;

/// Whoever holds device memory that can be done without.
class Spare {
 public:
  virtual ~Spare() = default;
  /// Gives it back for good. False when there was none.
  virtual bool give_up() = 0;
};

/// The stream and the memory of one device. Outlives the tensors: they hold it. Of one thread, but for give(): the last
/// view of a tensor may go on any.
class Memory {
 public:
  explicit Memory(const CudaOptions& options);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* take(std::size_t bytes) { return recording_ != nullptr ? recording_->take(bytes) : take(bytes, stream_); }
  /// On another stream: it may be written there at once, whatever is queued on this one. Not with a caller's allocator.
  void* take(std::size_t bytes, cudaStream_t stream);
  void give(void* pointer, std::size_t bytes) noexcept;

  /// From now on take() serves from a recording, and other memory that is given back waits; until stop_recording().
  void record(RecordedMemory& recording);
  void stop_recording();
  RecordedMemory* recording() const { return recording_; }
  /// A block that give() marks as not taken instead, until it is disowned: it then goes back, at once where nobody has
  /// taken it.
  void* take_for(std::atomic<bool>& taken, std::size_t bytes);
  void disown(void* pointer) noexcept;

  /// What was given back, and may still be read, becomes what others can have. Waits for the device.
  void release_unused();
  /// Asked when memory runs out; `spare` takes itself off before it goes.
  void add(Spare& spare) { spares_.push_back(&spare); }
  void remove(Spare& spare) { std::erase(spares_, &spare); }

  StreamView stream() const { return StreamView(stream_); }
  int device() const { return device_; }
  /// Whether a caller's allocator serves, on stream() alone.
  bool is_callers() const { return allocator_.take != nullptr; }

 private:
  void* try_to_take(std::size_t bytes, cudaStream_t stream);
  bool give_up_spares();
  void give_back(void* pointer, std::size_t bytes, cudaStream_t stream) noexcept;

  int device_;
  cudaStream_t stream_ = nullptr;
  cudaStream_t beside_ = nullptr;  ///< that recordings take memory on; made for the first
  cudaMemPool_t pool_ = nullptr;   ///< null where the caller's allocator serves
  Allocator allocator_;
  std::vector<Spare*> spares_;

  struct Block {
    std::atomic<bool>* taken;  ///< null: disowned, whoever has it gives it back
    std::size_t bytes;         ///< those that it was taken with: it may serve fewer
  };
  std::mutex mutex_;  ///< of what follows, and of giving back beside a recording that begins
  RecordedMemory* recording_ = nullptr;
  std::unordered_map<void*, Block> recorded_;               ///< blocks of recordings
  std::vector<std::pair<void*, std::size_t>> given_later_;  ///< when the recording has stopped
};

/// Makes a device current while it lives.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device);
  /// For destructors: as far as that is possible.
  CurrentDevice(int device, std::nothrow_t) noexcept;
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int device_;
  int before_;
};

class Device final : public cpu::Device {
 public:
  explicit Device(const CudaOptions& options);
  ~Device() override;

  Tensor allocate(DataType type, const Shape& shape, Layout layout = Layout::plain) override;
  /// The same elements in device memory, in host memory; the tensor itself when it is there already. A download waits.
  Tensor upload(const Tensor& tensor);
  /// As upload(), while the kernels that are queued run: for a batch's inputs.
  Tensor upload_beside(const Tensor& tensor);
  Tensor download(const Tensor& tensor);
  /// Into memory that is there already: what is queued later finds the elements, what was queued before does not.
  void overwrite(Tensor& there, const Tensor& tensor);
  /// A list that launches read; given back, in stream order, when the last view goes.
  template <class T>
  Tensor upload_to(std::span<const T> values) const {
    Tensor list = take(type_of<T>(), {static_cast<std::int64_t>(values.size())}, Layout::plain);
    copy_in(list, values.data());
    return list;
  }

  /// Throws while a run is recorded, which then is done without: `what` cannot be done again by the device alone.
  void refuse_recording(const char* what) const;

  StreamView stream() const { return memory_->stream(); }
  const std::shared_ptr<Memory>& memory() const { return memory_; }
  int index() const { return memory_->device(); }
  Math math() const { return math_; }
  /// Memory that is kept for the next batch becomes what others can have, here and on the host. Waits for the device.
  void release_unused();
  /// This device's memory, on stream() alone. It lives as long as the device.
  Allocator allocator() const;
  ConvolutionChoices& choices() { return *choices_; }
  Products& products() { return *products_; }
  /// Host memory, for operators that compute there.
  cpu::Device& host() { return host_; }

  bool copies(std::span<const cpu::CopyLoop> loops, std::size_t element_size, const void* from,
              void* to) const override;
  bool fills(std::span<const cpu::CopyLoop> loops, std::size_t element_size, const void* value,
             void* to) const override;
  bool looks_up(const Tensor& in, Tensor& out, std::span<const std::vector<std::int64_t>> indices) const override;
  bool blends(std::int64_t outer, std::int64_t in_size, std::int64_t out_size, std::int64_t inner,
              const cpu::ResizeTaps& taps, const float* in, float* out) const override;

 private:
  Tensor take(DataType type, const Shape& shape, Layout layout) const;
  void copy_in(Tensor& to, const void* from) const;

  cpu::Device host_;
  std::shared_ptr<Memory> memory_;
  Math math_;
  std::shared_ptr<ConvolutionChoices> choices_;
  std::optional<Products> products_;
  std::shared_ptr<ResultMemory> results_ = std::make_shared<ResultMemory>();
  mutable std::optional<Staging> staging_;  ///< in the kernels' order
  std::optional<UploadsBeside> beside_;     ///< made for the first large input
};

bool is_on_device(const Tensor& tensor);

/// The device of a call of this backend.
inline Device& device_of(const Call& call) { return static_cast<Device&>(call.device); }
inline StreamView stream_of(const Call& call) { return device_of(call).stream(); }

}  // namespace tare::cuda
