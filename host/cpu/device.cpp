// Threads and pooled memory of the CPU backend.
// The pool keeps freed blocks by rounded size: the tensors of one batch die in the order the plan says and the next
// batch asks for the same sizes, so after the first batch nothing reaches the system allocator.
#include <fmt/format.h>
#include <omp.h>

#include <bit>
#include <cstdlib>
#include <mutex>
#include <unordered_map>

#include "calib/share.hpp"
#include "cpu/operators.hpp"
#include "cpu/vector.hpp"
#include "run/cores.hpp"

namespace tare::cpu {
namespace {

/// Sizes grow in eighths of a power of two: at most 12 % of a block is unused, and shapes that vary a little share
/// blocks.
std::size_t rounded(std::size_t bytes) {
  if (bytes <= 64) return 64;
  const std::size_t step = std::max<std::size_t>(std::bit_floor(bytes) / 8, 64);
  return (bytes + step - 1) / step * step;
}

}  // namespace

struct Device::Pool {
  std::mutex mutex;
  std::unordered_map<std::size_t, std::vector<void*>> free_blocks;

  ~Pool() { clear(); }
  void clear() {
    const std::lock_guard lock(mutex);
    for (auto& [size, blocks] : free_blocks)
      for (void* block : blocks) std::free(block);
    free_blocks.clear();
  }
  void* take(std::size_t size) {
    {
      const std::lock_guard lock(mutex);
      auto& blocks = free_blocks[size];
      if (!blocks.empty()) {
        void* block = blocks.back();
        blocks.pop_back();
        return block;
      }
    }
    return std::aligned_alloc(64, size);
  }
  void give(void* block, std::size_t size) {
    const std::lock_guard lock(mutex);
    free_blocks[size].push_back(block);
  }
};

Device::Device(const CpuOptions& options)
    : threads_(options.threads),
      reproducible_(options.reproducible),
      wide_sums_(options.wide_sums),
      isa_(supported_isa(options.isa)),
      vector_(&vector_kernels(isa_)),
      pool_(std::make_shared<Pool>()) {
  if (threads_ <= 0) threads_ = usable_cores();
}

Device::~Device() = default;

Tensor Device::allocate(DataType type, const Shape& shape, Layout layout) {
  if (type == DataType::string) return Tensor::host(type, shape, layout);
  const std::size_t bytes = storage_bytes(type, shape);
  const std::size_t size = rounded(bytes);
  void* block = pool_->take(size);
  if (block == nullptr)
    throw Error(ErrorKind::data, fmt::format("out of memory: {} bytes for a tensor of shape {}; lower --batch-size",
                                             bytes, shape.text()));
  // The deleter owns the pool: a tensor may outlive its backend.
  return Tensor(type, shape, std::shared_ptr<void>(block, [pool = pool_, size](void* p) { pool->give(p, size); }),
                layout);
}

void Device::trim() { pool_->clear(); }

std::int64_t Device::chunk_count(std::int64_t count, std::int64_t grain) const {
  return std::min<std::int64_t>(threads_, count / std::max<std::int64_t>(grain, 1));
}

void Device::run_chunks(std::int64_t chunks, const std::function<void(std::int64_t)>& body) const {
  calib::Failure failure;
#pragma omp parallel for num_threads(threads_) schedule(static, 1)
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) failure.caught([&] { body(chunk); });
  failure.rethrow();
}

}  // namespace tare::cpu
