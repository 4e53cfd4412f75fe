#include "staging.hpp"

#include <algorithm>
#include <cstring>

namespace tare::cuda {

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

Staging::Staging() { TARE_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
Staging::~Staging() {
  static_cast<void>(cudaStreamSynchronize(stream_));
  static_cast<void>(cudaStreamDestroy(stream_));
}

void Staging::copy(void* to, const void* from, std::size_t bytes, StreamView kernels) {
  for (std::size_t begin = 0; begin < bytes; begin += piece_bytes) {
    Piece& piece = pieces_[next_];
    next_ = (next_ + 1) % pieces_.size();
    if (piece.memory.data() == nullptr) piece.memory = PinnedBuffer(piece_bytes);
    piece.travelled.synchronize();
    const std::size_t part = std::min(piece_bytes, bytes - begin);
    std::memcpy(piece.memory.data(), static_cast<const std::byte*>(from) + begin, part);
    TARE_CUDA_CHECK(cudaMemcpyAsync(static_cast<std::byte*>(to) + begin, piece.memory.data(), part,
                                    cudaMemcpyHostToDevice, stream_));
    piece.travelled.record(stream());
  }
  arrived_.record(stream());
  arrived_.hold_back(kernels);
}

}  // namespace tare::cuda
