// Uploads that the device does not wait for: through page-locked memory, in pieces, on a stream of their own, while the
// kernels of the batch before still run. The stream of the kernels waits for the last piece alone.
#pragma once

#include <array>
#include <cstddef>

#include "runtime.hpp"

namespace tare::cuda {

/// An event that is made with its first use and lives on the device that is current then.
class Event {
 public:
  Event() = default;
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(StreamView stream);
  /// The host waits for what came before the last record(); at once where there was none.
  void synchronize() const;
  /// What is queued on `stream` from now on waits for it.
  void hold_back(StreamView stream) const;

 private:
  cudaEvent_t event_ = nullptr;
};

/// Page-locked host memory.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  explicit PinnedBuffer(std::size_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

/// Two pieces of page-locked memory take turns: one is filled while the other travels. One device, one thread.
class Staging {
 public:
  static constexpr std::size_t piece_bytes = std::size_t{8} << 20;
  static constexpr std::size_t least_bytes = std::size_t{64} << 10;  ///< below, a plain copy is as good

  Staging();
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// Copies, and work on `kernels` from now on, find the bytes at `to`, which was taken on stream(). `from` may go.
  void copy(void* to, const void* from, std::size_t bytes, StreamView kernels);
  StreamView stream() const { return StreamView(stream_); }

 private:
  struct Piece {
    PinnedBuffer memory;
    Event travelled;
  };
  cudaStream_t stream_ = nullptr;
  std::array<Piece, 2> pieces_;
  std::size_t next_ = 0;
  Event arrived_;
};

}  // namespace tare::cuda
