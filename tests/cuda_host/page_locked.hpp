// Page-locked host memory of the CUDA runtime's stand-in. A GPU reads it when the stream comes to the copy, the
// stand-in at once; so what a copy has read is compared when the host has waited for it. Odd: a difference ends the
// program.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <vector>

namespace tare::test {

class PageLocked {
 public:
  static PageLocked& instance() {
    static PageLocked memory;
    return memory;
  }
  void add(const void* block, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    blocks_[static_cast<const std::byte*>(block)] = bytes;
  }
  /// CUDA waits for the device then.
  void remove(const void* block) {
    const std::lock_guard lock(mutex_);
    const auto* begin = static_cast<const std::byte*>(block);
    const auto found = blocks_.find(begin);
    if (found == blocks_.end()) return;
    compare([&, end = begin + found->second](const Read& read) { return read.from >= begin && read.from < end; });
    blocks_.erase(found);
  }
  bool holds(const void* pointer, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto* begin = static_cast<const std::byte*>(pointer);
    auto block = blocks_.upper_bound(begin);
    if (block == blocks_.begin()) return false;
    --block;
    return begin + bytes <= block->first + block->second;
  }

  /// A copy that `stream` was given.
  void read(cudaStream_t stream, const void* from, std::size_t bytes) {
    if (!holds(from, bytes)) return;
    const std::lock_guard lock(mutex_);
    const auto* begin = static_cast<const std::byte*>(from);
    reads_.push_back({stream, ++number_, begin, std::vector<std::byte>(begin, begin + bytes)});
  }
  /// The number of the last copy.
  std::uint64_t last() {
    const std::lock_guard lock(mutex_);
    return number_;
  }
  /// The host has waited for `stream` up to that copy.
  void arrived(cudaStream_t stream, std::uint64_t number) {
    const std::lock_guard lock(mutex_);
    compare([&](const Read& read) { return read.stream == stream && read.number <= number; });
  }

 private:
  struct Read {
    cudaStream_t stream;
    std::uint64_t number;
    const std::byte* from;
    std::vector<std::byte> bytes;
  };

  template <class Chosen>
  void compare(const Chosen& chosen) {
    for (auto read = reads_.begin(); read != reads_.end();) {
      if (!chosen(*read)) {
        ++read;
        continue;
      }
      if (std::memcmp(read->from, read->bytes.data(), read->bytes.size()) != 0) {
        std::fputs("page-locked memory was written before a copy had read it\n", stderr);
        std::abort();
      }
      read = reads_.erase(read);
    }
  }

  std::mutex mutex_;
  std::map<const std::byte*, std::size_t> blocks_;
  std::list<Read> reads_;
  std::uint64_t number_ = 0;
};

}  // namespace tare::test
