#include "staging.hpp"

#include <algorithm>
#include <cstring>

namespace tare::cuda {
namespace {

constexpr std::size_t alignment = 256;  ///< of what an upload puts into a piece

}  // namespace

Event::~Event() {
  if (event_ != nullptr) static_cast<void>(cudaEventDestroy(event_));
}

void Event::record(StreamView stream) {
  if (event_ == nullptr) TARE_CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming));
  TARE_CUDA_CHECK(cudaEventRecord(event_, stream.get()));
}

void Event::synchronize() const {
  if (event_ != nullptr) TARE_CUDA_CHECK(cudaEventSynchronize(event_));
}

void Event::hold_back(StreamView stream) const {
  if (event_ != nullptr) TARE_CUDA_CHECK(cudaStreamWaitEvent(stream.get(), event_, 0));
}

PinnedBuffer::PinnedBuffer(std::size_t bytes) { TARE_CUDA_CHECK(cudaHostAlloc(&data_, bytes, cudaHostAllocDefault)); }
PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) static_cast<void>(cudaFreeHost(data_));
}

Staging::~Staging() {
  if (pieces_[0].memory.data() != nullptr) static_cast<void>(cudaStreamSynchronize(stream_.get()));
}

void Staging::copy(void* to, const void* from, std::size_t bytes) {
  write(to, bytes, [from](std::byte* piece, std::size_t begin, std::size_t count) {
    std::memcpy(piece, static_cast<const std::byte*>(from) + begin, count);
  });
}

void Staging::write(void* to, std::size_t bytes, const Write& write) {
  for (std::size_t begin = 0; begin < bytes;) {
    if (used_ == piece_bytes_) {
      pieces_[current_].travelled.record(stream_);
      current_ = (current_ + 1) % pieces_.size();
      pieces_[current_].travelled.synchronize();
      used_ = 0;
    }
    Piece& piece = pieces_[current_];
    if (piece.memory.data() == nullptr) piece.memory = PinnedBuffer(piece_bytes_);
    std::byte* const at = static_cast<std::byte*>(piece.memory.data()) + used_;
    const std::size_t count = std::min(piece_bytes_ - used_, bytes - begin);
    write(at, begin, count);
    TARE_CUDA_CHECK(
        cudaMemcpyAsync(static_cast<std::byte*>(to) + begin, at, count, cudaMemcpyHostToDevice, stream_.get()));
    used_ = std::min(piece_bytes_, (used_ + count + alignment - 1) / alignment * alignment);
    begin += count;
  }
}

UploadsBeside::UploadsBeside() {
  TARE_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  staging_.emplace(stream());
}
UploadsBeside::~UploadsBeside() {
  staging_.reset();
  static_cast<void>(cudaStreamDestroy(stream_));
}

void UploadsBeside::copy(void* to, const void* from, std::size_t bytes, StreamView kernels) {
  staging_->copy(to, from, bytes);
  arrived_.record(stream());
  arrived_.hold_back(kernels);
}

}  // namespace tare::cuda
