// One thread's way through a chain: fours of neighbouring elements through all steps, from memory to memory once, with
// the formulas of the operators themselves, so that not a bit differs. Steps are read from the launch's own constants
// and are the same for all threads: no branch diverges, and what they cost beside the formulas is shared by the
// elements of a thread. Odd: results that wait are picked by comparing numbers, not by an index, which would put them
// into local memory.
#pragma once

#include <cmath>

#include "chain.hpp"
#include "float_element.hpp"
#include "tare/elementary.hpp"

namespace tare::cuda {

template <int n>
struct Lanes {
  float of[n];
};

/// Where nothing is counted.
struct NoTaps {
  static constexpr bool inside = true;
  template <int n>
  TARE_HD void operator()(int, const Lanes<n>&) const {}
};

/// `wide`: float32; else a half type, which only the run knows. `saves`: results wait for a later step than the next;
/// without these a thread has registers for two fours, which lie half of all elements apart.
template <bool wide, bool saves>
struct ChainElements {
  static constexpr int lanes = saves ? 4 : 8;  ///< elements of a thread

  ChainProgram program;
  std::int64_t vectors;   ///< of so many lanes; the elements behind them are taken one by one
  std::int64_t distance;  ///< from a thread's first four to its second
  bool small;
  bool channel_of_four;  ///< four neighbours lie in one channel
  Divider spatial, channels;

  explicit ChainElements(const ChainProgram& of) : program(of), channel_of_four(of.spatial % 4 == 0) {
    vectors = program.is_aligned() ? program.elements / lanes : 0;
    distance = 4 * vectors;
    small = program.elements < (std::int64_t{1} << 31);
    if (!small || !program.by_channel) return;
    spatial = Divider(static_cast<std::uint32_t>(program.spatial));
    channels = Divider(static_cast<std::uint32_t>(program.channel_count));
  }

  __device__ void operator()(std::int64_t i) const {
    if (i < vectors)
      run<lanes>(4 * i, {}, NoTaps{});
    else
      run<1>((lanes - 1) * vectors + i, {}, NoTaps{});
  }

  /// `last`: what the first step finds as the last result. `taps(i, x)` is told what comes by at tap i, -1: none.
  /// Without `taps.inside` nothing is read or stored, but the thread goes along.
  template <int n, class Taps>
  __device__ void run(std::int64_t first, const Lanes<n>& last, const Taps& taps) const {
    State<n> state = state_at(first, last);
    take_steps(0, program.steps, state, taps);
  }

  /// The steps before the row step; what it reads.
  template <int n>
  __device__ Lanes<n> run_to_row(std::int64_t first) const {
    State<n> state = state_at<n>(first, {});
    take_steps(0, program.row_step, state, NoTaps{});
    return fetch(program.step[program.row_step].sources[0], state, NoTaps{});
  }
  /// The steps behind the row step, which gave `made`.
  template <int n>
  __device__ void run_from_row(std::int64_t first, const Lanes<n>& made) const {
    State<n> state = state_at(first, made);
    keep(program.step[program.row_step], made, state, NoTaps{});
    take_steps(program.row_step + 1, program.steps, state, NoTaps{});
  }

  TARE_HD void load(const void* from, std::int64_t first, Lanes<1>& x) const {
    x.of[0] = load_float(from, first, type());
  }
  template <int n>
  TARE_HD void load(const void* from, std::int64_t first, Lanes<n>& x) const {
    TARE_UNROLL for (int k = 0; k < n; k += 4) load_four_lanes(from, first + k / 4 * distance, x, k);
  }

 private:
  TARE_HD DataType type() const { return wide ? DataType::float32 : program.type; }

  template <int n>
  struct State {
    std::int64_t first;
    std::int64_t planes[(n + 3) / 4];  ///< of the first lane of every four
    Lanes<n> last;
    Lanes<n> first_saved, second_saved, third_saved, fourth_saved;  // no array: it would be one in memory

    TARE_HD Lanes<n> saved(int which) const {
      Lanes<n> x;
      TARE_UNROLL
      for (int k = 0; k < n; ++k) {
        const float low = which == 0 ? first_saved.of[k] : second_saved.of[k];
        const float high = which == 2 ? third_saved.of[k] : fourth_saved.of[k];
        x.of[k] = which < 2 ? low : high;
      }
      return x;
    }
    TARE_HD static void keep_if(bool taken, Lanes<n>& place, const Lanes<n>& x) {
      TARE_UNROLL
      for (int k = 0; k < n; ++k) place.of[k] = taken ? x.of[k] : place.of[k];
    }
    TARE_HD void save(int which, const Lanes<n>& x) {
      keep_if(which == 0, first_saved, x);
      keep_if(which == 1, second_saved, x);
      keep_if(which == 2, third_saved, x);
      keep_if(which == 3, fourth_saved, x);
    }
  };
  static_assert(most_chain_saved == 4);

