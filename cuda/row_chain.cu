// Softmax and normalizations of the last dimension, with what comes before and behind them in the same launch. A row
// waits in shared memory, where a thread finds what it put there itself: it is read from the tensor once. Odd: threads
// take fours where rows are made of fours, else single elements in turn, whatever addresses allow, so that sums have
// one order and alignment changes no bit.
#include "row_chain.hpp"

#include <cmath>

#include "chain_elements.cuh"
#include "tare/elementary.hpp"

namespace tare::cuda {
namespace {

template <bool wide, int lanes>
struct RowChain {
  ChainElements<wide, true> elements;
  std::int64_t unit;  ///< neighbours that a thread takes

  __device__ void operator()(std::int64_t row, const Team& team) const {
    using Kind = cpu::RowOperation::Kind;
    const ChainRows& rows = elements.program.rows;
    float* kept = &dynamic_shared<float>() + threadIdx.y * rows.length;
    const std::int64_t first = row * rows.length;
    if (rows.kind == Kind::softmax || rows.kind == Kind::log_softmax)
      softmax(rows, first, kept, team);
    else
      normalize(rows, first, kept, team);
  }

 private:
  /// body(k) for the thread's elements k to k + lanes - 1 of the row.
  template <class Body>
  __device__ void each(std::int64_t length, const Team& team, Body body) const {
    TARE_NO_UNROLL for (std::int64_t k = unit * team.thread; k < length; k += unit * team.size) {
      TARE_NO_UNROLL for (std::int64_t j = 0; j < unit; j += lanes) body(k + j);
    }
  }
  /// The row as the steps before give it, kept; body(x) for every element.
  template <class Body>
  __device__ void each_read(std::int64_t length, std::int64_t first, float* kept, const Team& team, Body body) const {
    each(length, team, [&](std::int64_t k) {
      const Lanes<lanes> x = elements.template run_to_row<lanes>(first + k);
      put(kept + k, x);
      TARE_UNROLL for (int lane = 0; lane < lanes; ++lane) body(x.of[lane]);
    });
  }
  /// body(x) for every element that is kept.
  template <class Body>
  __device__ void each_kept(std::int64_t length, const float* kept, const Team& team, Body body) const {
    each(length, team, [&](std::int64_t k) {
      const Lanes<lanes> x = get(kept + k);
      TARE_UNROLL for (int lane = 0; lane < lanes; ++lane) body(x.of[lane]);
    });
  }
  /// Keeps function(x) instead.
  template <class Function>
  __device__ void change(std::int64_t length, float* kept, const Team& team, Function function) const {
    each(length, team, [&](std::int64_t k) {
      Lanes<lanes> x = get(kept + k);
      TARE_UNROLL for (int lane = 0; lane < lanes; ++lane) x.of[lane] = function(x.of[lane]);
      put(kept + k, x);
    });
  }
  /// The steps behind, of what `function(x, k)` makes of the elements that are kept.
  template <class Function>
  __device__ void finish(std::int64_t length, std::int64_t first, const float* kept, const Team& team,
                         Function function) const {
    each(length, team, [&](std::int64_t k) {
      Lanes<lanes> x = get(kept + k);
      TARE_UNROLL for (int lane = 0; lane < lanes; ++lane) x.of[lane] = function(x.of[lane], k + lane);
      elements.template run_from_row<lanes>(first + k, x);
    });
  }

  static __device__ Lanes<lanes> get(const float* from) {
    Lanes<lanes> x;
    if constexpr (lanes == 4) {
      const float4 four = *reinterpret_cast<const float4*>(from);
      return {{four.x, four.y, four.z, four.w}};
    } else {
      x.of[0] = *from;
      return x;
    }
  }
  static __device__ void put(float* to, const Lanes<lanes>& x) {
    if constexpr (lanes == 4)
      *reinterpret_cast<float4*>(to) = float4{x.of[0], x.of[1], x.of[2], x.of[3]};
    else
      *to = x.of[0];
  }

  __device__ void softmax(const ChainRows& rows, std::int64_t first, float* kept, const Team& team) const {
    const std::int64_t length = rows.length;
    float best = -elementary::infinity;
    each_read(length, first, kept, team, [&](float x) { best = x > best || x != x ? x : best; });
    best = team.maximum(best);
    double sum = 0;
    if (rows.kind == cpu::RowOperation::Kind::log_softmax) {
      each_kept(length, kept, team, [&](float x) { sum += static_cast<double>(elementary::exp(x - best)); });
      const double shift = static_cast<double>(best) + ::log(team.sum(sum));
      finish(length, first, kept, team,
             [&](float x, std::int64_t) { return static_cast<float>(static_cast<double>(x) - shift); });
    } else {
      change(length, kept, team, [&](float x) {
        const float power = elementary::exp(x - best);
        sum += static_cast<double>(power);
        return power;
      });
      const auto factor = static_cast<float>(1.0 / team.sum(sum));
      finish(length, first, kept, team, [&](float x, std::int64_t) { return x * factor; });
    }
  }

  /// Moments in two passes, as on the host.
  __device__ void normalize(const ChainRows& rows, std::int64_t first, float* kept, const Team& team) const {
    const std::int64_t length = rows.length;
    double sum = 0;
    each_read(length, first, kept, team, [&](float x) { sum += static_cast<double>(x); });
    const bool centered = rows.kind == cpu::RowOperation::Kind::layer_normalization;
    const double mean = centered ? team.sum(sum) / static_cast<double>(length) : 0.0;
    double squares = 0;
    each_kept(length, kept, team, [&](float x) {
      const double deviation = static_cast<double>(x) - mean;
      squares += deviation * deviation;
    });
    const double variance = team.sum(squares) / static_cast<double>(length);
    const auto center = static_cast<float>(mean);
    const auto factor = static_cast<float>(1.0 / ::sqrt(variance + rows.epsilon));
    finish(length, first, kept, team, [&](float x, std::int64_t k) {
      const float y = (x - center) * factor * rows.scales[k];
      return rows.biases.present() ? y + rows.biases[k] : y;
    });
  }
};

template <bool wide, int lanes>
void launch(const ChainProgram& program, StreamView stream) {
  const std::int64_t length = program.rows.length;
  for_each_row<3>(program.elements / length, length, stream,
                  RowChain<wide, lanes>{ChainElements<wide, true>(program), length % 4 == 0 ? 4 : 1},
                  static_cast<std::size_t>(length) * sizeof(float));
}

}  // namespace

void run_row_chain(const ChainProgram& program, StreamView stream) {
  if (program.elements == 0) return;
  const bool fours = program.rows.length % 4 == 0 && program.is_aligned();
  if (program.type == DataType::float32)
    fours ? launch<true, 4>(program, stream) : launch<true, 1>(program, stream);
  else
    fours ? launch<false, 4>(program, stream) : launch<false, 1>(program, stream);
}

void run_row_operation(const ChainRows& rows, const FloatInput& in, const FloatOutput& out, std::int64_t elements,
                       StreamView stream) {
  ChainProgram program;
  program.type = in.type;
  program.steps = 1;
  program.row_step = 0;
  program.elements = elements;
  program.in[0] = in.data;
  program.out[0] = out.data;
  program.rows = rows;
  ChainStep& step = program.step[0];
  step.kind = cpu::Step::Kind::row;
  step.sources[0].kind = ChainSource::Kind::block;
  step.output = 0;
  run_row_chain(program, stream);
}

}  // namespace tare::cuda
