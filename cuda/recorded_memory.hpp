// Memory of one recording (recording.hpp). Device memory: blocks of the backend's pool or of the caller's allocator
// that the recorded launches take and give back in their own order, at the same addresses with every replay. Host
// memory: a page-locked copy of everything that a recorded copy reads, as that happens with the replay. Odd: blocks are
// taken on a stream beside that of the kernels, which is captured meanwhile; both are waited for, before and after.
#pragma once

#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <vector>

#include "staging.hpp"

namespace tare::cuda {

class Memory;

class RecordedMemory {
 public:
  explicit RecordedMemory(std::shared_ptr<Memory> memory);
  /// The device must be through with it. Blocks that somebody still holds go back when they are let go.
  ~RecordedMemory();
  RecordedMemory(const RecordedMemory&) = delete;
  RecordedMemory& operator=(const RecordedMemory&) = delete;

  /// A block that Memory::give() brings back; it serves the next that is taken.
  void* take(std::size_t bytes);
  /// The same bytes, for as long as this lives.
  const void* keep(const void* bytes, std::size_t count);

 private:
  struct Block {
    void* pointer = nullptr;
    std::atomic<bool> taken = true;  ///< whoever gives it back may be another thread
  };

  std::shared_ptr<Memory> memory_;
  std::multimap<std::size_t, Block> blocks_;  ///< by size
  std::vector<PinnedBuffer> chunks_;          ///< of the host; the last one has room_ bytes left
  std::size_t chunk_bytes_ = 0;
  std::size_t room_ = 0;
};

}  // namespace tare::cuda
