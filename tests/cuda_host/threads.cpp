// Runs kernels on the host as CUDA would: the threads of a block in turns, each until it has to wait for others of its
// warp or block. Whoever comes last lets all go on. The order of blocks and of threads changes from launch to launch,
// so a kernel that lacks a barrier gives other results now and then. Odd: setcontext starts a thread, _longjmp goes on
// with it, for it asks nothing of the system.
#undef _FORTIFY_SOURCE  // takes a jump to another stack for a mistake
#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string_view>
#include <vector>

#include "launch.hpp"

namespace tare::cuda {

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr std::size_t stack_bytes = std::size_t{128} << 10;
constexpr std::size_t shared_bytes_of_a_block = std::size_t{227} << 10;
constexpr std::size_t warp_lanes = 32;

enum class State : std::uint8_t { ready, waiting, finished };

struct Thread {
  jmp_buf context;
  ucontext_t start;
  std::unique_ptr<std::byte[]> stack;
  dim3 index;
  State state = State::finished;
  const char* place = "";  ///< where it waits
  bool started = false;
};

/// Lanes that have come to an operation. Two sets of values: while some lanes read those of one, others bring the next.
struct Warp {
  std::array<std::uint64_t, warp_lanes> values[2];
  int turn = 0;
  std::size_t arrived = 0;
};

/// The device: one block at a time.
class Multiprocessor {
 public:
  void run(dim3 blocks, dim3 threads, std::size_t shared_bytes, const std::function<void()>& kernel) {
    const std::lock_guard lock(mutex_);
    if (shared_bytes > shared_.size()) fail("more shared memory than a block has");
    gridDim = blocks;
    blockDim = threads;
    kernel_ = &kernel;
    ++launches_;
    std::vector<unsigned> order = permuted(std::size_t{blocks.x} * blocks.y * blocks.z);
    for (const unsigned block : order) {
      blockIdx = dim3(block % blocks.x, block / blocks.x % blocks.y, block / blocks.x / blocks.y);
      std::memset(shared_.data(), 0xff, shared_bytes);
      run_block(std::size_t{threads.x} * threads.y * threads.z);
    }
  }

  const std::array<std::uint64_t, warp_lanes>& meet_warp(const char* place, std::uint64_t value) {
    const std::size_t number = current_ / warp_lanes;
    const std::size_t first = number * warp_lanes;
    const std::size_t end = std::min(first + warp_lanes, count_);
    Warp& warp = warps_[number];
    std::array<std::uint64_t, warp_lanes>& values = warp.values[warp.turn];
    values[current_ - first] = value;
    if (++warp.arrived < end - first) {
      wait(place);
      return values;
    }
    for (std::size_t i = first; i < end; ++i) {
      if (i == current_) continue;
      if (std::string_view(threads_[i].place) != place) fail("lanes of a warp meet at different operations");
      threads_[i].state = State::ready;
    }
    warp.arrived = 0;
    warp.turn = 1 - warp.turn;
    return values;
  }

  void meet_block() {
    if (++arrived_ < count_) return wait("__syncthreads");
    for (std::size_t i = 0; i < count_; ++i) threads_[i].state = State::ready;
    arrived_ = 0;
  }

  void* shared() { return shared_.data(); }

 private:
  std::vector<unsigned> permuted(std::size_t size) const {
    std::vector<unsigned> order(size);
    std::iota(order.begin(), order.end(), 0u);
    if (launches_ % 3 == 1) std::reverse(order.begin(), order.end());
    if (launches_ % 3 == 2) std::shuffle(order.begin(), order.end(), std::minstd_rand(launches_));
    return order;
  }

  void run_block(std::size_t count) {
    count_ = count;
    arrived_ = 0;
    warps_.assign((count + warp_lanes - 1) / warp_lanes, {});
    while (threads_.size() < count) add_thread();
    for (std::size_t i = 0; i < count; ++i) {
      const auto number = static_cast<unsigned>(i);
      threads_[i].index =
          dim3(number % blockDim.x, number / blockDim.x % blockDim.y, number / blockDim.x / blockDim.y);
      threads_[i].state = State::ready;
    }
    const std::vector<unsigned> order = permuted(count);
    std::size_t unfinished = count;
    while (unfinished > 0) {
      bool any = false;
      for (const unsigned number : order) {
        if (threads_[number].state != State::ready) continue;
        any = true;
        resume(number);
        if (threads_[number].state == State::finished) --unfinished;
      }
      if (!any) fail("threads wait for others that do not come");
    }
  }

  void add_thread() {
    Thread& thread = threads_.emplace_back();
    thread.stack = std::make_unique_for_overwrite<std::byte[]>(stack_bytes);
  }

  void resume(std::size_t number) {
    current_ = number;
    threadIdx = threads_[number].index;
    if (_setjmp(scheduler_) == 0) go_on(threads_[number]);
  }

  [[noreturn]] static void go_on(Thread& thread) {
    if (thread.started) _longjmp(thread.context, 1);
    thread.started = true;
    getcontext(&thread.start);
    thread.start.uc_stack.ss_sp = thread.stack.get();
    thread.start.uc_stack.ss_size = stack_bytes;
    makecontext(&thread.start, &Multiprocessor::live, 0);
    setcontext(&thread.start);
    std::abort();
  }

  [[gnu::noinline]] void yield() {
    if (_setjmp(threads_[current_].context) == 0) _longjmp(scheduler_, 1);
  }

  void wait(const char* place) {
    threads_[current_].state = State::waiting;
    threads_[current_].place = place;
    yield();
  }

  /// What a thread does all its life: kernel after kernel.
  static void live();

  [[noreturn]] void fail(const char* what) const {
    std::fprintf(stderr, "block (%u, %u, %u) of a launch of (%u, %u, %u) blocks: %s\n", blockIdx.x, blockIdx.y,
                 blockIdx.z, gridDim.x, gridDim.y, gridDim.z, what);
    for (std::size_t i = 0; i < std::min(count_, threads_.size()); ++i)
      std::fprintf(stderr, "  thread %zu %s\n", i,
                   threads_[i].state == State::finished  ? "has returned"
                   : threads_[i].state == State::waiting ? threads_[i].place
                                                         : "goes on");
    std::abort();
  }

  std::mutex mutex_;
  std::vector<std::byte> shared_ = std::vector<std::byte>(shared_bytes_of_a_block);
  std::deque<Thread> threads_;  ///< they keep their addresses
  std::vector<Warp> warps_;
  jmp_buf scheduler_;
  const std::function<void()>* kernel_ = nullptr;
  std::size_t count_ = 0;    ///< threads of the block
  std::size_t current_ = 0;  ///< the one that runs
  std::size_t arrived_ = 0;  ///< at the block's barrier
  unsigned launches_ = 0;
};

Multiprocessor& multiprocessor() {
  static Multiprocessor only;
  return only;
}

void Multiprocessor::live() {
  Multiprocessor& self = multiprocessor();
  for (;;) {
    (*self.kernel_)();
    self.threads_[self.current_].state = State::finished;
    self.yield();
  }
}

}  // namespace

void run_blocks(dim3 blocks, dim3 threads, std::size_t shared_bytes, const std::function<void()>& kernel) {
  multiprocessor().run(blocks, threads, shared_bytes, kernel);
}
void* shared_memory() { return multiprocessor().shared(); }
const std::array<std::uint64_t, 32>& meet_warp(const char* operation, std::uint64_t value) {
  return multiprocessor().meet_warp(operation, value);
}
void __syncthreads() { multiprocessor().meet_block(); }  // NOLINT(bugprone-reserved-identifier): CUDA's name

}  // namespace tare::cuda
