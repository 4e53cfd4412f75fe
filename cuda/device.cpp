// Memory of one GPU in stream order: what is given back serves the next tensor of the same stream without waiting.
// Odd: the pool is the backend's own and shrinks only on request (Backend::trim), so after the first batch no call
// reaches the driver's allocator; a failed allocation first hands back what the pool holds unused.
#include "device.hpp"

#include "choices.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace tare::cuda {
namespace {

struct Release {
  int device;
  std::size_t bytes;
  std::shared_ptr<Memory> memory;  ///< null: the memory is the caller's
  std::shared_ptr<const void> owner{};
  void operator()(void* pointer) const noexcept {
    if (pointer != nullptr && memory != nullptr) memory->give(pointer, bytes);
  }
};
constexpr std::uintptr_t alignment = 16;  // vectors of kernels, and what cuBLASLt and cuDNN expect

}  // namespace

CurrentDevice::CurrentDevice(int device) : device_(device), before_(device) {
  TARE_CUDA_CHECK(cudaGetDevice(&before_));
  if (before_ != device) TARE_CUDA_CHECK(cudaSetDevice(device));
}
CurrentDevice::CurrentDevice(int device, std::nothrow_t) noexcept : device_(device), before_(device) {
  static_cast<void>(cudaGetDevice(&before_));
  if (before_ != device) static_cast<void>(cudaSetDevice(device));
}
CurrentDevice::~CurrentDevice() {
  if (before_ != device_) static_cast<void>(cudaSetDevice(before_));  // which makes a context there if there is none
}

