#include "result_memory.hpp"

namespace tare::cuda {
namespace {

constexpr std::size_t granularity = std::size_t{64} << 10;

}  // namespace

std::shared_ptr<void> ResultMemory::take(const std::shared_ptr<ResultMemory>& from, std::size_t bytes) {
  if (bytes < least_bytes || bytes > most_bytes) return nullptr;
  Block* const block = from->find((bytes + granularity - 1) / granularity * granularity);
  if (block == nullptr) return nullptr;
  return {block->memory.data(), [from, block](void*) {
            const std::lock_guard lock(from->mutex_);
            block->taken = false;
          }};
}

/// One that is there serves what needs half of it or more.
ResultMemory::Block* ResultMemory::find(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  for (auto block = blocks_.lower_bound(bytes); block != blocks_.end() && block->first / 2 <= bytes; ++block)
    if (!std::exchange(block->second.taken, true)) return &block->second;
  if (bytes_ + bytes > most_bytes) remove_unused();
  if (bytes_ + bytes > most_bytes) return nullptr;
  try {
    Block& made = blocks_.emplace(bytes, Block{PinnedBuffer(bytes)})->second;
    bytes_ += bytes;
    return &made;
  } catch (const Error&) {
    static_cast<void>(cudaGetLastError());
    return nullptr;
  }
}

void ResultMemory::trim() {
  const std::lock_guard lock(mutex_);
  remove_unused();
}

void ResultMemory::remove_unused() {
  std::erase_if(blocks_, [this](const Blocks::value_type& entry) {
    if (!entry.second.taken) bytes_ -= entry.first;
    return !entry.second.taken;
  });
}

}  // namespace tare::cuda
