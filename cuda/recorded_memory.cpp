#include "recorded_memory.hpp"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "device.hpp"

namespace tare::cuda {
namespace {

constexpr std::size_t most_waste = 4;  ///< a block serves what needs at least this part of it
constexpr std::size_t least_chunk = std::size_t{64} << 10;
constexpr std::size_t host_alignment = 256;

std::size_t aligned(std::size_t bytes) { return (bytes + host_alignment - 1) / host_alignment * host_alignment; }

}  // namespace

RecordedMemory::RecordedMemory(std::shared_ptr<Memory> memory) : memory_(std::move(memory)) {}

RecordedMemory::~RecordedMemory() {
  for (const auto& [bytes, block] : blocks_) memory_->disown(block.pointer);
}

void* RecordedMemory::take(std::size_t bytes) {
  bytes = std::max<std::size_t>(bytes, 1);
  for (auto block = blocks_.lower_bound(bytes); block != blocks_.end() && block->first / most_waste <= bytes; ++block)
    if (!block->second.taken.exchange(true)) return block->second.pointer;
  const auto block = blocks_.emplace(std::piecewise_construct, std::tuple(bytes), std::tuple());
  try {
    block->second.pointer = memory_->take_for(block->second.taken, bytes);
  } catch (...) {
    blocks_.erase(block);
    throw;
  }
  return block->second.pointer;
}

const void* RecordedMemory::keep(const void* bytes, std::size_t count) {
  if (aligned(count) > room_) {
    chunk_bytes_ = room_ = std::max(least_chunk, aligned(count));
    chunks_.emplace_back(chunk_bytes_);
  }
  std::byte* copy = static_cast<std::byte*>(chunks_.back().data()) + (chunk_bytes_ - room_);
  room_ -= aligned(count);
  std::memcpy(copy, bytes, count);
  return copy;
}

}  // namespace tare::cuda