  template <int n>
  TARE_HD State<n> state_at(std::int64_t first, const Lanes<n>& last) const {
    State<n> state{};
    state.first = first;
    state.last = last;
    if (program.by_channel) {
      TARE_UNROLL for (int k = 0; k < n; k += 4) state.planes[k / 4] = plane_of(element(state, k));
    }
    return state;
  }

  template <int n, class Taps>
  __device__ void take_steps(int begin, int end, State<n>& state, const Taps& taps) const {
    TARE_NO_UNROLL for (int s = begin; s < end; ++s) {
      const ChainStep& step = program.step[s];
      Lanes<n> x = fetch(step.sources[0], state, taps);
      taps(step.sources[0].tap, x);
      switch (step.kind) {
        case cpu::Step::Kind::unary: unary(step.formula, x, step.a, step.b); break;
        case cpu::Step::Kind::binary: {
          const Lanes<n> y = fetch(step.sources[1], state, taps);
          taps(step.sources[1].tap, y);
          binary(step.formula, x, y);
          break;
        }
        case cpu::Step::Kind::affine: affine(step, x, state); break;
        case cpu::Step::Kind::quantize:
          if (step.half_up)
            each(x, [&g = step.grid](float v) {
              return quantize_dequantize_half_up(v, g.scale, g.offset, g.minimum, g.maximum);
            });
          else
            each(x, [&g = step.grid](float v) { return quantize_dequantize(v, g); });
          break;
        case cpu::Step::Kind::row: break;  // between two runs
      }
      keep(step, x, state, taps);
    }
  }

  /// A step's result, to where it goes.
  template <int n, class Taps>
  __device__ void keep(const ChainStep& step, Lanes<n> x, State<n>& state, const Taps& taps) const {
    if constexpr (!wide) each(x, [type = program.type](float v) { return rounded_to(v, type); });
    state.last = x;
    if (saves && step.saved >= 0) state.save(step.saved, x);
    if (step.output >= 0 && taps.inside) store(program.out[step.output], state.first, x);
    taps(step.tap, x);
  }

  /// Channels counted through all images.
  TARE_HD std::int64_t plane_of(std::int64_t element) const {
    return small ? static_cast<std::int64_t>(spatial.quotient(static_cast<std::uint32_t>(element)))
                 : element / program.spatial;
  }
  TARE_HD std::int64_t channel_of(std::int64_t plane) const {
    if (!small) return plane % program.channel_count;
    const auto p = static_cast<std::uint32_t>(plane);
    return p - channels.quotient(p) * channels.divisor;
  }

  template <int n>
  TARE_HD std::int64_t element(const State<n>& state, int lane) const {
    return state.first + lane / 4 * distance + lane % 4;
  }
  template <int n>
  TARE_HD std::int64_t plane(const State<n>& state, int lane) const {
    return n == 1 || channel_of_four ? state.planes[lane / 4] : plane_of(element(state, lane));
  }
  /// Whether a lane may have another channel than the one before.
  TARE_HD bool begins_channel(int lane) const { return lane % 4 == 0 || !channel_of_four; }

  /// The four lanes from `lane` on.
  template <int n>
  TARE_HD void load_four_lanes(const void* from, std::int64_t first, Lanes<n>& x, int lane) const {
    const Four four = load_four(from, first, type());
    TARE_UNROLL for (int k = 0; k < 4; ++k) x.of[lane + k] = four.of[k];
  }

  TARE_HD void store(void* to, std::int64_t first, const Lanes<1>& x) const { store_float(to, first, x.of[0], type()); }
  template <int n>
  TARE_HD void store(void* to, std::int64_t first, const Lanes<n>& x) const {
    TARE_UNROLL for (int lane = 0; lane < n; lane += 4) {
      Four four;
      TARE_UNROLL for (int k = 0; k < 4; ++k) four.of[k] = x.of[lane + k];
      store_four(to, first + lane / 4 * distance, four, type());
    }
  }

  template <int n>
  TARE_HD static void set_all(Lanes<n>& x, float number) {
    TARE_UNROLL for (int k = 0; k < n; ++k) x.of[k] = number;
  }

