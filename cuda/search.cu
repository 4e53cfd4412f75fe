// The search by noise, all histograms in one launch: a block a histogram, a warp a scale, candidates in the order of
// host/calib/search.cpp. Warps evaluate a round of scales at once; one thread then goes through their results in order,
// so that the first of equal candidates wins and every stop falls where the CPU stops. float64, no contraction: the
// encodings of the CPU. Odd: what a round computes beyond a stop is left out.
#include <cmath>

#include "noise.cuh"

namespace tare::cuda {
namespace {

using namespace calib;  // the constants of the search

struct Candidate {
  double cost;
  double scale;
  double negative_steps;
  double fraction;
  int position;
  bool valid;
};

struct Shared {
  Side sides[2];
  Candidate best;
  Candidate results[search_warps];
  bool stop;
};

__device__ __forceinline__ double lesser(double a, double b) { return b < a ? b : a; }
__device__ __forceinline__ double greater(double a, double b) { return a < b ? b : a; }

/// One warp of the block: everything it does, all lanes do alike.
struct Searcher {
  const SearchTask& task;
  Shared& shared;
  int warp;
  std::uint32_t lane;
  Prepared negative, positive;

  __device__ double scale_at(int position) const {
    const double scale = task.largest_scale * candidate_ratio(position);
    return greater(static_cast<double>(static_cast<float>(scale)), task.smallest_scale);
  }

  __device__ void set_scale(double scale) {
    negative = prepare(shared.sides[0], scale, task.negative_steps, warp, lane);
    positive = prepare(shared.sides[1], scale, task.positive_steps, warp, lane);
  }

  __device__ __forceinline__ void evaluate(double negative_steps, int position, double fraction,
                                           Candidate& best) const {
    const double cost = limit_noise(shared.sides[0], negative, negative_steps, task.gamma, warp, lane) +
                        limit_noise(shared.sides[1], positive, task.steps - negative_steps, task.gamma, warp, lane);
    if (!best.valid || cost < best.cost) best = {cost, negative.scale, negative_steps, fraction, position, true};
  }

  __device__ __forceinline__ void window(int position, double first, double step, int count, Candidate& best) {
    const double scale = scale_at(position);
    set_scale(scale);
    if (task.fixed_zero) {
      evaluate(task.negative_steps, position, 0, best);
      return;
    }
    const double high = lesser(task.steps, std::ceil(-task.low / scale));
    const double low = lesser(high, greater(0.0, task.steps - std::ceil(task.high / scale)));
    double last = -1;
    for (int i = 0; i < count; ++i) {
      const double fraction = lesser(1.0, greater(0.0, first + step * i));
      const double negative_steps = round_half_even(low + (high - low) * fraction);
      if (negative_steps == last) continue;
      last = negative_steps;
      evaluate(negative_steps, position, fraction, best);
    }
  }

  /// Hands this warp's best to the block; thread 0 folds them in order while `goes_on(warp)`.
  template <class GoesOn>
  __device__ __forceinline__ void fold(const Candidate& result, GoesOn goes_on) {
    if (lane == 0) shared.results[warp] = result;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int i = 0; i < search_warps; ++i) {
        if (!goes_on(i)) {
          shared.stop = true;
          break;
        }
        const Candidate& candidate = shared.results[i];
        if (candidate.valid && (!shared.best.valid || candidate.cost < shared.best.cost)) shared.best = candidate;
      }
    }
    __syncthreads();
  }

  __device__ bool is_smallest(int coarse) const {
    return coarse > 0 && scale_at((coarse - 1) * coarse_step) <= task.smallest_scale;
  }

  /// Neither this scale nor any below it costs less than the best: what they cut off alone costs more.
  __device__ bool is_beaten(double scale) const {
    const double bound = saturation_bound(shared.sides[0], scale * task.negative_steps, task.gamma) +
                         saturation_bound(shared.sides[1], scale * task.positive_steps, task.gamma);
    return bound * bound_margin > shared.best.cost;
  }

  __device__ void coarse() {
    for (int begin = 0; begin < most_candidates && !shared.stop; begin += search_warps) {
      if (begin >= coarse_candidates && shared.best.position != (begin - 1) * coarse_step) return;
      if (is_beaten(scale_at(begin * coarse_step))) return;
      Candidate result{};
      if (!is_smallest(begin + warp)) window((begin + warp) * coarse_step, 0, window_step, window_positions, result);
      fold(result, [&](int i) {
        const int index = begin + i;
        return (index < coarse_candidates || shared.best.position == (index - 1) * coarse_step) && !is_smallest(index);
      });
    }
  }

  __device__ void zoom(int step, double width) {
    const Candidate centre = shared.best;
    const int middle = centre.position > 0 ? centre.position : 0;
    for (int begin = -zoom_reach; begin <= zoom_reach; begin += search_warps) {
      const int i = begin + warp;
      const int position = middle + i * step;
      Candidate result{};
      if (i <= zoom_reach && position >= 0 && !(i == 0 && task.fixed_zero))
        window(position, centre.fraction - width, width * 2 / (zoom_positions - 1), zoom_positions, result);
      fold(result, [](int) { return true; });
    }
  }

  __device__ void neighbours() {
    if (task.fixed_zero) return;
    const Candidate centre = shared.best;
    const double shift = warp < 2 ? warp - 2 : warp - 1;  // -2, -1, 1, 2
    const double negative_steps = centre.negative_steps + shift;
    Candidate result{};
    if (warp < 4 && negative_steps >= 0 && negative_steps <= task.steps) {
      set_scale(centre.scale);
      evaluate(negative_steps, centre.position, centre.fraction, result);
    }
    fold(result, [](int) { return true; });
  }

  __device__ void run() {
    Candidate whole{};
    if (warp == 0) {
      set_scale(task.whole_scale);
      evaluate(task.whole_negative_steps, -1, 0.5, whole);
    }
    fold(whole, [](int) { return true; });
    if (!(task.largest_scale > task.smallest_scale)) return;
    coarse();
    __syncthreads();
    zoom(zoom_step, window_step);
    zoom(1, window_step * zoom_ratio);
    neighbours();
  }
};

__global__ void __launch_bounds__(search_warps * 32, 2)
    search_kernel(const SearchTask* tasks, const PackedBin* bins, SearchResult* results) {
  Shared& shared = dynamic_shared<Shared>();
  const SearchTask task = tasks[blockIdx.x];
  if (threadIdx.x == 0) {
    shared.best.valid = false;
    shared.stop = false;
  }
  build_sides(shared.sides, task, bins + task.first_bin);
  Searcher searcher{task, shared, static_cast<int>(threadIdx.x / 32), threadIdx.x % 32, {}, {}};
  searcher.run();
  if (threadIdx.x == 0) results[blockIdx.x] = {shared.best.scale, shared.best.negative_steps, shared.best.position};
}

}  // namespace

bool can_search() { return most_shared_memory() >= sizeof(Shared); }

void search(const SearchTask* tasks, std::size_t count, const PackedBin* bins, SearchResult* results,
            StreamView stream) {
  if (count == 0) return;
  constexpr int memory = sizeof(Shared);
  TARE_CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(search_kernel),
                                       cudaFuncAttributeMaxDynamicSharedMemorySize, memory));
  launch(search_kernel, static_cast<unsigned>(count), search_warps * 32, memory, stream, tasks, bins, results);
  TARE_CUDA_CHECK_LAUNCH("search_kernel");
}

}  // namespace tare::cuda