Memory::Memory(const CudaOptions& options) : device_(options.device), allocator_(options.allocator) {
  const int devices = device_count();
  if (devices == 0)
    throw Error(ErrorKind::unsupported,
                fmt::format("device 'cuda:{}': no CUDA device or no driver; use --device cpu", device_));
  if (device_ < 0 || device_ >= devices)
    throw Error(ErrorKind::usage,
                fmt::format("device 'cuda:{}': there are {} devices, counted from 0", device_, devices));
  const CurrentDevice current(device_);
  if (allocator_.take == nullptr) {
    pool_ = make_pool(device_, ~std::uint64_t{0});
    // An input's memory is taken on the copies' stream: it must not be made to wait for the kernels' stream.
    int waits = 0;
    TARE_CUDA_CHECK(cudaMemPoolSetAttribute(pool_, cudaMemPoolReuseAllowInternalDependencies, &waits));
  }
  TARE_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

Memory::~Memory() {
  const CurrentDevice current(device_, std::nothrow);
  static_cast<void>(cudaStreamSynchronize(stream_));
  if (beside_ != nullptr) static_cast<void>(cudaStreamDestroy(beside_));
  if (pool_ != nullptr) static_cast<void>(cudaMemPoolDestroy(pool_));
  static_cast<void>(cudaStreamDestroy(stream_));
}

void* Memory::take(std::size_t bytes, cudaStream_t stream) {
  bytes = std::max<std::size_t>(bytes, 1);
  void* pointer = try_to_take(bytes, stream);
  if (pointer == nullptr && recording_ == nullptr) {  // a recording fails rather than that others go: it is one of them
    release_unused();
    pointer = try_to_take(bytes, stream);
    if (pointer == nullptr && give_up_spares()) {
      release_unused();
      pointer = try_to_take(bytes, stream);
    }
  }
  if (pointer == nullptr) fail_allocation(cudaErrorMemoryAllocation, bytes, __FILE__, __LINE__);
  return pointer;
}

/// Null when there is none.
void* Memory::try_to_take(std::size_t bytes, cudaStream_t stream) {
  if (allocator_.take != nullptr) return allocator_.take(allocator_.context, bytes, stream);
  void* pointer = nullptr;
  const cudaError_t status = cudaMallocFromPoolAsync(&pointer, bytes, pool_, stream);
  if (status == cudaSuccess) return pointer;
  if (status != cudaErrorMemoryAllocation) fail_allocation(status, bytes, __FILE__, __LINE__);
  static_cast<void>(cudaGetLastError());
  return nullptr;
}

void Memory::release_unused() {
  TARE_CUDA_CHECK(cudaStreamSynchronize(stream_));
  if (beside_ != nullptr) TARE_CUDA_CHECK(cudaStreamSynchronize(beside_));
  if (pool_ != nullptr) TARE_CUDA_CHECK(cudaMemPoolTrimTo(pool_, 0));
}

/// False when there was nothing.
bool Memory::give_up_spares() {
  bool some = false;
  for (Spare* spare : spares_) some = spare->give_up() || some;
  return some;
}

void Memory::give_back(void* pointer, std::size_t bytes, cudaStream_t stream) noexcept {
  const CurrentDevice current(device_, std::nothrow);  // a tensor may go wherever its owner is
  if (allocator_.take != nullptr)
    allocator_.give(allocator_.context, pointer, std::max<std::size_t>(bytes, 1), stream);
  else
    static_cast<void>(cudaFreeAsync(pointer, stream));
}

void Memory::give(void* pointer, std::size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  if (const auto recorded = recorded_.find(pointer); recorded != recorded_.end()) {
    if (std::atomic<bool>* const taken = recorded->second.taken) {
      *taken = false;
      return;
    }
    bytes = recorded->second.bytes;
    recorded_.erase(recorded);
  }
  if (recording_ != nullptr)
    given_later_.emplace_back(pointer, bytes);
  else
    give_back(pointer, bytes, stream_);
}

void Memory::record(RecordedMemory& recording) {
  if (beside_ == nullptr) TARE_CUDA_CHECK(cudaStreamCreateWithFlags(&beside_, cudaStreamNonBlocking));
  TARE_CUDA_CHECK(cudaStreamSynchronize(stream_));  // what was given back is free on any stream
  const std::lock_guard lock(mutex_);
  recording_ = &recording;
}

void Memory::stop_recording() {
  {
    const std::lock_guard lock(mutex_);
    recording_ = nullptr;
    for (const auto& [pointer, bytes] : std::exchange(given_later_, {})) give_back(pointer, bytes, stream_);
  }
  TARE_CUDA_CHECK(cudaStreamSynchronize(beside_));  // what was taken is there on any stream
}

void* Memory::take_for(std::atomic<bool>& taken, std::size_t bytes) {
  void* pointer = take(bytes, beside_);
  const std::lock_guard lock(mutex_);
  recorded_[pointer] = {&taken, bytes};
  return pointer;
}

void Memory::disown(void* pointer) noexcept {
  const std::lock_guard lock(mutex_);
  const auto recorded = recorded_.find(pointer);
  if (*std::exchange(recorded->second.taken, nullptr)) return;
  give_back(pointer, recorded->second.bytes, beside_);
  recorded_.erase(recorded);
}

Device::Device(const CudaOptions& options)
    : cpu::Device(options.host),
      host_(options.host),
      memory_(std::make_shared<Memory>(options)),
      math_(options.math),
      choices_(options.choices != nullptr ? options.choices : make_convolution_choices()),
      products_(std::in_place, *this),
      staging_(std::in_place, stream()) {}
Device::~Device() {
  const CurrentDevice current(index(), std::nothrow);
  beside_.reset();
  staging_.reset();
  products_.reset();
}

void Device::release_unused() {
  refuse_recording("memory is handed back");
  trim();
  host_.trim();
  results_->trim();
  memory_->release_unused();
}

Allocator Device::allocator() const {
  Allocator allocator;
  allocator.take = [](void* memory, std::size_t bytes, Stream) { return static_cast<Memory*>(memory)->take(bytes); };
  allocator.give = [](void* memory, void* pointer, std::size_t bytes, Stream) {
    static_cast<Memory*>(memory)->give(pointer, bytes);
  };
  allocator.context = memory_.get();
  return allocator;
}

std::shared_ptr<ConvolutionChoices> make_convolution_choices() { return std::make_shared<ConvolutionChoices>(); }

bool is_on_device(const Tensor& tensor) { return std::get_deleter<Release>(tensor.storage()) != nullptr; }

Tensor device_tensor(DataType type, const Shape& shape, const void* elements, std::shared_ptr<const void> owner) {
  if (!is_quantizable(type))
    throw Error(ErrorKind::usage,
                fmt::format("a {} tensor is read on the host: it cannot be given in device memory", name_of(type)));
  const std::size_t bytes = storage_bytes(type, shape);
  if (bytes == 0) return Tensor::host(type, shape);  // there is nothing to point to
  cudaPointerAttributes attributes{};
  TARE_CUDA_CHECK(cudaPointerGetAttributes(&attributes, elements));
  if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged)
    throw Error(ErrorKind::usage,
                fmt::format("a tensor of {} is no device memory: Tensor::of copies what the host has", shape.text()));
  if (reinterpret_cast<std::uintptr_t>(elements) % alignment != 0)
    throw Error(ErrorKind::usage,
                fmt::format("a tensor of {} in device memory does not begin at a multiple of {} bytes", shape.text(),
                            alignment));
  // Tensors of inputs are not written: whoever gives them holds another view of the storage.
  return Tensor(
      type, shape,
      std::shared_ptr<void>(const_cast<void*>(elements), Release{attributes.device, bytes, {}, std::move(owner)}));
}

