// Page-locked host memory for what comes back from the device: that arrives at the speed of the bus, in pages that are
// there already. A block goes back when the last view of its tensor goes, on any thread, and serves the next; the whole
// lives as long as the device or one of these tensors.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "staging.hpp"

namespace tare::cuda {

class ResultMemory {
 public:
  static constexpr std::size_t least_bytes = std::size_t{256} << 10;  ///< a smaller result comes as fast without
  static constexpr std::size_t most_bytes = std::size_t{512} << 20;   ///< of all blocks: the system lacks these pages

  /// Null where the caller should take other memory: for few bytes, when there would be too many, or none to be had.
  static std::shared_ptr<void> take(const std::shared_ptr<ResultMemory>& from, std::size_t bytes);
  /// Blocks that no tensor has go back to the system.
  void trim();

 private:
  struct Block {
    PinnedBuffer memory;
    bool taken = true;
  };
  using Blocks = std::multimap<std::size_t, Block>;  ///< by size

  Block* find(std::size_t bytes);
  void remove_unused();

  std::mutex mutex_;
  Blocks blocks_;
  std::size_t bytes_ = 0;
};

}  // namespace tare::cuda