  /// The four lanes from `lane` on, or the only one.
  template <int n>
  TARE_HD void load_broadcast(const ChainBroadcast& from, const State<n>& state, Lanes<n>& x, int lane) const {
    const auto first = static_cast<std::uint32_t>(element(state, lane));
    const std::uint32_t offset = from.offset(first);
    if constexpr (n == 1) {
      x.of[0] = load_float(from.in, offset, type());
    } else {
      if (from.fours) return load_four_lanes(from.in, offset, x, lane);
      TARE_UNROLL for (int k = 0; k < 4; ++k) {
        const bool in_row = k == 0 || from.rows_of_fours;
        const std::uint32_t at = in_row ? offset + k * from.strides[0] : from.offset(first + k);
        x.of[lane + k] = k > 0 && from.number_of_four ? x.of[lane] : load_float(from.in, at, type());
      }
    }
  }

  template <int n, class Taps>
  TARE_HD Lanes<n> fetch(const ChainSource& source, const State<n>& state, const Taps& taps) const {
    Lanes<n> x = state.last;
    if (!taps.inside) return x;
    switch (source.kind) {
      case ChainSource::Kind::last: break;
      case ChainSource::Kind::saved:
        if constexpr (saves) x = state.saved(source.index);
        break;
      case ChainSource::Kind::block: load(program.in[source.index], state.first, x); break;
      case ChainSource::Kind::channel:
        TARE_UNROLL for (int k = 0; k < n; ++k) x.of[k] =
            begins_channel(k) ? load_float(program.in[source.index], plane(state, k), type()) : x.of[k / 4 * 4];
        break;
      case ChainSource::Kind::single: set_all(x, load_float(program.in[source.index], 0, type())); break;
      case ChainSource::Kind::broadcast:
        TARE_UNROLL for (int k = 0; k < n; k += 4) load_broadcast(program.broadcasts[source.index], state, x, k);
        break;
      case ChainSource::Kind::constant: set_all(x, source.number); break;
    }
    return x;
  }

  template <int n, class Function>
  TARE_HD static void each(Lanes<n>& x, Function function) {
    TARE_UNROLL for (int k = 0; k < n; ++k) x.of[k] = function(x.of[k]);
  }

  template <int n>
  TARE_HD static void unary(cpu::Formula formula, Lanes<n>& x, float a, float b) {
    using F = cpu::Formula;
    switch (formula) {
      case F::absolute: return each(x, [](float v) { return elementary::absolute(v); });
      case F::clip: return each(x, [a, b](float v) { return elementary::clip(v, a, b); });
      case F::erf: return each(x, [](float v) { return elementary::erf(v); });
      case F::exp: return each(x, [](float v) { return elementary::exp(v); });
      case F::hard_sigmoid: return each(x, [a, b](float v) { return elementary::hard_sigmoid(v, a, b); });
      case F::hard_swish: return each(x, [](float v) { return elementary::hard_swish(v); });
      case F::leaky_relu: return each(x, [a](float v) { return elementary::leaky_relu(v, a); });
      case F::negate: return each(x, [](float v) { return -v; });
      case F::relu: return each(x, [](float v) { return elementary::relu(v); });
      case F::sigmoid: return each(x, [](float v) { return elementary::sigmoid(v); });
      case F::softplus: return each(x, [](float v) { return elementary::softplus(v); });
      case F::sqrt: return each(x, [](float v) { return ::sqrtf(v); });
      case F::tanh: return each(x, [](float v) { return elementary::tanh(v); });
      default: return;  // of two operands
    }
  }

  template <int n>
  TARE_HD static void binary(cpu::Formula formula, Lanes<n>& x, const Lanes<n>& y) {
    using F = cpu::Formula;
    TARE_UNROLL for (int k = 0; k < n; ++k) {
      const float a = x.of[k];
      const float b = y.of[k];
      x.of[k] = formula == F::add ? a + b : formula == F::subtract ? a - b : formula == F::multiply ? a * b : a / b;
    }
  }

  template <int n>
  TARE_HD void affine(const ChainStep& step, Lanes<n>& x, const State<n>& state) const {
    float center = 0, factor = 0, addend = 0;
    TARE_UNROLL for (int k = 0; k < n; ++k) {
      if (begins_channel(k)) {
        const float* numbers = step.channels + channel_of(plane(state, k));
        center = numbers[0];
        factor = numbers[program.channel_count];
        addend = numbers[2 * program.channel_count];
      }
      x.of[k] = (x.of[k] - center) * factor + addend;
    }
  }
};

static_assert(sizeof(ChainElements<true, true>) <= 4096, "parameters of a launch");

}  // namespace tare::cuda