Tensor Device::take(DataType type, const Shape& shape, Layout layout) const {
  const std::size_t bytes = storage_bytes(type, shape);
  return Tensor(type, shape, std::shared_ptr<void>(memory_->take(bytes), Release{index(), bytes, memory_}), layout);
}

/// `from` may be the caller's, and page-locked. It may go.
void Device::copy_in(Tensor& to, const void* from) const {
  if (to.bytes() == 0) return;
  RecordedMemory* const recording = memory_->recording();
  if (recording == nullptr) return staging_->copy(to.mutable_data(), from, to.bytes());
  TARE_CUDA_CHECK(cudaMemcpyAsync(to.mutable_data(), recording->keep(from, to.bytes()), to.bytes(),
                                  cudaMemcpyHostToDevice, stream().get()));
}

Tensor Device::allocate(DataType type, const Shape& shape, Layout layout) {
  return holds_objects(type) ? cpu::Device::allocate(type, shape, layout) : take(type, shape, layout);
}

Tensor Device::upload(const Tensor& tensor) {
  if (!tensor.present() || holds_objects(tensor.type())) return tensor;
  if (const auto* there = std::get_deleter<Release>(tensor.storage())) {
    if (there->device == index()) return tensor;
    throw Error(ErrorKind::usage,
                fmt::format("a tensor lies on cuda:{}, but is given to a session on cuda:{}", there->device, index()));
  }
  Tensor copy = take(tensor.type(), tensor.shape(), tensor.layout());
  copy_in(copy, tensor.data());
  return copy;
}

Tensor Device::upload_beside(const Tensor& tensor) {
  if (!tensor.present() || is_on_device(tensor) || tensor.bytes() < UploadsBeside::least_bytes ||
      memory_->is_callers() || memory_->recording() != nullptr)
    return upload(tensor);
  if (!beside_) beside_.emplace();
  const std::size_t bytes = storage_bytes(tensor.type(), tensor.shape());
  std::shared_ptr<void> storage(memory_->take(bytes, beside_->stream().get()), Release{index(), bytes, memory_});
  Tensor copy(tensor.type(), tensor.shape(), std::move(storage), tensor.layout());
  beside_->copy(copy.mutable_data(), tensor.data(), tensor.bytes(), stream());
  return copy;
}

void Device::overwrite(Tensor& there, const Tensor& tensor) {
  if (there.bytes() == 0) return;
  if (!is_on_device(tensor) && (there.bytes() < UploadsBeside::least_bytes || memory_->is_callers()))
    return copy_in(there, tensor.data());
  const Tensor arrived = upload_beside(tensor);
  TARE_CUDA_CHECK(
      cudaMemcpyAsync(there.mutable_data(), arrived.data(), there.bytes(), cudaMemcpyDeviceToDevice, stream().get()));
}

void Device::refuse_recording(const char* what) const {
  if (memory_->recording() != nullptr) throw Error(ErrorKind::internal, what);
}

Tensor Device::download(const Tensor& tensor) {
  if (!tensor.present() || !is_on_device(tensor)) return tensor;
  refuse_recording("the host waits for a result");
  const std::shared_ptr<void> memory = ResultMemory::take(results_, storage_bytes(tensor.type(), tensor.shape()));
  Tensor copy = memory != nullptr ? Tensor(tensor.type(), tensor.shape(), memory, tensor.layout())
                                  : Tensor::host(tensor.type(), tensor.shape(), tensor.layout());
  if (tensor.bytes() > 0)
    TARE_CUDA_CHECK(
        cudaMemcpyAsync(copy.mutable_data(), tensor.data(), tensor.bytes(), cudaMemcpyDeviceToHost, stream().get()));
  stream().synchronize();
  return copy;
}

}  // namespace tare::cuda
