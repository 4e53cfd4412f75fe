// Uploads through page-locked memory of our own, so that the bytes may go when the call returns. Those of a caller may
// be page-locked, and the device would read them later; of all others the driver would make a copy, and wait for the
// stream.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <optional>

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

/// Uploads in the order of a stream. Two pieces of page-locked memory take turns: when one is full, the other has
/// travelled or is waited for. One device, one thread; the stream is not captured meanwhile.
class Staging {
 public:
  static constexpr std::size_t most_piece_bytes = std::size_t{8} << 20;

  explicit Staging(StreamView stream, std::size_t piece_bytes = most_piece_bytes)
      : stream_(stream), piece_bytes_(piece_bytes) {}
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// `from` may go.
  void copy(void* to, const void* from, std::size_t bytes);
  /// Puts `count` of the bytes, from number `begin` on, at `piece`.
  using Write = std::function<void(std::byte* piece, std::size_t begin, std::size_t count)>;
  /// As copy(), of bytes that are nowhere yet: `write` is called for one part after the other.
  void write(void* to, std::size_t bytes, const Write& write);

 private:
  struct Piece {
    PinnedBuffer memory;
    Event travelled;
  };
  StreamView stream_;
  std::size_t piece_bytes_;
  std::array<Piece, 2> pieces_;
  std::size_t current_ = 0;
  std::size_t used_ = 0;  ///< bytes of the current piece
};

/// Uploads on a stream of their own, while the kernels of the batch before still run. The stream of the kernels waits
/// for the last piece alone.
class UploadsBeside {
 public:
  static constexpr std::size_t least_bytes = std::size_t{64} << 10;  ///< below, one in the kernels' order is as good

  UploadsBeside();
  ~UploadsBeside();
  UploadsBeside(const UploadsBeside&) = delete;
  UploadsBeside& operator=(const UploadsBeside&) = delete;

  /// Copies, and work on `kernels` from now on, find the bytes at `to`, which was taken on stream(). `from` may go.
  void copy(void* to, const void* from, std::size_t bytes, StreamView kernels);
  StreamView stream() const { return StreamView(stream_); }

 private:
  cudaStream_t stream_ = nullptr;
  std::optional<Staging> staging_;
  Event arrived_;
};

}  // namespace tare::cuda
