// "Device memory" of the CUDA runtime's stand-in: a range of addresses that nobody may touch but within a launch or a
// copy. What is written behind a block is found when the block is given back, and ends the program.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "cuda_host/stand_in.hpp"

namespace tare::test {

class DeviceRange {
 public:
  static DeviceRange& instance() {
    static DeviceRange range;
    return range;
  }
  void* take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const std::size_t size = (bytes + margin + granule - 1) / granule * granule;
    std::vector<std::byte*>& blocks = free_[size];
    std::byte* block = begin_ + used_;
    if (!blocks.empty()) {
      block = blocks.back();
      blocks.pop_back();
    } else {
      if (used_ + size > reserved) return nullptr;
      used_ += size;
      if (open_ > 0) protect(PROT_READ | PROT_WRITE);
    }
    touched([&] { std::memset(block + bytes, untouched, size - bytes); });
    taken_[block] = {size, bytes};
    return block;
  }
  void give(void* pointer) {
    const std::lock_guard lock(mutex_);
    auto* block = static_cast<std::byte*>(pointer);
    const auto taken = taken_.find(block);
    const auto [size, bytes] = taken->second;
    touched([&, size = size, bytes = bytes] {
      for (std::size_t i = bytes; i < size; ++i)
        if (block[i] != std::byte{untouched}) overrun(bytes, i);
      if (stand_in().poisons) std::memset(block, 0xff, std::min<std::size_t>(bytes, 4096));
    });
    free_[size].push_back(block);
    taken_.erase(taken);
    if (taken_.empty() && used_ > much) forget();
  }
  bool holds(const void* pointer) {
    const std::lock_guard lock(mutex_);
    return pointer >= begin_ && pointer < begin_ + used_;
  }
  void open() {
    const std::lock_guard lock(mutex_);
    if (open_++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void close() {
    const std::lock_guard lock(mutex_);
    if (--open_ == 0) protect(PROT_NONE);
  }

 private:
  DeviceRange() {
    void* range = mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    begin_ = static_cast<std::byte*>(range);
    static_cast<void>(madvise(range, reserved, MADV_HUGEPAGE));
  }
  /// Nobody holds any of it: the next test pays for the pages that it uses, not for those of the tests before.
  void forget() {
    protect(PROT_NONE);
    static_cast<void>(madvise(begin_, used_, MADV_DONTNEED));
    free_.clear();
    used_ = 0;
  }
  /// `work` on blocks of the range.
  template <class Work>
  void touched(const Work& work) {
    if (open_ == 0) protect(PROT_READ | PROT_WRITE);
    work();
    if (open_ == 0) protect(PROT_NONE);
  }
  [[noreturn]] static void overrun(std::size_t bytes, std::size_t at) {
    std::fprintf(stderr, "a kernel or copy wrote byte %zu of a block of %zu bytes\n", at, bytes);
    std::abort();
  }
  void protect(int access) { static_cast<void>(mprotect(begin_, (used_ + 4095) / 4096 * 4096, access)); }

  static constexpr std::size_t granule = 256;
  static constexpr std::size_t margin = 64;  ///< behind a block, at least
  static constexpr unsigned char untouched = 0xa5;
  static constexpr std::size_t much = std::size_t{4} << 20;
  static constexpr std::size_t reserved = std::size_t{16} << 30;
  std::mutex mutex_;
  std::byte* begin_ = nullptr;
  std::size_t used_ = 0;
  int open_ = 0;
  struct Taken {
    std::size_t size;
    std::size_t bytes;
  };
  std::map<std::size_t, std::vector<std::byte*>> free_;
  std::map<std::byte*, Taken> taken_;
};

/// While it lives, the host may touch what stands for device memory.
class HostLaunch {
 public:
  HostLaunch() { DeviceRange::instance().open(); }
  ~HostLaunch() { DeviceRange::instance().close(); }
  HostLaunch(const HostLaunch&) = delete;
  HostLaunch& operator=(const HostLaunch&) = delete;
};

}  // namespace tare::test
