// Launches of element-wise formulas: one operand in order, two or three broadcast. Four float32 elements a thread where
// addresses and rows allow it. `out` may be the memory of an operand of the same shape.
#pragma once

#include "cpu/broadcast.hpp"
#include "launch.hpp"
#include "operators.hpp"

namespace tare::cuda {

struct alignas(16) Four {
  float of[4];
};

inline bool is_aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

/// out[i] = formula(in[i]), float32.
template <class Formula>
void map_floats(const float* in, float* out, std::int64_t count, StreamView stream, Formula formula) {
  const std::int64_t fours = is_aligned(in) && is_aligned(out) ? count / 4 : 0;
  for_each(fours + (count - 4 * fours), stream, [=] TARE_DEVICE(std::int64_t i) {
    if (i < fours) {
      Four values = reinterpret_cast<const Four*>(in)[i];
      for (int k = 0; k < 4; ++k) values.of[k] = formula(values.of[k]);
      reinterpret_cast<Four*>(out)[i] = values;
    } else {
      const std::int64_t at = 3 * fours + i;
      out[at] = formula(in[at]);
    }
  });
}

/// out[i] = static_cast<Out>(formula(in[i])).
template <class In, class Out, class Formula>
void map(const In* in, Out* out, std::int64_t count, StreamView stream, Formula formula) {
  for_each(count, stream, [=] TARE_DEVICE(std::int64_t i) { out[i] = static_cast<Out>(formula(in[i])); });
}

/// The offsets of two broadcast operands; steps of the nest are elements of the result, in order.
Nest<2> nest_of(const cpu::Broadcast& plan);

/// out = formula(a, b), broadcast.
template <class T, class Out, class Formula>
void combine(const cpu::Broadcast& plan, const T* a, const T* b, Out* out, StreamView stream, Formula formula) {
  Nest<2> nest = nest_of(plan);
  if constexpr (std::is_same_v<T, float> && std::is_same_v<Out, float>) {
    // Rows of fours: every operand steps by 1 or stands still, and starts on a four.
    const int last = nest.rank - 1;
    bool fours = is_aligned(a) && is_aligned(b) && is_aligned(out) && nest.sizes[last] % 4 == 0;
    for (int k = 0; k < 2; ++k) {
      const bool steps = nest.strides[k][last] == 1;
      fours = fours && (steps || nest.strides[k][last] == 0);
      for (int d = 0; d < last; ++d) fours = fours && (!steps || nest.strides[k][d] % 4 == 0);
    }
    if (fours) {
      const bool steps_a = nest.strides[0][last] == 1;
      const bool steps_b = nest.strides[1][last] == 1;
      nest.sizes[last] /= 4;
      nest.strides[0][last] *= 4;
      nest.strides[1][last] *= 4;
      const std::int64_t steps = nest.finish();
      for_each(steps, stream, [=] TARE_DEVICE(std::int64_t i) {
        const auto at = nest.at(i);
        Four x, y;
        if (steps_a)
          x = *reinterpret_cast<const Four*>(a + at.of[0]);
        else
          x.of[0] = x.of[1] = x.of[2] = x.of[3] = a[at.of[0]];
        if (steps_b)
          y = *reinterpret_cast<const Four*>(b + at.of[1]);
        else
          y.of[0] = y.of[1] = y.of[2] = y.of[3] = b[at.of[1]];
        for (int k = 0; k < 4; ++k) x.of[k] = formula(x.of[k], y.of[k]);
        reinterpret_cast<Four*>(out)[i] = x;
      });
      return;
    }
  }
  const std::int64_t steps = nest.finish();
  for_each(steps, stream, [=] TARE_DEVICE(std::int64_t i) {
    const auto at = nest.at(i);
    out[i] = static_cast<Out>(formula(a[at.of[0]], b[at.of[1]]));
  });
}

}  // namespace tare::cuda
