// Runs kernels on the host as CUDA would: the threads of a block in turns, each until it has to wait for others of its
// warp or block. Whoever comes last lets all go on. The order of blocks and of threads changes from launch to launch,
// so a kernel that lacks a barrier gives other results now and then. Odd: setcontext starts a thread, _longjmp goes on
// with it, for it asks nothing of the system.
#undef _FORTIFY_SOURCE  // takes a jump to another stack for a mistake
#include <setjmp.h>
#include <ucontext.h>
#ifdef TARE_RACES
#include <sanitizer/tsan_interface.h>
#endif

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

/// What ThreadSanitizer is told when it looks for races of kernels: each CUDA thread is one of its own, and only
/// barriers order what threads of a block do to memory; shuffles do not. Blocks come one after the other: races between
/// blocks are not seen.
struct Fiber {
#ifdef TARE_RACES
  static Fiber current() { return {__tsan_get_current_fiber()}; }
  static Fiber made() { return {__tsan_create_fiber(0)}; }
  void enter() const { __tsan_switch_to_fiber(self, __tsan_switch_to_fiber_no_sync); }
  void* self;
#else
  static Fiber current() { return {}; }
  static Fiber made() { return {}; }
  void enter() const {}
#endif
};
#ifdef TARE_RACES
void release(void* place) { __tsan_release(place); }
void acquire(void* place) { __tsan_acquire(place); }
#else
void release(void*) {}
void acquire(void*) {}
#endif

enum class State : std::uint8_t { ready, waiting, finished };

struct Thread {
  jmp_buf context;
  ucontext_t start;
  std::unique_ptr<std::byte[]> stack;
  Fiber fiber = Fiber::made();
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
    home_ = Fiber::current();
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
    const bool orders_memory = place == std::string_view("__syncwarp");
    if (orders_memory) release(&warp);
    if (++warp.arrived < end - first) {
      wait(place);
    } else {
      for (std::size_t i = first; i < end; ++i) {
        if (i == current_) continue;
        if (std::string_view(threads_[i].place) != place) fail("lanes of a warp meet at different operations");
        threads_[i].state = State::ready;
      }
      warp.arrived = 0;
      warp.turn = 1 - warp.turn;
    }
    if (orders_memory) acquire(&warp);
    return values;
  }

  void meet_block() {
    release(&arrived_);
    if (++arrived_ < count_) {
      wait("__syncthreads");
    } else {
      for (std::size_t i = 0; i < count_; ++i) threads_[i].state = State::ready;
      arrived_ = 0;
    }
    acquire(&arrived_);
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
      threads_[i].index = dim3(number % blockDim.x, number / blockDim.x % blockDim.y, number / blockDim.x / blockDim.y);
      threads_[i].state = State::ready;
    }
    const std::vector<unsigned> order = permuted(count);
    std::size_t unfinished = count;
    release(&count_);  // all threads begin after the block before
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
    acquire(&kernel_);  // all have returned
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
    thread.fiber.enter();
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
    if (_setjmp(threads_[current_].context) != 0) return;
    home_.enter();
    _longjmp(scheduler_, 1);
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
  Fiber home_{};  ///< of the host's thread
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
    acquire(&self.count_);
    (*self.kernel_)();
    release(&self.kernel_);
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
